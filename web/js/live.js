// Keeps a page as the house is: the stream, and what every page has around its own part.
// The server tells everything once when the stream begins ("house"), then what changes.

import { $, put, lines } from './lists.js';
import { t, clock, houseTime } from './words.js';
import { inLanguage, toLogin } from './send.js';

let quiet;
export function say(text) {
  $('toast').hidden = false;
  put($('toast'), text);
  clearTimeout(quiet);
  quiet = setTimeout(() => { $('toast').hidden = true; }, 8000);
}

// sayWhy says why something was not done: in the words of the house, or that there is nobody.
// name is what was told something, if it was one thing.
export function sayWhy(err, name) {
  if (!(err instanceof TypeError)) say(err.message);
  else say(name ? t('not_told', { name }) : t('lost.gone'));
}

const nothing = () => {};

// follow begins the stream, of 'things' or 'rules' only, or of everything with ''. The page is
// { title, whole(view), status(view), happened(event), sparks(heights), arrange() }, or as much
// of that as it needs: everything is told, what is told every 15 s, one thing, the last day of
// each number, and what depends on how much there is of the rest, once per picture, however
// much happens.
export function follow(only, page = {}) {
  page = Object.assign({ whole: nothing, status: nothing, happened: nothing, sparks: nothing, arrange: nothing }, page);
  let trouble = [];
  const pins = new Map(); // and what is wrong with them
  let arranging = 0;

  function arrange() {
    const all = trouble.map((text) => ({ text, path: '/health' }))
      .concat(Array.from(pins.values()).filter((p) => p.fault && !p.acknowledged).map((p) => ({ text: (p.label || p.name) + ': ' + p.fault, path: '/pins#' + encodeURIComponent(p.name) })));
    lines($('trouble'), all);
    $('trouble').hidden = !all.length;
    page.arrange();
  }

  function status(v) {
    houseTime(v.now);
    try { localStorage.setItem('live', v.now); } catch (err) { /* it keeps nothing here; offline.js does without */ }
    put($('name'), v.name);
    $('simulated').hidden = !v.simulated;
    trouble = v.trouble;
    put($('version'), v.version);
    put($('started'), clock(v.started));
    put($('rules'), String(v.rules));
    if (page.title) document.title = page.title + ' · ' + v.name + ' · Hearth';
    page.status(v);
    arrange();
  }

  function whole(v) {
    if (v.version !== document.documentElement.dataset.version) {
      location.reload(); // another version of the hub has other pages
      return;
    }
    houseTime(v.now);
    pins.clear();
    v.outputs.concat(v.inputs).forEach((p) => pins.set(p.name, p));
    page.whole(v);
    status(v);
  }

  function happened(e) {
    const pin = e.output || e.input;
    if (pin) pins.set(pin.name, pin);
    page.happened(e);
    if (!arranging) arranging = requestAnimationFrame(() => { arranging = 0; arrange(); });
  }

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
    if (document.body.className !== 'live') document.body.className = 'live';
    put($('live'), t('live'));
    $('lost').hidden = true;
  }

  function connect() {
    clearTimeout(again);
    if (stream) stream.close();
    heardAt = Date.now();
    const s = stream = new EventSource(inLanguage('/api/v1/events?only=' + only));
    s.addEventListener('house', (e) => { heard(); whole(JSON.parse(e.data)); });
    s.addEventListener('status', (e) => { heard(); status(JSON.parse(e.data)); });
    s.addEventListener('sparks', (e) => { heard(); page.sparks(JSON.parse(e.data)); });
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
    let why = t('lost.gone');
    let old = true;
    try {
      const answer = await fetch(inLanguage('/api/v1/house'));
      const v = await answer.json();
      if (answer.status === 401) toLogin();
      if (answer.ok) {
        whole(v);
        old = false;
        why = t('lost.crowded', { time: clock(v.now) });
      } else {
        why = t('lost.why', { why: v.error });
      }
    } catch (err) { /* nobody there: said already */ }
    if (!lost) return; // it came back meanwhile
    document.body.className = old ? 'stale' : '';
    put($('live'), t('lost'));
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
}

// The worker that says that there is no hub, where the browser allows one (js/sw.js).
if (navigator.serviceWorker) {
  window.addEventListener('load', () => {
    const policy = window.trustedTypes && window.trustedTypes.createPolicy('hearth', { createScriptURL: () => '/sw.js' });
    navigator.serviceWorker.register(policy ? policy.createScriptURL('') : '/sw.js').catch(() => {});
  });
}

// On a narrow screen the menu is one line, of which the page one is on shall be seen.
const here = document.querySelector('nav [aria-current]');
if (here) {
  const line = here.closest('ul');
  line.scrollLeft = here.offsetLeft - (line.clientWidth - here.offsetWidth) / 2;
}
