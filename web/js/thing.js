// One thing: its controls as on the page of the house, and its chart, which goes on as the
// house tells more.

import { $ } from './lists.js';
import { follow } from './live.js';
import { nowMs } from './words.js';
import { makeThings } from './home.js';
import { makeChart } from './chart.js';

const subject = $('subject');
const chart = $('chart') ? makeChart(() => {}) : null;
const mine = subject ? subject.dataset.thing : '';
const card = subject ? makeThings(subject) : null;

function draw(name, value) {
  if (chart) chart.add(name, value, nowMs());
}

// What was told last, so that only what is another goes on.
const last = new Map();

function tell(thing) {
  thing.properties.forEach((p) => {
    const value = p.kind === 'switch' ? p.on : p.level !== undefined ? p.level : p.text;
    const path = thing.name + (p.name ? '.' + p.name : '');
    if (last.has(path) && (last.get(path).value !== value || last.get(path).at !== p.at)) {
      draw(path, value);
      if (p === thing.properties[0] && p.name) draw(thing.name, value);
    }
    last.set(path, { value, at: p.at });
  });
}

follow(mine ? 'things' : '', {
  whole(v) {
    (v.things || []).forEach(tell);
    const thing = (v.things || []).find((one) => one.name === mine);
    if (card && thing) card.all([thing]);
  },
  happened(e) {
    if (e.thing) {
      tell(e.thing);
      if (card && e.thing.name === mine) card.told(e.thing);
    }
    if (e.reading && !e.reading.bad) draw(e.reading.source, e.reading.text !== '' && isFinite(e.reading.text) ? Number(e.reading.text) : e.reading.text);
  },
});
