// The owner's files in an editor: what is typed is checked by the hub, can be tried on what
// was recorded, and is saved. What is not saved yet is kept in the tab, whatever becomes of
// the page and the connection.

import { $, put, makeList } from './lists.js';
import { t, clock } from './words.js';
import { follow, say } from './live.js';
import { inLanguage, send } from './send.js';
import { showTrial } from './trial.js';

const lineHeight = 21; // as in style.css
const padding = 10;
const Abort = window['AbortController']; // which old browsers have not: there a try goes on unheard

function start(text, code) {
  const file = code.dataset.file;
  const kept = 'edit:' + file;
  let version = code.dataset.version;
  let saved = text.value; // as it is in the file

  const draft = () => ({ file, version, text: text.value });

  // --- What is typed ---

  function type(what) { // as if it were typed, so that it can be taken back
    text.focus();
    if (!document.execCommand(what ? 'insertText' : 'delete', false, what)) {
      text.setRangeText(what, text.selectionStart, text.selectionEnd, 'end');
      typed();
    }
  }

  let leaving = false; // Tab leads on: Esc was pressed, or nothing yet since Tab led here
  text.onkeydown = (e) => {
    if (e.key === 's' && (e.ctrlKey || e.metaKey) && !e.altKey) {
      e.preventDefault();
      if (!$('save').disabled) save();
      return;
    }
    const was = leaving;
    leaving = e.key === 'Escape' || (leaving && (e.key === 'Shift' || e.key === 'Tab'));
    if (e.key === 'Tab' && !was && !e.ctrlKey && !e.altKey && !e.metaKey) {
      e.preventDefault();
      indent(e.shiftKey);
    } else if (e.key === 'Enter' && !e.isComposing && !e.ctrlKey && !e.metaKey) {
      const before = text.value.slice(0, text.selectionStart);
      const space = /(?:^|\n)([ \t]*)[^\n]*$/.exec(before)[1];
      if (space) {
        e.preventDefault();
        type('\n' + space);
      }
    }
  };
  text.onfocus = () => { leaving = true; };
  text.onmousedown = () => setTimeout(() => { leaving = false; });

  function indent(back) {
    const { selectionStart: from, selectionEnd: to, value } = text;
    if (from === to && !back) {
      type('  ');
      return;
    }
    const begin = value.lastIndexOf('\n', from - 1) + 1;
    const end = to > from && value[to - 1] === '\n' ? to - 1 : to;
    const old = value.slice(begin, end);
    const now = back ? old.replace(/^( {1,2}|\t)/gm, '') : old.replace(/^(?=.)/gm, '  ');
    if (now === old) return;
    text.setSelectionRange(begin, end);
    type(now);
    if (from === to) text.setSelectionRange(Math.max(begin, from - (old.length - now.length)), Math.max(begin, from - (old.length - now.length)));
    else text.setSelectionRange(begin, begin + now.length);
  }

  // goTo selects a line, and shows it with a few before it.
  function goTo(line) {
    const all = text.value.split('\n');
    const n = Math.min(Math.max(1, line), all.length);
    const begin = all.slice(0, n - 1).reduce((sum, l) => sum + l.length + 1, 0);
    text.focus();
    text.setSelectionRange(begin, begin + all[n - 1].length);
    text.scrollTop = Math.max(0, (n - 4) * lineHeight);
    text.scrollLeft = 0;
    scrolled();
    code.scrollIntoView({ block: 'nearest' });
  }

  // --- Line numbers and marks ---

  let numbered = 0;
  function number() {
    const n = text.value.split('\n').length;
    if (n === numbered) return;
    numbered = n;
    put($('numbers'), Array.from({ length: n }, (_, i) => i + 1).join('\n'));
  }

  function scrolled() {
    $('numbers').style.transform = 'translateY(' + -text.scrollTop + 'px)';
    $('marks').style.transform = 'translate(' + -text.scrollLeft + 'px,' + -text.scrollTop + 'px)';
  }
  text.onscroll = scrolled;

  // columns is how wide a text is, in characters.
  function columns(s) {
    let n = 0;
    Array.from(s).forEach((c) => { n += c === '\t' ? 4 - n % 4 : 1; });
    return n;
  }

  function mark(mistakes) {
    const marks = $('marks');
    const all = text.value.split('\n');
    const told = new Set();
    marks.textContent = '';
    mistakes.filter((m) => m.file === file && m.line <= all.length).forEach((m) => {
      const line = all[m.line - 1];
      const kind = m.warning ? ' doubt' : ' wrong';
      const add = (what, left, content) => {
        const element = marks.appendChild(document.createElement('span'));
        element.className = what + kind;
        element.style.top = padding + (m.line - 1) * lineHeight + 'px';
        if (left !== undefined) element.style.left = left;
        element.textContent = content || '';
        return element;
      };
      const from = columns(Array.from(line).slice(0, m.column - 1).join(''));
      const word = /^("[^"]*"?|'[^']*'?|[^\s,{}[\]]+)?/.exec(Array.from(line).slice(m.column - 1).join(''))[0];
      add('here', 'calc(' + padding + 'px + ' + from + 'ch)').style.width = Math.max(1, columns(word)) + 'ch';
      if (!told.has(m.line)) {
        told.add(m.line);
        add('band');
        add('words', 'calc(' + padding + 'px + ' + (columns(line) + 3) + 'ch)', (m.warning ? '▲ ' : '● ') + m.text);
      }
    });
  }

  // --- The outline ---

  const outline = makeList($('outline'), $('entry'), (e) => e.key, (li, e) => {
    const button = li.querySelector('button');
    put(button, e.name);
    button.onclick = () => goTo(e.line);
  });
  let tables = [];

  function sketch() {
    const seen = new Map(); // a table may be called constructor
    tables = [];
    let quoted = ''; // the quotes of a text over several lines
    text.value.split('\n').forEach((line, i) => {
      const found = !quoted && /^\s*\[{1,2}\s*([^\]\n]+?)\s*\]{1,2}/.exec(line);
      if (found) {
        seen.set(found[1], (seen.get(found[1]) || 0) + 1);
        tables.push({ name: found[1], line: i + 1, key: found[1] + ' ' + seen.get(found[1]) });
      }
      (line.replace(/^\s*#.*/, '').match(/"""|'''/g) || []).forEach((q) => { quoted = !quoted ? q : quoted === q ? '' : quoted; });
    });
    $('find').hidden = tables.length <= 12;
    found();
  }

  function found() {
    const wanted = $('find').value.trim().toLowerCase();
    outline.all(tables.filter((e) => e.name.toLowerCase().includes(wanted)));
  }
  $('find').oninput = found;

  function toTable(name) {
    const entry = tables.find((e) => e.name === name);
    if (entry) goTo(entry.line);
    else location.assign('/edit?at=' + encodeURIComponent(name));
  }

  // --- Checks ---

  const mistakes = makeList($('mistakes'), $('mistake'), (m) => m.key0, (li, m) => {
    li.className = m.warning ? 'doubt' : 'wrong';
    put(li.querySelector('.kind'), m.warning ? '▲ ' + t('edit.doubt') : '● ' + t('edit.mistake'));
    put(li.querySelector('.place'), (m.file === file ? '' : m.file + ':') + m.line + ':' + m.column);
    put(li.querySelector('.key'), m.key ? m.key + (m.found ? ' = ' + m.found : '') : '');
    put(li.querySelector('.why'), m.text);
    const link = li.querySelector('a');
    link.title = m.message;
    link.setAttribute('href', m.file === file ? '#text' : '/edit?file=' + encodeURIComponent(m.file) + '&line=' + m.line);
    link.onclick = (e) => {
      if (m.file !== file) return;
      e.preventDefault();
      goTo(m.line);
    };
  });

  let sound = false;
  function checked(c, of) {
    const wrong = c.mistakes.filter((m) => !m.warning).length;
    const doubts = c.mistakes.length - wrong;
    sound = c.ok;
    mistakes.all(c.mistakes.map((m, i) => Object.assign({ key0: i + m.message }, m)));
    $('mistakes').hidden = !c.mistakes.length;
    if (of === text.value) mark(c.mistakes);
    let told = c.ok ? t('edit.ok') : wrong === 1 ? t('edit.one_mistake') : t('edit.n_mistakes', { n: wrong });
    if (c.more) told += ' ' + t('edit.more', { n: c.more });
    if (doubts) told += ' ' + t('edit.doubts', { n: doubts });
    if (!c.whole) told += ' ' + t('edit.not_whole');
    put($('state'), told);
    text.setAttribute('aria-invalid', String(!c.ok));
    $('state').className = c.ok ? 'ok' : 'wrong';
    arrange();
  }

  let checking = false;
  let next = 0;
  async function check() {
    clearTimeout(next);
    if (checking) { // with what will have been typed by then
      next = setTimeout(check, 300);
      return;
    }
    checking = true;
    const of = text.value;
    try {
      const answer = await send('/api/v1/config/check', draft());
      if (answer.ok) checked(answer.body, of);
      else put($('state'), answer.body.error);
      if (!answer.ok) next = setTimeout(check, 3000);
    } catch (err) {
      put($('state'), t('edit.unchecked'));
      next = setTimeout(check, 3000);
    }
    checking = false;
  }

  // --- What is kept in the tab ---

  const changed = () => text.value !== saved;

  function keep() {
    try {
      if (changed()) sessionStorage.setItem(kept, JSON.stringify({ version, text: text.value }));
      else sessionStorage.removeItem(kept);
    } catch (err) { /* a browser that keeps nothing */ }
  }

  function arrange() {
    const locked = !!$('locked');
    $('save').disabled = locked || !changed();
    if ($('remove')) $('remove').hidden = locked || !!(saved + text.value).trim();
    $('try').disabled = !sound || !$('trying').hidden;
    document.title = (changed() ? '* ' : '') + t('edit.title') + ' · ' + $('name').textContent + ' · Hearth';
    if (!changed()) $('again').hidden = true;
  }

  let thinking = 0;
  function typed() {
    number();
    $('marks').textContent = '';
    clearTimeout(next);
    next = setTimeout(check, 300);
    clearTimeout(thinking);
    thinking = setTimeout(() => { sketch(); keep(); }, 150);
    arrange();
  }
  text.oninput = typed;
  window.addEventListener('pagehide', keep);

  // becomes makes it another text by typing what differs, so that it can be taken back; browsers
  // take seconds to type many lines.
  function becomes(value) {
    const was = text.value;
    const most = Math.min(was.length, value.length);
    const half = (s, i) => /[\uDC00-\uDFFF]/.test(s.charAt(i)); // of a character
    let from = 0;
    let end = 0;
    while (from < most && was[from] === value[from]) from++;
    while (from && (half(was, from) || half(value, from))) from--;
    while (end < most - from && was[was.length - 1 - end] === value[value.length - 1 - end]) end++;
    while (end && half(was, was.length - end)) end--;
    const what = value.slice(from, value.length - end);
    if (what.length > 5000) {
      text.value = value;
      typed();
    } else if (was !== value) {
      text.setSelectionRange(from, was.length - end);
      type(what);
    }
    text.focus();
  }

  $('discard').onclick = () => becomes(saved);

  // --- Saving ---

  function tell(why) {
    put($('told'), why);
    $('told').hidden = !why;
  }

  async function save() {
    tell('');
    $('toast').hidden = true;
    $('save').disabled = true;
    $('save').setAttribute('aria-busy', 'true');
    const sent = draft();
    try {
      const answer = await send('/api/v1/config/save', Object.assign({ note: $('note').value }, sent));
      if (answer.body.mistakes) checked(answer.body, sent.text);
      if (answer.ok) {
        if (!version) history.replaceState(null, '', '/edit?file=' + encodeURIComponent(file)); // it is made
        version = answer.body.version;
        saved = sent.text;
        $('note').value = '';
        $('conflict').hidden = $('again').hidden = true;
        keep();
        say([t('edit.saved')].concat(answer.body.said || []).join(' '));
      } else {
        tell(answer.body.error);
        if (answer.status === 409) await meanwhile();
      }
    } catch (err) {
      tell(t('edit.not_saved'));
    }
    $('save').removeAttribute('aria-busy');
    arrange();
  }
  $('save').onclick = save;

  if ($('remove')) {
    $('remove').onclick = async () => {
      tell('');
      $('remove').disabled = true;
      try {
        const answer = await send('/api/v1/config/remove', { file, version, text: '' });
        if (answer.ok) {
          saved = text.value;
          keep();
          location.assign('/edit');
          return;
        }
        if (answer.body.mistakes) checked(answer.body, text.value);
        tell(answer.body.error);
      } catch (err) {
        tell(t('edit.not_saved'));
      }
      $('remove').disabled = false;
    };
  }

  // meanwhile shows what others have made of the file.
  let theirs = null;
  async function meanwhile() {
    const answer = await fetch(inLanguage('/api/v1/config'));
    const c = await answer.json();
    const now = (c.files || []).find((f) => f.name === file);
    if (!now || now.hidden || now.version === version) return;
    theirs = now;
    $('other').value = now.text;
    $('conflict').hidden = false;
    $('conflict').scrollIntoView({ block: 'nearest' });
  }

  function settled() {
    version = theirs.version;
    tell('');
    keep();
  }
  $('mine').onclick = () => {
    settled();
    $('conflict').hidden = true;
    saved = theirs.text.replace(/\r\n/g, '\n');
    typed();
    text.focus();
  };
  $('swap').onclick = () => {
    settled();
    const mine = text.value;
    saved = theirs.text.replace(/\r\n/g, '\n');
    becomes($('other').value);
    $('other').value = mine;
  };

  // --- Trying ---

  let cancel = null;
  async function tryIt() {
    tell('');
    $('trial').hidden = true;
    $('trying').hidden = false;
    $('far').value = 0;
    $('cancel').focus(); // before the button that had it can't have it any more
    arrange();
    cancel = Abort ? new Abort() : null;
    let gone = false;
    $('cancel').onclick = () => {
      gone = true;
      if (cancel) cancel.abort();
    };
    try {
      const answer = await fetch(inLanguage('/api/v1/config/try'), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(Object.assign({ days: Number($('days').value) }, draft())),
        signal: cancel ? cancel.signal : undefined,
      });
      let over = false;
      await eachLine(answer, (line) => {
        const said = JSON.parse(line);
        if (gone) return;
        if (said.progress !== undefined) $('far').value = said.progress;
        if (said.error) tell(said.error);
        if (said.trial) {
          showTrial(said.trial, toTable);
          $('h-trial').focus();
        }
        over = over || !!(said.error || said.trial);
      });
      if (!over && !gone) tell(t('edit.try_lost'));
    } catch (err) {
      if (!gone) tell(t('edit.try_lost'));
    }
    const waits = document.activeElement === $('cancel');
    $('trying').hidden = true;
    arrange();
    if (waits) $('try').focus();
  }
  $('try').onclick = tryIt;

  // eachLine gives the lines of an answer as they come, or all at its end where a browser
  // can't say sooner.
  async function eachLine(answer, take) {
    if (!answer.body || !answer.body.getReader || !window.TextDecoder) {
      (await answer.text()).split('\n').filter((line) => line).forEach(take);
      return;
    }
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const all = rest.split('\n');
      rest = all.pop();
      all.filter((line) => line).forEach(take);
      if (done) {
        if (rest) take(rest);
        return;
      }
    }
  }

  // --- Examples ---

  document.querySelectorAll('.ready button').forEach((button) => {
    button.onclick = () => {
      const end = text.value.length;
      text.focus();
      text.setSelectionRange(end, end);
      type((text.value.trim() ? (text.value.endsWith('\n') ? '\n' : '\n\n') : '') + button.dataset.text);
      goTo(text.value.slice(0, end).split('\n').length + 1);
    };
  });

  // --- The beginning ---

  text.readOnly = false;
  $('deeds').hidden = false;
  try {
    const before = JSON.parse(sessionStorage.getItem(kept) || 'null');
    if (before && before.text !== saved) {
      text.value = before.text;
      $('again').hidden = false;
      if (before.version !== version) {
        version = before.version;
        meanwhile();
      }
    }
  } catch (err) { /* a browser that keeps nothing */ }
  number();
  sketch();
  arrange();
  check();
  if (Number(code.dataset.line)) goTo(Number(code.dataset.line));
}

follow('things');

if ($('code')) start($('text'), $('code'));
