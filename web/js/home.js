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
const said = (kind, text) => kind !== 'text' && t('is.' + text.toLowerCase()) || text;
const title = (p) => p.label || p.name;
const spoken = (thing, p) => (thing.label || thing.name) + (title(p) ? ', ' + title(p) : '');

function isNow(thing, p) {
  if (thing.away || p.away) return t('away');
  if (p.kind === 'button') return ''; // it is no way
  if (!p.known) return t('unknown');
  if (p.kind === 'switch') return p.on ? t('is.on') : t('is.off');
  if (p.level !== undefined) return number(p.level, p.unit);
  return said(p.kind, p.text || '') || '–';
}

function wanted(kind, value, unit) {
  if (kind === 'button') return '';
  if (kind === 'switch') return value === 'on' || value === true ? t('asked.on') : t('asked.off');
  if ((kind === 'level' || kind === 'number') && isFinite(value)) value = number(value, unit);
  else value = (kind === 'cover' || kind === 'lock') && orders[value] || said(kind, String(value));
  return t('asked.value', { value });
}

// A row of a property has its kind and path as its key, from the server as well as from here.
const keyOf = (thing, p) => p.kind + '/' + path(thing, p);
const pathOf = (li) => li.dataset.key.slice(li.dataset.key.indexOf('/') + 1);
const kindOf = (li) => li.dataset.key.slice(0, li.dataset.key.indexOf('/'));

const asking = new Map(); // by path: what was asked here and when, until the house says more
const shown = new WeakMap(); // by row, what the house said last

// ask tells the property of a row something.
async function ask(li, value) {
  const name = pathOf(li);
  const mine = {};
  const before = li.querySelector('.state').textContent;
  const called = li.querySelector('[aria-label]').getAttribute('aria-label');
  asking.set(name, mine);
  const back = () => {
    if (asking.get(name) !== mine) return false;
    asking.delete(name);
    if (shown.has(li)) {
      fillProperty(li, shown.get(li));
      undone(li);
    } else wait(li, false, before);
    return true;
  };
  wait(li, true, wanted(kindOf(li), value, shown.has(li) ? shown.get(li).p.unit : ''));
  try {
    await tell('/api/v1/thing/' + encodeURIComponent(name), { value });
    if (kindOf(li) === 'button') {
      back();
      say(t('pressed', { name: called }));
    } else setTimeout(() => back() && say(t('late', { name: called })), 3000);
  } catch (err) {
    back();
    sayWhy(err, called);
  }
}

// undone has a choice be what is so again, also while one is at it, and leaves in a field what was
// typed there, to be mended and told once more.
function undone(li) {
  const control = li.querySelector('select, [type=text], [type=number]');
  if (!control) return;
  const p = shown.get(li).p;
  if (p.kind === 'choice') choose(control, p);
  else stands.set(control, inField(p));
}

function wait(li, waits, text) {
  li.classList.toggle('asked', waits);
  if (waits || li.hasAttribute('aria-busy')) attribute(li, 'aria-busy', String(waits));
  put(li.querySelector('.state'), text);
  hide(li.querySelector('.what'), !text); // as of a button, which has no state
}

// wake lets people use the controls below an element, which do nothing before.
function wake(root) {
  root.querySelectorAll('.property [disabled]').forEach((control) => { control.disabled = false; });
}

// control does so from now on, also with rows that will come: people need not wait for the
// stream.
function control(root) {
  wake(root);
  // Of a row that is taken away a browser may say that its field has changed.
  const rowOf = (e, which) => e.target.matches(which) && !e.target.closest('[data-gone]') && e.target.closest('.property');
  root.addEventListener('click', (e) => {
    const button = e.target.closest('.property button');
    if (!button) return;
    const li = button.closest('.property');
    if (button.dataset.tell) ask(li, button.dataset.tell);
    else if (!asking.has(pathOf(li))) ask(li, button.getAttribute('aria-checked') !== 'true');
  });
  root.addEventListener('change', (e) => {
    const li = rowOf(e, 'select');
    if (li && e.target.value) ask(li, e.target.value);
  });
  // A level is told while it is drawn, five times a second at most, and where it was let go.
  const timers = new WeakMap();
  const tellLevel = (li, range) => {
    clearTimeout(timers.get(range));
    timers.delete(range);
    ask(li, Number(range.value));
  };
  root.addEventListener('input', (e) => {
    const li = rowOf(e, '[type=range]');
    if (li && !timers.has(e.target)) timers.set(e.target, setTimeout(() => tellLevel(li, e.target), 200));
  });
  root.addEventListener('change', (e) => {
    const li = rowOf(e, '[type=range]');
    if (li) tellLevel(li, e.target);
  });
  // A text is told at Enter, a number and a colour once one has chosen it. Escape takes back what
  // was typed, and so does leaving a text.
  const tellField = (li, field) => {
    if (field.value === standing(field) || !field.checkValidity() || field.type === 'number' && field.value === '') return;
    stands.set(field, field.value);
    ask(li, field.type === 'number' ? Number(field.value) : field.value);
  };
  const takeBack = (li, field) => {
    if (shown.has(li)) fillField(field, shown.get(li).p);
    else field.value = standing(field);
  };
  root.addEventListener('change', (e) => {
    const li = rowOf(e, '[type=number], [type=color]');
    if (li) tellField(li, e.target);
  });
  root.addEventListener('keydown', (e) => {
    const li = rowOf(e, '[type=text], [type=number]');
    if (!li) return;
    if (e.key === 'Enter' && !e.isComposing) tellField(li, e.target);
    if (e.key === 'Escape') takeBack(li, e.target);
  });
  root.addEventListener('focusout', (e) => {
    const li = rowOf(e, '[type=text]');
    if (li && e.target.value !== standing(e.target)) takeBack(li, e.target);
  });
}

