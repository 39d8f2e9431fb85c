// One sale: its details, the button, and the buyers.

import { Problem, get } from '../api.js';
import { announce, throttled } from '../announce.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import { count, dateTime, number, timeZone } from '../format.js';
import * as live from '../live.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { buyBar } from '../parts/buy.js';
import { windowInWords } from '../parts/paying.js';
import { statusPill } from '../parts/labels.js';
import { leaderboard } from '../parts/leaderboard.js';
import { picture } from '../parts/picture.js';
import { shareButtons } from '../parts/share.js';
import { failure, notice, skeleton } from '../parts/states.js';
import { heldInWords } from '../parts/stock.js';

// A screen reader hears the stock at most this often.
const STOCK_SAID_EVERY_MS = 20_000;

export function product(page) {
  const { root, parameters: [id], signal } = page;
  let board = null;
  let shown = false;
  // Aborted when the product is removed, which may be before the view ends.
  const removal = new AbortController();
  const alive = AbortSignal.any([signal, removal.signal]);

  const back = h('p', { class: 'back' }, h('a', { href: '/' }, '← All sales'));

  async function load() {
    root.replaceChildren(back, h('h1', { class: 'unseen', tabindex: '-1' }, 'Sale'), skeleton('product', 4, 'Loading the sale'));
    try {
      store.put((await get(`/products/${id}`, { signal })).data);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status === 404) return gone();
      // A product known from the list is better than an error.
      if (!store.find(id)) return root.replaceChildren(back, failure(error, load, 'h1'));
    }
    if (!signal.aborted) show(store.find(id));
  }

  function gone() {
    const focused = root.contains(document.activeElement);
    removal.abort();
    page.setTitle('Not found');
    root.replaceChildren(back, notice({
      heading: 'h1', title: shown ? 'This sale was removed' : 'This sale does not exist',
      text: shown ? 'The shop has withdrawn it. Nobody had bought it.' : 'The address is wrong, or the sale was removed.',
      action: h('a', { class: 'button', href: '/' }, 'See all sales'),
    }));
    if (shown) announce('This sale was removed.');
    // The focused element is gone.
    if (focused) root.querySelector('h1').focus({ preventScroll: true });
  }

  function show(first) {
    if (shown) return;
    shown = true;
    const focused = document.activeElement?.tagName === 'H1';
    board = leaderboard(id, { newest: clock.statusOf(first) === 'live', sold: first.sold }, alive);
    const details = productDetails(first, board, page, alive);
    root.replaceChildren(back, details.element);
    if (focused) root.querySelector('h1').focus({ preventScroll: true });
    store.watch(id, (newer) => (newer ? details.update(newer) : gone()), alive);
  }

  live.follow(id, {}, alive);
  live.setRefresh(async () => {
    try {
      store.put((await get(`/products/${id}`, { signal })).data);
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return store.remove(id);
      throw error;
    }
    await board?.refresh();
  }, alive);
  // What the list knows is shown at once; the rest follows.
  page.setTitle(store.find(id)?.name ?? 'Sale');
  if (!store.find(id)) return load();
  show(store.find(id));
  // With a socket, events bring the newest figures.
  if (!live.isLive()) get(`/products/${id}`, { signal }).then(({ data }) => store.put(data), () => {});
}

function productDetails(first, board, page, signal) {
  let current = first;
  const image = picture({ eager: true });
  const pill = statusPill();
  const name = h('h1', { class: 'product-name', tabindex: '-1', dir: 'auto' });
  const buy = buyBar(() => current, board.last, signal);
  const description = h('p', { class: 'product-text', dir: 'auto' });
  const limit = h('dd', {});
  const time = h('dd', {});
  const timeRow = h('div', {}, h('dt', {}, 'Time to pay'), time);
  const opens = h('dd', {});
  const ends = h('dd', {});
  const manage = h('p', { class: 'product-tools' },
    h('a', { class: 'button button-small', href: `/admin/sales/${first.id}/control` }, 'Control room'),
    h('a', { class: 'button button-small', href: `/admin/sales/${first.id}` }, 'Edit this sale'));
  const element = h('article', { class: 'product', 'data-product-id': first.id },
    h('div', { class: 'product-picture' }, image.element),
    h('div', { class: 'product-main' },
      h('div', { class: 'product-head' }, pill.element, name),
      buy.element,
      h('div', { class: 'product-info' }, description, h('dl', { class: 'facts' },
        h('div', {}, h('dt', {}, 'Limit per person'), limit), timeRow,
        h('div', {}, h('dt', {}, 'Opens'), opens),
        h('div', {}, h('dt', {}, 'Ends'), ends),
        h('div', {}, h('dt', {}, 'Your time zone'), h('dd', {}, timeZone()))),
      shareButtons(() => current, signal), manage)),
    board.element);

  const sayStock = throttled(STOCK_SAID_EVERY_MS, signal);
  let saidStock = first.stock;
  let saidStatus = null;
  let saidPaused = first.paused;
  let saidWindow = [first.saleStartTime, first.saleEndTime];

  /// Who waits hears that it takes longer, or less long.
  function sayWindow() {
    const [start, end] = saidWindow;
    saidWindow = [current.saleStartTime, current.saleEndTime];
    if (current.saleStartTime !== start) return announce(`${current.name} opens ${dateTime(current.saleStartTime)} now, not ${dateTime(start)}.`);
    if (current.saleEndTime !== end && saidStatus !== 'ended') announce(`The sale of ${current.name} ends ${dateTime(current.saleEndTime)} now.`);
  }

  /// What a change of the status means is said at once.
  function sayStatus(status) {
    const [before, wasPaused] = [saidStatus, saidPaused];
    saidStatus = status;
    saidPaused = current.paused;
    if (before !== null && status !== 'ended' && wasPaused !== saidPaused) announce(`The sale of ${current.name} ${saidPaused ? 'is paused' : 'goes on'}.`);
    if (before === null || before === status) return;
    if (status === 'live') announce(`${current.name} ${before === 'upcoming' ? 'is open now' : 'is available again'}: ${number(current.stock)} left.`);
    if (status === 'sold_out') announce(`${current.name} is sold out${current.held > 0 ? `, but ${heldInWords(current.held)}` : ''}.`);
    if (status === 'ended') announce(`The sale of ${current.name} has ended.`);
  }

  function update(newer = current) {
    const left = newer.stock;
    if (left !== saidStock) {
      saidStock = left;
      if (left > 0) sayStock(`${number(left)} left.`);
    }
    current = newer;
    const status = clock.statusOf(current);
    setAttribute(element, 'data-status', status);
    page.setTitle(current.name);
    image.update(current);
    pill.update(status, current.paused);
    setText(name, current.name);
    setAttribute(name, 'title', current.name);
    buy.update();
    sayWindow();
    sayStatus(status);
    setText(description, current.description ?? '');
    description.hidden = !current.description;
    setText(limit, count(current.purchaseLimit, 'unit'));
    timeRow.hidden = !current.paymentWindowSeconds;
    setText(time, windowInWords(current.paymentWindowSeconds ?? 0));
    setText(opens, dateTime(current.saleStartTime));
    setText(ends, dateTime(current.saleEndTime));
    manage.hidden = !session.isAdmin();
  }

  clock.onTick(() => update(), signal);
  session.onChange(() => update(), signal);
  return { element, update };
}
