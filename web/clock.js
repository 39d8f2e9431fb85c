// The server's clock. It decides when a sale opens, so it is the only one that is shown; the visitor's own may be wrong
// by hours. What is measured is the distance between GET /time and the time since this page was opened, which nobody
// sets.

import { request } from './api.js';

const SAMPLES = 5;
const SYNC_EVERY_MS = 5 * 60_000;
const SYNC_AGAIN_MS = 5_000;

// Until the first sample there is nothing better than the visitor's clock.
let offset = Date.now() - performance.now();
let synced = false;
let syncing = null;
let syncTimer;
let best = Infinity;

/// The server's time in milliseconds since 1970.
export function now() {
  return performance.now() + offset;
}

/// Whether the server's time is known.
export function isSynced() {
  return synced;
}

/// Measures anew. Of several samples the one with the shortest way is the best: its answer is known to be at most
/// half of that way old.
export function sync() {
  syncing ??= measure().finally(() => {
    syncing = null;
    clearTimeout(syncTimer);
    syncTimer = setTimeout(sync, synced ? SYNC_EVERY_MS : SYNC_AGAIN_MS);
  });
  return syncing;
}

async function measure() {
  best = Infinity;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    try {
      const sent = performance.now();
      const { data } = await request('GET', '/time', { timeout: 5_000, anonymous: true });
      const received = performance.now();
      const roundTrip = received - sent;
      // Each better sample counts at once: nobody waits for the last one to see a countdown.
      if (roundTrip < best) {
        best = roundTrip;
        offset = Date.parse(data.now) + roundTrip / 2 - received;
        synced = true;
        reschedule();
      }
    } catch {
      // The next sample, or the next round, will do.
      return;
    }
  }
}

const tickers = new Set();
const appointments = new Set();
let timer;

/// Calls `fn` at the turn of every second of the server's clock, and once now.
export function onTick(fn, signal) {
  tickers.add(fn);
  signal.addEventListener('abort', () => tickers.delete(fn), { once: true });
  fn();
}

/// Calls `fn` once when the server's clock reaches `instant`, also if the clock is corrected meanwhile.
export function at(instant, fn, signal) {
  const appointment = { instant, fn };
  appointments.add(appointment);
  signal.addEventListener('abort', () => appointments.delete(appointment), { once: true });
  reschedule();
}

function tick() {
  const moment = now();
  for (const appointment of [...appointments]) {
    if (appointment.instant <= moment) {
      appointments.delete(appointment);
      appointment.fn();
    }
  }
  for (const fn of [...tickers]) fn();
  reschedule();
}

function reschedule() {
  clearTimeout(timer);
  const moment = now();
  // A little late rather than early: at the turn of the second the countdown has to have changed.
  let next = 1000 - (moment % 1000) + 4;
  for (const { instant } of appointments) next = Math.min(next, Math.max(0, instant - moment));
  timer = setTimeout(tick, next);
}

/// Where a sale stands by the server's clock; the same rule as the server's.
export function statusOf(product, moment = now()) {
  if (moment < Date.parse(product.saleStartTime)) return 'upcoming';
  if (moment >= Date.parse(product.saleEndTime)) return 'ended';
  return product.stock === 0 ? 'sold_out' : 'live';
}

/// Starts the clock.
export function start() {
  reschedule();
  // A machine that slept may have stopped its counter; and a tab that was hidden had its timers slowed down.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') sync().then(tick);
  });
  addEventListener('online', sync);
  return sync();
}
