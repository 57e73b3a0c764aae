// Keeps the page as the house is. The server tells everything once when the
// stream begins ("house"), then what changes; how a row looks is written in
// page.html alone. All text goes through textContent. Plain ES2017, for the old
// tablet on the wall.

const $ = (id) => document.getElementById(id);

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- Time, by the clock of the house ---

let now = { text: '', ms: 0, at: 0 };

function houseTime(text) {
  now = { text, ms: Date.parse(text), at: performance.now() };
}

// The time of day as the house writes it, with the date if that is not today's.
function clock(text) {
  return text.slice(0, 10) === now.text.slice(0, 10) ? text.slice(11, 19) : text.slice(0, 10) + ' ' + text.slice(11, 16);
}

function age(text) {
  const then = Date.parse(text);
  if (then < 0) return ''; // never
  if (then < 1e12) return 'before the clock was set'; // a Pi without a battery boots in 1970
  const s = (now.ms - then + performance.now() - now.at) / 1000;
  if (s < 10) return 'just now';
  if (s < 60) return Math.floor(s / 10) * 10 + ' s ago';
  if (s < 3600) return Math.floor(s / 60) + ' min ago';
  if (s < 86400) return Math.floor(s / 3600) + ' h ago';
  return Math.floor(s / 86400) + ' d ago';
}

// --- Lists: a row for each thing, made once and then only filled ---

function makeList(ul, template, key, fill) {
  const rows = new Map();
  const items = new Map();
  let drawn = true; // by the server, which stays until there is something newer
  function row(item) {
    const k = key(item);
    let li = rows.get(k);
    if (!li) {
      if (drawn) ul.textContent = '';
      drawn = false;
      li = template.content.firstElementChild.cloneNode(true);
      rows.set(k, li);
    }
    fill(li, item, items.get(k));
    items.set(k, item);
    return li;
  }
  function drop(k) {
    rows.get(k).remove();
    rows.delete(k);
    items.delete(k);
  }
  return {
    rows, items,
    // all makes the list exactly these, in this order.
    all(list) {
      if (drawn) ul.textContent = '';
      drawn = false;
      const keep = new Set(list.map(key));
      Array.from(rows.keys()).forEach((k) => keep.has(k) || drop(k));
      list.forEach((item, i) => {
        const li = row(item);
        if (ul.children[i] !== li) ul.insertBefore(li, ul.children[i] || null);
      });
    },
    // one fills the row of item, or puts a new one before the first that `before` accepts, else at the end.
    one(item, before = () => false) {
      const li = row(item);
      if (!li.parentNode) ul.insertBefore(li, Array.from(ul.children).find(before) || null);
    },
    oldest(most) {
      while (ul.children.length > most) {
        const last = ul.lastElementChild;
        Array.from(rows.keys()).forEach((k) => rows.get(k) === last && drop(k));
      }
    },
  };
}

// --- Outputs and inputs ---

function makePins(kind) {
  const ul = document.querySelector('[data-kind=' + kind + ']');
  return makeList(ul, $('pin'), (pin) => pin.name, (li, pin) => {
    const button = li.querySelector('button');
    put(li.querySelector('.name'), pin.name);
    put(li.querySelector('.state'), pin.shows || (pin.known ? (pin.on ? 'On' : 'Off') : 'Not known'));
    put(li.querySelector('.line'), pin.pin);
    li.querySelector('.line').title = pin.hint || '';
    put(li.querySelector('.note'), pin.note || '');
    put(li.querySelector('.fault'), pin.fault);
    li.classList.toggle('on', pin.known && pin.on);
    li.classList.toggle('faulty', pin.fault !== '');
    li.classList.remove('asked');
    button.removeAttribute('aria-busy');
    button.setAttribute('aria-checked', String(pin.known && pin.on));
    button.setAttribute('aria-label', pin.name);
    button.hidden = !!pin.read_only || kind === 'input' && (!pin.simulated || !!pin.shows);
    button.disabled = false;
    button.onclick = () => flip(kind, pin.name, li, button);
  });
}

