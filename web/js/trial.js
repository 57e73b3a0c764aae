// What would have been different, drawn on a time line for each output and cover and told in words.
// Above is how it was, below how it would have been; what differs is marked between them.

import { $, put, lines, makeList } from './lists.js';
import { t, clock, number } from './words.js';

const svgNS = 'http://www.w3.org/2000/svg';
const width = 1000;

function shape(svg, kind, attributes) {
  const element = svg.appendChild(document.createElementNS(svgNS, kind));
  Object.keys(attributes).forEach((name) => element.setAttribute(name, attributes[name]));
  return element;
}

// either is when one of two lists of spells is on and the other is not.
function either(a, b) {
  const edges = [];
  a.forEach(([from, to]) => edges.push([from, 1, 0], [to, -1, 0]));
  b.forEach(([from, to]) => edges.push([from, 0, 1], [to, 0, -1]));
  edges.sort((x, y) => x[0] - y[0]);
  const spells = [];
  let one = 0;
  let other = 0;
  let since = 0;
  edges.forEach(([at, x, y]) => {
    if ((one > 0) !== (other > 0) && at > since) spells.push([since, at]);
    one += x;
    other += y;
    since = at;
  });
  return spells;
}

// elsewhere is when a cover stands at another place in one list than in the other.
function elsewhere(a, b) {
  const spells = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const from = Math.max(a[i][0], b[j][0]);
    const to = Math.min(a[i][1], b[j][1]);
    if (to > from && Math.abs(a[i][2] - b[j][2]) > 1) spells.push([from, to]);
    if (a[i][1] > to) j++;
    else i++;
  }
  return spells;
}

function hours(seconds) {
  if (seconds >= 3600) return t('edit.hours', { h: Math.floor(seconds / 3600), min: Math.floor(seconds % 3600 / 60) });
  if (seconds >= 60) return t('edit.minutes', { min: Math.floor(seconds / 60) });
  return number(seconds, 's');
}

// A cover stands as high as it is open; what is closed is a line.
const ofCover = (c) => ({
  name: c.name,
  sums: t('edit.cover_sums', { was: number(c.open_pct, '%'), would: number(c.would_open_pct, '%'), n: c.runs, m: c.would_runs, apart: hours(c.apart_s) }),
  was: c.stood || [],
  would: c.would_stand || [],
  other: elsewhere(c.stood || [], c.would_stand || []),
});

const ofOutput = (o) => ({
  name: o.name,
  sums: t('edit.sums', { was: hours(o.on_s), would: hours(o.would_on_s), n: o.switches, m: o.would_switches }),
  was: o.on || [],
  would: o.would_on || [],
  other: either(o.on || [], o.would_on || []),
});

function draw(li, o, trial) {
  const range = Math.max(1, Date.parse(trial.to) - Date.parse(trial.from));
  const sums = o.sums;
  put(li.querySelector('.name'), o.name);
  put(li.querySelector('.sums'), sums);
  const drawn = li.querySelector('.drawn');
  const axis = li.querySelector('.axis');
  drawn.textContent = axis.textContent = '';
  const svg = document.createElementNS(svgNS, 'svg');
  svg.setAttribute('viewBox', '0 0 ' + width + ' 56');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', o.name + ': ' + sums);
  drawn.appendChild(svg);
  shape(svg, 'rect', { class: 'ground', x: 0, y: 2, width, height: 20 });
  shape(svg, 'rect', { class: 'ground', x: 0, y: 34, width, height: 20 });
  const bars = (spells, kind, y, height, least) => spells.forEach(([from, to, open]) => {
    const high = open === undefined ? height : Math.max(2, height * open / 100);
    shape(svg, 'rect', { class: kind, x: (from / range * width).toFixed(2), y: y + height - high, width: Math.max(least, (to - from) / range * width).toFixed(2), height: high });
  });
  bars(o.was, 'was', 2, 20, 1);
  bars(o.would, 'would', 34, 20, 1);
  bars(o.other, 'other', 24, 8, 3);

  // Midnights, by the zone of the house, which the text of a time has at its end.
  const label = (left, text) => {
    const span = axis.appendChild(document.createElement('span'));
    span.style.left = left + '%';
    span.textContent = text;
    return span;
  };
  const zone = trial.from.slice(19).replace(/^\.\d+/, '');
  const days = range / 86400000;
  const step = days > 10 ? 5 : 1;
  const begin = Date.parse(trial.from.slice(0, 10) + 'T00:00:00' + zone);
  for (let n = step; n < days + 1; n += step) {
    const at = (begin + n * 86400000 - Date.parse(trial.from)) / range;
    if (at > 0 && at < 1) {
      shape(svg, 'line', { class: 'midnight', x1: at * width, x2: at * width, y1: 0, y2: 56 });
      const local = new Date(begin + n * 86400000 + zoneOf(zone));
      label((at * 100).toFixed(2), t('edit.date', { day: local.getUTCDate(), month: local.getUTCMonth() + 1 }));
    }
  }
  if (!axis.firstChild) { // no midnight
    label(0, clock(trial.from)).className = 'first';
    label(100, clock(trial.to)).className = 'last';
  }
}

