// The control room of one sale, for an admin: how it goes, and what can be done about it.

import { Problem, get, inWords, request } from '../api.js';
import * as clock from '../clock.js';
import { curve } from '../curve.js';
import { h, setAttribute, setText } from '../dom.js';
import { clockTime, dateTime, number } from '../format.js';
import * as live from '../live.js';
import { watchServers } from '../servers.js';
import * as store from '../store.js';
import { endNow, goOn, moveWindow, pause, restock } from '../parts/actions.js';
import { admitAdmin } from '../parts/admin.js';
import { chart } from '../parts/chart.js';
import { countdown } from '../parts/countdown.js';
import { exportPurchases } from '../parts/export.js';
import { healthPanel, slowestInWords } from '../parts/health.js';
import { statusPill } from '../parts/labels.js';
import { outcomeOf, reportView, sums } from '../parts/report.js';
import { failure, notice, skeleton } from '../parts/states.js';

// A report reads all purchases of the sale, so the next one waits: at least this long, and longer than the last one took.
const REPORT_EVERY_MS = 10_000;
const REPORT_PAUSE_FACTOR = 20;
const REPORT_MS_MAX = 120_000;
// What is shown of the time after the last purchase of a sale that sells nothing more.
const AFTER_SECONDS = 5;

/// The view of `/admin/sales/ID/control`.
export async function control(page) {
  const { root, parameters: [id], signal } = page;
  if (!admitAdmin(page, page.again)) return;
  page.setTitle('Control room');
  const heading = h('h1', { tabindex: '-1' }, 'Control room');
  const waiting = skeleton('rows', 4, 'Loading the sale');
  root.append(h('p', { class: 'back' }, h('a', { href: '/admin' }, '← Manage sales')), heading, waiting);
  const read = async () => store.put((await get(`/products/${id}`, { signal })).data);
  const gone = () => notice({ title: 'This sale does not exist', text: 'The address is wrong, or the sale was deleted.' });
  try {
    await read();
  } catch (error) {
    if (!signal.aborted) waiting.replaceWith(error.code === 'product_not_found' ? gone() : failure(error, page.again));
    return;
  }
  if (signal.aborted) return;
  const alive = new AbortController();
  const over = AbortSignal.any([signal, alive.signal]);
  const { element, reports } = room(store.find(id), heading, page, over);
  waiting.replaceWith(element);
  live.follow(id, { purchases: true }, over);
  live.setRefresh(async () => { await read(); reports.soon(); }, over);
  store.watch(id, (product) => {
    if (product) return;
    alive.abort();
    element.replaceWith(gone());
  }, over);
}

