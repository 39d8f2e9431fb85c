// How a login ends: when the visitor asks for it, or because the server says so. Of the latter the page learns from
// the answer to its next request (see `request`), which logs it out.

import { Problem, inWords, loginIsOver, request } from './api.js';
import { announce } from './announce.js';
import * as session from './session.js';

// A tab that comes back to the front asks at most this often.
const CHECK_EVERY_MS = 60_000;
let checkedAt = -Infinity;

/// Watches whether an admin still is one.
export function start() {
  document.addEventListener('visibilitychange', () => {
    // Not for buyers: at an opening thousands of tabs come to the front in the same second.
    if (document.visibilityState !== 'visible' || !session.isAdmin()) return;
    if (performance.now() - checkedAt > CHECK_EVERY_MS) check();
  });
}

/// Asks the server who is logged in: the login may have ended elsewhere, or the role may have changed.
export async function check() {
  if (!session.current()) return;
  checkedAt = performance.now();
  const { token } = session.current();
  try {
    const { data } = await request('GET', '/auth/me');
    if (session.current()?.token === token) session.refresh(data);
  } catch {
    // Either `request` has logged out, or nothing is known.
  }
}

/// Logs out at once on this device, and then tells the server, so that the token is worth nothing any more.
export async function logOut() {
  const token = session.current()?.token;
  if (!token) return;
  session.end();
  announce('Logged out.');
  try {
    await request('POST', '/auth/logout', { token });
  } catch (error) {
    if (loginIsOver(error) || session.current()) return;
    session.explainEnd('You are logged out on this device, but the shop could not be told. '
      + 'If somebody else may have your login, log in again and choose “Log out everywhere”.');
  }
}

/// Ends all logins of the account. Throws what `request` throws, other than that this login had ended before.
export async function logOutEverywhere() {
  try {
    await request('POST', '/auth/logout?everywhere=true');
  } catch (error) {
    // Then `request` has logged out and said why; the other logins may still be there.
    if (!(error instanceof Problem) || !loginIsOver(error)) throw error;
    return;
  }
  session.end();
  announce('Logged out everywhere.');
}

/// Hides the own name from the public, or shows it again. Throws what `request` throws.
export async function hideName(hide) {
  const { data } = await request('PATCH', '/auth/me', { body: { hideName: hide } });
  session.begin(data);
  announce(hide ? 'Your name is hidden.' : 'Your name is shown again.');
}

/// A sentence for a failure to log out everywhere.
export function whyNotEverywhere(error) {
  return `You may still be logged in elsewhere. ${inWords(error)}`;
}
