// The server's clock. It decides when a sale opens, so the page shows only this clock; the visitor's may be hours
// wrong. We measure the offset between GET /time and the time since the page was opened, which nobody can set.

import { request } from './api.js';

const SAMPLES = 5;
const SYNC_EVERY_MS = 5 * 60_000;
const SYNC_AGAIN_MS = 5_000;

// Before the first sample the visitor's clock is the best guess.
let offset = Date.now() - performance.now();
let synced = false;
let syncing = null;
let syncTimer;
let best = Infinity;

/// The server's time in milliseconds since 1970.
export function now() {
  return performance.now() + offset;
}

export function isSynced() {
  return synced;
}

/// Measures again. The sample with the shortest round trip is the best: its error is at most half of that trip.
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
      // Each better sample is used at once, so the countdown need not wait for the last one.
      if (roundTrip < best) {
        best = roundTrip;
        offset = Date.parse(data.now) + roundTrip / 2 - received;
        synced = true;
        reschedule();
      }
    } catch {
      // The next round tries again.
      return;
    }
  }
}

const tickers = new Set();
const appointments = new Set();
let timer;

/// Calls `fn` now and at the start of each second of the server's clock.
export function onTick(fn, signal) {
  tickers.add(fn);
  signal.addEventListener('abort', () => tickers.delete(fn), { once: true });
  fn();
}

/// Calls `fn` once when the server's clock reaches `instant`, even if the clock is corrected meanwhile.
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
  // Slightly late rather than early: by then the countdown must show the new second.
  let next = 1000 - (moment % 1000) + 4;
  for (const { instant } of appointments) next = Math.min(next, Math.max(0, instant - moment));
  timer = setTimeout(tick, next);
}

/// The status of a sale by the server's clock; the same rule as on the server. Until that clock is known, the status
/// that the server named: the visitor's clock may be days wrong.
export function statusOf(product, moment = now()) {
  if (!synced && product.status) {
    if (product.status === 'upcoming' || product.status === 'ended') return product.status;
    return product.stock === 0 ? 'sold_out' : 'live';
  }
  if (moment < Date.parse(product.saleStartTime)) return 'upcoming';
  if (moment >= Date.parse(product.saleEndTime)) return 'ended';
  return product.stock === 0 ? 'sold_out' : 'live';
}

export function start() {
  reschedule();
  // A machine that slept may have stopped its counter, and browsers slow down the timers of hidden tabs.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') sync().then(tick);
  });
  addEventListener('online', sync);
  return sync();
}
