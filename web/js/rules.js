// All rules: where each stands, with a switch to enable it.

import { $, put, makeList } from './lists.js';
import { t, clock } from './words.js';
import { follow, sayWhy } from './live.js';
import { inLanguage, tell } from './send.js';

const list = document.querySelector('.rules');

const outcomes = {
  fired: () => t('outcome.fired'), pending: () => t('outcome.pending'), cancelled: () => t('outcome.cancelled'), blocked: () => t('outcome.blocked'),
  ignored: () => t('outcome.ignored'), queued: () => t('outcome.queued'), ended: () => t('outcome.ended'), 'went on': () => t('outcome.went_on'),
  stopped: () => t('outcome.stopped'), switched: () => t('outcome.switched'), dropped: () => t('outcome.dropped'),
};
const outcome = (name) => outcomes[name] ? outcomes[name]() : name;

const waits = (r) => r.underway.length > 0;

function isNow(r) {
  if (!r.enabled) return t('rules.off');
  if (r.state) return r.state;
  if (r.running) return t('rules.running');
  return waits(r) ? t('rules.waiting') : t('rules.on');
}

function fill(li, r) {
  const path = '/rules/' + encodeURIComponent(r.name);
  li.className = 'card rule is-' + (!r.enabled ? 'off' : r.running ? 'running' : waits(r) ? 'waiting' : 'on');
  const name = li.querySelector('.name');
  put(name, r.name.slice(r.kind.length + 1));
  if (name.getAttribute('href') !== path) name.href = path;
  put(li.querySelector('.kind'), r.kind === 'link' ? t('rules.link') : r.kind === 'machine' ? t('rules.machine') : t('rules.rule'));
  put(li.querySelector('.of'), r.of && r.of.length ? t('rules.of', { n: r.of.length }) : '');
  put(li.querySelector('.state'), isNow(r));
  put(li.querySelector('.stands .because'), r.underway.slice(0, 3).join(' · '));
  put(li.querySelector('.last time'), r.last ? clock(r.last.at) : '');
  put(li.querySelector('.outcome'), r.last ? outcome(r.last.outcome) : t('rules.never'));
  put(li.querySelector('.why-last'), r.last && r.last.because ? ': ' + r.last.because : '');
  li.querySelector('.next').hidden = !r.next;
  put(li.querySelector('.next time'), r.next ? clock(r.next) : '');
  put(li.querySelector('.fault'), r.error || '');
  const form = li.querySelector('form');
  form.hidden = !r.tells;
  const button = form.querySelector('button');
  button.setAttribute('aria-label', t('rules.switch', { name: r.name }));
  button.setAttribute('aria-checked', String(r.enabled));
  li.classList.remove('asked');
  form.onsubmit = (e) => {
    e.preventDefault();
    li.classList.add('asked');
    tell('/api/v1' + path, { enabled: !r.enabled }).catch((err) => {
      fill(li, r);
      sayWhy(err, r.name);
    });
  };
  li.hidden = !matches(r);
}

const text = (r) => (r.name + ' ' + isNow(r) + ' ' + r.underway.join(' ') + ' ' + (r.of || []).join(' ')).toLowerCase();
const matches = (r) => text(r).includes($('filter').value.trim().toLowerCase());

const rules = list && makeList(list, $('rule'), (r) => r.name, fill);

function arrange() {
  if (!rules) return; // one may see a part of the house
  const filtered = $('filter').value.trim() !== '';
  $('no-rules').hidden = rules.rows.size > 0;
  $('filter').hidden = rules.rows.size <= 8 && !filtered;
  const seen = Array.from(rules.rows.values()).filter((li) => !li.hidden).length;
  put($('count'), filtered ? t('rules.some', { n: seen, all: rules.rows.size }) : String(rules.rows.size || ''));
}

$('filter').oninput = () => {
  rules.items.forEach((r, name) => { rules.rows.get(name).hidden = !matches(r); });
  arrange();
};

// What happened while they were fetched comes after them.
let fetching = null;
let meanwhile = [];

function take(r) {
  const known = rules.items.get(r.name);
  if (!known) return;
  if (!r.last) r.last = known.last; // of before the hub started
  rules.one(r);
}

async function fetchAll() {
  const mine = fetching = {};
  meanwhile = [];
  try {
    const answer = await fetch(inLanguage('/api/v1/rules'));
    const all = await answer.json();
    if (fetching !== mine) return;
    if (!answer.ok) throw new Error(all.error);
    rules.all(all.rules);
    meanwhile.forEach(take);
  } catch (err) {
    sayWhy(err);
  }
  if (fetching === mine) fetching = null;
  arrange();
}

follow('rules', {
  title: t('rules.title'),
  whole() { if (rules) fetchAll(); },
  happened(e) {
    if (!e.rule || !rules) return;
    if (fetching) meanwhile.push(e.rule);
    else take(e.rule);
  },
  arrange,
});
