// What people read, in their language, and the time by the clock of the house. The
// server sends each page those that modules name in a call of t.

const words = JSON.parse(document.getElementById('words').textContent);

export function t(key, values = {}) {
  return (words[key] || '').replace(/\{(\w+)\}/g, (whole, name) => name in values ? values[name] : whole);
}

export function number(n, unit) {
  return (String(Math.round(n * 100) / 100).replace('.', t('point')) + ' ' + (unit || '')).trim();
}

let now = { text: '', ms: 0, at: 0 };

export function houseTime(text) {
  now = { text, ms: Date.parse(text), at: performance.now() };
}

// The time of the house now, in milliseconds.
export function nowMs() { return now.ms + performance.now() - now.at; }

// The time of day as the house has it, with the date if that is not today's.
export function clock(text) {
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(now.text) || [];
  if (sign && text.endsWith('Z')) text = new Date(Date.parse(text) + (sign + 1) * (hours * 60 + +minutes) * 60000).toISOString();
  if (text.slice(0, 10) === now.text.slice(0, 10)) return text.slice(11, 19);
  const [year, month, day] = text.slice(0, 10).split('-');
  return t('date', { year, month, day }) + ' ' + text.slice(11, 16);
}

export function age(text) {
  const then = Date.parse(text);
  if (!(then >= 0)) return ''; // never
  if (then < 1e12) return t('age.unset'); // a Pi without a battery boots in 1970
  const s = (nowMs() - then) / 1000;
  if (s < 10) return t('age.now');
  if (s < 60) return t('age.seconds', { n: Math.floor(s / 10) * 10 });
  if (s < 3600) return t('age.minutes', { n: Math.floor(s / 60) });
  if (s < 86400) return t('age.hours', { n: Math.floor(s / 3600) });
  return t('age.days', { n: Math.floor(s / 86400) });
}
