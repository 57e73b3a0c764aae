// A chart that the server has drawn: read out by pointer, touch and arrow keys, zoomed and
// moved, and gone on with by what is told live. Another stretch of time is another drawing
// of the server, so that nothing is drawn in two ways.

import { put } from './lists.js';
import { t, number } from './words.js';

const least = 60000; // milliseconds, and most: of a stretch
const most = 20 * 366 * 86400000;
const svg = 'http://www.w3.org/2000/svg';

// makeChart brings the chart in a page to life. onNew is called with each that takes its place.
export function makeChart(onNew) {
  let figure, plot, drawing, data, shown, cursor, readout, at, loading, drag, pinch, live, renewed, waiting;

  const named = (name) => encodeURIComponent(name);
  const pad = (n) => (n < 10 ? '0' : '') + n;

  // clock is a moment by the clock of the house.
  function clock(ms) {
    let ahead = 0;
    data.zone.forEach((z) => { if (z[0] <= ms || !ahead) ahead = z[1]; });
    const d = new Date(ms + ahead * 1000);
    const length = data.to - data.from;
    const date = t('date', { year: d.getUTCFullYear(), month: pad(d.getUTCMonth() + 1), day: pad(d.getUTCDate()) });
    if (length > 100 * 86400000) return date;
    return date + ' ' + pad(d.getUTCHours()) + ':' + pad(d.getUTCMinutes()) + (length < 7200000 ? ':' + pad(d.getUTCSeconds()) : '');
  }

  // valueOf says what a series was at a moment; null where nothing is known.
  function valueOf(s, ms) {
    if (s.runs) {
      const run = s.runs.find((r) => r.from <= ms && ms < r.to);
      return run ? run.is : null;
    }
    if (!s.cells || ms < data.from || ms > data.to) return null;
    const cell = s.cells[Math.min(s.cells.length - 1, Math.max(0, Math.floor((ms - data.from) / (data.to - data.from) * s.cells.length)))];
    if (!cell) return null;
    if (s.kind === 'switch') return t('chart.on_share', { share: Math.round(cell[0] * 100) });
    if (s.kind === 'event') return cell[0] + '×';
    if (cell[1] === cell[2]) return number(cell[0], s.unit);
    return number(cell[0], s.unit) + ' (' + number(cell[1], '') + ' – ' + number(cell[2], '') + ')';
  }

  // show reads out a moment, given as a share of the width.
  function show(share) {
    at = Math.min(1, Math.max(0, share));
    const ms = shown.from + at * (shown.to - shown.from);
    const x = (ms - data.from) / (data.to - data.from) * 100 + '%';
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
    cursor.style.display = '';
    readout.hidden = false;
    put(readout, clock(ms) + ': ' + data.series.map((s) => {
      const value = valueOf(s, ms);
      return (data.series.length > 1 ? s.title + ' ' : '') + (value === null ? t('unknown') : value);
    }).join('; '));
  }

  // place moves and stretches the picture that is there so that it lies where that of another
  // stretch of time will have it.
  function place(from, to) {
    shown = { from, to };
    const by = (data.to - data.from) / (to - from);
    const right = (data.from - from) / (to - from) * plot.getBoundingClientRect().width;
    drawing.style.transform = by === 1 && !right ? '' : 'translateX(' + right + 'px) scaleX(' + by + ')';
  }

  const asItWas = () => place(data.from, data.to);

  // load shows another stretch: at once in the picture that is there, then in its own.
  function load(from, to, quietly) {
    const length = Math.min(most, Math.max(least, to - from));
    const middle = (from + to) / 2;
    from = Math.round(middle - length / 2);
    to = Math.round(middle + length / 2);
    if (!quietly) place(from, to);
    const query = ['from=' + named(new Date(from).toISOString()), 'to=' + named(new Date(to).toISOString())].concat(others());
    fetchChart(query, quietly);
  }

  const others = () => data.series.slice(1).map((s) => 'with=' + named(s.name));

  function fetchChart(query, quietly) {
    if (loading) loading.abort();
    const request = loading = new XMLHttpRequest(); // it parses without a script seeing text as HTML
    const name = figure.dataset.name;
    request.open('GET', '/chart/' + named(name) + '?' + query.join('&'));
    request.responseType = 'document';
    request.onload = () => {
      loading = null;
      const next = request.response && request.response.getElementById('chart');
      if (request.status !== 200 || !next) {
        if (request.responseURL && request.responseURL.indexOf('/login') >= 0) location.reload();
        asItWas();
        return;
      }
      const focused = plot.contains(document.activeElement);
      const zoomed = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.zoom : '';
      const open = figure.querySelector('details') && figure.querySelector('details').open;
      const was = at === undefined ? undefined : shown.from + at * (shown.to - shown.from);
      figure.parentNode.replaceChild(document.importNode(next, true), figure);
      if (!quietly) history.replaceState(null, '', '/thing/' + named(name) + '?' + query.join('&'));
      begin();
      if (open && figure.querySelector('details')) figure.querySelector('details').open = true;
      if (focused) plot.focus();
      if (zoomed) figure.querySelector('[data-zoom=' + zoomed + ']').focus();
      if (was !== undefined && was >= data.from && was <= data.to) show((was - data.from) / (data.to - data.from));
      else if (was !== undefined && focused) show(0.5);
    };
    request.onerror = () => {
      loading = null;
      asItWas();
    };
    request.send();
  }

  function zoom(by, share) {
    const where = shown.from + share * (shown.to - shown.from);
    load(where - (where - shown.from) * by, where + (shown.to - where) * by);
  }

  function move(by) {
    const length = (shown.to - shown.from) * by;
    load(shown.from + length, shown.to + length);
  }

  const shareOf = (x) => (x - plot.getBoundingClientRect().left) / plot.getBoundingClientRect().width;

  function keys(e) {
    if (e.ctrlKey || e.altKey || e.metaKey) return;
    const n = Math.max(1, ((data.series[0] || {}).cells || []).length || 288);
    const from = at === undefined ? Math.min(1, (data.now - data.from) / (data.to - data.from)) : at;
    const to = { ArrowLeft: from - 1 / n, ArrowRight: from + 1 / n, PageUp: from - 0.1, PageDown: from + 0.1, Home: 0, End: 1 }[e.key];
    if (to !== undefined) {
      if (e.shiftKey && e.key.indexOf('Arrow') === 0) move(e.key === 'ArrowLeft' ? -0.25 : 0.25);
      else show(to);
    } else if (e.key === '+' || e.key === '=') zoom(0.5, from);
    else if (e.key === '-') zoom(2, from);
    else return;
    e.preventDefault();
  }

  function pointing() {
    plot.addEventListener('mousemove', (e) => {
      if (!drag) show(shareOf(e.clientX));
    });
    plot.addEventListener('mousedown', (e) => { drag = { x: e.clientX, from: shown.from, to: shown.to, moved: false }; });
    plot.addEventListener('dblclick', (e) => zoom(0.5, shareOf(e.clientX)));
    plot.addEventListener('wheel', (e) => {
      if (!e.ctrlKey) return; // else the page is scrolled
      e.preventDefault();
      zoom(e.deltaY < 0 ? 0.7 : 1.4, shareOf(e.clientX));
    });
    // One finger reads out and scrolls the page, two zoom and move.
    const spread = (e) => ({ a: shareOf(e.touches[0].clientX), b: shareOf(e.touches[1].clientX) });
    plot.addEventListener('touchstart', (e) => { pinch = e.touches.length === 2 ? { first: spread(e), from: shown.from, to: shown.to } : null; });
    plot.addEventListener('touchmove', (e) => {
      if (e.touches.length === 1 && !pinch) show(shareOf(e.touches[0].clientX));
      if (e.touches.length !== 2 || !pinch) return;
      e.preventDefault();
      pinch.moved = true;
      const { first, from, to } = pinch;
      const last = spread(e);
      const apart = Math.abs(last.a - last.b) || 0.01;
      const length = (to - from) * Math.min(10, Math.max(0.1, Math.abs(first.a - first.b) / apart));
      const held = from + (first.a + first.b) / 2 * (to - from); // what was between the fingers stays there
      const begins = held - (last.a + last.b) / 2 * length;
      place(begins, begins + length);
    });
    ['touchend', 'touchcancel'].forEach((kind) => plot.addEventListener(kind, () => {
      if (pinch && pinch.moved) load(shown.from, shown.to);
      pinch = null;
    }));
  }
  window.addEventListener('mousemove', (e) => {
    if (!drag) return;
    if (!(e.buttons & 1)) { drop(); return; } // it was let go elsewhere
    if (Math.abs(e.clientX - drag.x) > 4) drag.moved = true;
    if (!drag.moved) return;
    const by = (drag.x - e.clientX) / plot.getBoundingClientRect().width * (drag.to - drag.from);
    place(drag.from + by, drag.to + by);
  });
  window.addEventListener('mouseup', drop);

  function drop() {
    if (drag && drag.moved) load(shown.from, shown.to);
    drag = null;
  }

  function begin() {
    figure = document.getElementById('chart');
    plot = figure.querySelector('.plot');
    drawing = figure.querySelector('.drawing');
    readout = figure.querySelector('.readout');
    data = JSON.parse(figure.querySelector('.values-of-chart').textContent);
    shown = { from: data.from, to: data.to };
    at = undefined;
    live = {};
    renewed = Date.now();
    cursor = drawing.appendChild(document.createElementNS(svg, 'line'));
    cursor.setAttribute('class', 'cursor');
    cursor.setAttribute('y1', '0');
    cursor.setAttribute('y2', drawing.querySelector('.base').getAttribute('y1'));
    cursor.style.display = 'none';
    plot.tabIndex = 0;
    plot.setAttribute('role', 'application');
    plot.setAttribute('aria-label', t('chart.keys'));
    plot.addEventListener('keydown', keys);
    pointing();
    figure.querySelector('.zoom').hidden = false;
    figure.querySelectorAll('[data-zoom]').forEach((button) => {
      button.onclick = () => zoom(button.dataset.zoom === 'in' ? 0.5 : 2, at === undefined ? 0.5 : at);
    });
    onNew(figure);
  }
  begin();

  // renew draws the stretch that was chosen anew, with what has come since.
  function renew() {
    const active = document.activeElement;
    if (document.hidden || drag || pinch || figure.contains(active) && /^(SELECT|INPUT)$/.test(active.tagName)) return; // somebody is choosing
    const length = data.to - data.from;
    if (figure.dataset.range && !/[?&](from|to|day)=/.test(location.search)) fetchChart(['range=' + figure.dataset.range].concat(others()), true);
    else load(data.from, data.from + length, true);
  }

  return {
    // add goes on with a series by a number that was told just now; others are drawn anew.
    add(name, value, now) {
      const i = data.series.findIndex((s) => s.name === name);
      if (i < 0 || !figure.dataset.live) return;
      const s = data.series[i];
      const outside = now > data.to || typeof value !== 'number' || s.kind !== 'number' || !s.cells || value < s.low || value > s.high;
      if (outside || Date.now() - renewed > 60000) {
        if (!waiting) waiting = setTimeout(() => { waiting = 0; renew(); }, Math.max(0, renewed + 2000 - Date.now())); // however much is told
        return;
      }
      const path = drawing.querySelector('path.line.s' + i);
      const x = Math.round((now - data.from) / (data.to - data.from) * 10000) / 10;
      const y = Math.round((s.high - value) / (s.high - s.low) * s.height * 10) / 10;
      if (!live[i]) {
        live[i] = path.parentNode.appendChild(document.createElementNS(svg, 'path'));
        live[i].setAttribute('class', 'line live s' + i);
        const end = /([\d.-]+) ([\d.-]+)$/.exec(path.getAttribute('d'));
        live[i].setAttribute('d', 'M' + (end ? end[1] + ' ' + end[2] : x + ' ' + y));
      }
      live[i].setAttribute('d', live[i].getAttribute('d') + 'L' + x + ' ' + y);
      const cell = Math.floor((now - data.from) / (data.to - data.from) * s.cells.length);
      const known = s.cells[cell];
      s.cells[cell] = [value, known ? Math.min(known[1], value) : value, known ? Math.max(known[2], value) : value];
    },
  };
}
