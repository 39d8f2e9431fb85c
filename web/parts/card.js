// A product in a list.

import * as clock from '../clock.js';
import { h, setAttribute, setText, unseen } from '../dom.js';
import * as store from '../store.js';
import { money, number } from '../format.js';
import * as own from '../own.js';
import * as session from '../session.js';
import { buyer } from './buyer.js';
import { confirm } from './confirm.js';
import { countdown } from './countdown.js';
import { priceTag, statusPill } from './labels.js';
import { outcomeBox } from './outcome.js';
import { windowInWords } from './paying.js';
import { picture } from './picture.js';
import { stockBar } from './stock.js';

/// The list item of one product. It updates itself until `signal`.
export function card(first, signal) {
  let product = first;
  const image = picture();
  const pill = statusPill();
  const price = priceTag();
  // CSS shows it only where there is room.
  const text = h('p', { class: 'card-text', dir: 'auto' });
  const stock = stockBar(`Stock of ${first.name}`);
  const timer = countdown(() => product, signal);
  const outcome = outcomeBox();
  const label = h('span', {});
  const button = h('button', { type: 'button', class: 'button button-buy', onclick: press }, label, unseen(` ${first.name}`));
  const ready = h('a', { class: 'button button-ready', href: `/sales/${first.id}` }, 'Get ready', unseen(` for ${first.name}`));
  const orders = buyer(() => product, { outcome, signal, changed: () => { if (!signal.aborted) update(); } });
  const link = h('a', { class: 'card-link', href: `/sales/${first.id}`, dir: 'auto' });
  const article = h('article', { class: 'card', 'data-product-id': first.id },
    h('div', { class: 'card-picture' }, image.element, pill.element),
    h('div', { class: 'card-body' },
      h('h3', { class: 'card-name' }, link),
      price.element, text, stock.element,
      h('div', { class: 'card-foot' }, timer.element,
        h('div', { class: 'card-buy' }, button, ready, outcome.element))));

  /// A list scrolls under the finger, and nothing that costs money may happen by mistake: a press only asks.
  async function press() {
    if (orders.busy) return undefined;
    if (orders.unsure) return orders.buy();
    if (clock.statusOf(product) !== 'live') return undefined;
    const { price } = product;
    const sure = await confirm({
      title: `Buy “${product.name}”?`, yes: price.amount === 0 ? 'Take 1 for free' : `Buy 1 for ${money(price)}`, danger: false,
      text: [session.user() ? `You are logged in as ${session.user().name}.` : 'You log in or register next.',
        has() > 0 ? `You have ${number(has())} already.` : '',
        product.paymentWindowSeconds ? `You then have ${windowInWords(product.paymentWindowSeconds)} to pay.` : 'A purchase cannot be taken back here.',
      ].filter(Boolean).join(' '),
    });
    // Only at the price that was asked about.
    if (sure && JSON.stringify(price) === JSON.stringify(product.price)) await orders.buy(1);
    else if (sure) outcome.say('refused', `Nothing was bought: the price has just become ${money(product.price)}.`);
    return undefined;
  }

  const has = () => own.of(product.id)?.purchased ?? 0;

  function labelText() {
    if (orders.busy) return 'One moment…';
    if (orders.unsure) return 'Check again';
    if (product.paused) return 'Paused';
    return has() > 0 ? 'Buy one more' : 'Buy now';
  }

  function update() {
    const status = clock.statusOf(product);
    setAttribute(article, 'data-status', status);
    setText(link, product.name);
    image.update(product);
    pill.update(status, product.paused);
    price.update(product);
    setText(text, product.description ?? '');
    stock.update(product, status);
    setText(label, labelText());
    const mayBuy = status === 'live' && own.remaining(product) > 0;
    button.hidden = !mayBuy && !orders.busy && !orders.unsure;
    setAttribute(button, 'aria-disabled', orders.busy || (product.paused && !orders.unsure) ? 'true' : null);
    ready.hidden = status !== 'upcoming';
    outcome.update(product);
  }

  clock.onTick(update, signal);
  own.onChange(update, signal);
  store.watch(first.id, (newer) => {
    if (!newer) return;
    product = newer;
    update();
    timer.update();
  }, signal);
  orders.resume();
  return h('li', { class: 'cards-item' }, article);
}
