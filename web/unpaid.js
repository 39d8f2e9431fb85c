// Purchases that are not paid for, until something becomes of them. Nobody tells the page what becomes of one
// purchase, so it is read again when the figures of its product have changed, and when its time is over.

import { request } from './api.js';
import * as clock from './clock.js';
import * as live from './live.js';
import * as store from './store.js';

// All who hold one see the same change and ask. The more units are held, the later each one asks, so that together they
// read about so many purchases a second.
const READS_PER_SECOND = 200;
const READ_AFTER_MS_MIN = 300;
const READ_AFTER_MS_MAX = 60_000;
// The server lets a purchase expire within five seconds; until then it is asked now and then.
const EXPIRED_AFTER_MS = 1_500;
const FAILED_AFTER_MS = 5_000;

/// Whether the time to pay is over, by the server's clock; false if there is no such time, or the clock is not known.
export function isOver({ expiresAt }) {
  return expiresAt !== null && clock.isSynced() && clock.now() >= Date.parse(expiresAt);
}

/// Whether money may still come for it.
export function isUnpaid({ status = 'confirmed' }) {
  return status !== 'confirmed' && status !== 'refunded';
}

/// Calls `changed(purchase)` when something becomes of a purchase that is not paid for, until `signal` ends or it is paid
/// for: that may be after it has expired. It hears of changes at once if somebody follows the product, else when the time
/// is over.
export function watch(first, changed, signal) {
  const settled = new AbortController();
  const alive = AbortSignal.any([signal, settled.signal]);
  let known = JSON.stringify(first);
  let newest = first;
  let timer;

  function readAfter(milliseconds) {
    timer ??= setTimeout(read, milliseconds * (0.5 + Math.random()));
  }

  async function read() {
    timer = undefined;
    try {
      take((await request('GET', `/purchases/${first.id}`, { signal: alive })).data);
    } catch {
      if (!alive.aborted) readAfter(FAILED_AFTER_MS + spread());
    }
  }

  function take(purchase) {
    if (alive.aborted || JSON.stringify(purchase) === known) return;
    known = JSON.stringify(purchase);
    newest = purchase;
    if (!isUnpaid(purchase)) settled.abort();
    changed(purchase);
  }

  function spread() {
    const held = store.find(first.productId)?.held ?? 0;
    return Math.min(READ_AFTER_MS_MAX, Math.max(READ_AFTER_MS_MIN, (1000 * held) / READS_PER_SECOND));
  }

  alive.addEventListener('abort', () => clearTimeout(timer), { once: true });
  store.watch(first.productId, () => readAfter(spread()), alive);
  live.onReleased(({ productId, sequence }) => {
    if (productId !== first.productId || sequence !== first.sequence) return;
    clearTimeout(timer);
    read();
  }, alive);
  clock.onTick(() => { if (newest.status === 'pending' && isOver(newest)) readAfter(Math.max(EXPIRED_AFTER_MS, spread() / 4)); }, alive);
}