// What was asked and what is so stand apart: the switch waits half way until
// the house says that the pin has turned.
async function flip(kind, name, li, button) {
  const on = button.getAttribute('aria-checked') !== 'true';
  const back = () => {
    if (!li.classList.contains('asked')) return false;
    li.classList.remove('asked');
    button.removeAttribute('aria-busy');
    put(li.querySelector('.state'), before);
    return true;
  };
  if (li.classList.contains('asked')) return;
  const before = li.querySelector('.state').textContent;
  li.classList.add('asked');
  button.setAttribute('aria-busy', 'true');
  put(li.querySelector('.state'), on ? 'Asked on' : 'Asked off');
  try {
    const answer = await fetch('/api/' + kind + '/' + encodeURIComponent(name), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ on }),
    });
    if (answer.status === 401) toLogin();
    if (!answer.ok) throw new Error((await answer.json()).error);
    setTimeout(() => back() && say(name + ' was told to go ' + (on ? 'on' : 'off') + ' and has not answered yet.'), 3000);
  } catch (err) {
    back();
    say(err instanceof TypeError ? name + ' was not switched: the hub does not answer.' : err.message);
  }
}

// The session has ended: the password was changed, or somebody logged out elsewhere.
function toLogin() {
  location.assign('/login?next=' + encodeURIComponent(location.pathname));
}

let quiet;
function say(text) {
  $('toast').hidden = false;
  put($('toast'), text);
  clearTimeout(quiet);
  quiet = setTimeout(() => { $('toast').hidden = true; }, 8000);
}

const outputs = makePins('output');
const inputs = makePins('input');

// --- Decisions ---

const log = document.querySelector('.log');
const decisions = makeList(log, $('decision'), (d) => d.at + ' ' + d.text, (li, d) => {
  li.className = d.outcome;
  const time = li.querySelector('time');
  time.setAttribute('datetime', d.at);
  put(time, clock(d.at));
  put(li.querySelector('b'), d.rule);
  put(li.querySelector('.because'), (d.text.startsWith(d.rule) ? d.text.slice(d.rule.length) : d.text).trim());
});

log.classList.add('short');
$('more').onclick = () => {
  const short = log.classList.toggle('short');
  $('more').setAttribute('aria-expanded', String(!short));
  arrange();
};

// --- Readings ---

