// What the visitor has of each product: the server says it when a page needs it, and purchases on this page add to it.

import { pathOf, request } from './api.js';
import * as live from './live.js';
import * as session from './session.js';
import * as store from './store.js';
import * as unpaid from './unpaid.js';

// More numbers than this nobody reads.
const NUMBERS_MAX = 50;
// Products whose pages were seen last.
const LOADED_AGAIN_MAX = 5;
// How often the server is asked, if its answers are not of the same moment.
const ATTEMPTS_MAX = 3;
/// Who lets this many purchases of a product expire, or cancels them, may not hold it any more.
export const LAPSES_MAX = 3;

/// product id -> {purchased, lapses, purchases}: the units that count towards the limit, how many purchases have lapsed, and
/// those that stand, by their numbers
const known = new Map();
const listeners = new Set();
const settledListeners = new Set();
/// purchase id -> what ends watching it
const watched = new Map();
let whose = session.user()?.id;
// Counts what this page has learnt, so that an answer that was on its way does not undo it.
let learnt = 0;

session.onChange(() => {
  if (whose === session.user()?.id) return;
  whose = session.user()?.id;
  known.clear();
  watched.forEach((scope) => scope.abort());
  watched.clear();
  tell();
});

// What was bought in another tab; and, for what was bought elsewhere, whenever somebody looks at this one again.
const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('flash-sale.bought') : null;
if (tabs) tabs.onmessage = ({ data }) => { if (known.has(data)) load(data); };
function loadAgain() {
  [...known.keys()].slice(-LOADED_AGAIN_MAX).forEach((productId) => load(productId));
}
document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') loadAgain(); });
addEventListener('pageshow', ({ persisted }) => { if (persisted) loadAgain(); });

// A refund, for example: the limit is free again.
live.onReleased(({ productId, sequence }) => { if (isOwn(productId, sequence)) load(productId); });

/// `{purchased, lapses, numbers, unpaid}`: the units, the lapses, the numbers of the purchases, and those of them that have
/// to be paid for, the most urgent first; null if nothing is known or nobody is logged in.
export function of(productId) {
  const has = known.get(productId);
  if (!has) return null;
  const pending = [...has.purchases.values()].filter(({ status }) => status === 'pending');
  pending.sort((a, b) => Date.parse(a.expiresAt) - Date.parse(b.expiresAt));
  return { purchased: has.purchased, lapses: has.lapses, numbers: new Set(has.purchases.keys()), unpaid: pending };
}

/// Whether the visitor made this purchase.
export function isOwn(productId, sequence) {
  return known.get(productId)?.purchases.has(sequence) ?? false;
}

/// How many units the visitor may still buy of this product, as far as known.
export function remaining({ id, purchaseLimit, paymentWindowSeconds }) {
  const has = known.get(id);
  if (paymentWindowSeconds && (has?.lapses ?? 0) >= LAPSES_MAX) return 0;
  return Math.max(0, purchaseLimit - (has?.purchased ?? 0));
}

/// Asks the server what the visitor has. Resolves to whether that is known now; a failure leaves it as it was.
export async function load(productId, signal, attempt = 1) {
  const user = session.user();
  if (!user) return false;
  const before = learnt;
  const released = new Set();
  const asking = new AbortController();
  live.onReleased((one) => { if (one.productId === productId) released.add(one.sequence); }, asking.signal);
  try {
    const { data: { yours, ...product } } = await request('GET', `/products/${productId}`, { signal });
    store.put(product);
    if (!yours) return false;
    const waiting = of(productId)?.unpaid ?? [];
    const read = yours.purchased > 0 || waiting.length > 0 ? await readPurchases(productId, user, signal) : [];
    if (session.user()?.id !== user.id) return false;
    // A purchase may have been made meanwhile.
    if (learnt !== before) return load(productId, signal);
    // Without the list, how much it is counts for more than which numbers it has.
    const all = read ?? [...(known.get(productId)?.purchases.values() ?? [])];
    const purchases = all.filter(stands);
    // One may have been given back between the two answers, or since.
    const differs = read?.length < NUMBERS_MAX && units(purchases) !== yours.purchased;
    const isOld = differs || purchases.some(({ sequence }) => released.has(sequence));
    if (isOld && attempt < ATTEMPTS_MAX) return load(productId, signal, attempt + 1);
    known.set(productId, { purchased: yours.purchased, lapses: yours.lapses, purchases: new Map(purchases.map((one) => [one.sequence, one])) });
    purchases.forEach(watchUnpaid);
    all.filter(({ id, status }) => status !== 'pending' && waiting.some((one) => one.id === id)).forEach(tellSettled);
    tell();
    return true;
  } catch {
    // Then the page offers to buy, and the server refuses what is too much.
    return false;
  } finally {
    asking.abort();
  }
}