const stands = new WeakMap(); // by field, what the house said last, or what was told it from there
const standing = (field) => stands.has(field) ? stands.get(field) : field.defaultValue;
const mostTyped = 255; // as things.go has it

// inField is what a field has of what is so; nothing of a text of which only a part is shown.
const inField = (p) => p.kind === 'number' ? p.level === undefined ? '' : String(p.level)
  : p.known && p.text && Array.from(p.text).length <= mostTyped ? p.text
  : p.kind === 'color' ? '#000000' : '';

function fillField(field, p) {
  const is = inField(p);
  if (field.value !== is) field.value = is;
  stands.set(field, field.value);
}

document.querySelectorAll('template').forEach((template) => wake(template.content));

function fillProperty(li, item) {
  const { thing, p } = item;
  shown.set(li, item);
  const name = path(thing, p);
  const waits = p.asked !== undefined || asking.has(name);
  const why = li.querySelector('.state');
  put(li.querySelector('.title'), title(p));
  attribute(li.querySelector('.title'), 'href', '/thing/' + encodeURIComponent(name));
  wait(li, waits, asking.has(name) ? why.textContent : p.asked === undefined ? isNow(thing, p) : wanted(p.kind, p.asked, p.unit));
  attribute(why, 'href', '/why/' + encodeURIComponent(name));
  attribute(why, 'title', t('why.heading', { name: spoken(thing, p) }));
  put(li.querySelector('time'), p.at ? age(p.at) : '');
  if (p.at) attribute(li.querySelector('time'), 'title', clock(p.at));
  li.classList.toggle('on', !!(p.on && p.known));
  li.classList.toggle('away', !!(thing.away || p.away));
  li.classList.toggle('bad', !!p.bad);
  if (li.title !== (p.bad || '')) li.title = p.bad || '';
  if (p.level !== undefined) fillSpark(li, name);
  const control = li.querySelector('[aria-label]');
  if (!control) return; // of a value there is none
  attribute(control, 'aria-label', spoken(thing, p));
  hide(control, !p.tells);
  if (p.kind === 'switch') {
    attribute(control, 'aria-checked', String(!!(p.on && p.known)));
  } else if (p.kind === 'level') {
    ['min', 'max', 'step'].forEach((limit) => attribute(control, limit, String(p.range[limit])));
    const level = p.asked !== undefined && isFinite(p.asked) ? p.asked : p.level;
    if (!asking.has(name) && level !== undefined && control.value !== String(level)) control.value = String(level);
  } else if (p.kind === 'choice') {
    offer(control, p.options || []);
    if (!asking.has(name) && document.activeElement !== control) choose(control, p);
  } else if (p.kind === 'cover' || p.kind === 'lock') {
    control.querySelectorAll('button').forEach((button) => hide(button, (p.options || []).indexOf(button.dataset.tell) < 0));
  } else if (p.kind !== 'button') {
    if (p.kind === 'text') attribute(control, 'maxlength', String(p.range && p.range.max >= 1 ? Math.min(p.range.max, mostTyped) : mostTyped));
    if (!waits && document.activeElement !== control) fillField(control, p);
  }
}

// choose has a select be what a choice is, or was asked to be.
function choose(select, p) {
  const chosen = p.asked !== undefined ? p.asked : p.text;
  select.value = (p.options || []).indexOf(chosen) < 0 ? '' : chosen;
}

// offer has a select offer these, behind the empty one of what is not known.
function offer(select, options) {
  if (options.join('\n') === Array.from(select.options).slice(1).map((o) => o.value).join('\n')) return;
  while (select.options.length > 1) select.remove(1);
  options.forEach((o) => { select.add(new Option(said('choice', o), o)); });
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
    lists.set(li, makeList(li.querySelector('.properties'), (item) => $(item.p.kind), (item) => keyOf(item.thing, item.p), fillProperty));
  }
  lists.get(li).all(thing.properties.map((p) => ({ thing, p })));
}

// makeThings fills a list of things elsewhere: all makes it these, told is what is new of one.
export function makeThings(ul) {
  control(ul);
  const list = makeList(ul, $('thing'), (thing) => thing.name, fillThing);
  const told = (thing) => {
    thing.properties.forEach((p) => asking.delete(path(thing, p)));
    list.one(thing);
  };
  setInterval(() => list.items.forEach((thing) => list.one(thing)), 10000);
  return { all: list.all, told };
}

const roomOf = (thing) => thing.favourite ? '*' : '=' + (thing.room || '');

const house = $('rooms'); // null: on the page of a thing
if (house) control(house);

const rooms = house && makeList(house, $('room'), (room) => room.key, (section, room) => {
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

// --- Sparks: the last day under each number, told once the page stands ---

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

const fill = (thing) => lists.get(rooms.rows.get(roomOf(thing))).one(thing);

let bare = house && !$('empty').hidden;

if (house) follow('things', {
  whole(v) {
    things = v.things || [];
    asking.clear();
    show();
  },
  sparks(all) {
    Object.keys(all).forEach((name) => sparks.set(name, all[name]));
    things.forEach(fill);
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
    fill(e.thing);
  },
  arrange() {
    bare = bare && !things.length;
    hide($('empty'), !bare);
  },
});

if (house) setInterval(() => things.forEach(fill), 10000); // what is said so long ago