function room(first, heading, page, signal) {
  const { id } = first;
  let product = first;
  let report = null;
  const sold = curve(Math.floor(clock.now() / 1000));

  const pill = statusPill();
  const name = h('p', { class: 'room-name' }, h('a', { href: `/sales/${id}`, dir: 'auto' }, first.name));
  const timer = countdown(() => product, signal);
  const old = h('p', { class: 'room-old', role: 'alert', hidden: true });
  const rate = tile('Units a second', 'bought, last 10 s');
  const stock = tile('In stock');
  const held = tile('Held');
  const units = tile('Sold');
  const revenue = tile('Revenue');
  const watchers = tile('Watching live', 'all sales');
  const slowest = tile('99 of 100 purchases');
  const tiles = [rate, stock, held, units, revenue, watchers, slowest];
  const graph = chart();
  const empty = h('p', {}, 'The curve begins with the first purchase.');
  const health = healthPanel();
  const told = h('div', {});
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const reportProblem = h('p', { class: 'row-note' });

  const act = (label, fn, kind = '') => h('button', { type: 'button', class: `button ${kind}`, onclick: run(fn) }, label);
  const pausing = act('Pause', () => (product.paused ? goOn(product) : pause(product)), 'button-primary');
  const ending = act('End now', () => endNow(product));
  const buyers = act('Purchases as CSV', () => exportPurchases(product));
  const link = (href, text) => h('a', { class: 'button', href }, text);
  const element = h('div', { class: 'room', 'data-product-id': id },
    h('div', { class: 'room-head' }, name, pill.element, timer.element),
    old,
    h('div', { class: 'room-actions' }, pausing, act('Restock', () => restock(product)), act('Move the window', () => moveWindow(product)), ending),
    problem,
    h('dl', { class: 'tiles' }, tiles.map((one) => one.element)),
    h('section', { class: 'panel', 'aria-labelledby': 'curve-title' }, h('h2', { id: 'curve-title' }, 'Units a second'), graph.element, empty),
    health.element,
    h('section', { class: 'panel', 'aria-labelledby': 'report-title' }, h('h2', { id: 'report-title' }, 'Report'), reportProblem, told),
    h('nav', { class: 'room-links', 'aria-label': 'More of this sale' }, buyers, link(`/admin/sales/${id}`, 'Edit'),
      link(`/admin/audit?target=${id}`, 'Audit log'), link('/admin/users', 'Accounts')));

  /// Runs one action at a time, and says why it failed.
  let running = false;
  function run(fn) {
    return async () => {
      if (running) return;
      running = true;
      setText(problem, '');
      try {
        await fn();
      } catch (error) {
        setText(problem, error.code === 'outcome_unknown' || !(error instanceof Problem)
          ? `${inWords(error)} Look at the sale before you try again.` : inWords(error));
      } finally {
        running = false;
        // The button may have gone while a question about it was open: then the focus could not return to it.
        if (document.activeElement === document.body) heading.focus({ preventScroll: true });
      }
    };
  }

  function hide(button, isHidden) {
    if (isHidden && document.activeElement === button) heading.focus({ preventScroll: true });
    button.hidden = isHidden;
  }

  function update() {
    const status = clock.statusOf(product);
    const { paused } = product;
    page.setTitle(`Control room: ${product.name}`);
    setText(name.firstChild, product.name);
    pill.update(status, paused);
    setText(pausing, paused ? 'Go on' : 'Pause');
    hide(pausing, status === 'ended');
    hide(ending, status !== 'live' && status !== 'sold_out');
    hide(buyers, product.sold + product.held === 0 && !report?.firstPurchaseAt);
    rate.show(number(Math.round(sold.rate(Math.floor(clock.now() / 1000)) * 10) / 10));
    stock.show(number(product.stock), `of ${number(product.totalStock)}`);
    held.element.hidden = product.held === 0 && product.paymentWindowSeconds === null;
    held.show(number(product.held), 'bought, not paid for yet');
    units.show(number(product.sold));
    if (report) showRevenue();
    draw(status);
    drawOld();
  }

  function showRevenue() {
    const { currency } = product.price;
    const open = outcomeOf(report, 'pending');
    revenue.show(sums(outcomeOf(report, 'confirmed')?.totals, currency),
      `${open ? `${sums(open.totals, currency)} not paid yet, ` : ''}as of ${clockTime(report.at)}`);
  }

  function draw(status) {
    const span = sold.span();
    graph.element.hidden = !span;
    empty.hidden = Boolean(span);
    if (!span) return;
    const opening = Math.floor(Date.parse(product.saleStartTime) / 1000);
    const now = Math.floor(clock.now() / 1000);
    // A sale that was opened by moving its window has sold before its opening.
    graph.update(sold, Math.min(opening, span[0]), status === 'live' ? Math.max(now, span[1] + 1) : span[1] + AFTER_SECONDS);
  }

  /// Whether the figures are old, and since when.
  let connection = 'connecting';
  let freshAt = clock.now();
  function drawOld() {
    if (connection === 'live') freshAt = clock.now();
    const isOld = connection === 'polling' || connection === 'old';
    old.hidden = !isOld;
    setAttribute(element, 'data-old', isOld ? '' : null);
    if (isOld) {
      setText(old, connection === 'polling' ? `No live figures since ${clockTime(freshAt)}: the page asks every 10 seconds until the connection is back.`
        : `These figures are old, of ${clockTime(freshAt)}: the shop is not answering, or has lost touch with its database.`);
    }
  }

  const reports = watchReports(product, {
    made(newer) {
      report = newer;
      sold.take(report);
      setText(reportProblem, '');
      told.replaceChildren(...reportView(report, product));
      update();
    },
    failed: (error) => setText(reportProblem, `The report could not be made at ${clockTime(clock.now())}: ${inWords(error)}`),
  }, signal);
  live.onPurchase((item) => { if (item.productId === id) sold.add(item); }, signal);
  live.onState((state) => {
    // What could not be reached can be again, and the figures show what has become of it.
    if (state === 'live') setText(problem, '');
    connection = state;
    drawOld();
  }, signal);
  watchServers((sum) => {
    health.update(sum);
    watchers.show(sum.servers.length > 0 ? number(sum.watchers) : '–');
    slowest.show(...(sum.servers.length > 0 ? slowestInWords(sum.times) : ['–', 'no figures']));
  }, signal);
  store.watch(id, (newer) => {
    if (!newer) return;
    product = newer;
    reports.soon();
    update();
    timer.update();
  }, signal);
  clock.onTick(update, signal);
  return { element, reports };
}

/// A figure with its name, and a note below it.
function tile(label, text = '') {
  const value = h('span', { class: 'tile-value' }, '–');
  const note = h('span', { class: 'tile-note' }, text);
  return {
    element: h('div', { class: 'tile' }, h('dt', {}, label), h('dd', {}, value, note)),
    show(figure, newNote = text) {
      setText(value, figure);
      setText(note, newNote);
    },
  };
}

/// Makes a report now, and after `soon()` again when it is time: `made(report)`, `failed(error)`.
function watchReports({ id }, { made, failed }, signal) {
  let wanted = false;
  let working = false;
  let nextAt = 0;
  let timer;

  async function make() {
    wanted = false;
    working = true;
    const began = performance.now();
    try {
      const { data } = await request('GET', `/products/${id}/report`, { signal, timeout: REPORT_MS_MAX });
      made(data);
    } catch (error) {
      if (signal.aborted) return;
      wanted = true;
      failed(error);
    }
    working = false;
    nextAt = performance.now() + Math.max(REPORT_EVERY_MS, REPORT_PAUSE_FACTOR * (performance.now() - began));
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    if (!wanted || working || signal.aborted) return;
    timer = setTimeout(() => {
      if (document.visibilityState === 'visible') make();
    }, Math.max(0, nextAt - performance.now()));
  }

  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  document.addEventListener('visibilitychange', schedule, { signal });
  const soon = () => {
    if (wanted) return;
    wanted = true;
    schedule();
  };
  soon();
  return { soon };
}
