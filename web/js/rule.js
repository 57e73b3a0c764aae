// One rule: when it stands otherwise, its parts are fetched as the server draws them.

import { $ } from './lists.js';
import { follow, sayWhy } from './live.js';
import { tell } from './send.js';

const name = $('rule').dataset.name;
const base = name.split('[')[0];
const part = (root, which) => root.querySelector('[data-part=' + which + ']');

function fresh() {
  return new Promise((resolve, reject) => {
    const asked = new XMLHttpRequest();
    asked.open('GET', location.pathname);
    asked.responseType = 'document';
    asked.onload = () => asked.status === 200 && asked.response ? resolve(asked.response) : reject(new Error(asked.statusText));
    asked.onerror = () => reject(new TypeError());
    asked.send();
  });
}

let fetching = false;
let again = false;

async function update() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const page = await fresh();
    ['head', 'now', 'runs'].forEach((which) => {
      const is = part(document, which);
      const was = part(page, which);
      if (is && was && is.outerHTML !== was.outerHTML) {
        const within = is.contains(document.activeElement) && document.activeElement.className;
        is.parentNode.replaceChild(document.importNode(was, true), is);
        if (within === 'switch') part(document, which).querySelector('.switch').focus();
      }
    });
    arm();
  } catch (err) { /* the stream says that there is nobody */ }
  setTimeout(() => {
    fetching = false;
    if (again) {
      again = false;
      update();
    }
  }, 1000);
}

// arm lets the switch work without the page being loaded anew.
function arm() {
  const form = part(document, 'head').querySelector('form');
  if (!form) return;
  form.onsubmit = (e) => {
    e.preventDefault();
    const button = form.querySelector('button');
    form.classList.add('asked');
    tell('/api/v1/rules/' + encodeURIComponent(base), { enabled: button.getAttribute('aria-checked') !== 'true' })
      .then(update)
      .catch((err) => sayWhy(err, name))
      .then(() => form.classList.remove('asked'));
  };
}

arm();
follow('rules', {
  title: name,
  whole: update, // also what happened since it was drawn
  happened(e) { if (e.rule && e.rule.name === base) update(); },
});
