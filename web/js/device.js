// One device: what it says, and the lines that give it a name and a room.

import { $, put } from './lists.js';
import { t, age, clock } from './words.js';
import { follow, say, sayWhy } from './live.js';
import { inLanguage, tell } from './send.js';

const rows = new Map(Array.from(document.querySelectorAll('#properties li'), (li) => [li.dataset.name, li]));
const here = location.pathname.slice('/devices/'.length);
let asked = 0;

async function look() {
  if (document.hidden || Date.now() - asked < 4000) return;
  asked = Date.now();
  try {
    const answer = await fetch(inLanguage('/api/v1/devices/' + here));
    if (!answer.ok) return;
    const d = await answer.json();
    (d.properties || []).forEach((p) => {
      const li = rows.get(p.name);
      if (!li) return;
      put(li.querySelector('.text'), p.away ? t('away') : p.text ? (p.text + ' ' + (p.unit || '')).trim() : '');
      put(li.querySelector('.why'), (p.bad || '') + (p.asked ? t('asked.value', { value: p.asked }) : ''));
      put(li.querySelector('time'), p.at ? age(p.at) : '');
      if (p.at) li.querySelector('time').title = clock(p.at);
    });
  } catch (err) { /* the stream says so */ }
}

// --- Its name ---

const form = $('naming');
if (form) {
  form.hidden = false;
  $('copy').hidden = false;
  const lines = () => put($('lines'), '[device.' + (/^[a-z][a-z0-9_]*$/.test(form.elements.key.value) ? form.elements.key.value : '…') + ']\nid = ' + JSON.stringify($('lines').dataset.id) +
    '\nname = ' + JSON.stringify(form.elements.label.value) + '\nroom = ' + JSON.stringify(form.elements.room.value));
  form.oninput = lines;
  form.onsubmit = (e) => e.preventDefault();
  $('copy').onclick = () => {
    getSelection().selectAllChildren($('lines'));
    const done = () => say(t('device.copied'));
    if (navigator.clipboard) navigator.clipboard.writeText($('lines').textContent).then(done, () => document.execCommand('copy') && done());
    else if (document.execCommand('copy')) done(); // without TLS there is no clipboard
  };
}

const forget = $('forget');
if (forget) {
  forget.hidden = false;
  let sure = 0;
  forget.onclick = async () => {
    if (Date.now() - sure > 5000) {
      sure = Date.now();
      put(forget, t('device.sure'));
      return;
    }
    try {
      await tell('/api/v1/devices/' + here + '/forget', {});
      location.assign('/devices');
    } catch (err) {
      sayWhy(err);
    }
  };
}

follow('things', {
  whole: look,
  status: look,
  happened(e) { if (e.thing && encodeURIComponent(e.thing.name) === here) look(); },
});
