// What the visitor has bought; for an admin, all purchases.

import { get, loginIsOver, pathOf, request } from '../api.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import { dateTime, money, number, preciseTime } from '../format.js';
import * as live from '../live.js';
import * as own from '../own.js';
import * as session from '../session.js';
import * as store from '../store.js';
import * as unpaid from '../unpaid.js';
import { ensureLogin, openAccount } from '../parts/account.js';
import { purchaseActions } from '../parts/settling.js';
import { STATUS_NAMES, timeLeft } from '../parts/paying.js';
import { picture } from '../parts/picture.js';
import { failure, notice, skeleton } from '../parts/states.js';

const PAGE = 20;
const NAMES_AT_ONCE = 4;

/// The address of a page of the list. The API lists everybody's for a payment service, too.
function pageAt(cursor) {
  const { id, role } = session.user();
  return pathOf('/purchases', { userId: role === 'payments' ? id : null, limit: PAGE, cursor });
}

export function purchases(page) {
  const { root, signal } = page;
  page.setTitle('Purchases');
  const body = h('div', {});
  const title = h('h1', { tabindex: '-1' });
  root.append(title, body);
  /// purchase id -> its entry
  const entries = new Map();
  // Ends what belongs to the entries of one account.
  let scope = new AbortController();

  function start() {
    title.textContent = session.isAdmin() ? 'All purchases' : 'My purchases';
    entries.clear();
    scope.abort();
    scope = new AbortController();
    if (!session.user()) return body.replaceChildren(loginNotice());
    const list = h('ul', { class: 'purchases' });
    body.replaceChildren(skeleton('rows', 4, 'Loading the purchases'));
    return loadPage(list, null);
  }

  function loginNotice() {
    return notice({
      title: 'Log in to see what you have bought',
      action: h('button', { type: 'button', class: 'button button-primary', onclick: () => openAccount('login') }, 'Log in'),
    });
  }

  async function loadPage(list, cursor) {
    let data;
    try {
      ({ data } = await request('GET', pageAt(cursor), { signal }));
    } catch (error) {
      if (signal.aborted) return;
      if (loginIsOver(error)) {
        await ensureLogin('Your login has expired. Log in again.');
        return;
      }
      // The login is over for good: then the view has changed already.
      if (!session.user()) return;
      const box = failure(error, () => { box.remove(); loadPage(list, cursor); });
      if (cursor) body.append(box);
      else body.replaceChildren(box);
      return;
    }
    if (cursor === null && data.items.length === 0) {
      body.replaceChildren(notice({
        title: 'Nothing bought yet', text: 'What you buy appears here at once.',
        action: h('a', { class: 'button', href: '/' }, 'See all sales'),
      }));
      return;
    }
    const alive = AbortSignal.any([signal, scope.signal]);
    const fresh = data.items.map((item) => ({ item, ...entry(item, alive) }));
    fresh.forEach((one) => entries.set(one.item.id, one));
    list.append(...fresh.map(({ element }) => element));
    const more = h('button', { type: 'button', class: 'button', onclick: () => {
      if (more.getAttribute('aria-disabled')) return;
      setAttribute(more, 'aria-disabled', 'true');
      loadPage(list, data.nextCursor);
    } }, 'Show more');
    body.replaceChildren(list, data.nextCursor ? h('p', { class: 'group-more' }, more) : '');
    // The focus moves to the first new entry.
    if (cursor) fresh[0]?.element.querySelector('a').focus();
    await fillProducts(fresh);
  }

  /// Loads names and pictures of the products, a few at a time.
  async function fillProducts(fresh) {
    const missing = [...new Set(fresh.map(({ item }) => item.productId))].filter((id) => !store.find(id));
    const fill = () => fresh.forEach(({ item, update }) => update(store.find(item.productId)));
    fill();
    const worker = async () => {
      for (let id = missing.shift(); id !== undefined && !signal.aborted; id = missing.shift()) {
        try {
          store.put((await get(`/products/${id}`, { signal })).data);
        } catch {
          // The entry keeps its number in place of a name.
        }
        fill();
      }
    };
    await Promise.all(Array.from({ length: NAMES_AT_ONCE }, worker));
  }

  session.onChange(start, signal);
  live.setRefresh(async () => {
    if (entries.size === 0 || !session.user()) return;
    const { data } = await request('GET', pageAt(null), { signal });
    for (const item of data.items) entries.get(item.id)?.become(item);
  }, signal);
  start();
}

/// The list item of one purchase, until `signal`.
function entry(first, signal) {
  const { id, productId, productName, userId, quantity, unitPrice, total, sequence, purchasedAt } = first;
  let purchase = first;
  const image = picture();
  const link = h('a', { href: `/my/purchases/${id}`, dir: 'auto' }, productName ?? `Product ${productId.slice(-6)}`);
  const units = quantity === 1 ? '' : `${number(quantity)} × ${money(unitPrice)} = `;
  const status = h('p', { class: 'purchase-status' });
  const words = h('span', {});
  const left = h('span', {}, `: pay ${money(total)} `, timeLeft(() => purchase, signal).element);
  const refund = h('p', { class: 'purchase-status' }, `Refund due: the payment came too late, ${money(total)} goes back.`);
  status.append(words, left);
  const actions = purchaseActions(purchase, become);
  const element = h('li', { class: 'purchase', 'data-purchase-id': id, 'data-product-id': productId },
    h('div', { class: 'purchase-picture' }, image.element),
    h('div', { class: 'purchase-what' },
      h('h2', { class: 'purchase-name' }, link),
      h('p', { class: 'purchase-when' }, h('time', { datetime: purchasedAt }, `${dateTime(purchasedAt)} (${preciseTime(purchasedAt)})`)),
      status, refund,
      session.isAdmin() ? h('p', { class: 'purchase-when' }, 'Buyer ', h('code', {}, userId)) : null,
      actions.element),
    h('p', { class: 'purchase-number' }, h('span', {}, 'Number'), ' ', h('b', {}, number(sequence))),
    h('p', { class: 'purchase-total' }, units ? h('span', {}, units) : null, h('b', {}, money(total))));

  function become(newer) {
    purchase = newer;
    draw();
    actions.update(newer);
  }

  function draw() {
    const isPending = purchase.status === 'pending';
    const isOver = isPending && unpaid.isOver(purchase);
    setAttribute(status, 'data-status', purchase.status);
    setText(words, isOver ? 'The time to pay is over: asking the shop' : STATUS_NAMES[purchase.status] ?? purchase.status);
    left.hidden = !isPending || isOver;
    status.hidden = purchase.status === 'confirmed';
    refund.hidden = !purchase.refundDue;
  }

  draw();
  if (purchase.status === 'pending') {
    live.follow(productId, {}, signal);
    unpaid.watch(purchase, (newer) => { own.settle(newer); become(newer); }, signal);
    clock.onTick(() => { draw(); actions.update(); }, signal);
  }
  return {
    element, become,
    update(product) {
      if (!product) return image.update({ id: productId, name: '', imageUrl: null });
      if (!productName) link.textContent = product.name;
      image.update(product);
    },
  };
}
