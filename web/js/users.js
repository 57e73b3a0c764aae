// Users, tokens and one's own login are forms, which need no script. This keeps the rest of the
// page live, and asks once more before somebody is removed.

import { follow } from './live.js';

document.querySelectorAll('form[data-ask]').forEach((form) => {
  form.onsubmit = () => window.confirm(form.dataset.ask);
});

follow('things');
