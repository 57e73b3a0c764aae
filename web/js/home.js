// The house: rooms, their things, and what can be told them. What was asked and what is so
// stand apart: a switch waits half way until the house says that it has turned. An update
// touches what is another and nothing else.

import { $, put, makeList } from './lists.js';
import { t, age, clock, number } from './words.js';
import { follow, say, sayWhy } from './live.js';
import { tell } from './send.js';

function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// --- Properties ---

const path = (thing, p) => thing.name + (p.name ? '.' + p.name : '');
const orders = { open: t('open'), stop: t('stop'), close: t('close'), lock: t('lock'), unlock: t('unlock') }; // told covers and locks
const said = (p, text) => p.kind !== 'text' && t('is.' + text.toLowerCase()) || text;
const title = (p) => p.label || p.name;
const spoken = (thing, p) => (thing.label || thing.name) + (title(p) ? ', ' + title(p) : '');

function isNow(thing, p) {
  if (thing.away || p.away) return t('away');
  if (p.kind === 'button') return ''; // it is no way
  if (!p.known) return t('unknown');
  if (p.kind === 'switch') return p.on ? t('is.on') : t('is.off');
  if (p.level !== undefined) return number(p.level, p.unit);
  return said(p, p.text || '') || '–';
}

function wanted(p, value) {
  if (p.kind === 'switch') return value === 'on' || value === true ? t('asked.on') : t('asked.off');
  if ((p.kind === 'level' || p.kind === 'number') && isFinite(value)) value = number(value, p.unit);
  else value = (p.kind === 'cover' || p.kind === 'lock') && orders[value] || said(p, String(value));
  return t('asked.value', { value });
}

const asking = new Map(); // by path: what was asked here and when, until the house says more

// ask tells a property something.
async function ask(li, thing, p, value, show) {
  const name = path(thing, p);
  const mine = {};
  asking.set(name, mine);
  const back = () => {
    if (asking.get(name) !== mine) return false;
    asking.delete(name);
    show();
    return true;
  };
  li.classList.add('asked');
  attribute(li, 'aria-busy', 'true');
  put(li.querySelector('.state'), wanted(p, value));
  try {
    await tell('/api/v1/thing/' + encodeURIComponent(name), { value });
    if (p.kind === 'button') {
      back();
      say(t('pressed', { name: spoken(thing, p) }));
    } else setTimeout(() => back() && say(t('late', { name: spoken(thing, p) })), 3000);
  } catch (err) {
    back();
    sayWhy(err, spoken(thing, p));
  }
}

