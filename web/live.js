// News from the server, over one WebSocket. While there is none, the view that is open reads anew every few seconds, so
// the shop works without it, only later.

import { Unreachable } from './api.js';
import * as store from './store.js';

// The server takes so many subscriptions on one socket.
const FOLLOWED_MAX = 50;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
// A socket that lasted so long was no failed attempt.
const STEADY_MS = 10_000;
// The server cuts off who sends more than ten messages a second, and whoever scrolls wishes for something else all the time.
const TELL_EVERY_MS = 250;
const TELL_AFTER_MS = 60;
// Without a socket; and with one, for what it does not tell: that a product is new.
const REFRESH_MS = 10_000;
const REFRESH_LIVE_MS = 60_000;
// A tab that nobody has looked at for so long gives up its place.
const HIDDEN_MS_MAX = 5 * 60_000;
// After such a gap the purchases that were missed are not asked for one by one: at a sale they can be thousands.
const GAP_MS_MAX = 30_000;

let socket = null;
let open = false;
let openedAt = 0;
let stale = false;
let retries = 0;
let retryTimer;
let lostAt = 0;
let hiddenTimer;

/// What the views want: product id -> {purchases: bool}. And what this socket has been told.
const wanted = new Map();
let told = new Map();
let toldAt = 0;
let telling;
let tellingAgain;
/// product id -> the last purchase that was seen.
const sequences = new Map();

const purchaseListeners = new Set();
const stateListeners = new Set();
let view = null;
let refreshTimer;
let refreshedAt = performance.now();
let refreshFailed = false;
let state = 'connecting';

/// Starts, for as long as the page is open.
export function start() {
  connect();
  scheduleRefresh();
  addEventListener('online', () => { retries = 0; connect(); refresh(); });
  addEventListener('offline', () => { socket?.close(); refreshFailed = true; update(); });
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiddenTimer);
    if (document.visibilityState === 'hidden') {
      hiddenTimer = setTimeout(() => socket?.close(), HIDDEN_MS_MAX);
    } else {
      connect();
      if (!open && performance.now() - refreshedAt > REFRESH_MS) refresh();
    }
  });
}

/// Follows a product until `signal`, or `unfollow`; with `purchases` also who buys it, from after the sequence `after`.
export function follow(id, { purchases = false, after = null } = {}, signal) {
  // The newest wishes are those on the screen.
  wanted.delete(id);
  wanted.set(id, { purchases });
  if (purchases && after !== null) sequences.set(id, after);
  else if (purchases) sequences.delete(id);
  tellSoon();
  signal?.addEventListener('abort', () => unfollow(id), { once: true });
}

/// Stops following it.
export function unfollow(id) {
  if (wanted.delete(id)) tellSoon();
}

/// Calls `fn(item)` for each purchase of a product that is followed with its purchases.
export function onPurchase(fn, signal) {
  purchaseListeners.add(fn);
  signal.addEventListener('abort', () => purchaseListeners.delete(fn), { once: true });
}

/// Calls `fn(state)` now and when it changes: `connecting`, `live`, `polling` (reads anew every few seconds), `old`.
export function onState(fn) {
  stateListeners.add(fn);
  fn(state);
}

/// Whether news come by themselves.
export function isLive() {
  return open;
}

/// Sets how the open view reads anew: an async function.
export function setRefresh(fn, signal) {
  view = fn;
  refreshedAt = performance.now();
  signal.addEventListener('abort', () => { if (view === fn) view = null; }, { once: true });
}

function connect() {
  clearTimeout(retryTimer);
  if (socket || document.visibilityState === 'hidden') return;
  const url = new URL('/live', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  const own = new WebSocket(url);
  socket = own;
  own.onopen = () => {
    open = true;
    openedAt = performance.now();
    stale = false;
    told = new Map();
    if (lostAt > 0 && performance.now() - lostAt > GAP_MS_MAX) sequences.clear();
    tell();
    // What changed while there was no socket, a new product above all.
    if (lostAt > 0) refresh();
    else scheduleRefresh();
    update();
  };
  own.onmessage = ({ data }) => receive(data);
  own.onclose = ({ reason }) => {
    if (socket !== own) return;
    socket = null;
    if (open) {
      open = false;
      lostAt = performance.now();
      if (lostAt - openedAt > STEADY_MS) retries = 0;
      scheduleRefresh();
    }
    // Everybody lost the server in the same moment; the jitter spreads their return. A server that goes in order spreads
    // it itself, and knows over how long.
    const asked = Number(/^connect again in (\d+) ms$/.exec(reason)?.[1] ?? 0);
    const wait = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** retries) * (0.5 + Math.random());
    retries += 1;
    retryTimer = setTimeout(connect, Math.max(asked, wait));
    update();
  };
}

