// The receipt of one purchase: the place in the sale, what it was and what it cost, and what comes next.

import { Problem, get, loginIsOver, request } from '../api.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, setAttribute } from '../dom.js';
import { count, dateTime, money, number, preciseTime, timeZone } from '../format.js';
import * as live from '../live.js';
import * as own from '../own.js';
import * as session from '../session.js';
import * as store from '../store.js';
import * as unpaid from '../unpaid.js';
import { ensureLogin, openAccount } from '../parts/account.js';
import { isDemo, purchaseActions } from '../parts/settling.js';
import { STATUS_NAMES, deadline, settledInWords, timeLeft } from '../parts/paying.js';
import { failure, notice, skeleton } from '../parts/states.js';

// Who cannot see the time run is told when it gets short.
const WARN_MS = [300_000, 60_000];

export function receipt(page) {
  const { root, parameters: [id], signal } = page;
  page.setTitle('Receipt');
  const body = h('div', {});
  root.append(h('p', { class: 'back' }, h('a', { href: '/my/purchases' }, session.isAdmin() ? '← All purchases' : '← My purchases')), body);

  let shown = null;
  let actions = null;
  // Ends what belongs to the purchase as it is shown.
  let scope = new AbortController();

  async function load() {
    scope.abort();
    [shown, actions] = [null, null];
    if (!session.user()) return body.replaceChildren(loginNotice());
    if (body.childElementCount === 0) body.replaceChildren(h('h1', { class: 'unseen', tabindex: '-1' }, 'Receipt'), skeleton('rows', 2, 'Loading the receipt'));
    try {
      await read();
    } catch (error) {
      if (signal.aborted) return undefined;
      if (loginIsOver(error)) return ensureLogin('Your login has expired. Log in again.');
      // The login is over for good: then the view has changed already.
      if (!session.user()) return undefined;
      const missing = error instanceof Problem && error.status === 404;
      body.replaceChildren(missing ? notice({
        heading: 'h1', title: 'There is no such purchase', text: 'The address is wrong, or it belongs to another account.',
        action: h('a', { class: 'button', href: '/my/purchases' }, 'See what you have bought'),
      }) : failure(error, load, 'h1'));
    }
    return undefined;
  }

  async function read() {
    const { data } = await request('GET', `/purchases/${id}`, { signal });
    if (!data.productName && !store.find(data.productId)) {
      // A name is nice to have; the receipt does not wait for it to come right.
      await get(`/products/${data.productId}`, { signal }).then(({ data: product }) => store.put(product), () => {});
    }
    show(data);
  }

  function show(purchase) {
    if (signal.aborted || JSON.stringify(shown) === JSON.stringify(purchase)) return;
    const before = shown;
    shown = purchase;
    scope.abort();
    scope = new AbortController();
    const alive = AbortSignal.any([signal, scope.signal]);
    const focused = document.activeElement?.tagName === 'H1' || body.contains(document.activeElement);
    actions ??= purchaseActions(purchase, show);
    actions.update(purchase);
    body.replaceChildren(receiptOf(purchase, actions, alive));
    // What had the focus is gone.
    if (focused && !body.contains(document.activeElement)) body.querySelector('h1').focus({ preventScroll: true });
    if (before && before.status !== purchase.status) announce(settledInWords(purchase, purchase.userId === session.user()?.id));
    if (unpaid.isUnpaid(purchase)) follow(purchase, alive);
    else if (purchase.status !== 'refunded') followRefund(purchase, alive);
  }

  function follow(purchase, alive) {
    live.follow(purchase.productId, {}, alive);
    unpaid.watch(purchase, (newer) => { own.settle(newer); show(newer); }, alive);
    if (purchase.status !== 'pending') return;
    for (const left of WARN_MS) {
      const instant = Date.parse(purchase.expiresAt) - left;
      if (instant > clock.now()) clock.at(instant, () => announce(`${count(left / 60_000, 'minute')} left to pay.`), alive);
    }
  }

  /// What is paid for changes only by a refund.
  function followRefund({ productId, sequence }, alive) {
    live.follow(productId, { purchases: true }, alive);
    live.onReleased((released) => {
      if (released.productId !== productId || released.sequence !== sequence) return;
      // If that fails, the next refresh finds it.
      read().catch(() => {});
    }, alive);
  }

  function loginNotice() {
    return notice({
      heading: 'h1', title: 'Log in to see this receipt',
      action: h('button', { type: 'button', class: 'button button-primary', onclick: () => openAccount('login') }, 'Log in'),
    });
  }

  session.onChange(load, signal);
  live.setRefresh(() => (session.user() ? read() : undefined), signal);
  return load();
}

