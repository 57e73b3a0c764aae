// How the house and its machine are doing, asked for anew now and then. The server says each
// figure in words, so a page in German has them in German.

import { $, put, makeList } from './lists.js';
import { t } from './words.js';
import { follow } from './live.js';
import { inLanguage } from './send.js';

const rows = new Map(Array.from(document.querySelectorAll('[data-key]'), (row) => [row.dataset.key, row]));
const findings = makeList($('findings'), $('finding'), (f) => f.level + f.what, (li, f) => {
  li.className = 'card finding ' + f.level;
  put(li.querySelector('.what'), f.what);
  put(li.querySelector('.do'), f.do);
});

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(inLanguage('/api/v1/health'));
    if (!answer.ok) return;
    const c = await answer.json();
    findings.all(c.findings);
    $('well').hidden = c.findings.length > 0;
    c.figures.forEach((f) => {
      const row = rows.get(f.key);
      if (!row) return;
      put(row.querySelector('dd'), f.text);
      row.classList.toggle('bad', !!f.bad);
    });
  } catch (err) { /* the stream says so */ }
}

setInterval(look, 10000);
document.addEventListener('visibilitychange', look);

follow('things', { title: t('health.title'), whole: look });
