// Carries out purchases of one product: logs in on the way, sends until there is an answer, says what came of it.

import { get, inWords } from '../api.js';
import { announce } from '../announce.js';
import { h } from '../dom.js';
import { clockTime, count, money, number } from '../format.js';
import { deadline, settledInWords } from './paying.js';
import * as own from '../own.js';
import * as purchases from '../purchase.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { ensureLogin } from './account.js';
import { refusal } from './outcome.js';

/// What a refusal tells of the product, by its code. Without it the page might take back at once what it says of the refusal.
const TOLD = {
  sold_out: () => ({ stock: 0 }),
  insufficient_stock: ({ remaining }) => ({ stock: remaining }),
  purchase_limit_reached: ({ limit }) => ({ purchaseLimit: limit }),
  price_changed: ({ price }) => ({ price }),
  sale_paused: () => ({ paused: true }),
  sale_not_started: ({ saleStartTime }) => ({ saleStartTime }),
  sale_ended: ({ saleEndTime }) => ({ saleEndTime }),
};

/// `product()` is the newest version; `outcome` is where to say it until `signal`; `changed()` is called when `busy` or
/// `unsure` changes; `refused(code)` after a refusal. `showsHeld`: what has to be paid for stands beside the outcome.
export function buyer(product, { outcome, changed, signal, refused = () => {}, showsHeld = false }) {
  // An order that was sent and is not settled; it is sent again instead of buying once more.
  let order = null;
  let busy = false;
  const say = (...said) => { if (!signal.aborted) outcome.say(...said); };

  async function carryOut() {
    busy = true;
    changed();
    try {
      await settle();
    } finally {
      busy = false;
      changed();
    }
  }

  /// Sends the order until it is bought, refused or left uncertain, with a login on the way if needed.
  async function settle() {
    let reason = 'Log in or register, and the purchase goes on.';
    for (;;) {
      if (!session.user()) say('busy', 'Log in to go on.');
      if (!(await ensureLogin(reason))) {
        if (!order.unsure) order = null;
        return say('refused', order ? 'Log in to see whether it was bought.' : 'Nothing was bought: log in to buy.');
      }
      // Nobody pays for what somebody else has pressed. An uncertain order stays with its account.
      if (order.userId && session.user().id !== order.userId) {
        order = null;
        return say('refused', `Nothing was bought for ${session.user().name}: another account had pressed. Press again if you want it.`);
      }
      say('busy', order.unsure ? 'Not sure yet: checking…' : 'Buying…');
      const result = await purchases.buy(order, (unsure) => {
        say('busy', unsure ? 'Not sure yet: checking…' : 'The shop is very busy. Trying again…');
      });
      if (result.outcome !== 'login') return tell(result);
      reason = 'Your login has expired. Log in again, and the purchase goes on.';
    }
  }

  function tell({ outcome: kind, purchase, problem, error }) {
    if (kind === 'unsure') {
      return sayUnsure('It is not certain yet whether this was bought. ', inWords(error));
    }
    const { quantity, productId } = order;
    order = null;
    if (kind === 'failed') return say('refused', `Nothing was bought. ${inWords(error)}`);
    if (kind === 'refused') {
      learn(productId, problem);
      say('refused', ...refusal(problem, quantity));
      return refused(problem.code);
    }
    sayBought(purchase);
  }

  /// Leaves it to the visitor what becomes of an order without an answer.
  function sayUnsure(...why) {
    const giveUp = h('button', { type: 'button', class: 'link-button', onclick: forget }, 'forget it');
    say('unsure', [...why, ' Check again: if it was not bought, it is bought now, and never twice. Or ', giveUp, '.']);
  }

  function forget() {
    if (busy || !order) return;
    purchases.forget(order);
    own.load(order.productId, signal);
    order = null;
    say('refused', 'Forgotten. If it reached the shop after all, it is among your purchases.');
    changed();
  }

  function sayBought({ id, productId, sequence, quantity, total, status = 'confirmed', expiresAt }) {
    const of = `, ${count(quantity, 'unit')} for ${money(total)}. `;
    const receipt = (text) => h('a', { href: `/my/purchases/${id}` }, text);
    if (status === 'confirmed') {
      return say('bought', [h('b', {}, `Bought: you are number ${number(sequence)}`), of, receipt('Your receipt')]);
    }
    // A repeated press may find what has ended long ago.
    if (status !== 'pending') {
      return say('refused', [settledInWords({ sequence, status, quantity }), ' ', receipt('Your receipt')]);
    }
    const held = `Held for you: you are number ${number(sequence)}`;
    if (showsHeld) {
      announce(`${held}${of} Pay by ${deadline({ expiresAt })}.`);
      return say(null, []);
    }
    const isUnpaid = () => own.of(productId)?.unpaid.some((one) => one.id === id) ?? false;
    return say('held', [
      h('b', {}, held), of,
      `It is yours once it is paid for, by ${deadline({ expiresAt })}. `, receipt('Pay, or give it up'),
    ], isUnpaid);
  }

  /// What a refusal tells may be newer than what the page knows, above all while there is no socket.
  function learn(productId, { code, body }) {
    if (code === 'too_many_lapses') own.correctLapses(productId, body.lapses);
    if (code === 'purchase_limit_reached') own.correct(productId, body.purchased);
    const told = TOLD[code]?.(body);
    if (told) store.putTold(productId, told);
    get(`/products/${productId}`).then(({ data }) => store.put(data), () => {});
  }

  return {
    get busy() { return busy; },
    get unsure() { return order !== null && !busy; },
    /// Buys, at the price that the page shows.
    buy(quantity) {
      if (busy) return undefined;
      order ??= purchases.newOrder(product().id, quantity, product().price);
      return carryOut();
    },
    /// Goes on with the order that was pending when the page went away; asks first if the press was long ago.
    resume() {
      const unfinished = purchases.unfinished(product().id);
      if (!unfinished || busy || order) return;
      order = unfinished;
      if (purchases.isStillMeant(order)) return carryOut();
      sayUnsure(`Your press of ${clockTime(order.pressedAt)} got no answer.`);
      changed();
    },
  };
}
