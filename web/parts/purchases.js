// The purchases of one sale, for an admin: what waits for its payment, what is confirmed, and whose money has to go back.

import { inWords, pathOf } from '../api.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText, uniqueId, whenOver } from '../dom.js';
import { count, dateTime, money, number, preciseTime } from '../format.js';
import * as live from '../live.js';
import * as store from '../store.js';
import * as unpaid from '../unpaid.js';
import { asAdmin } from './admin.js';
import { STATUS_NAMES, timeLeft } from './paying.js';
import { purchaseActions } from './settling.js';
import { failure, skeleton } from './states.js';

const PAGE = 50;
const LIMIT_MAX = 200;
// The figures of a selling product change all the time.
const REFRESH_AFTER_MS = 1_000;
const FILTERS = [
  ['all', 'All', {}, 'Nobody has bought yet.'],
  ['pending', 'Waiting for payment', { status: 'pending' }, 'Nothing waits for its payment.'],
  ['confirmed', 'Confirmed', { status: 'confirmed' }, 'Nothing is confirmed yet.'],
  ['due', 'Refunds due', { refundDue: true }, 'No refund is due.'],
];

/// The section with the purchases of this product, newest first, up to date until `signal`. The view follows the product.
export function salePurchases(productId, signal) {
  let [filter] = FILTERS;
  let cursor = null;
  let reading = null;
  let timer;
  /// purchase id -> its row, in the order of the list
  let rows = new Map();

  const group = uniqueId('purchases');
  const choices = FILTERS.map((one) => h('label', { class: 'segment' },
    h('input', { type: 'radio', name: group, value: one[0], checked: one === filter, onchange: () => choose(one) }), h('span', {}, one[1])));
  const list = h('ul', { class: 'rows' });
  const text = h('p', { class: 'board-text', role: 'status' });
  const more = h('button', { type: 'button', class: 'button', onclick: () => read(true).catch((error) => { text.hidden = false; setText(text, inWords(error)); }) }, 'Show more');
  const moreBox = h('p', { class: 'group-more', hidden: true }, more);
  const body = h('div', {}, list, text, moreBox);
  const element = h('section', { class: 'sale-purchases', 'aria-labelledby': `${group}-title` },
    h('div', { class: 'section-head' },
      h('h2', { id: `${group}-title` }, 'Purchases'),
      h('fieldset', { class: 'segments' }, h('legend', { class: 'unseen' }, 'Which purchases'), choices)),
    body);

  function choose(one) {
    filter = one;
    drop();
    load();
  }

  function drop() {
    for (const { scope } of rows.values()) scope.abort();
    rows = new Map();
    list.replaceChildren();
  }

  function load() {
    body.replaceChildren(skeleton('rows', 3, 'Loading the purchases'));
    return read().catch(failed);
  }

  /// What is shown stays; it is read again with the next change.
  function failed(error) {
    if (!signal.aborted && !list.isConnected) body.replaceChildren(failure(error, load));
  }

  /// Reads the list again as far as it is shown, or the next page. The last one who asks gets the answer.
  async function read(further = false) {
    reading?.abort();
    const own = new AbortController();
    reading = own;
    try {
      await readPage(further, AbortSignal.any([signal, own.signal]));
    } catch (error) {
      if (!own.signal.aborted) throw error;
    }
  }

  async function readPage(further, own) {
    clearTimeout(timer);
    timer = undefined;
    const limit = further ? PAGE : Math.min(LIMIT_MAX, Math.max(PAGE, rows.size));
    const query = { productId, ...filter[2], limit, cursor: further ? cursor : null };
    const { data } = await asAdmin('GET', pathOf('/purchases', query), { signal: own });
    if (own.aborted) return;
    const isWhole = further || rows.size <= limit;
    if (isWhole) cursor = data.nextCursor;
    if (further) for (const item of data.items) put(item);
    else arrange(data.items);
    draw();
  }

  /// Puts what was read in its place. A row that the filter has lost stays while somebody uses it, and says what it is now.
  function arrange(items) {
    const found = new Set(items.map(({ id }) => id));
    const last = items.at(-1)?.sequence ?? 0;
    for (const [id, row] of rows) {
      const isRead = cursor === null || row.sequence >= last;
      if (!isRead || found.has(id) || row.element.contains(document.activeElement) || row.isDone) continue;
      row.scope.abort();
      row.element.remove();
      rows.delete(id);
    }
    items.forEach(put);
    const sorted = [...rows].sort(([, a], [, b]) => b.sequence - a.sequence);
    rows = new Map(sorted);
    sorted.forEach(([, { element: item }], index) => {
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    });
  }

  function put(item) {
    if (rows.has(item.id)) return rows.get(item.id).become(item);
    const scope = new AbortController();
    const made = purchaseRow(item, AbortSignal.any([signal, scope.signal]));
    rows.set(item.id, { ...made, scope });
    list.append(made.element);
  }

  function draw() {
    if (!list.isConnected) body.replaceChildren(list, text, moreBox);
    setText(text, rows.size === 0 ? filter[3] : '');
    text.hidden = rows.size > 0;
    moreBox.hidden = cursor === null;
  }

  function refreshSoon() {
    timer ??= setTimeout(() => read().catch(failed), REFRESH_AFTER_MS);
  }

  whenOver(signal, () => clearTimeout(timer));
  store.watch(productId, refreshSoon, signal);
  live.setRefresh(() => read(), signal);
  load();
  return element;
}

/// One purchase in the list.
function purchaseRow(first, signal) {
  let purchase = first;
  const { id, sequence, quantity, total, userId, purchasedAt } = first;
  const status = h('span', { class: 'mark' });
  const due = h('span', { class: 'mark', 'data-disabled': true }, 'Refund due');
  const left = h('p', { class: 'row-note' }, 'Has to be paid for ', timeLeft(() => purchase, signal).element);
  const paid = h('p', { class: 'row-note' });
  const row = { element: null, sequence, isDone: false, become };
  const actions = purchaseActions(purchase, (newer) => {
    row.isDone = true;
    become(newer);
  });
  row.element = h('li', { class: 'row', 'data-purchase-id': id },
    h('div', { class: 'row-what' },
      h('div', { class: 'row-head' },
        h('h3', { class: 'row-title' }, h('a', { href: `/my/purchases/${id}` }, `Number ${number(sequence)}`)),
        h('p', { class: 'row-marks' }, status, due)),
      h('p', {}, `${count(quantity, 'unit')} for ${money(total)}`),
      h('p', { class: 'row-note' }, h('time', { datetime: purchasedAt }, `${dateTime(purchasedAt)} (${preciseTime(purchasedAt)})`), ', buyer ', h('code', {}, userId)),
      left, paid),
    actions.element);

  function become(newer) {
    purchase = newer;
    draw();
    actions.update(newer);
  }

  function draw() {
    const isPending = purchase.status === 'pending';
    setText(status, STATUS_NAMES[purchase.status] ?? purchase.status);
    setAttribute(status, 'data-status', purchase.status);
    due.hidden = !purchase.refundDue;
    left.hidden = !isPending || unpaid.isOver(purchase);
    setText(paid, purchase.paymentReference ? `Payment ${purchase.paymentReference}` : '');
    paid.hidden = !purchase.paymentReference;
  }

  draw();
  clock.onTick(() => { if (purchase.status === 'pending') draw(); }, signal);
  return row;
}
