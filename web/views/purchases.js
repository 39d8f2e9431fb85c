// What the visitor has bought; for an admin, all purchases.

import { get, loginIsOver, pathOf, request } from '../api.js';
import { h, setAttribute } from '../dom.js';
import { dateTime, money, number, preciseTime } from '../format.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { ensureLogin, openAccount } from '../parts/account.js';
import { picture } from '../parts/picture.js';
import { failure, notice, skeleton } from '../parts/states.js';
import { STATUS_NAMES } from './receipt.js';

const PAGE = 20;
const NAMES_AT_ONCE = 4;

export function purchases(page) {
  const { root, signal } = page;
  page.setTitle('Purchases');
  const body = h('div', {});
  const title = h('h1', { tabindex: '-1' });
  root.append(title, body);

  function start() {
    title.textContent = session.isAdmin() ? 'All purchases' : 'My purchases';
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
      ({ data } = await request('GET', pathOf('/purchases', { limit: PAGE, cursor }), { signal }));
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
    const entries = data.items.map((item) => ({ item, ...entry(item) }));
    list.append(...entries.map(({ element }) => element));
    const more = h('button', { type: 'button', class: 'button', onclick: () => {
      if (more.getAttribute('aria-disabled')) return;
      setAttribute(more, 'aria-disabled', 'true');
      loadPage(list, data.nextCursor);
    } }, 'Show more');
    body.replaceChildren(list, data.nextCursor ? h('p', { class: 'group-more' }, more) : '');
    // The focus moves to the first new entry.
    if (cursor) entries[0]?.element.querySelector('a').focus();
    await fillProducts(entries);
  }

  /// Loads names and pictures of the products, a few at a time.
  async function fillProducts(entries) {
    const missing = [...new Set(entries.map(({ item }) => item.productId))].filter((id) => !store.find(id));
    const fill = () => entries.forEach(({ item, update }) => update(store.find(item.productId)));
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
  start();
}

function entry({ id, productId, productName, userId, quantity, unitPrice, total, sequence, purchasedAt, status = 'confirmed' }) {
  const image = picture();
  const link = h('a', { href: `/my/purchases/${id}`, dir: 'auto' }, productName ?? `Product ${productId.slice(-6)}`);
  const units = quantity === 1 ? '' : `${number(quantity)} × ${money(unitPrice)} = `;
  const element = h('li', { class: 'purchase', 'data-purchase-id': id, 'data-product-id': productId },
    h('div', { class: 'purchase-picture' }, image.element),
    h('div', { class: 'purchase-what' },
      h('h2', { class: 'purchase-name' }, link),
      h('p', { class: 'purchase-when' }, h('time', { datetime: purchasedAt }, `${dateTime(purchasedAt)} (${preciseTime(purchasedAt)})`)),
      status === 'confirmed' ? null : h('p', { class: 'purchase-status', 'data-status': status }, STATUS_NAMES[status] ?? status),
      session.isAdmin() ? h('p', { class: 'purchase-when' }, 'Buyer ', h('code', {}, userId)) : null),
    h('p', { class: 'purchase-number' }, h('span', {}, 'Number'), ' ', h('b', {}, number(sequence))),
    h('p', { class: 'purchase-total' }, units ? h('span', {}, units) : null, h('b', {}, money(total))));
  return {
    element,
    update(product) {
      if (!product) return image.update({ id: productId, name: '', imageUrl: null });
      if (!productName) link.textContent = product.name;
      image.update(product);
    },
  };
}
