// The house: its outputs and inputs.

import { $, put, makeList } from './lists.js';
import { t } from './words.js';
import { follow, say, tell } from './live.js';

function makePins(kind) {
  const ul = document.querySelector('[data-kind=' + kind + ']');
  return makeList(ul, $('pin'), (pin) => pin.name, (li, pin) => {
    const button = li.querySelector('button');
    put(li.querySelector('.name'), pin.name);
    put(li.querySelector('.state'), pin.shows || (pin.known ? (pin.on ? t('on') : t('off')) : t('unknown')));
    put(li.querySelector('.line'), pin.pin);
    li.querySelector('.line').title = pin.hint || '';
    put(li.querySelector('.note'), pin.note || '');
    put(li.querySelector('.fault'), pin.fault);
    li.classList.toggle('on', pin.known && pin.on);
    li.classList.toggle('faulty', pin.fault !== '');
    li.classList.remove('asked');
    button.removeAttribute('aria-busy');
    button.setAttribute('aria-checked', String(pin.known && pin.on));
    button.setAttribute('aria-label', pin.name);
    button.hidden = !!pin.read_only || kind === 'input' && (!pin.simulated || !!pin.shows);
    button.disabled = false;
    button.onclick = () => flip(kind, pin.name, li, button);
  });
}

// What was asked and what is so stand apart: the switch waits half way until
// the house says that the pin has turned.
async function flip(kind, name, li, button) {
  const on = button.getAttribute('aria-checked') !== 'true';
  const back = () => {
    if (!li.classList.contains('asked')) return false;
    li.classList.remove('asked');
    button.removeAttribute('aria-busy');
    put(li.querySelector('.state'), before);
    return true;
  };
  if (li.classList.contains('asked')) return;
  const before = li.querySelector('.state').textContent;
  li.classList.add('asked');
  button.setAttribute('aria-busy', 'true');
  put(li.querySelector('.state'), on ? t('asked.on') : t('asked.off'));
  try {
    await tell('/api/' + kind + '/' + encodeURIComponent(name), { on });
    setTimeout(() => back() && say(on ? t('late.on', { name }) : t('late.off', { name })), 3000);
  } catch (err) {
    back();
    say(err instanceof TypeError ? t('not_told', { name }) : err.message);
  }
}

const outputs = makePins('output');
const inputs = makePins('input');
let bare = true; // there is nothing else in the house either
let partial = false; // there is more in the house than one may see

follow({
  whole(v) {
    outputs.all(v.outputs);
    inputs.all(v.inputs);
    bare = !v.readings.length && !v.decisions.length;
  },
  status(v) {
    document.title = v.name + ' · Hearth';
    partial = !!v.partial;
    bare = bare && !v.rules;
  },
  happened(e) {
    if (e.output) outputs.one(e.output);
    if (e.input) inputs.one(e.input);
    if (e.reading || e.decision) bare = false;
  },
  arrange() {
    $('empty').hidden = !bare || outputs.rows.size + inputs.rows.size > 0 || partial;
    $('outputs').hidden = !outputs.rows.size;
    $('inputs').hidden = !inputs.rows.size;
  },
});
