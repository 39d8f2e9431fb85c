// The receipt of one purchase: the place in the sale, what it was and what it cost, and what comes next.

import { Problem, get, loginIsOver, request } from '../api.js';
import { h } from '../dom.js';
import { dateTime, money, number, preciseTime, timeZone } from '../format.js';
import * as live from '../live.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { ensureLogin, openAccount } from '../parts/account.js';
import { failure, notice, skeleton } from '../parts/states.js';

export const STATUS_NAMES = {
  pending: 'Waiting for payment', confirmed: 'Confirmed', expired: 'Expired: not paid in time', canceled: 'Canceled', refunded: 'Refunded',
};

export function receipt(page) {
  const { root, parameters: [id], signal } = page;
  page.setTitle('Receipt');
  const body = h('div', {});
  root.append(h('p', { class: 'back' }, h('a', { href: '/my/purchases' }, session.isAdmin() ? '← All purchases' : '← My purchases')), body);

  let shown = '';
  async function load() {
    shown = '';
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
    if (signal.aborted || shown === JSON.stringify(data)) return;
    shown = JSON.stringify(data);
    const focused = document.activeElement?.tagName === 'H1';
    body.replaceChildren(receiptOf(data));
    if (focused) body.querySelector('h1').focus({ preventScroll: true });
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

function receiptOf(purchase) {
  const { id, productId, quantity, unitPrice, total, sequence, purchasedAt, status = 'confirmed', paymentReference, refundDue } = purchase;
  const name = purchase.productName ?? store.find(productId)?.name ?? `Product ${productId.slice(-6)}`;
  const line = (label, ...content) => h('div', {}, h('dt', {}, label), h('dd', {}, ...content));
  return h('article', { class: 'receipt', 'data-purchase-id': id },
    h('p', { class: 'receipt-place' }, 'Number', h('b', {}, number(sequence))),
    h('h1', { tabindex: '-1', dir: 'auto' }, name),
    h('p', { class: 'receipt-next', 'data-status': status }, next(purchase)),
    h('dl', { class: 'receipt-lines' },
      line('Status', STATUS_NAMES[status] ?? status),
      line('Bought', h('time', { datetime: purchasedAt }, `${dateTime(purchasedAt)} (${preciseTime(purchasedAt)})`), h('span', { class: 'receipt-zone' }, ` ${timeZone(purchasedAt)}`)),
      line('Quantity', number(quantity)),
      line('Price', money(unitPrice)),
      line('Total', h('b', {}, money(total))),
      paymentReference ? line('Payment', h('code', {}, paymentReference)) : '',
      refundDue ? line('Refund', 'Your payment came too late and is paid back.') : '',
      line('Receipt number', h('code', {}, id))),
    h('p', { class: 'receipt-actions' },
      h('a', { class: 'button', href: `/sales/${productId}` }, 'Back to the sale'),
      h('button', { type: 'button', class: 'button', onclick: () => print() }, 'Print')));
}

/// What happens now, and what the buyer has to do.
function next({ status = 'confirmed', expiresAt, refundDue }) {
  switch (status) {
    case 'confirmed': return 'It is yours. The shop knows you by this number; keep the receipt until the goods are with you.';
    case 'pending': return `It is held for you until ${dateTime(expiresAt)} (${preciseTime(expiresAt)}). Pay before then, or it goes back on sale.`;
    case 'expired': return refundDue ? 'It was not paid in time, and is no longer yours.' : 'It was not paid in time and went back on sale. Nothing was charged.';
    case 'canceled': return 'It was canceled and went back on sale.';
    case 'refunded': return 'The shop has taken it back and refunds what was paid.';
    default: return '';
  }
}
