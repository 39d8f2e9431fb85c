// Who is logged in.
//
// In localStorage, not in sessionStorage: people open a sale in several tabs, and a visitor who must log in again in
// the second one is too late. The risk is a foreign script that reads the token; this page runs none (its
// Content-Security-Policy) and makes no markup from text. A token lasts at most a day.

const KEY = 'flash-sale.session';
const listeners = new Set();
let session = read();

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

/// Stores the answer to a login.
export function begin({ token, user, expiresAt }) {
  session = { token, user, expiresAt };
  try {
    localStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Storage is full or forbidden: the login lasts as long as the page.
  }
  tell();
}

/// Logs out, or records that the server refuses the token.
export function end() {
  if (!session) return;
  session = null;
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

function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY));
    return typeof stored?.token === 'string' && typeof stored.user?.name === 'string' ? stored : null;
  } catch {
    return null;
  }
}

function tell() {
  for (const fn of [...listeners]) fn();
}

addEventListener('storage', (event) => {
  if (event.key !== KEY && event.key !== null) return;
  session = read();
  tell();
});
