// What the rules did and wait for, and what was last reported.

import { $, put, lines, makeList } from './lists.js';
import { t, age, clock } from './words.js';
import { follow } from './live.js';
import { inLanguage } from './send.js';

const log = document.querySelector('.log');
const decisions = makeList(log, $('decision'), (d) => d.at + ' ' + d.text, (li, d) => {
  li.className = d.outcome;
  const time = li.querySelector('time');
  time.setAttribute('datetime', d.at);
  put(time, clock(d.at));
  put(li.querySelector('b'), d.rule);
  const asked = d.rule.replace(/^(output|cover|device)\./, '');
  if (asked !== d.rule || /^(rule|link|machine)\./.test(d.rule)) li.querySelector('a').href = '/why/' + encodeURIComponent(asked) + '?at=' + encodeURIComponent(d.at);
  put(li.querySelector('.because'), (d.text.startsWith(d.rule) ? d.text.slice(d.rule.length) : d.text).trim());
});

log.classList.add('short');
$('more').onclick = () => {
  const short = log.classList.toggle('short');
  $('more').setAttribute('aria-expanded', String(!short));
  arrange();
};

const readings = makeList(document.querySelector('.values'), $('reading'), (r) => r.source, (li, r, old) => {
  put(li.querySelector('.source'), r.source);
  li.querySelector('.source').title = r.of || '';
  li.querySelector('.source').setAttribute('href', '/thing/' + encodeURIComponent(r.source));
  const text = li.querySelector('.text');
  put(text, r.text);
  text.title = r.text.length > 24 ? r.text : '';
  li.classList.toggle('wide', r.text.length > 24);
  put(li.querySelector('.why'), r.bad);
  li.classList.toggle('bad', r.bad !== '');
  const time = li.querySelector('time');
  time.setAttribute('datetime', r.at);
  time.title = clock(r.at);
  put(time, age(r.at));
  li.hidden = !matches(r);
  if (old && old.text !== r.text) {
    li.classList.add('news');
    setTimeout(() => li.classList.remove('news'), 300);
  }
});

function matches(r) {
  const wanted = $('filter').value.trim().toLowerCase();
  return (r.source + ' ' + (r.of || '') + ' ' + r.text).toLowerCase().includes(wanted);
}

// Of very many readings the page has the newest, and asks for those that have what is typed;
// that is so again for the newest when nothing is.
const most = 500;
let all = 0; // that there are
let asked;

async function search() {
  const find = $('filter').value.trim();
  try {
    const answer = await fetch(inLanguage('/api/v1/readings?find=' + encodeURIComponent(find)), { credentials: 'same-origin' });
    if (!answer.ok || $('filter').value.trim() !== find) return;
    readings.all((await answer.json()).readings);
    arrange();
  } catch (err) { /* the stream says so */ }
}

$('filter').oninput = () => {
  clearTimeout(asked);
  if (all > most) {
    asked = setTimeout(search, 250);
    return;
  }
  readings.items.forEach((r, source) => { readings.rows.get(source).hidden = !matches(r); });
  arrange();
};

setInterval(() => {
  readings.items.forEach((r, source) => put(readings.rows.get(source).querySelector('time'), age(r.at)));
}, 10000);

let rules = 0;
let partial = false; // there is more in the house than one may see

// arrange shows and hides what depends on how much there is of the rest.
function arrange() {
  $('decisions').hidden = partial;
  $('no-decisions').hidden = decisions.rows.size > 0;
  $('no-rules').hidden = rules > 0;
  $('more').hidden = decisions.rows.size <= 12;
  put($('more'), log.classList.contains('short') ? t('log.all', { n: decisions.rows.size }) : t('log.fewer'));

  $('no-readings').hidden = readings.rows.size > 0;
  const filtered = $('filter').value.trim() !== '';
  $('filter').hidden = readings.rows.size <= 8 && !filtered;
  const seen = Array.from(readings.rows.values()).filter((li) => !li.hidden).length;
  put($('count'), filtered || all > most ? t('readings.some', { n: seen, all: Math.max(all, readings.rows.size) }) : String(readings.rows.size || ''));
}

follow('log', {
  title: t('log.title'),
  whole(v) {
    decisions.all(v.decisions);
    all = v.all_readings || v.readings.length;
    if (all > most) search();
    else readings.all(v.readings);
    put($('first-output'), (v.outputs[0] || { name: 'porch_light' }).name);
  },
  status(v) {
    rules = v.rules;
    partial = !!v.partial;
    lines(document.querySelector('#waiting ul'), v.waiting);
    $('waiting').hidden = !v.waiting.length;
  },
  happened(e) {
    if (e.reading && (all <= most || readings.rows.has(e.reading.source))) readings.one(e.reading, (li) => li.querySelector('.source').textContent > e.reading.source);
    if (e.decision) {
      decisions.one(e.decision, () => true);
      decisions.oldest(200);
    }
  },
  arrange,
});
