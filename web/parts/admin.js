// What the admin's views share: who may see them, their navigation, and requests that outlast a login.

import { loginIsOver, request } from '../api.js';
import { check } from '../access.js';
import { h } from '../dom.js';
import { dateTime } from '../format.js';
import * as session from '../session.js';
import { ensureLogin, openAccount } from './account.js';
import { notice } from './states.js';

const VIEWS = [['/admin', 'Sales'], ['/admin/users', 'Users'], ['/admin/audit', 'Audit log']];

/// Whether the visitor is an admin; if not, shows how to log in.
export function admitAdmin({ root, setTitle, signal }, again) {
  loadStyles();
  if (session.isAdmin()) {
    // Another role ends the view. A login that expires does not: the admin keeps everything typed, and logs in again.
    session.onChange(() => { if (session.user() && !session.isAdmin()) again(); }, signal);
    return true;
  }
  session.onChange(again, signal);
  setTitle('Admin');
  root.append(notice({
    heading: 'h1', title: 'For admins only',
    text: session.user() ? 'Your account may buy, but not change the sales.' : 'Log in with an admin’s account.',
    action: session.user() ? null
      : h('button', { type: 'button', class: 'button button-primary', onclick: () => openAccount('login') }, 'Log in'),
  }));
  return false;
}

/// Buyers need no styles of the admin's views.
function loadStyles() {
  const href = new URL('../admin.css', import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(h('link', { rel: 'stylesheet', href }));
}

/// The head of the view at `path`: the title, the way to the other views, and one action.
export function adminHead(path, title, action = null) {
  return h('div', { class: 'page-head' },
    h('h1', { tabindex: '-1' }, title),
    action,
    h('nav', { class: 'tabs', 'aria-label': 'Admin' },
      VIEWS.map(([target, text]) => h('a', { href: target, 'aria-current': target === path ? 'page' : null }, text))));
}

/// Sends an admin's request; asks for a new login if the old one has expired.
export async function asAdmin(method, path, options) {
  try {
    return await request(method, path, options);
  } catch (error) {
    // The header and the view must not go on as if the visitor were an admin.
    if (error.code === 'forbidden') await check();
    if (!loginIsOver(error) || !(await ensureLogin('Your login has expired. Log in again, and the change is made.'))) throw error;
    return request(method, path, options);
  }
}

/// A moment for an admin: local time and UTC.
export function instantInWords(instant) {
  return `${dateTime(instant)} here, ${new Date(instant).toISOString().replace('.000Z', 'Z')} in UTC`;
}