function fillProperty(li, item) {
  const { thing, p } = item;
  const show = () => fillProperty(li, item);
  const name = path(thing, p);
  const gone = !!(thing.away || p.away);
  const waits = p.asked !== undefined || asking.has(name);
  const why = li.querySelector('.state');
  put(li.querySelector('.title'), title(p));
  attribute(li.querySelector('.title'), 'href', '/thing/' + encodeURIComponent(name));
  if (!asking.has(name)) put(why, p.asked === undefined ? isNow(thing, p) : wanted(p, p.asked));
  hide(why.parentNode, !why.textContent);
  attribute(why, 'href', '/why/' + encodeURIComponent(name));
  attribute(why, 'title', t('why.heading', { name: spoken(thing, p) }));
  put(li.querySelector('time'), p.at ? age(p.at) : '');
  attribute(li.querySelector('time'), 'title', p.at ? clock(p.at) : '');
  li.classList.toggle('on', !!(p.on && p.known));
  li.classList.toggle('away', gone);
  li.classList.toggle('bad', !!p.bad);
  li.classList.toggle('asked', waits);
  attribute(li, 'aria-busy', String(waits));
  if (li.title !== (p.bad || '')) li.title = p.bad || '';
  if (p.level !== undefined) fillSpark(li, name);
  if (p.kind === 'switch') {
    const button = li.querySelector('button');
    attribute(button, 'aria-checked', String(!!(p.on && p.known)));
    attribute(button, 'aria-label', spoken(thing, p));
    hide(button, !p.tells);
    if (button.disabled) button.disabled = false;
    button.onclick = () => asking.has(name) || ask(li, thing, p, !(p.on && p.known), show);
  } else if (p.kind === 'level') {
    const range = li.querySelector('input');
    ['min', 'max', 'step'].forEach((limit) => attribute(range, limit, String(p.range[limit] || 1)));
    if (p.range.min === 0) attribute(range, 'min', '0');
    attribute(range, 'aria-label', spoken(thing, p));
    const level = p.asked !== undefined && isFinite(p.asked) ? p.asked : p.level;
    if (!asking.has(name) && level !== undefined && range.value !== String(level)) range.value = String(level);
    hide(range, !p.tells);
    if (range.disabled) range.disabled = false;
    drag(range, (value) => ask(li, thing, p, value, show));
  } else if (p.kind === 'choice') {
    const select = li.querySelector('select');
    choose(select, p, p.options || []);
    attribute(select, 'aria-label', spoken(thing, p));
    const chosen = p.asked !== undefined ? p.asked : p.text;
    if (!asking.has(name) && document.activeElement !== select) select.value = (p.options || []).indexOf(chosen) < 0 ? '' : chosen;
    hide(select, !p.tells);
    if (select.disabled) select.disabled = false;
    select.onchange = () => select.value && ask(li, thing, p, select.value, show);
  } else if (p.kind === 'number' || p.kind === 'text' || p.kind === 'color') {
    const input = li.querySelector('input');
    attribute(input, 'aria-label', spoken(thing, p));
    if (p.kind === 'text') attribute(input, 'maxlength', String(longest(p)));
    if (!waits && document.activeElement !== input) fillField(input, p);
    hide(input, !p.tells);
    if (input.disabled) input.disabled = false;
    typed(input, p, (value) => ask(li, thing, p, value, show));
  } else if (p.kind === 'button') {
    const button = li.querySelector('button');
    attribute(button, 'aria-label', t('press.what', { name: spoken(thing, p) }));
    hide(button, !p.tells);
    if (button.disabled) button.disabled = false;
    button.onclick = () => asking.has(name) || ask(li, thing, p, true, show);
  } else if (p.kind === 'cover' || p.kind === 'lock') {
    const moves = li.querySelector('.moves');
    hide(moves, !p.tells);
    attribute(moves, 'aria-label', spoken(thing, p));
    li.querySelectorAll('button').forEach((button) => {
      hide(button, (p.options || []).indexOf(button.dataset.tell) < 0);
      if (button.disabled) button.disabled = false;
      button.onclick = () => ask(li, thing, p, button.dataset.tell, show);
    });
  }
}

// choose has a select offer these, behind the empty one of what is not known.
function choose(select, p, options) {
  if (options.join('\n') === Array.from(select.options).slice(1).map((o) => o.value).join('\n')) return;
  while (select.options.length > 1) select.remove(1);
  options.forEach((o) => { select.add(new Option(said(p, o), o)); });
}

const mostTyped = 255; // as things.go has it
const longest = (p) => p.range && p.range.max >= 1 ? Math.min(p.range.max, mostTyped) : mostTyped;

// fillField puts into a field what is so; nothing of a text of which only a part is shown.
function fillField(input, p) {
  const is = p.kind === 'number' ? p.level === undefined ? '' : String(p.level)
    : p.known && p.text && p.text.length <= mostTyped ? p.text
    : p.kind === 'color' ? '#000000' : '';
  if (input.value !== is) input.value = is;
  input.told = undefined;
}

// typed tells what stands in a field at Enter, and once one leaves it; Escape takes it back.
function typed(input, p, tellIt) {
  const send = () => {
    if (!input.checkValidity() || p.kind === 'number' && input.value === '') return;
    input.told = input.value;
    tellIt(p.kind === 'number' ? Number(input.value) : input.value);
  };
  input.onchange = () => input.value === input.told || send();
  input.onkeydown = (e) => {
    if (e.key === 'Enter' && !e.isComposing && p.kind !== 'color') send();
    if (e.key === 'Escape') fillField(input, p);
  };
}

// drag tells a level while it is drawn, five times a second at most, and where it was let go.
function drag(range, tellIt) {
  range.oninput = () => {
    if (!range.timer) {
      range.timer = setTimeout(() => { range.timer = 0; tellIt(Number(range.value)); }, 200);
    }
  };
  range.onchange = () => {
    clearTimeout(range.timer);
    range.timer = 0;
    tellIt(Number(range.value));
  };
}

// --- Things and rooms ---

const lists = new Map(); // of properties, by the row of their thing

