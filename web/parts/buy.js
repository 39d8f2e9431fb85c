// The bar that buys, on the page of a sale: countdown, price, stock, the button, and what came of it. On a phone or in
// a short window it stays at the bottom of the screen.

import { check } from '../access.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText, whenOver } from '../dom.js';
import { brief, count, dateTime, money, number } from '../format.js';
import * as own from '../own.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { ensureLogin } from './account.js';
import { buyer } from './buyer.js';
import { asShortDigits, countdown } from './countdown.js';
import { field } from './fields.js';
import { priceTag } from './labels.js';
import { outcomeBox, whyNot } from './outcome.js';
import { heldLine, settledInWords, windowInWords } from './paying.js';
import { stockBar } from './stock.js';

const LABELS = { upcoming: 'Not open yet', sold_out: 'Sold out', ended: 'Sale ended' };
const PAUSED = 'The shop has paused the sale, so nobody can buy. It goes on here as soon as the shop lets it.';
// The page knows the server's clock only about as well.
const LATE_MS_MIN = 100;
// In the last hour the button itself counts down, because visitors look there.
const COUNT_DOWN_MS = 3_600_000;
// After a press that must not be repeated in a hurry, the button waits until nobody has pressed for this long.
const REST_MS = 1_000;
// A login is checked once more before the opening, each visitor's at another moment, and not when all are about to press.
const CHECK_MS_BEFORE = 30_000;
const CHECK_SPREAD_MS = 270_000;

