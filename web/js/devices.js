// The devices: a filter over what the server listed, and how they are, which is asked for
// anew now and then.

import { $, put } from './lists.js';
import { t, age, clock } from './words.js';
import { follow } from './live.js';
import { inLanguage } from './send.js';

const rows = Array.from(document.querySelectorAll('.devices li'));
const field = $('filter');

function filter() {
  const text = field.value.trim().toLowerCase();
  let n = 0;
  rows.forEach((li) => {
    const here = !text || li.textContent.toLowerCase().includes(text) || li.dataset.name.includes(text);
    if (li.hidden === here) li.hidden = !here;
    if (here) n++;
  });
  document.querySelectorAll('section').forEach((s) => { s.hidden = !!text && !s.querySelector('.devices li:not([hidden])') && !!s.querySelector('.devices'); });
  put($('count'), text ? t('readings.some', { n, all: rows.length }) : String(rows.length));
}
field.hidden = rows.length < 8;
field.oninput = filter;

export function there(d) {
  if (d.online === false) return t('away');
  if (d.silent) return t('device.quiet');
  return d.online ? t('device.there') : t('device.heard');
}

const byName = new Map(rows.map((li) => [li.dataset.name, li]));
let asked = 0;

async function look() {
  if (document.hidden || Date.now() - asked < 25000) return;
  asked = Date.now();
  try {
    const answer = await fetch(inLanguage('/api/v1/devices'));
    if (!answer.ok) return;
    const list = await answer.json();
    list.devices.forEach((d) => {
      const li = byName.get(d.name);
      if (!li) return;
      const badge = li.querySelector('.there');
      put(badge, there(d));
      badge.classList.toggle('bad', d.online === false);
      li.firstElementChild.classList.toggle('gone', d.online === false);
      const time = li.querySelector('time');
      put(time, d.seen ? age(d.seen) : '');
      if (d.seen) time.title = clock(d.seen);
    });
  } catch (err) { /* the stream says so */ }
}

follow('things', {
  title: t('devices.title'),
  whole: look,
  status: look,
});