function fillThing(li, thing) {
  put(li.querySelector('.name'), thing.label || thing.name);
  attribute(li.querySelector('.name'), 'href', '/thing/' + encodeURIComponent(thing.name));
  put(li.querySelector('.line'), thing.line || '');
  attribute(li.querySelector('.line'), 'title', thing.hint || '');
  put(li.querySelector('.note'), thing.note || '');
  put(li.querySelector('.fault'), thing.fault || '');
  li.classList.toggle('faulty', !!thing.fault);
  li.classList.toggle('away', !!thing.away);
  if (!lists.has(li)) {
    lists.set(li, makeList(li.querySelector('.properties'), (item) => $(item.p.kind), (item) => item.p.kind + item.p.name, fillProperty));
  }
  lists.get(li).all(thing.properties.map((p) => ({ thing, p })));
}

// makeThings fills a list of things elsewhere: all makes it these, told is what is new of one.
export function makeThings(ul) {
  const list = makeList(ul, $('thing'), (thing) => thing.name, fillThing);
  const told = (thing) => {
    thing.properties.forEach((p) => asking.delete(path(thing, p)));
    list.one(thing);
  };
  setInterval(() => list.items.forEach((thing) => list.one(thing)), 10000);
  return { all: list.all, told };
}

const roomOf = (thing) => thing.favourite ? '*' : '=' + (thing.room || '');

const rooms = makeList($('rooms'), $('room'), (room) => room.key, (section, room) => {
  put(section.querySelector('h2'), room.key === '*' ? t('favourites') : room.key.slice(1) || t('no_room'));
  if (!lists.has(section)) lists.set(section, makeList(section.querySelector('.things'), $('thing'), (thing) => thing.name, fillThing));
  lists.get(section).all(room.things);
});

let things = [];

function show() {
  const all = [];
  things.forEach((thing) => {
    const key = roomOf(thing);
    let room = all.find((r) => r.key === key);
    if (!room) all.push(room = { key, things: [] });
    room.things.push(thing);
  });
  rooms.all(all);
}

// --- Sparks: the last day under each number, asked for once the page stands ---

const sparks = new Map(); // by path: the height of each stretch as a letter

function fillSpark(li, name) {
  const heights = sparks.get(name) || '';
  let picture = li.querySelector('.spark');
  if (!heights || li.dataset.spark === name + heights) return;
  li.dataset.spark = name + heights;
  if (!picture) {
    picture = li.insertBefore(document.createElementNS('http://www.w3.org/2000/svg', 'svg'), li.firstChild);
    picture.setAttribute('class', 'spark');
    picture.setAttribute('viewBox', '0 0 47 37');
    picture.setAttribute('preserveAspectRatio', 'none');
    picture.setAttribute('aria-hidden', 'true');
    picture.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
  }
  let d = '';
  let pen = 'M';
  heights.split('').forEach((letter, x) => {
    if (letter === ' ') { pen = 'M'; return; }
    d += pen + x + ' ' + (36 - parseInt(letter, 36));
    pen = 'L';
  });
  picture.firstChild.setAttribute('d', d);
}

async function fetchSparks() {
  if (document.hidden) return;
  try {
    const answer = await fetch('/api/v1/sparks', { credentials: 'same-origin' });
    if (!answer.ok) return;
    const all = await answer.json();
    Object.keys(all).forEach((name) => sparks.set(name, all[name]));
    things.forEach((thing) => lists.get(rooms.rows.get(roomOf(thing))).one(thing));
  } catch (err) { /* it is only for looks */ }
}

const home = !!$('empty'); // not so on the page of a thing
let bare = home && !$('empty').hidden;
let fetched = false;

if (home) follow('things', {
  whole(v) {
    things = v.things || [];
    asking.clear();
    show();
    if (!fetched) fetchSparks();
    fetched = true;
  },
  status(v) {
    document.title = v.name + ' · Hearth';
    bare = bare && !v.rules && !v.partial;
  },
  happened(e) {
    if (!e.thing) return;
    const i = things.findIndex((thing) => thing.name === e.thing.name);
    e.thing.properties.forEach((p) => asking.delete(path(e.thing, p)));
    if (i < 0 || roomOf(things[i]) !== roomOf(e.thing)) { // new, or elsewhere
      if (i >= 0) things.splice(i, 1);
      things.push(e.thing);
      show();
      return;
    }
    things[i] = e.thing;
    lists.get(rooms.rows.get(roomOf(e.thing))).one(e.thing);
  },
  arrange() {
    bare = bare && !things.length;
    hide($('empty'), !bare);
  },
});

if (home) setInterval(() => { things.forEach((thing) => lists.get(rooms.rows.get(roomOf(thing))).one(thing)); }, 10000);
if (home) setInterval(fetchSparks, 300000);