/// The bar for `product()`; call `update()` after the product has changed. `lastSale()` is the newest purchase, or null if it
/// is not known.
export function buyBar(product, lastSale, signal) {
  let status = 'upcoming';
  // Whoever has bought buys one more only after saying so.
  let more = false;
  let known = product().price;
  let resting = false;
  // When the press was made that came too late.
  let tooLateAt = null;
  let pressedAt = null;
  let restTimer;

  const timer = countdown(product, signal);
  const stock = stockBar();
  const price = priceTag();
  const sum = h('span', { class: 'bar-sum' });
  price.element.append(sum);
  const note = h('p', { class: 'bar-note' });
  const held = heldLine(() => mine()?.unpaid ?? [], signal);
  const outcome = outcomeBox();
  const label = h('span', {});
  const button = h('button', { type: 'button', class: 'button button-primary button-buy', onclick: press }, label);
  const again = h('button', { type: 'button', class: 'button button-again', onclick: () => (more ? wantNoMore() : wantMore()) });
  const quantity = field({
    name: 'quantity', label: 'Units',
    attributes: { type: 'number', inputmode: 'numeric', required: true, min: 1, step: 1, value: 1, class: 'quantity' },
  });
  quantity.control.addEventListener('input', () => update());
  const element = h('section', { class: 'bar', 'aria-label': 'Buy' },
    h('div', { class: 'bar-in' },
      h('div', { class: 'bar-facts' }, price.element, timer.element, stock.element),
      outcome.element,
      held.element,
      // Before the button: on a phone that stands at the edge of the screen, and must not move when the note goes.
      note,
      h('div', { class: 'buy-row' }, quantity.element, button, again)));
  const orders = buyer(product, { outcome, changed, refused, signal, showsHeld: true });

  const mine = () => own.of(product().id);
  const has = () => mine()?.purchased ?? 0;
  const mayHave = () => own.remaining(product());
  // Not the limit is in the way, but what was let go before.
  const isBarred = () => mayHave() === 0 && has() < product().purchaseLimit;
  const isDone = () => has() > 0 && !more;
  // Nothing of it is paid for.
  const isHeld = () => mine()?.unpaid.length > 0 && mine().unpaid.length === mine().numbers.size;
  const isLive = () => status === 'live' && !product().paused;

  function chosen() {
    if (quantity.element.hidden) return 1;
    const units = Number(quantity.control.value);
    return Number.isInteger(units) && units > 0 ? units : 1;
  }

  function update() {
    status = clock.statusOf(product());
    seePrice();
    const max = Math.max(1, Math.min(mayHave(), Math.max(1, product().stock)));
    quantity.element.hidden = max === 1 || isDone() || status === 'sold_out' || status === 'ended';
    setAttribute(quantity.control, 'max', max);
    const isActive = !orders.busy && !resting
      && (orders.unsure || (!isDone() && !isBarred() && (isLive() || (status === 'upcoming' && !session.user()))));
    // Not `disabled`: that would take the focus from a visitor who waits on the button for the opening.
    setAttribute(button, 'aria-disabled', isActive ? null : 'true');
    setAttribute(button, 'aria-busy', orders.busy ? 'true' : null);
    setAttribute(button, 'data-status', isDone() ? (isHeld() ? 'held' : 'bought') : status);
    setText(label, labelText());
    setText(again, more ? 'No more' : 'Buy one more');
    again.hidden = orders.busy || orders.unsure || !(more || (isDone() && isLive() && mayHave() > 0));
    price.update(product());
    setText(sum, sumText());
    setText(note, [noteText(), payText()].filter(Boolean).join(' '));
    note.hidden = note.textContent === '';
    outcome.update(product());
    held.update();
    stock.update(product(), status);
    timer.update();
  }

  // What a refusal has just told is in the store, and not drawn yet.
  const newestPrice = () => (store.find(product().id) ?? product()).price;

  /// Who presses at the moment when the price changes has read the old one.
  function seePrice() {
    const price = newestPrice();
    const before = known;
    known = price;
    if (price.amount === before.amount && price.currency === before.currency) return;
    const words = `The price is ${money(price)} now; it was ${money(before)}.`;
    // A press that is under way carries the price that it was made for.
    if (orders.busy || orders.unsure || isDone() || !['live', 'upcoming'].includes(status)) return announce(words);
    rest();
    outcome.say('refused', status === 'live' ? `${words} Press if you want it for that.` : words);
  }

  function labelText() {
    if (orders.busy) return 'One moment…';
    if (orders.unsure) return 'Check again';
    if (isDone()) return haveText();
    if (isBarred() && status !== 'ended') return 'Not for you any more';
    if (product().paused && (status === 'live' || status === 'upcoming')) return 'Paused by the shop';
    if (status === 'upcoming') {
      if (!session.user()) return 'Get ready';
      const left = Date.parse(product().saleStartTime) - clock.now();
      return clock.isSynced() && left <= COUNT_DOWN_MS ? `Opens in ${asShortDigits(left)}` : LABELS.upcoming;
    }
    if (status === 'live') return more ? `Buy ${number(chosen())} more` : 'Buy now';
    return LABELS[status];
  }

  /// What the visitor has: the place in the sale is what people ask for.
  function haveText() {
    const numbers = [...(mine()?.numbers ?? [])].sort((a, b) => a - b).map(number);
    const units = has();
    if (isHeld()) {
      return numbers.length === 1 ? `Held for you: number ${numbers[0]}` : `${number(units)} are held for you`;
    }
    if (numbers.length === 0) return units === 1 ? 'You have it' : `You have ${number(units)}`;
    if (numbers.length === 1) return units === 1 ? `You have it: number ${numbers[0]}` : `You have ${number(units)}: number ${numbers[0]}`;
    const shown = numbers.length > 3 ? ['…', ...numbers.slice(-3)] : numbers;
    return `You have ${number(units)}: numbers ${shown.join(', ')}`;
  }

  function sumText() {
    const units = chosen();
    return units === 1 || product().price.amount === 0 ? '' : ` ${number(units)} for ${total(units)}`;
  }

  function total(units) {
    return money({ ...product().price, amount: product().price.amount * units });
  }

  function noteText() {
    const { registeredBefore, purchaseLimit } = product();
    const user = session.user();
    if (isDone()) {
      if (purchaseLimit === 1) return '';
      return `You have ${number(has())} of the ${number(purchaseLimit)} that one person may have.`;
    }
    if (product().paused && (status === 'live' || status === 'upcoming')) return PAUSED;
    // What is held may come back: then nothing is gone yet.
    if (status === 'sold_out') return product().held > 0 ? '' : goneText();
    if (status !== 'upcoming') return '';
    if (user && registeredBefore && Date.parse(user.createdAt) >= Date.parse(registeredBefore)) {
      return `You cannot buy this: it is for accounts made before ${dateTime(registeredBefore)}.`;
    }
    if (product().stock === 0) return product().held > 0 ? 'All that is left is held by others at the moment.' : 'Nothing is left of it at the moment.';
    if (!user) return 'Log in before the opening: then one press buys.';
    const costs = product().price.amount === 0 ? 'for free' : `for ${total(chosen())}`;
    return `You are ready: ${number(chosen())} ${costs}, logged in as ${user.name}. At the opening, one press buys.`;
  }

  /// How long one has to pay after the press; or how often the visitor has not paid, and what comes of it.
  function payText() {
    const { paymentWindowSeconds } = product();
    if (!paymentWindowSeconds || status === 'ended') return '';
    const lapses = mine()?.lapses ?? 0;
    const what = `${count(lapses, 'purchase')} of yours ended without a payment`;
    if (isBarred()) return `${what}, so you cannot buy more of this.`;
    if (lapses > 0) return `${what}. After ${own.LAPSES_MAX} you cannot buy this any more.`;
    return isDone() || status === 'sold_out' ? '' : `After the press you have ${windowInWords(paymentWindowSeconds)} to pay.`;
  }

  /// How fast it went, and how close it was, by the database's clock: that of the purchases, and the one that the page follows.
  function goneText() {
    const last = Date.parse(lastSale()?.purchasedAt ?? NaN);
    const start = Date.parse(product().saleStartTime);
    // The opening may have been moved to after the last purchase.
    if (Number.isNaN(last) || last < start) return '';
    const late = tooLateAt === null || !clock.isSynced() ? 0 : tooLateAt - last;
    const gone = `Gone ${brief(last - start)} after the opening`;
    return late < LATE_MS_MIN ? `${gone}.` : `${gone}; you were ${brief(late)} too late.`;
  }

  function changed() {
    if (signal.aborted) return;
    if (!orders.busy && button.isConnected && document.activeElement === document.body) button.focus();
    update();
  }

  /// A new price has to be read before it is accepted: whoever presses in a hurry meant the old one.
  function refused(code) {
    if (code === 'price_changed') {
      known = newestPrice();
      rest();
    }
    if (code === 'sold_out') tooLateAt = pressedAt;
  }

  function rest() {
    resting = true;
    clearTimeout(restTimer);
    restTimer = setTimeout(() => { resting = false; update(); }, REST_MS);
  }

  async function press() {
    if (orders.busy) return;
    if (resting) return rest();
    if (orders.unsure) return orders.buy();
    if (isDone()) return;
    if (product().paused && status !== 'ended') {
      return outcome.say('refused', PAUSED, ({ paused }) => paused);
    }
    if (status === 'upcoming' && !session.user()) {
      await ensureLogin('Log in or register now, and at the opening one press buys.');
      return update();
    }
    if (status !== 'live') return outcome.say('refused', ...whyNot(product(), status));
    if (!quantity.element.hidden && !quantity.control.reportValidity()) return;
    pressedAt = clock.now();
    await orders.buy(chosen());
  }

  function wantMore() {
    more = true;
    quantity.control.value = 1;
    outcome.say(null, []);
    // The button that was pressed is gone; a key held down must not press the next one.
    rest();
    update();
    button.focus();
    // More may have been bought on another device. Not after each purchase: at an opening that would be a read for each.
    own.load(product().id, signal);
  }

  function wantNoMore() {
    more = false;
    update();
    again.focus();
  }

  /// Asks what the visitor has; the answer also says whether the login is good.
  async function learn() {
    if (!session.user() || (await own.load(product().id, signal)) || status !== 'upcoming') return;
    check();
  }

  clock.onTick(update, signal);
  // To the millisecond; the tick alone might come a moment after the opening.
  for (const instant of [product().saleStartTime, product().saleEndTime].map(Date.parse)) {
    if (instant > clock.now()) clock.at(instant, update, signal);
  }
  const checkAt = Date.parse(product().saleStartTime) - CHECK_MS_BEFORE - Math.random() * CHECK_SPREAD_MS;
  if (checkAt > clock.now()) clock.at(checkAt, () => { if (clock.isSynced()) check(); }, signal);
  let whose = session.user()?.id;
  session.onChange(() => {
    update();
    if (whose === session.user()?.id) return;
    whose = session.user()?.id;
    learn();
  }, signal);
  let had = has();
  own.onChange(() => {
    // What was bought was the one more; the next is a new decision.
    if (has() > had) {
      more = false;
      quantity.control.value = 1;
    }
    had = has();
    update();
  }, signal);
  own.onSettled((purchase) => {
    if (purchase.productId === product().id) outcome.say(purchase.status === 'confirmed' ? 'bought' : 'refused', settledInWords(purchase, true));
  }, signal);
  whenOver(signal, () => clearTimeout(restTimer));
  keepClear(element, signal);
  orders.resume();
  learn();
  return { element, update };
}

/// Tells the styles how much of the screen the bar covers when it is fixed to the bottom, so that nothing, above all
/// nothing that has the focus, stays behind it.
function keepClear(element, signal) {
  const root = document.documentElement;
  const measure = () => {
    const fixed = getComputedStyle(element).position === 'fixed';
    root.style.setProperty('--bar', fixed ? `${Math.ceil(element.getBoundingClientRect().height)}px` : '0px');
  };
  const observer = new ResizeObserver(measure);
  observer.observe(element);
  addEventListener('resize', measure, { signal });
  whenOver(signal, () => {
    observer.disconnect();
    root.style.removeProperty('--bar');
  });
}
