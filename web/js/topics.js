// Raw topics, live: of each the newest message. The server sends four times a second at most,
// so a flood is a few updates here, and a row is touched only if it is another.

import { $, put, makeList } from './lists.js';
import { t, clock } from './words.js';
import { follow, say, sayWhy } from './live.js';
import { tell } from './send.js';

const most = 500; // rows
const ul = $('topics');
const list = makeList(ul, $('topic'), (row) => row.topic, (li, row) => {
  put(li.querySelector('.source'), row.topic);
  put(li.querySelector('.text'), row.text);
  li.querySelector('.text').classList.toggle('binary', !!row.binary);
  li.classList.toggle('wide', row.text.length > 24 || /^[{[]/.test(row.text));
  put(li.querySelector('time'), row.at ? clock(row.at) : '');
  put(li.querySelector('.times'), row.all ? '×' + row.all : '');
  li.querySelector('.kept').hidden = !row.retain;
  li.hidden = !matches(row);
});

const rows = new Map(); // by topic
let waiting = new Map(); // while it is paused
let paused = false;
let left = 0;
let heard = 0;

function matches(row) {
  const text = $('text').value.trim().toLowerCase();
  return !text || row.topic.toLowerCase().includes(text) || row.text.toLowerCase().includes(text);
}

function count() {
  put($('heard'), rows.size ? t('topics.heard', { n: heard, all: rows.size }) : t('topics.none'));
  $('left').hidden = !left;
}

function take(row) {
  const before = rows.get(row.topic);
  if (!before && rows.size >= most) {
    left++;
    return;
  }
  row.all = (before ? before.all : 0) + (row.times || 0);
  if (before && !row.times) return; // it is retained, and we know something newer
  rows.set(row.topic, row);
  list.one(row, before ? undefined : (li) => li.querySelector('.source').textContent > row.topic);
}

function took(h) {
  heard += h.messages;
  left += h.left || 0;
  h.topics.forEach((row) => {
    if (!paused) take(row);
    else if (waiting.has(row.topic) || rows.has(row.topic) || waiting.size < most) {
      row.times = (row.times || 0) + (waiting.has(row.topic) ? waiting.get(row.topic).times : 0);
      waiting.set(row.topic, row);
    }
  });
  count();
}

$('narrow').hidden = false;
$('text').oninput = () => list.rows.forEach((li, topic) => { li.hidden = !matches(rows.get(topic)); });
$('pause').hidden = false;
$('pause').onclick = () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  put($('pause'), paused ? t('topics.go_on') : t('topics.pause'));
  if (paused) return;
  waiting.forEach(take);
  waiting = new Map();
  count();
};

// --- The stream ---

let stream = null;
let again = 0;

function listen() {
  clearTimeout(again);
  if (stream) stream.close();
  stream = new EventSource('/api/v1/topics?filter=' + encodeURIComponent($('mqtt').value || '#'));
  stream.addEventListener('retained', (e) => {
    const h = JSON.parse(e.data);
    if (!rows.size) list.all([]);
    left = h.left || 0;
    h.topics.forEach((row) => { row.times = 0; take(row); });
    count();
  });
  stream.onmessage = (e) => took(JSON.parse(e.data));
  stream.onerror = () => {
    stream.close();
    again = setTimeout(listen, 3000);
  };
}
if (!document.querySelector('main .notice.bad')) listen();
let leaving = 0;
document.addEventListener('visibilitychange', () => { // its place is for others
  clearTimeout(leaving);
  if (!stream) return;
  if (document.hidden) leaving = setTimeout(() => { clearTimeout(again); stream.close(); }, 10000);
  else if (stream.readyState === EventSource.CLOSED) listen();
});
window.addEventListener('pagehide', () => { clearTimeout(again); if (stream) stream.close(); });

// --- By hand ---

const form = $('publish');
if (form) {
  form.querySelector('button').disabled = false;
  form.onsubmit = async (e) => {
    e.preventDefault();
    try {
      await tell('/api/v1/publish', { topic: form.elements.topic.value, payload: form.elements.payload.value, qos: Number(form.elements.qos.value), retain: form.elements.retain.checked });
      say(t('topics.published', { topic: form.elements.topic.value }));
    } catch (err) {
      sayWhy(err);
    }
  };
}

follow('things', {
  title: t('topics.title'),
  whole() { list.rows.forEach((li, topic) => list.one(rows.get(topic))); }, // the time of the house is known now
});
