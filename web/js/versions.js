// The versions of the configuration: one can be made to be in force again.

import { $, put } from './lists.js';
import { t } from './words.js';
import { follow } from './live.js';
import { send } from './send.js';

const button = $('restore');
if (button) {
  button.disabled = false;
  button.onclick = async () => {
    button.disabled = true;
    button.setAttribute('aria-busy', 'true');
    let told = t('versions.gone');
    try {
      const answer = await send('/api/v1/config/version/' + button.dataset.id, { sum: button.dataset.sum });
      if (answer.ok) {
        location.assign('/edit/versions');
        return;
      }
      told = [answer.body.error].concat((answer.body.mistakes || []).map((m) => m.message)).join('\n');
    } catch (err) { /* nobody there: said below */ }
    button.disabled = false;
    button.removeAttribute('aria-busy');
    put($('told'), told);
    $('told').hidden = false;
  };
}

follow('things', { title: t('versions.title') });
