// News from the server over one WebSocket. Without it, the open view refreshes every few seconds, so the shop still
// works, only with a delay.

import { Unreachable } from './api.js';
import * as store from './store.js';

// The server accepts this many subscriptions on one socket.
const FOLLOWED_MAX = 50;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
// A socket that lasted this long counts as a success, not as a failed attempt.
const STEADY_MS = 10_000;
// The server cuts off clients that send more than ten messages a second, and scrolling changes what the page wants
// all the time.
const TELL_EVERY_MS = 250;
const TELL_AFTER_MS = 60;
// The first applies without a socket; the second with one, for what it does not report: new products.
const REFRESH_MS = 10_000;
const REFRESH_LIVE_MS = 60_000;
// A tab that has been hidden this long closes its socket and frees its place.
const HIDDEN_MS_MAX = 5 * 60_000;
// After a longer gap the missed purchases are not requested one by one: in a sale there can be thousands.
const GAP_MS_MAX = 30_000;

let socket = null;
let open = false;
let openedAt = 0;
let stale = false;
let retries = 0;
let retryTimer;
let lostAt = 0;
let hiddenTimer;

/// What the views want, as product id -> {purchases: bool}, and below it what this socket has been told.
const wanted = new Map();
let told = new Map();
let toldAt = 0;
let telling;
let tellingAgain;
/// product id -> the sequence of the last purchase seen
const sequences = new Map();

const purchaseListeners = new Set();
const releaseListeners = new Set();
const stateListeners = new Set();
let view = null;
let refreshTimer;
let refreshedAt = performance.now();
let refreshFailed = false;
let state = 'connecting';

/// Connects, and stays connected as long as the page is open.
export function start() {
  connect();
  scheduleRefresh();
  addEventListener('online', () => { retries = 0; connect(); refresh(); });
  addEventListener('offline', () => { socket?.close(); refreshFailed = true; update(); });
  // A page that the browser keeps for the way back is nobody's: it frees its place at once.
  addEventListener('pagehide', leave);
  addEventListener('pageshow', ({ persisted }) => { if (persisted) connect(); });
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

/// Follows a product until `signal` or `unfollow`. With `purchases` also its purchases, those after the sequence
/// `after`.
export function follow(id, { purchases = false, after = null } = {}, signal) {
  // Moved to the end: the newest wishes are for what is on the screen.
  wanted.delete(id);
  wanted.set(id, { purchases });
  if (purchases && after !== null) sequences.set(id, after);
  else if (purchases) sequences.delete(id);
  tellSoon();
  signal?.addEventListener('abort', () => unfollow(id), { once: true });
}

export function unfollow(id) {
  if (wanted.delete(id)) tellSoon();
}

/// Calls `fn(item)` for each purchase of a product that is followed with its purchases.
export function onPurchase(fn, signal) {
  purchaseListeners.add(fn);
  signal.addEventListener('abort', () => purchaseListeners.delete(fn), { once: true });
}

/// Calls `fn({productId, sequence, status})` when a purchase of such a product is given back.
export function onReleased(fn, signal) {
  releaseListeners.add(fn);
  signal?.addEventListener('abort', () => releaseListeners.delete(fn), { once: true });
}

/// Calls `fn(state)` now and on each change: `connecting`, `live`, `polling` (refreshes every few seconds), `old`.
export function onState(fn, signal) {
  stateListeners.add(fn);
  signal?.addEventListener('abort', () => stateListeners.delete(fn), { once: true });
  fn(state);
}

/// Whether the socket delivers news.
export function isLive() {
  return open;
}

/// Sets the async function that refreshes the open view.
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
    // Fetches what changed while there was no socket, above all new products.
    if (lostAt > 0) refresh();
    else scheduleRefresh();
    update();
  };
  own.onmessage = ({ data }) => receive(data);
  own.onclose = ({ reason }) => {
    if (socket !== own) return;
    lost();
    // All clients lose the server at the same moment; the jitter spreads their return. A server that shuts down in
    // order names a delay itself, already spread.
    const asked = Number(/^connect again in (\d+) ms$/.exec(reason)?.[1] ?? 0);
    const wait = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** retries) * (0.5 + Math.random());
    retries += 1;
    retryTimer = setTimeout(connect, Math.max(asked, wait));
    update();
  };
}

function lost() {
  socket = null;
  if (!open) return;
  open = false;
  lostAt = performance.now();
  if (lostAt - openedAt > STEADY_MS) retries = 0;
  scheduleRefresh();
}

/// Closes the socket and does not wait for its end: the page may sleep by then.
function leave() {
  clearTimeout(retryTimer);
  socket?.close();
  lost();
  update();
}

function tellSoon() {
  telling ??= setTimeout(tell, Math.max(TELL_AFTER_MS, toldAt + TELL_EVERY_MS - performance.now()));
}

/// Brings the socket's subscriptions in line with what the views want.
function tell() {
  clearTimeout(telling);
  telling = undefined;
  if (!open) return;
  const now = new Map([...wanted].slice(-FOLLOWED_MAX));
  const gone = [...told.keys()].filter((id) => !now.has(id));
  // A new subscription to the same product replaces the old one.
  const fresh = [...now].filter(([id, { purchases }]) => told.get(id)?.purchases !== purchases);
  const plain = fresh.filter(([, { purchases }]) => !purchases).map(([id]) => id);
  told = now;
  toldAt = performance.now();
  // One message; the server frees places first and then takes them.
  const message = {};
  if (gone.length > 0) message.unsubscribe = gone;
  if (plain.length > 0) message.subscribe = plain;
  if (gone.length + plain.length > 0) send(message);
  for (const [id, { purchases }] of fresh) {
    if (!purchases) continue;
    const after = sequences.has(id) ? { after: sequences.get(id) } : {};
    send({ subscribe: [id], include: ['purchases'], ...after });
  }
  // Without a subscription the server would not report that the data is fresh again.
  if (now.size === 0) setStale(false);
}

function send(message) {
  // One that is closing is still there. The next one is told everything.
  if (socket.readyState !== WebSocket.OPEN) return;
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
    // After a reconnection some purchases may come twice.
    if (data.sequence <= (sequences.get(data.productId) ?? 0)) return;
    sequences.set(data.productId, data.sequence);
    for (const fn of purchaseListeners) fn(data);
  } else if (event === 'released') {
    for (const fn of [...releaseListeners]) fn(data);
  } else if (event === 'stale') {
    setStale(true);
  } else if (event === 'error') {
    refused(data);
  }
}

/// The server refuses a subscription or ends it. The detail begins with the product's id.
function refused({ code, detail }) {
  const id = /^([0-9a-f]{24}): /.exec(detail)?.[1];
  if (!id) return;
  if (code === 'product_not_found') return store.remove(id);
  told.delete(id);
  // More was missed than the server keeps: follow from now on.
  if (code === 'validation_failed' && sequences.delete(id)) return tellSoon();
  // The server is too busy or without its database: no news of this product until we ask again.
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
      // The network broke silently, for example when a laptop wakes up elsewhere: the socket has not noticed yet.
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
