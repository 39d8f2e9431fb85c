// What came of a press, in words, as long as it is true.

import { inWords } from '../api.js';
import * as clock from '../clock.js';
import { h, setAttribute } from '../dom.js';
import { count, dateTime, money, number } from '../format.js';
import * as store from '../store.js';
import { heldInWords } from './stock.js';

/// The place where the outcome stands. `say(kind, content, holds)`: `holds(product)` says how long it is true.
export function outcomeBox() {
  const element = h('p', { class: 'outcome', role: 'status' });
  let holds = null;
  return {
    element,
    say(kind, content, isTrue = null) {
      holds = isTrue;
      setAttribute(element, 'data-outcome', kind);
      element.replaceChildren(...[content].flat());
    },
    /// Takes back what is not true any more.
    update(product) {
      // What a refusal has just told is in the store, and not drawn yet.
      if (!holds || holds(store.find(product.id) ?? product)) return;
      holds = null;
      element.replaceChildren();
      setAttribute(element, 'data-outcome', null);
    },
  };
}

/// Why a sale with this status sells nothing, and how long that is true.
export function whyNot(product, status) {
  const still = (newer) => clock.statusOf(newer) === status;
  const start = Date.parse(product.saleStartTime);
  if (status === 'upcoming') {
    const left = start - clock.now();
    if (left >= 60_000) return [`The sale starts on ${dateTime(start)}.`, still];
    return ['The sale is about to start: press again when it opens.', still];
  }
  if (status === 'ended') return [`The sale ended on ${dateTime(product.saleEndTime)}.`, still];
  if (product.held > 0) {
    return [`Nothing is left, but ${heldInWords(product.held)}. What is not paid for in time comes back, and you can buy it here.`, still];
  }
  return ['Sold out. If more comes in, you can buy here again.', still];
}

/// A refusal of the server as a sentence, and how long it is true; null if until the next press.
export function refusal(problem, quantity) {
  const { remaining, limit, purchased, price, lapses, registeredBefore, saleStartTime, saleEndTime, errors } = problem.body;
  switch (problem.code) {
    case 'sold_out': return ['Sold out: nothing was bought.', ({ stock }) => stock === 0];
    case 'insufficient_stock':
      return [
        `Only ${number(remaining)} left, so nothing was bought. Choose ${number(remaining)} or fewer.`,
        ({ stock }) => stock < quantity && stock > 0,
      ];
    case 'purchase_limit_reached':
      return [
        `Nothing more was bought: one person may have ${number(limit)}, and you have ${number(purchased)}.`,
        (product) => product.purchaseLimit <= limit,
      ];
    case 'price_changed':
      return [`Nothing was bought: the price is ${money(price)} now. Press again if you want it for that.`, null];
    case 'sale_paused': return ['Nothing was bought: the shop has paused the sale.', ({ paused }) => paused];
    case 'too_many_lapses':
      return [`Nothing was bought: ${count(lapses, 'purchase')} of yours ended without a payment, so you cannot buy this any more.`, null];
    case 'account_too_new':
      return [`Nothing was bought: this sale is for accounts made before ${dateTime(registeredBefore)}.`, null];
    case 'sale_not_started': return whyNot({ saleStartTime }, 'upcoming');
    case 'sale_ended': return whyNot({ saleEndTime }, 'ended');
    case 'validation_failed': {
      const reasons = (errors ?? []).map(({ field: name, message }) => `${name} ${message}`);
      return [`Nothing was bought: ${reasons.join('; ')}.`, null];
    }
    default: return [`Nothing was bought. ${inWords(problem)}`, null];
  }
}
