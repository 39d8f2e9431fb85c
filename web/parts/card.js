// A product in a list.

import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import * as store from '../store.js';
import { buyBox } from './buy.js';
import { countdown } from './countdown.js';
import { priceTag, statusPill } from './labels.js';
import { picture } from './picture.js';
import { stockBar } from './stock.js';

/// The list item of one product. It updates itself until `signal`.
export function card(first, signal) {
  let product = first;
  const image = picture();
  const pill = statusPill();
  const price = priceTag();
  // CSS shows it only where there is room.
  const text = h('p', { class: 'card-text' });
  const stock = stockBar(`Stock of ${first.name}`);
  const timer = countdown(() => product, signal);
  const buy = buyBox(() => product, signal, { compact: true });
  const link = h('a', { class: 'card-link', href: `#/products/${first.id}` });
  const article = h('article', { class: 'card', 'data-product-id': first.id },
    h('div', { class: 'card-picture' }, image.element, pill.element),
    h('div', { class: 'card-body' },
      h('h3', { class: 'card-name' }, link),
      price.element, text, stock.element,
      h('div', { class: 'card-foot' }, timer.element, buy.element)));

  function update() {
    const status = clock.statusOf(product);
    setAttribute(article, 'data-status', status);
    setText(link, product.name);
    image.update(product);
    pill.update(status);
    price.update(product);
    setText(text, product.description ?? '');
    stock.update(product, status);
  }

  clock.onTick(update, signal);
  store.watch(first.id, (newer) => {
    if (!newer) return;
    product = newer;
    update();
    timer.update();
    buy.update();
  }, signal);
  return h('li', { class: 'cards-item' }, article);
}
