// Asks for confirmation before an action that cannot be undone.

import { h, uniqueId } from '../dom.js';

/// Resolves to whether the answer was yes.
export function confirm({ title, text, yes }) {
  const [titleId, textId] = [uniqueId('confirm'), uniqueId('confirm')];
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId, 'aria-describedby': textId },
    h('form', { method: 'dialog' },
      h('h2', { id: titleId, class: 'dialog-title' }, title),
      h('p', { id: textId }, text),
      h('div', { class: 'dialog-actions' },
        // First, so that it has the focus: a hasty Enter changes nothing.
        h('button', { class: 'button', value: '' }, 'Cancel'),
        h('button', { class: 'button button-danger', value: 'yes' }, yes))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
}
