// Buys. One press is one purchase, however often it is sent: all attempts carry the same Idempotency-Key, and the
// server answers a repetition with the first purchase. So a lost request is simply sent again.

import { Problem, Unreachable, loginIsOver, request } from './api.js';
import * as clock from './clock.js';
import * as own from './own.js';
import * as session from './session.js';

const ATTEMPTS_MAX = 15;
const GIVE_UP_MS = 45_000;
const PAUSE_MS_MIN = 400;
const PAUSE_MS_MAX = 8_000;
// The page may see the opening a moment before the server does; this much is worth waiting for.
const EARLY_MS_MAX = 3_000;
const REFUSED_AGAIN_MS = 1_500;
const PENDING = 'flash-sale.pending';
// So soon after the press the visitor still means it: then the page goes on by itself.
const STILL_MEANT_MS = 30_000;

/// A key of 122 random bits. `crypto.randomUUID` exists only on https and localhost.
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/// One press of the button: what is bought at which price, when it was pressed, and the key that makes it one purchase.
export function newOrder(productId, quantity, expectedPrice) {
  return { productId, quantity, expectedPrice, pressedAt: Date.now(), key: newKey() };
}

/// Whether the press was so short a time ago that the page may go on with it unasked.
export function isStillMeant({ pressedAt }) {
  const age = Date.now() - pressedAt;
  return age >= 0 && age < STILL_MEANT_MS;
}

/// Sends the order until there is an answer, always as who is logged in now. Calls `onWait(unsure)` before each further attempt; `unsure` is false as
/// long as certainly nothing was bought.
///
/// Returns one of `{outcome: 'bought', purchase, replayed}`, `{outcome: 'refused', problem}`, `{outcome: 'login'}`
/// (nothing was bought, the login has expired), `{outcome: 'unsure', error}` (it may have been bought; the same order
/// can be sent again), and `{outcome: 'failed', error}` (nothing was bought).
export async function buy(order, onWait = () => {}) {
  const deadline = performance.now() + GIVE_UP_MS;
  // Another tab may log in as somebody else meanwhile, who must not pay for this press.
  const { token, user } = session.current();
  order.userId = user.id;
  // True once an attempt may have reached the server without an answer to us.
  let unsure = order.unsure ?? false;
  let refusedBefore = false;
  remember(order);
  for (let attempt = 1; ; attempt += 1) {
    const result = await send(order, token);
    if (result.outcome === 'refused' && unsure && !refusedBefore) {
      // If it had been bought, the key would have returned that purchase, unless the lost attempt is still on its way
      // at another server. A second refusal a little later settles it.
      refusedBefore = true;
      await sleep(REFUSED_AGAIN_MS);
      continue;
    }
    if (result.outcome !== 'again') {
      // An expired login says nothing about the order, which stays as uncertain as it was.
      const open = unsure && (result.outcome === 'login' || result.outcome === 'failed');
      if (!open) forget(order);
      return open && result.outcome === 'failed' ? { ...result, outcome: 'unsure' } : result;
    }
    unsure ||= result.unsure;
    if (unsure && !order.unsure) {
      order.unsure = true;
      remember(order);
    }
    const pause = result.wait ?? backOff(attempt);
    if (attempt >= ATTEMPTS_MAX || performance.now() + pause > deadline) {
      if (unsure) return { outcome: 'unsure', error: result.error };
      forget(order);
      return result.error.code === 'sale_not_started'
        ? { outcome: 'refused', problem: result.error }
        : { outcome: 'failed', error: result.error };
    }
    onWait(unsure);
    await sleep(pause);
    // In another tab somebody else has logged in, or out.
    if (session.user()?.id !== order.userId) return { outcome: 'login' };
  }
}

async function send({ productId, quantity, expectedPrice, key, userId }, token) {
  try {
    const { data, headers } = await request('POST', '/products/purchase', {
      body: { productId, quantity, expectedPrice }, headers: { 'Idempotency-Key': key }, token,
    });
    if (session.user()?.id === userId) own.add(data);
    return { outcome: 'bought', purchase: data, replayed: headers.get('Idempotent-Replayed') === 'true' };
  } catch (error) {
    return judge(error);
  }
}

/// Decides what a failed attempt means.
function judge(error) {
  if (error instanceof Unreachable) return { outcome: 'again', unsure: true, error };
  if (!(error instanceof Problem)) return { outcome: 'failed', error };
  if (loginIsOver(error)) return { outcome: 'login' };
  // Later than the server asks, never earlier, and with jitter.
  const wait = error.retryAfter === null ? null : error.retryAfter * (1 + Math.random() / 2);
  switch (error.code) {
    case 'outcome_unknown': return { outcome: 'again', unsure: true, wait, error };
    case 'overloaded':
    case 'database_unavailable':
    case 'rate_limited': return { outcome: 'again', unsure: false, wait, error };
    case 'sale_not_started': {
      const early = Date.parse(error.body.saleStartTime) - clock.now();
      // Not the server's Retry-After: whole seconds are too coarse at an opening.
      if (early <= EARLY_MS_MAX) return { outcome: 'again', unsure: false, wait: Math.max(100, early + 50), error };
      return { outcome: 'refused', problem: error };
    }
  }
  // The server or a proxy failed: how far the request came is unknown.
  if (error.status >= 500) return { outcome: 'again', unsure: true, wait, error };
  if (error.status === 429) return { outcome: 'again', unsure: false, wait, error };
  return { outcome: 'refused', problem: error };
}

function backOff(attempt) {
  return Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** attempt) * (0.5 + Math.random() / 2);
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

// Pending orders are kept with their keys: after a reload or a crash of the tab, sending one again reveals its
// outcome. Without the key it could only be bought a second time.
function pending() {
  try {
    return JSON.parse(sessionStorage.getItem(PENDING)) ?? {};
  } catch {
    return {};
  }
}

function keep(orders) {
  try {
    sessionStorage.setItem(PENDING, JSON.stringify(orders));
  } catch {
    // Then it lasts as long as the page.
  }
}

function remember(order) {
  keep({ ...pending(), [order.productId]: order });
}

/// The order is settled, or given up.
export function forget(order) {
  const orders = pending();
  if (orders[order.productId]?.key !== order.key) return;
  delete orders[order.productId];
  keep(orders);
}

/// The order that this account had pending for this product when the page went away, or null.
export function unfinished(productId) {
  const order = pending()[productId];
  return order && order.userId === session.user()?.id ? { ...order, unsure: true } : null;
}
