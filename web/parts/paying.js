// What is to be paid, and until when.

import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import { clockTime, count, dateTime, inWords, money, number } from '../format.js';
import * as unpaid from '../unpaid.js';
import { asShortDigits } from './countdown.js';

const DAY_MS = 86_400_000;

/// What a purchase is, in words.
export const STATUS_NAMES = {
  pending: 'Waiting for payment', confirmed: 'Confirmed', expired: 'Expired: not paid in time', canceled: 'Canceled', refunded: 'Refunded',
};

/// The time that a sale leaves for the payment: `15 minutes`.
export function windowInWords(seconds) {
  return seconds % 60 === 0 ? inWords(seconds * 1000) : count(seconds, 'second');
}

/// The moment until which a purchase has to be paid for: the time alone if that is clear.
export function deadline({ expiresAt }) {
  const instant = Date.parse(expiresAt);
  return Math.abs(instant - clock.now()) < DAY_MS / 2 ? clockTime(instant) : dateTime(instant);
}

/// The time that is left to pay for `purchase()`, ticking until `signal`: `within 14:59`. Not a live region: it would speak all the time.
export function timeLeft(purchase, signal) {
  const digits = h('span', { 'aria-hidden': 'true' });
  const words = h('span', { class: 'unseen' });
  const label = h('span', {});
  const element = h('span', { class: 'time' }, label, ' ', h('span', { class: 'time-left', role: 'timer' }, digits, words));
  function update() {
    const left = Date.parse(purchase().expiresAt) - clock.now();
    // Without the server's clock a countdown might be days wrong.
    setText(label, clock.isSynced() ? 'within' : 'by');
    setText(digits, clock.isSynced() ? asShortDigits(left) : deadline(purchase()));
    setText(words, clock.isSynced() ? inWords(left) : deadline(purchase()));
  }
  clock.onTick(update, signal);
  return { element, update };
}

/// What the visitor has to pay for, of `purchases()`, the most urgent first. Hidden while there is nothing.
export function heldLine(purchases, signal) {
  let first = null;
  const what = h('b', {});
  const of = h('span', {});
  const over = h('span', {}, 'The time to pay is over.');
  const left = timeLeft(() => first ?? { expiresAt: 0 }, signal);
  const within = h('span', {}, 'Pay ', left.element, ': ');
  const link = h('a', {});
  const element = h('p', { class: 'outcome', 'data-outcome': 'held', hidden: true }, what, of, over, within, ' ', link);
  return {
    element,
    update() {
      const all = purchases();
      element.hidden = all.length === 0;
      if (all.length === 0) return;
      [first] = all;
      left.update();
      over.hidden = !unpaid.isOver(first);
      within.hidden = !over.hidden;
      const { id, sequence, quantity, total } = first;
      setText(what, all.length === 1 ? `Held for you: you are number ${number(sequence)}` : `${number(all.length)} purchases are held for you`);
      setText(of, all.length === 1 ? `, ${count(quantity, 'unit')} for ${money(total)}. ` : '. ');
      setText(link, all.length === 1 ? 'how to pay, or give it up' : 'your purchases');
      setAttribute(link, 'href', all.length === 1 ? `/my/purchases/${id}` : '/my/purchases');
    },
  };
}

/// What has become of a purchase, which may be the visitor's own.
export function settledInWords({ sequence, status, quantity }, isOwn = false) {
  const it = `Number ${number(sequence)}`;
  const back = quantity === 1 ? 'It is for sale again.' : 'Its units are for sale again.';
  switch (status) {
    case 'confirmed': return isOwn ? `${it} is paid for: it is yours.` : `${it} is confirmed.`;
    case 'expired': return `${it} has expired: it was not paid for in time. ${back}`;
    case 'canceled': return `${it} is canceled. ${back}`;
    case 'refunded': return `${it} is refunded.`;
    default: return `${it}: ${STATUS_NAMES[status] ?? status}.`;
  }
}
