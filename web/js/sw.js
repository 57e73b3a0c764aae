/* global kept, shell */
// The worker of the installed page, served as /sw.js with the names of what it keeps before it.
// It keeps modules, style and a page that says that there is no hub; never what the house says.
// Pages come from the hub as long as there is one, so none is of an older version.

self.addEventListener('install', (e) => {
  e.waitUntil(caches.open(kept).then((cache) => cache.addAll(shell)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (e) => {
  const old = (names) => names.filter((name) => name.startsWith('hearth-') && name !== kept);
  e.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))).then(() => self.clients.claim()));
});

// An asset has its version in its address, so one that is kept is right.
async function asset(request) {
  const cache = await caches.open(kept);
  const there = await cache.match(request);
  if (there) return there;
  const answer = await fetch(request);
  if (answer.ok) cache.put(request, answer.clone());
  return answer;
}

async function page(request) {
  try {
    return await fetch(request);
  } catch (err) {
    return (await caches.match('/offline')) || Promise.reject(err);
  }
}

self.addEventListener('fetch', (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (url.pathname.startsWith('/assets/')) {
    e.respondWith(asset(e.request));
  } else if (e.request.mode === 'navigate' && !/^\/(login|logout|setup|api|hook|metrics|healthz)(\/|$)/.test(url.pathname)) {
    e.respondWith(page(e.request));
  }
});