function tellSoon() {
  telling ??= setTimeout(tell, Math.max(TELL_AFTER_MS, toldAt + TELL_EVERY_MS - performance.now()));
}

/// Brings the socket's subscriptions to what the views want.
function tell() {
  clearTimeout(telling);
  telling = undefined;
  if (!open) return;
  const now = new Map([...wanted].slice(-FOLLOWED_MAX));
  const gone = [...told.keys()].filter((id) => !now.has(id));
  // Asking again in another way takes the place of what was asked before.
  const fresh = [...now].filter(([id, { purchases }]) => told.get(id)?.purchases !== purchases);
  const plain = fresh.filter(([, { purchases }]) => !purchases).map(([id]) => id);
  told = now;
  toldAt = performance.now();
  // In one message: first what frees places, then what takes them.
  const message = {};
  if (gone.length > 0) message.unsubscribe = gone;
  if (plain.length > 0) message.subscribe = plain;
  if (gone.length + plain.length > 0) send(message);
  for (const [id, { purchases }] of fresh) {
    if (!purchases) continue;
    const after = sequences.has(id) ? { after: sequences.get(id) } : {};
    send({ subscribe: [id], include: ['purchases'], ...after });
  }
  // Who follows nothing is not told when it is over.
  if (now.size === 0) setStale(false);
}

function send(message) {
  socket.send(JSON.stringify(message));
}

function receive(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return;
  }
  const { event, data } = message;
  if (event === 'product') {
    store.put(data);
    setStale(false);
  } else if (event === 'stock') {
    store.putStock(data);
  } else if (event === 'purchase') {
    // After a reconnection some may come twice.
    if (data.sequence <= (sequences.get(data.productId) ?? 0)) return;
    sequences.set(data.productId, data.sequence);
    for (const fn of purchaseListeners) fn(data);
  } else if (event === 'stale') {
    setStale(true);
  } else if (event === 'error') {
    refused(data);
  }
}

/// The server does not follow a wish (any more). The detail begins with the product's id.
function refused({ code, detail }) {
  const id = /^([0-9a-f]{24}): /.exec(detail)?.[1];
  if (!id) return;
  if (code === 'product_not_found') return store.remove(id);
  told.delete(id);
  // More was missed than the server keeps ready: then from now on.
  if (code === 'validation_failed' && sequences.delete(id)) return tellSoon();
  // Too busy, or without its database: nothing is heard of this product until it is asked for again.
  setStale(true);
  clearTimeout(tellingAgain);
  tellingAgain = setTimeout(tell, REFRESH_MS * (0.5 + Math.random()));
}

function setStale(value) {
  if (stale === value) return;
  stale = value;
  update();
}

function scheduleRefresh() {
  clearTimeout(refreshTimer);
  const pause = (open ? REFRESH_LIVE_MS : REFRESH_MS) * (0.85 + 0.3 * Math.random());
  refreshTimer = setTimeout(refresh, pause);
}

async function refresh() {
  clearTimeout(refreshTimer);
  if (view && document.visibilityState === 'visible') {
    try {
      await view();
      refreshedAt = performance.now();
      refreshFailed = false;
    } catch (error) {
      refreshFailed = true;
      // The network went without a word, as it does when a machine wakes up elsewhere: the socket does not know yet.
      if (error instanceof Unreachable) socket?.close();
    }
    update();
  }
  scheduleRefresh();
}

function update() {
  let now = 'live';
  if (!open) now = refreshFailed ? 'old' : lostAt > 0 || retries > 0 ? 'polling' : 'connecting';
  else if (stale) now = 'old';
  if (now === state) return;
  state = now;
  for (const fn of stateListeners) fn(state);
}