/// The visitor's newest purchases of a product; null if they cannot be read.
async function readPurchases(productId, user, signal) {
  // Admins see everybody's.
  const userId = user.role === 'customer' ? null : user.id;
  try {
    const { data } = await request('GET', pathOf('/purchases', { productId, userId, limit: NUMBERS_MAX }), { signal });
    return data.items;
  } catch {
    return null;
  }
}

function stands({ status = 'confirmed' }) {
  return status === 'confirmed' || status === 'pending';
}

function units(purchases) {
  return purchases.reduce((sum, { quantity }) => sum + quantity, 0);
}

const nothing = () => ({ purchased: 0, lapses: 0, purchases: new Map() });

/// Records a purchase that was made on this page.
export function add(purchase) {
  const { productId, sequence, quantity } = purchase;
  const has = known.get(productId) ?? nothing();
  if (has.purchases.has(sequence) || !stands(purchase)) return;
  learnt += 1;
  known.set(productId, { ...has, purchased: has.purchased + quantity, purchases: new Map([...has.purchases, [sequence, purchase]]) });
  watchUnpaid(purchase);
  tell();
  tabs?.postMessage(productId);
}

/// Records what has become of a purchase.
export function settle(purchase) {
  const { productId, sequence, quantity } = purchase;
  const has = known.get(productId);
  const before = has?.purchases.get(sequence);
  if (!before || before.status === purchase.status) return;
  learnt += 1;
  const purchases = new Map(has.purchases);
  if (stands(purchase)) purchases.set(sequence, purchase);
  else purchases.delete(sequence);
  known.set(productId, { ...has, purchases, purchased: has.purchased - (stands(purchase) ? 0 : quantity) });
  tellSettled(purchase);
  tell();
  // Whether it counts as a lapse, the server knows.
  if (!stands(purchase)) load(productId);
}

function tellSettled(purchase) {
  watched.get(purchase.id)?.abort();
  watched.delete(purchase.id);
  for (const fn of [...settledListeners]) fn(purchase);
}

function watchUnpaid(purchase) {
  if (purchase.status !== 'pending' || watched.has(purchase.id)) return;
  const scope = new AbortController();
  watched.set(purchase.id, scope);
  unpaid.watch(purchase, settle, scope.signal);
}

/// Records the units that a refusal named.
export function correct(productId, purchased) {
  learn(productId, { purchased });
}

/// Records the lapses that a refusal named.
export function correctLapses(productId, lapses) {
  learn(productId, { lapses });
}

function learn(productId, figures) {
  learnt += 1;
  known.set(productId, { ...(known.get(productId) ?? nothing()), ...figures });
  tell();
}

/// Calls `fn` after each change.
export function onChange(fn, signal) {
  listeners.add(fn);
  signal.addEventListener('abort', () => listeners.delete(fn), { once: true });
}

/// Calls `fn(purchase)` when something has become of an unpaid purchase of the visitor.
export function onSettled(fn, signal) {
  settledListeners.add(fn);
  signal.addEventListener('abort', () => settledListeners.delete(fn), { once: true });
}

function tell() {
  for (const fn of [...listeners]) fn();
}
