// The sales as an admin sees them: how fast each one sells, and the actions.

import { get, inWords, pathOf } from '../api.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import { number } from '../format.js';
import * as live from '../live.js';
import { watchRates } from '../rates.js';
import * as store from '../store.js';
import { endNow, restock } from '../parts/actions.js';
import { adminHead, admitAdmin, asAdmin } from '../parts/admin.js';
import { confirm } from '../parts/confirm.js';
import { countdown } from '../parts/countdown.js';
import { exportPurchases } from '../parts/export.js';
import { statusPill } from '../parts/labels.js';
import { sparkline } from '../parts/sparkline.js';
import { failure, notice, skeleton } from '../parts/states.js';
import { stockBar } from '../parts/stock.js';

const STATUSES = ['live', 'sold_out', 'upcoming', 'ended'];
const PAGE = 100;

export function admin(page) {
  const { root, signal } = page;
  if (!admitAdmin(page, page.again)) return;
  page.setTitle('Manage sales');
  const body = h('div', {});
  root.append(
    adminHead('/admin', 'Manage sales', h('a', { class: 'button button-primary', href: '/admin/new' }, 'New sale')),
    body);

  const list = h('ul', { class: 'keep-list' });
  const more = h('button', { type: 'button', class: 'button', onclick: () => read(true) }, 'Show more');
  const rows = new Map();
  const cursors = new Map();
  const rates = watchRates(signal);

  /// Reads the first page of each status, or the next pages if `further`.
  async function read(further = false) {
    for (const status of STATUSES) {
      if (further && !cursors.get(status)) continue;
      const cursor = further ? cursors.get(status) : null;
      const { data } = await get(pathOf('/products', { status, limit: PAGE, cursor }), { signal });
      data.items.forEach(store.put);
      for (const { id } of data.items) addRow(id);
      if (further || !cursors.has(status)) cursors.set(status, data.nextCursor);
    }
    draw();
  }

  function addRow(id) {
    if (rows.has(id)) return;
    const scope = new AbortController();
    rows.set(id, { scope, ...row(store.find(id), rates, AbortSignal.any([signal, scope.signal])) });
  }

  function draw() {
    for (const [id, { scope, element }] of rows) {
      if (store.find(id)) continue;
      scope.abort();
      element.remove();
      rows.delete(id);
    }
    if (rows.size === 0) {
      body.replaceChildren(notice({
        title: 'No sales yet', text: 'Create the first one: a name, a price, some stock, and when it opens.',
        action: h('a', { class: 'button button-primary', href: '/admin/new' }, 'Create a sale'),
      }));
      return;
    }
    const order = (product) => [STATUSES.indexOf(clock.statusOf(product)), Date.parse(product.saleStartTime)];
    const sorted = [...rows].map(([id, { element }]) => ({ element, order: order(store.find(id)) }))
      .sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
    sorted.forEach(({ element }, index) => {
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    });
    const unread = [...cursors.values()].some(Boolean);
    if (!list.isConnected) body.replaceChildren(list, h('p', { class: 'group-more' }, more));
    more.parentElement.hidden = !unread;
    followRunning();
  }

  /// Measures the rates of running and upcoming sales.
  let followed = new Set();
  function followRunning() {
    const running = [...rows.keys()].filter((id) => clock.statusOf(store.find(id)) !== 'ended').slice(0, 50);
    for (const id of followed) if (!running.includes(id)) live.unfollow(id);
    for (const id of running) if (!followed.has(id)) live.follow(id);
    followed = new Set(running);
  }
  signal.addEventListener('abort', () => followed.forEach(live.unfollow), { once: true });

  async function load() {
    body.replaceChildren(skeleton('rows', 5, 'Loading the sales'));
    try {
      await read();
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(failure(error, load));
    }
  }
  store.watchAll((ids) => { if (list.isConnected && ids.some((id) => rows.has(id))) draw(); }, signal);
  live.setRefresh(() => read(), signal);
  load();
}

function row(first, rates, signal) {
  let product = first;
  const { id } = first;
  const pill = statusPill();
  const name = h('a', { href: `/sales/${id}`, dir: 'auto' });
  const stock = stockBar(`Stock of ${first.name}`);
  const timer = countdown(() => product, signal);
  const spark = sparkline();
  const rate = h('b', {});
  const rateBox = h('p', { class: 'rate' }, spark.element, h('span', { class: 'rate-text' }, rate, ' sold/s'));
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const act = (label, fn, kind = '') => h('button', {
    type: 'button', class: `button button-small ${kind}`, 'aria-label': `${label}: ${first.name}`, onclick: run(fn),
  }, label);
  const end = act('End now', () => endNow(product));
  const buyers = act('Purchases as CSV', () => exportPurchases(product));
  const remove = act('Delete', removeIt, 'button-danger-quiet');
  const element = h('li', { class: 'keep', 'data-product-id': id },
    h('div', { class: 'keep-what' }, pill.element, h('h2', { class: 'keep-name' }, name), timer.element),
    stock.element, rateBox,
    h('div', { class: 'keep-actions' },
      h('a', { class: 'button button-small', href: `/admin/sales/${id}/control`, 'aria-label': `Control room: ${first.name}` }, 'Control room'),
      h('a', { class: 'button button-small', href: `/admin/sales/${id}`, 'aria-label': `Edit: ${first.name}` }, 'Edit'),
      act('Restock', () => restock(product)), buyers,
      h('a', { class: 'button button-small', href: `/admin/audit?target=${id}`, 'aria-label': `Audit log: ${first.name}` }, 'Audit log'),
      end, remove),
    problem);

  function run(fn) {
    return async () => {
      setText(problem, '');
      try {
        await fn();
      } catch (error) {
        setText(problem, inWords(error));
      }
    };
  }

  async function removeIt() {
    const sure = await confirm({
      title: `Delete “${product.name}”?`, text: 'It disappears from the shop. This cannot be undone.', yes: 'Delete',
    });
    if (!sure) return;
    await asAdmin('DELETE', `/products/${id}`);
    store.remove(id);
    announce(`${product.name} is deleted.`);
  }

  function update() {
    const status = clock.statusOf(product);
    setAttribute(element, 'data-status', status);
    pill.update(status, product.paused);
    setText(name, product.name);
    stock.update(product, status);
    end.hidden = status !== 'live' && status !== 'sold_out';
    remove.hidden = product.sold + product.held > 0;
    buyers.hidden = !remove.hidden;
    // An ended sale has no rate.
    const running = status === 'live' || status === 'sold_out';
    setAttribute(rateBox, 'data-idle', running ? null : '');
    setText(rate, number(Math.round(rates.rate(id) * 10) / 10));
    if (running) spark.update(rates.history(id));
  }

  rates.sample(id);
  clock.onTick(update, signal);
  store.watch(id, (newer) => {
    if (!newer) return;
    product = newer;
    update();
    timer.update();
  }, signal);
  return { element };
}