const readings = makeList(document.querySelector('.values'), $('reading'), (r) => r.source, (li, r, old) => {
  put(li.querySelector('.source'), r.source);
  li.querySelector('.source').title = r.of || '';
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

$('filter').oninput = () => {
  readings.items.forEach((r, source) => { readings.rows.get(source).hidden = !matches(r); });
  arrange();
};

setInterval(() => {
  readings.items.forEach((r, source) => put(readings.rows.get(source).querySelector('time'), age(r.at)));
}, 10000);

// --- The whole page ---

function lines(ul, texts) {
  if (texts.join('\n') === Array.from(ul.children, (li) => li.textContent).join('\n')) return;
  ul.textContent = '';
  texts.forEach((text) => {
    const li = document.createElement('li');
    li.textContent = text;
    ul.appendChild(li);
  });
}

let trouble = [];
let rules = 0;
let partial = false; // there is more in the house than one may see

function status(v) {
  houseTime(v.now);
  document.title = v.name + ' · Hearth';
  put($('name'), v.name);
  $('simulated').hidden = !v.simulated;
  trouble = v.trouble;
  rules = v.rules;
  partial = !!v.partial;
  put($('version'), v.version);
  put($('started'), clock(v.started));
  put($('rules'), String(v.rules));
  lines(document.querySelector('#waiting ul'), v.waiting);
  $('waiting').hidden = !v.waiting.length;
  const dl = document.querySelector('#broker dl');
  const counters = Object.keys(v.broker || {}).sort();
  $('broker').hidden = !counters.length;
  dl.textContent = '';
  counters.forEach((name) => {
    const row = dl.appendChild(document.createElement('div'));
    row.appendChild(document.createElement('dt')).textContent = name;
    row.appendChild(document.createElement('dd')).textContent = String(v.broker[name]);
  });
  arrange();
}

function whole(v) {
  if (v.version !== document.documentElement.dataset.version) {
    location.reload(); // another version of the hub has another page
    return;
  }
  houseTime(v.now);
  outputs.all(v.outputs);
  inputs.all(v.inputs);
  decisions.all(v.decisions);
  readings.all(v.readings);
  status(v);
}

let arranging = 0; // once per picture, however much happens

function happened(e) {
  if (e.output) outputs.one(e.output);
  if (e.input) inputs.one(e.input);
  if (e.reading) readings.one(e.reading, (li) => li.querySelector('.source').textContent > e.reading.source);
  if (e.decision) {
    decisions.one(e.decision, () => true);
    decisions.oldest(200);
  }
  if (!arranging) arranging = requestAnimationFrame(() => { arranging = 0; arrange(); });
}

// arrange shows and hides what depends on how much there is of the rest.
function arrange() {
  const pins = Array.from(outputs.items.values()).concat(Array.from(inputs.items.values()));
  const all = trouble.concat(pins.filter((p) => p.fault).map((p) => p.name + ': ' + p.fault));
  lines($('trouble'), all);
  $('trouble').hidden = !all.length;

  const empty = !pins.length && !readings.rows.size && !decisions.rows.size && !rules;
  $('empty').hidden = !empty || partial;
  $('outputs').hidden = !outputs.rows.size;
  $('inputs').hidden = !inputs.rows.size;
  $('decisions').hidden = empty || partial;
  $('no-decisions').hidden = decisions.rows.size > 0;
  $('no-rules').hidden = rules > 0;
  put($('first-output'), (outputs.items.values().next().value || { name: 'porch_light' }).name);
  $('more').hidden = decisions.rows.size <= 12;
  put($('more'), log.classList.contains('short') ? 'Show all ' + decisions.rows.size : 'Show fewer');

  $('readings').hidden = empty;
  $('no-readings').hidden = readings.rows.size > 0;
  const filtered = $('filter').value.trim() !== '';
  $('filter').hidden = readings.rows.size <= 8 && !filtered;
  const seen = Array.from(readings.rows.values()).filter((li) => !li.hidden).length;
  put($('count'), filtered ? seen + ' of ' + readings.rows.size : String(readings.rows.size || ''));
}

// --- The stream ---

let stream = null;
let heardAt = 0;
let lost = false;
let pause = 1000;
let again;

function heard() {
  heardAt = Date.now();
  pause = 1000;
  lost = false;
  clearTimeout(again);
  document.body.className = 'live';
  put($('live'), 'Live');
  $('lost').hidden = true;
}

function connect() {
  clearTimeout(again);
  if (stream) stream.close();
  heardAt = Date.now();
  const s = stream = new EventSource('/api/events');
  s.addEventListener('house', (e) => { heard(); whole(JSON.parse(e.data)); });
  s.addEventListener('status', (e) => { heard(); status(JSON.parse(e.data)); });
  s.onmessage = (e) => { heard(); happened(JSON.parse(e.data)); };
  s.onerror = lose;
}

// lose tries again after a while, and says so if that does not help at once: a
// page that merely fell behind is back after a second.
function lose() {
  stream.close();
  if (lost) explain();
  lost = true;
  clearTimeout(again);
  again = setTimeout(connect, pause);
  pause = Math.min(pause * 2, 5000);
}

// explain shows why there is no stream: the hub is gone, or it says itself.
async function explain() {
  let why = 'The hub does not answer. What you see is old. Trying again …';
  let old = true;
  try {
    const answer = await fetch('/api/house');
    const v = await answer.json();
    if (answer.status === 401) toLogin();
    if (answer.ok) {
      whole(v);
      old = false;
      why = 'No live connection, perhaps because too many pages are open. What you see is from ' + clock(v.now) + '. Trying again …';
    } else {
      why = v.error + '. Trying again …';
    }
  } catch (err) { /* nobody there: said already */ }
  if (!lost) return; // it came back meanwhile
  document.body.className = old ? 'stale' : '';
  put($('live'), 'Not live');
  put($('lost'), why);
  $('lost').hidden = false;
}

setInterval(() => {
  if (stream && !document.hidden && stream.readyState === EventSource.OPEN && Date.now() - heardAt > 40000) lose(); // a sign of life is due every 15 s
}, 5000);

// A page nobody looks at gives its place to others.
let leaving;
document.addEventListener('visibilitychange', () => {
  clearTimeout(leaving);
  if (!document.hidden) {
    if (stream.readyState !== EventSource.OPEN) connect();
  } else {
    leaving = setTimeout(() => { stream.close(); clearTimeout(again); }, 60000);
  }
});
window.addEventListener('online', connect);
window.addEventListener('pagehide', () => stream.close());
window.addEventListener('pageshow', (e) => { if (e.persisted) connect(); });

connect();
