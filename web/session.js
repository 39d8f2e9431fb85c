// Who is logged in.
//
// In localStorage, not in sessionStorage: people open a sale in several tabs, and a visitor who must log in again in
// the second one is too late. The risk is a foreign script that reads the token; this page runs none (its
// Content-Security-Policy) and makes no markup from text. A token lasts at most a day.

const KEY = 'flash-sale.session';
const listeners = new Set();
let session = read();
let ended = null;

/// `{token, user, expiresAt}`, or null.
export function current() {
  return session;
}

export function user() {
  return session?.user ?? null;
}

export function isAdmin() {
  return session?.user.role === 'admin';
}

/// Whether the public sees no name: the token carries the one that it sees.
export function hidesName() {
  try {
    const claims = session.token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(claims)).name === 'Anonymous';
  } catch {
    return false;
  }
}

/// Stores the answer to a login.
export function begin({ token, user, expiresAt }) {
  session = { token, user, expiresAt };
  store();
  tell();
}

/// Records what the server says about the account now; its name or its role may have changed.
export function refresh(user) {
  if (!session || JSON.stringify(session.user) === JSON.stringify(user)) return;
  session = { ...session, user };
  store();
  tell();
}

/// Logs out, or records that the server refuses the token. `reason` is for a visitor who did not ask for it.
export function end(reason = null) {
  if (!session) return;
  const stored = read();
  // Another tab has logged in again, but its event has not arrived: that login is not the one that ended.
  if (stored && stored.token !== session.token) {
    session = stored;
    return tell();
  }
  session = null;
  ended = reason;
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was stored.
  }
  tell();
}

/// Calls `fn` after each login and logout, also those in other tabs.
export function onChange(fn, signal) {
  listeners.add(fn);
  signal?.addEventListener('abort', () => listeners.delete(fn), { once: true });
}

/// Why the login ended, in a sentence; null if the visitor asked for it, or is logged in.
export function whyEnded() {
  return session ? null : ended;
}

/// Says why the login ended; null once the visitor has read it.
export function explainEnd(reason) {
  ended = reason;
  tell();
}

function store() {
  try {
    localStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Storage is full or forbidden: the login lasts as long as the page.
  }
}

/// What is stored, if it makes sense; otherwise it is dropped.
function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY));
    if (isSession(stored)) return stored;
  } catch {
    // It is no JSON, or storage is forbidden.
  }
  drop();
  return null;
}

function drop() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden.
  }
}

/// Whether the token can be sent in a header, and the user has what the page shows.
function isSession(stored) {
  const { token, user } = stored ?? {};
  return typeof token === 'string' && /^[\w.~+/=-]+$/.test(token)
    && typeof user?.id === 'string' && typeof user.name === 'string' && user.name.trim() !== '';
}

function tell() {
  for (const fn of [...listeners]) fn();
}

addEventListener('storage', (event) => {
  if (event.key !== KEY && event.key !== null) return;
  const before = session;
  session = read();
  ended = before && !session ? 'You have been logged out in another tab.' : null;
  tell();
});
