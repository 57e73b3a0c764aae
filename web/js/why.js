// Why something is as it is: the page stays as it was asked for, and says so when that is not
// how it is any more.

import { $ } from './lists.js';
import { follow } from './live.js';

const asked = $('why').dataset;
const base = asked.name.split('.')[0];
const part = asked.name.slice(base.length + 1);

// told is what a thing says of what was asked about.
function told(thing) {
  const p = thing.properties.find((one) => one.name === part) || thing.properties[0];
  return p && JSON.stringify([p.on, p.level, p.text, p.known, p.away, p.bad]);
}

let was;

function news() { if (asked.now === 'true') $('changed').hidden = false; }

// Of a thing and of a rule it is enough to hear of those.
follow(asked.follow, {
  whole(v) {
    const thing = (v.things || []).find((one) => one.name === base);
    const is = thing && told(thing);
    if (was !== undefined && is !== was) news();
    was = is;
  },
  happened(e) {
    if (e.thing && e.thing.name === base) {
      const is = told(e.thing);
      if (is !== was) news();
      was = is;
    }
    if (e.reading && e.reading.source === asked.name || e.rule && (e.rule.name === asked.name.split('[')[0] || e.rule.name === 'machine.' + asked.name)) news();
  },
});