function zoneOf(text) {
  const found = /^([+-])(\d\d):(\d\d)$/.exec(text);
  return found ? (found[1] === '-' ? -1 : 1) * (found[2] * 60 + Number(found[3])) * 60000 : 0;
}

const few = 30;

// showTrial shows what came of a try; toRule goes to where a rule is written.
export function showTrial(trial, toRule) {
  const outputs = makeList($('outputs'), $('output'), (o) => o.name, (li, o) => draw(li, o, trial));
  const differences = makeList($('differences'), $('difference'), (d) => d.key, (li, d) => {
    li.className = d.would ? 'would' : 'wouldnt';
    const time = li.querySelector('time');
    time.setAttribute('datetime', d.at);
    put(time, clock(d.at));
    const rule = li.querySelector('.rule');
    put(rule, d.rule);
    rule.onclick = (e) => { e.preventDefault(); toRule(d.rule.replace(/\{.*$/, '')); };
    put(li.querySelector('.what'), (d.would ? '+ ' + t('edit.would_have') : '− ' + t('edit.would_not')) + ' ' + d.done.join(', '));
    const link = li.querySelector('.whys'); // of what was so, why it was
    link.hidden = d.would || !d.outputs;
    if (!link.hidden) link.setAttribute('href', '/why/' + encodeURIComponent(d.outputs[0]) + '?at=' + encodeURIComponent(d.at));
    const why = [];
    if (d.because) why.push((d.would ? t('edit.because') : t('edit.was_because')) + ' ' + d.because);
    if (d.instead) why.push((d.would ? t('edit.it_was') : t('edit.now_is')) + ' ' + d.instead);
    if (d.follows) why.push(t('edit.follows') + ' ' + d.follows);
    put(li.querySelector('.because'), why.join(' · '));
  });
  const all = trial.differences.map((d, i) => Object.assign({ key: String(i) }, d));
  const more = all.filter((d) => d.would).length;
  const rules = new Set(all.map((d) => d.rule)).size;
  const span = { from: clock(trial.from), to: clock(trial.to), n: trial.events };
  put($('verdict'), (trial.same ? t('edit.same')
    : all.length ? (rules === 1 ? t('edit.otherwise_one', { more, less: all.length - more })
      : t('edit.otherwise', { rules, more, less: all.length - more }))
      : trial.silent ? t('edit.silent', { n: trial.silent }) : t('edit.other_times')) + ' ' + t('edit.span', span));
  const drawn = trial.outputs.filter((o) => o.differs).map(ofOutput).concat(trial.covers.filter((c) => c.differs).map(ofCover));
  outputs.all(drawn);
  $('legend').hidden = !drawn.length;
  const show = (list) => {
    differences.all(list);
    $('all').hidden = list.length === all.length;
    put($('all'), t('log.all', { n: all.length }));
  };
  $('all').onclick = () => show(all);
  show(all.slice(0, few));

  const untold = [t('edit.untold_house')];
  if (Date.parse(trial.from) - Date.parse(trial.asked) > 3600000) untold.unshift(t('edit.untold_before', { from: clock(trial.from) }));
  if (trial.unheard) untold.push(t('edit.untold_unheard') + ' ' + trial.unheard.join(', '));
  if (trial.veiled) untold.push(t('edit.untold_veiled', { n: trial.veiled }));
  if (trial.others) untold.push(t('edit.untold_others', { n: trial.others }));
  lines($('untold'), untold);
  $('trial').hidden = false;
}
