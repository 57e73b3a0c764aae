// What the worker shows where there is no hub: since when, and it tries again by itself.

import { t } from './words.js';

let last = null;
try { last = localStorage.getItem('live'); } catch (err) { /* it keeps nothing here */ }
if (last) {
  const [year, month, day] = last.slice(0, 10).split('-');
  const at = document.getElementById('last');
  at.textContent = t('offline.last', { time: t('date', { year, month, day }) + ' ' + last.slice(11, 16) });
  at.hidden = false;
}

// Whoever opens /offline itself is told nothing is wrong.
if (location.pathname !== '/offline') {
  const look = () => fetch('/healthz', { cache: 'no-store' }).then(() => location.reload(), () => {});
  setInterval(look, 3000);
  window.addEventListener('online', look);
  document.getElementById('again').onclick = (e) => { e.preventDefault(); location.reload(); };
}
