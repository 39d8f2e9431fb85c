// What the visitor has of each product: the server says it when a page needs it, and purchases on this page add to it.

import { pathOf, request } from './api.js';
import * as session from './session.js';
import * as store from './store.js';

// More numbers than this nobody reads.
const NUMBERS_MAX = 50;
/// product id -> {purchased, numbers}: the units, and the numbers of the purchases
const known = new Map();
const listeners = new Set();
let whose = session.user()?.id;

session.onChange(() => {
  if (whose === session.user()?.id) return;
  whose = session.user()?.id;
  known.clear();
  tell();
});

/// `{purchased, numbers}`; null if nothing is known or nobody is logged in.
export function of(productId) {
  return known.get(productId) ?? null;
}

/// Whether the visitor made this purchase.
export function isOwn(productId, sequence) {
  return known.get(productId)?.numbers.has(sequence) ?? false;
}

/// Asks the server what the visitor has. Resolves to whether that is known now; a failure leaves it as it was.
export async function load(productId, signal) {
  const user = session.user();
  if (!user) return false;
  try {
    const { data: { yours, ...product } } = await request('GET', `/products/${productId}`, { signal });
    store.put(product);
    if (!yours) return false;
    const numbers = yours.purchased > 0 ? await readNumbers(productId, user, signal) : [];
    if (session.user()?.id !== user.id) return false;
    // A purchase may have been made meanwhile.
    const before = known.get(productId);
    known.set(productId, {
      purchased: Math.max(yours.purchased, before?.purchased ?? 0), numbers: new Set([...numbers, ...(before?.numbers ?? [])]),
    });
    tell();
    return true;
  } catch {
    // Then the page offers to buy, and the server refuses what is too much.
    return false;
  }
}

async function readNumbers(productId, user, signal) {
  // Admins see everybody's.
  const userId = user.role === 'customer' ? null : user.id;
  try {
    const { data } = await request('GET', pathOf('/purchases', { productId, userId, limit: NUMBERS_MAX }), { signal });
    return data.items.filter(({ status = 'confirmed' }) => status === 'confirmed' || status === 'pending').map(({ sequence }) => sequence);
  } catch {
    // How much it is counts for more than which numbers it has.
    return [];
  }
}

/// Records a purchase that was made on this page.
export function add({ productId, sequence, quantity }) {
  const before = known.get(productId);
  if (before?.numbers.has(sequence)) return;
  known.set(productId, { purchased: (before?.purchased ?? 0) + quantity, numbers: new Set([...(before?.numbers ?? []), sequence]) });
  tell();
}

/// Records the units that a refusal named.
export function correct(productId, purchased) {
  const before = known.get(productId);
  if (before?.purchased === purchased) return;
  known.set(productId, { purchased, numbers: before?.numbers ?? new Set() });
  tell();
}

/// Calls `fn` after each change.
export function onChange(fn, signal) {
  listeners.add(fn);
  signal.addEventListener('abort', () => listeners.delete(fn), { once: true });
}

function tell() {
  for (const fn of [...listeners]) fn();
}
