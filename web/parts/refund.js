// Asks how a purchase is refunded.

import { h, openModal, uniqueId } from '../dom.js';
import { count, money, number } from '../format.js';
import { field } from './fields.js';

const REASON_CHARACTERS_MAX = 500;

/// Resolves to the body of the request, or to null.
export function askRefund({ sequence, quantity, total, paymentReference }) {
  const titleId = uniqueId('refund');
  const units = count(quantity, 'unit');
  const choice = (value, text, meaning, checked) => {
    const [id, meaningId] = [uniqueId('restock'), uniqueId('restock')];
    return h('div', { class: 'option' },
      h('input', { type: 'radio', name: 'restock', id, value, checked, 'aria-describedby': meaningId }),
      h('label', { for: id }, text), h('span', { class: 'option-meaning', id: meaningId }, meaning));
  };
  const reason = field({ name: 'reason', label: 'Reason', hint: 'For the audit log.', attributes: { type: 'text', maxlength: REASON_CHARACTERS_MAX, autocomplete: 'off' } });
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId },
    h('form', { class: 'form', method: 'dialog', onsubmit: () => { dialog.returnValue = 'yes'; } },
      h('h2', { class: 'dialog-title', id: titleId }, `Refund number ${number(sequence)}?`),
      h('p', {}, `${units} for ${money(total)}${paymentReference ? `, payment ${paymentReference}` : ''}. This moves no money: give it back where it was paid.`),
      h('fieldset', { class: 'options' }, h('legend', { class: 'unseen' }, 'What becomes of the goods'),
        choice('yes', 'Sell again', `${units} ${quantity === 1 ? 'is' : 'are'} for sale again`, true),
        choice('no', 'Do not sell again', 'the stock stays as it is', false)),
      reason.element,
      h('div', { class: 'dialog-actions' },
        h('button', { type: 'button', class: 'button', onclick: () => dialog.close('') }, 'Cancel'),
        h('button', { class: 'button button-danger' }, 'Refund'))));
  const closed = openModal(dialog);
  dialog.querySelector(':checked').focus();
  return closed.then(() => {
    const restock = dialog.querySelector(':checked').value === 'yes';
    const text = reason.control.value.trim();
    return dialog.returnValue === 'yes' ? { restock, ...(text ? { reason: text } : {}) } : null;
  });
}
