// Who is logged in.
//
// In localStorage, not in sessionStorage: people open a sale in several tabs, and someone who has to log in again in
// the second one is too late. What speaks against it is a script of somebody else's reading the token, and this page
// runs none (its Content-Security-Policy) and makes no markup out of text. A token lasts a day at most.

const KEY = 'flash-sale.session';
const listeners = new Set();
let session = read();

/// `{token, user, expiresAt}`, or null.
export function current() {
  return session;
}

/// The account, or null.
export function user() {
  return session?.user ?? null;
}

/// Whether this visitor may change the catalogue.
export function isAdmin() {
  return session?.user.role === 'admin';
}

/// Keeps what a login has answered.
export function begin({ token, user, expiresAt }) {
  session = { token, user, expiresAt };
  try {
    localStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Storage is full or forbidden: the login lasts as long as the page.
  }
  tell();
}

/// Logs out, or notes that the server does not take the token any more.
export function end() {
  if (!session) return;
  session = null;
  try {
    localStorage.removeItem(KEY);
  } catch {
    // It was never kept.
  }
  tell();
}

/// Calls `fn` after every login and logout, also those in other tabs.
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
