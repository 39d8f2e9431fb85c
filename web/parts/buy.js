// The button that buys, and the outcome in words.

import { inWords } from '../api.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText, unseen } from '../dom.js';
import { count, dateTime, money, number } from '../format.js';
import * as purchases from '../purchase.js';
import * as session from '../session.js';
import { ensureLogin } from './account.js';
import { asDigits } from './countdown.js';
import { field } from './fields.js';

const LABELS = { live: 'Buy now', upcoming: 'Not open yet', sold_out: 'Sold out', ended: 'Sale ended' };
// In the last hour the button itself counts down, because visitors look there.
const COUNT_DOWN_MS = 3_600_000;
// The shop may answer within a double click, whose second click is not meant as another purchase.
const REST_MS = 1_000;

/// A buy box for `product()`; call `update()` after the product has changed. The compact one buys a single unit.
export function buyBox(product, signal, { compact = false } = {}) {
  // An order that was sent and is not settled; the next press sends it again instead of buying once more.
  let order = null;
  let busy = false;
  let restUntil = 0;
  let status = 'upcoming';

  const label = h('span', {});
  const button = h('button', { type: 'button', class: 'button button-primary button-buy', onclick: press },
    label, compact ? unseen(` ${product().name}`) : null);
  const outcome = h('p', { class: 'outcome', role: 'status' });
  const quantity = compact ? null : field({
    name: 'quantity', label: 'Quantity',
    attributes: { type: 'number', inputmode: 'numeric', required: true, min: 1, step: 1, value: 1, class: 'quantity' },
  });
  const element = h('div', { class: compact ? 'buy buy-compact' : 'buy' },
    h('div', { class: 'buy-row' }, quantity?.element, button), outcome);

  function update() {
    status = clock.statusOf(product());
    if (quantity) {
      const max = Math.min(product().purchaseLimit, Math.max(1, product().stock));
      quantity.element.hidden = product().purchaseLimit === 1;
      setAttribute(quantity.control, 'max', max);
    }
    // Not `disabled`: that would take the focus from a visitor who waits on the button for the opening.
    const active = !busy && (status === 'live' || order !== null);
    setAttribute(button, 'aria-disabled', active ? null : 'true');
    setAttribute(button, 'aria-busy', busy ? 'true' : null);
    setAttribute(button, 'data-status', status);
    setText(label, labelText());
  }

  function labelText() {
    if (busy) return 'One moment…';
    if (order) return 'Check again';
    const left = Date.parse(product().saleStartTime) - clock.now();
    if (status === 'upcoming' && left <= COUNT_DOWN_MS) return `Opens in ${asDigits(left).replace(/^00:/, '')}`;
    return LABELS[status];
  }

  function say(kind, ...content) {
    setAttribute(outcome, 'data-outcome', kind);
    outcome.replaceChildren(...content);
  }

  async function press() {
    if (busy || performance.now() < restUntil) return;
    if (!order) {
      if (status !== 'live') return say('refused', whyNot(product(), status));
      if (quantity && !quantity.element.hidden && !quantity.control.reportValidity()) return;
      order = purchases.newOrder(product().id, quantity && !quantity.element.hidden ? Number(quantity.control.value) : 1);
    }
    await carryOut();
  }

  async function carryOut() {
    busy = true;
    update();
    try {
      await settle();
    } finally {
      busy = false;
      if (!signal.aborted) update();
    }
  }

  /// Sends the order until it is bought, refused or left uncertain, with a login on the way if needed.
  async function settle() {
    let reason = 'Log in or register, and the purchase goes on.';
    for (;;) {
      const id = session.user()?.id;
      if (!id) say('busy', 'Log in to go on.');
      if (!(await ensureLogin(reason))) {
        if (!order.unsure) order = null;
        return say('refused', order ? 'Log in to see whether it was bought.' : 'Nothing was bought: log in to buy.');
      }
      // Keys belong to an account, so one account cannot settle another's uncertain order.
      if (order.unsure && id && session.user().id !== id) order = purchases.newOrder(order.productId, order.quantity);
      if (button.isConnected && document.activeElement === document.body) button.focus();
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
      return say('unsure', 'It is not certain yet whether this was bought. ', inWords(error),
        ' Check again: it will not be bought twice.');
    }
    order = null;
    restUntil = performance.now() + REST_MS;
    if (kind === 'failed') return say('refused', 'Nothing was bought. ', inWords(error));
    if (kind === 'refused') return say('refused', refusal(problem));
    if (quantity) quantity.control.value = 1;
    const units = purchase.quantity > 1 ? `, ${count(purchase.quantity, 'unit')} for ${money(purchase.total)}` : '';
    say('bought', h('b', {}, `Bought: you are number ${number(purchase.sequence)}`), `${units}. `,
      h('a', { href: '#/purchases' }, 'Your purchases'));
  }

  clock.onTick(update, signal);
  // To the millisecond; the tick alone might come a moment after the opening.
  watchWindow();
  function watchWindow() {
    for (const instant of [product().saleStartTime, product().saleEndTime].map(Date.parse)) {
      if (instant > clock.now()) clock.at(instant, update, signal);
    }
  }

  const unfinished = compact ? null : purchases.unfinished(product().id);
  if (unfinished) {
    order = unfinished;
    carryOut();
  }
  return { element, update };
}

function whyNot(product, status) {
  const start = Date.parse(product.saleStartTime);
  if (status === 'upcoming') {
    const left = start - clock.now();
    if (left >= 60_000) return `The sale starts on ${dateTime(start)}.`;
    return `The sale starts in ${Math.max(1, Math.ceil(left / 1000))} s.`;
  }
  if (status === 'ended') return `The sale ended on ${dateTime(product.saleEndTime)}.`;
  return 'Sold out. If more comes in, you can buy here again.';
}

function refusal(problem) {
  const { remaining, limit, purchased, saleStartTime, saleEndTime, errors } = problem.body;
  switch (problem.code) {
    case 'sold_out': return 'Sold out: nothing was bought.';
    case 'insufficient_stock':
      return `Only ${number(remaining)} left, so nothing was bought. Choose ${number(remaining)} or fewer.`;
    case 'purchase_limit_reached':
      return `Nothing more was bought: one person may have ${number(limit)}, and you have ${number(purchased)}.`;
    case 'sale_not_started': return whyNot({ saleStartTime }, 'upcoming');
    case 'sale_ended': return whyNot({ saleEndTime }, 'ended');
    case 'validation_failed': {
      const reasons = (errors ?? []).map(({ field: name, message }) => `${name} ${message}`);
      return `Nothing was bought: ${reasons.join('; ')}.`;
    }
    default: return `Nothing was bought. ${inWords(problem)}`;
  }
}
