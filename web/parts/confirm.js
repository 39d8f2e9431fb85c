// Short dialogs: a question before an action that cannot be undone, and a message.

import { h, openModal, uniqueId } from '../dom.js';

/// Resolves to whether the answer was yes.
export async function confirm({ title, text, yes, no = 'Cancel', danger = true }) {
  const answer = await ask(title, text, [
    // First, so that it has the focus: a hasty Enter changes nothing.
    h('button', { class: 'button', value: '' }, no),
    h('button', { class: `button ${danger ? 'button-danger' : 'button-primary'}`, value: 'yes' }, yes),
  ]);
  return answer === 'yes';
}

/// Shows a message. Resolves when it is closed.
export function tell({ title, text }) {
  return ask(title, text, [h('button', { class: 'button', value: '' }, 'Close')]);
}

function ask(title, text, buttons) {
  const [titleId, textId] = [uniqueId('confirm'), uniqueId('confirm')];
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId, 'aria-describedby': textId },
    h('form', { method: 'dialog' },
      h('h2', { id: titleId, class: 'dialog-title' }, title),
      h('p', { id: textId }, text),
      h('div', { class: 'dialog-actions' }, buttons)));
  return openModal(dialog).then(() => dialog.returnValue);
}
