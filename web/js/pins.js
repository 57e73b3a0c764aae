// The header: each pin with how it is, and one at a time what there is to say about it. The
// server draws the board; here levels follow the house, and the details of a pin open.

import { put } from './lists.js';
import { t } from './words.js';
import { follow, sayWhy } from './live.js';
import { inLanguage, tell } from './send.js';

const wide = window.matchMedia('(min-width: 900px)');
const articles = Array.from(document.querySelectorAll('#details article'));
const box = document.getElementById('details');
let opened = null; // the article that is shown
let from = null; // the link that opened it

function close() {
  if (opened) opened.hidden = true;
  document.querySelectorAll('.pin[aria-expanded=true]').forEach((a) => a.setAttribute('aria-expanded', 'false'));
  opened = null;
  box.classList.remove('open');
  box.parentNode.classList.remove('sheet');
}

function show(link, focus) {
  const article = document.getElementById(link.getAttribute('href').slice(1));
  close();
  opened = article;
  from = link;
  article.hidden = false;
  link.setAttribute('aria-expanded', 'true');
  box.classList.add('open');
  box.parentNode.classList.add('sheet'); // so that what it covers can be scrolled above it
  if (focus) article.focus();
}

box.classList.add('one');
articles.forEach((article) => {
  article.hidden = true;
  const button = article.querySelector('.close');
  button.hidden = false;
  button.onclick = () => { close(); if (from) from.focus(); };
});
document.querySelectorAll('a.pin').forEach((a) => {
  a.setAttribute('aria-expanded', 'false');
  a.onclick = (e) => {
    e.preventDefault();
    show(a, true);
    history.replaceState(null, '', a.getAttribute('href'));
  };
});
document.addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && opened) { close(); if (from) from.focus(); }
});

// An address may name a pin, or what is on it.
const named = () => location.hash && Array.from(document.querySelectorAll('a.pin')).find((a) => a.getAttribute('href') === location.hash ||
  Array.from(a.querySelectorAll('.level')).some((e) => '#' + encodeURIComponent(e.dataset.of) === location.hash));
window.addEventListener('hashchange', () => { if (named()) show(named(), true); });
const first = named();
if (first) show(first, true);
else if (wide.matches) {
  const a = document.querySelector('a.pin.wrong') || document.querySelector('a.pin.ours') || document.querySelector('a.pin');
  if (a) show(a, false);
}

// --- How the pins are ---

const of = (name, selector) => Array.from(document.querySelectorAll(selector)).filter((e) => e.dataset.of === name);

function word(p) {
  if (p.fault) return t('pins.fault');
  if (p.shows) return p.shows;
  if (!p.known) return '?';
  return p.on ? t('is.on') : t('is.off');
}

async function ask(what, p, body) {
  try {
    await tell('/api/v1/' + what + '/' + encodeURIComponent(p.name), body);
  } catch (err) {
    sayWhy(err, p.label || p.name);
  }
}

function fill(p, output) {
  of(p.name, '.level').forEach((e) => {
    put(e, word(p));
    const link = e.closest('.pin');
    const bad = !!p.fault && !p.acknowledged;
    link.classList.toggle('on', p.on && p.known && !p.shows && !p.fault);
    link.classList.toggle('wrong', bad);
    link.classList.toggle('ours', !bad);
    const row = link.closest('tr');
    const hole = row && row.querySelectorAll('.hole')[link.parentNode === row.firstElementChild ? 0 : 1];
    if (hole) hole.className = 'hole ' + (bad ? 'wrong' : 'ours') + (p.on && p.known && !p.shows ? ' on' : '');
  });
  of(p.name, '.of-use').forEach((box) => {
    put(box.querySelector('.state'), word(p));
    box.querySelector('.property').classList.toggle('on', p.on && p.known);
    put(box.querySelector('.fault'), p.fault || '');
    put(box.querySelector('.note'), p.note || '');
    put(box.querySelector('.said'), p.hint || '');
    box.querySelector('.said').parentNode.hidden = !p.hint;
    const low = box.dataset.low === 'true';
    put(box.querySelector('.volts'), !p.known || p.shows ? t('unknown') : p.on !== low ? t('pins.high') : t('pins.low'));
    const button = box.querySelector('.switch');
    button.hidden = !!p.read_only || !(output || p.simulated) || !!p.shows;
    button.setAttribute('aria-checked', String(!!(p.on && p.known)));
    button.onclick = () => ask(output ? 'output' : 'input', p, { on: !(p.on && p.known) });
    box.querySelector('.acknowledged').hidden = !p.acknowledged;
    const known = box.querySelector('.acknowledge');
    known.hidden = !p.fault || !!p.read_only || !!p.acknowledged;
    known.onclick = () => ask('acknowledge', p, {});
  });
}

let was = null;

// Which pins there are is another only after a reload of the configuration.
async function compare() {
  try {
    const answer = await fetch(inLanguage('/api/v1/pins'));
    if (!answer.ok) return;
    const board = await answer.json();
    const shape = JSON.stringify(board, (key, value) => key === 'state' ? undefined : value);
    if (was !== null && was !== shape) location.reload();
    was = shape;
  } catch (err) { /* the stream says so */ }
}

follow('things', {
  title: t('pins.title'),
  whole(v) {
    v.outputs.forEach((p) => fill(p, true));
    v.inputs.forEach((p) => fill(p, false));
    compare();
  },
  happened(e) {
    if (e.output) fill(e.output, true);
    if (e.input) fill(e.input, false);
  },
});
