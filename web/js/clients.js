// The clients of the broker, as the server listed them: a filter, and a way to end a connection.

import { $, put } from './lists.js';
import { t } from './words.js';
import { follow, sayWhy } from './live.js';
import { tell } from './send.js';

const rows = Array.from(document.querySelectorAll('.client'));
const field = $('filter');
field.hidden = rows.length < 8;
field.oninput = () => {
  const text = field.value.trim().toLowerCase();
  rows.forEach((li) => { li.hidden = !!text && !li.textContent.toLowerCase().includes(text); });
};

document.querySelectorAll('.disconnect').forEach((button) => {
  button.hidden = false;
  button.onclick = async () => {
    try {
      await tell('/api/v1/clients/disconnect', { client: decodeURIComponent(button.dataset.client) });
      put(button, t('clients.disconnected'));
      button.disabled = true;
    } catch (err) {
      sayWhy(err);
    }
  };
});

follow('things', { title: t('clients.title') });