function receiptOf(purchase, actions, signal) {
  const { id, productId, quantity, unitPrice, total, sequence, purchasedAt, status = 'confirmed', paymentReference, refundDue } = purchase;
  const name = purchase.productName ?? store.find(productId)?.name ?? `Product ${productId.slice(-6)}`;
  const isOwn = purchase.userId === session.user()?.id;
  const line = (label, ...content) => h('div', {}, h('dt', {}, label), h('dd', {}, ...content));
  return h('article', { class: 'receipt', 'data-purchase-id': id, 'data-status': status },
    h('p', { class: 'receipt-place' }, 'Number', h('b', {}, number(sequence))),
    h('h1', { tabindex: '-1', dir: 'auto' }, name),
    status === 'pending' ? payment(purchase, isOwn, actions, signal)
      : h('p', { class: 'receipt-next', 'data-status': status }, isOwn ? next(purchase) : settledInWords(purchase)),
    actions.element,
    h('dl', { class: 'receipt-lines' },
      line('Status', STATUS_NAMES[status] ?? status),
      line('Bought', h('time', { datetime: purchasedAt }, `${dateTime(purchasedAt)} (${preciseTime(purchasedAt)})`), h('span', { class: 'receipt-zone' }, ` ${timeZone(purchasedAt)}`)),
      isOwn ? '' : line('Buyer', h('code', {}, purchase.userId)),
      line('Quantity', number(quantity)),
      line('Price', money(unitPrice)),
      line('Total', h('b', {}, money(total))),
      paymentReference ? line('Payment', h('code', {}, paymentReference)) : '',
      refundDue ? line('Refund', isOwn ? 'Your payment came too late and is paid back.' : 'The payment came too late: it has to go back.') : '',
      line('Receipt number', h('code', {}, id))),
    h('p', { class: 'receipt-actions' },
      h('a', { class: 'button', href: `/sales/${productId}` }, 'Back to the sale'),
      h('button', { type: 'button', class: 'button', onclick: () => print() }, 'Print')));
}

/// How much is to be paid, until when, and how. When the time is over it says so, until the server says what has become
/// of the purchase.
function payment(purchase, isOwn, actions, signal) {
  const { total } = purchase;
  const time = h('p', { class: 'pay-time' }, h('span', {}, 'Pay ', h('b', {}, money(total))), ' ', timeLeft(() => purchase, signal).element);
  const until = h('p', {}, `${isOwn ? 'It is held for you' : 'It is held for its buyer'} until ${deadline(purchase)}. What is not paid for by then goes back on sale.`);
  const how = h('p', {}, isDemo ? 'This shop is being tried out without payments: an admin marks the purchase as paid. '
    : 'Pay in the way that this shop has told you, and give it the receipt number below. No money is taken on this page. ',
  'As soon as the shop has the payment, this page says so by itself.');
  const over = h('p', { class: 'pay-over' }, 'The time to pay is over. The shop is being asked whether it was paid for in time; until it answers, do not pay any more.');
  const element = h('div', { class: 'receipt-next', 'data-status': 'pending' },
    time, until, isOwn ? [h('h2', { class: 'pay-how' }, 'How to pay'), how] : null, over);
  let said = false;
  clock.onTick(() => {
    const isOver = unpaid.isOver(purchase);
    for (const child of element.children) child.hidden = (child === over) !== isOver;
    setAttribute(element, 'data-over', isOver ? '' : null);
    if (isOver && !said) announce('The time to pay is over.');
    if (isOver !== said) actions.update();
    said = isOver;
  }, signal);
  return element;
}

/// What happens now, and what the buyer has to do.
function next({ status = 'confirmed', refundDue, paymentReference }) {
  const money = refundDue ? ' Your payment came too late and is paid back.' : ' Your payment came too late and has been paid back.';
  const late = paymentReference ? money : '';
  switch (status) {
    case 'confirmed': return 'It is yours. The shop knows you by this number; keep the receipt until the goods are with you.';
    case 'expired': return `It was not paid for in time and went back on sale.${late || ' Nothing was charged.'}`;
    case 'canceled': return `It was canceled and went back on sale.${late}`;
    case 'refunded': return 'The shop has taken it back and refunds what was paid.';
    default: return '';
  }
}
