// The frame of every view: the navigation, the account menu, and how fresh the figures are.

import { hideName, logOut, logOutEverywhere, whyNotEverywhere } from '../access.js';
import { inWords, loginIsOver } from '../api.js';
import { h, setAttribute, setText, unseen } from '../dom.js';
import * as live from '../live.js';
import * as router from '../router.js';
import * as session from '../session.js';
import { mayRegister, openAccount } from './account.js';
import { confirm, tell } from './confirm.js';
import { changePassword } from './password.js';

const ROLES = { admin: 'Admin', payments: 'Payment service' };

/// Fills the header and the footer and keeps them up to date.
export function start() {
  const draw = () => {
    drawNavigation();
    drawAccount();
    drawEnd();
  };
  draw();
  session.onChange(draw);
  drawConnection();
}

function drawNavigation() {
  const { path } = router.place();
  const link = (target, text) => h('a', { href: target, 'aria-current': path === target ? 'page' : null }, text);
  document.getElementById('nav').replaceChildren(
    link('/', 'Sales'),
    session.user() ? link('/my/purchases', session.isAdmin() ? 'Purchases' : 'My purchases') : '',
    session.isAdmin() ? link('/admin', 'Admin') : '');
}

/// Why the visitor is logged out, for one who did not ask for it.
function drawEnd() {
  const root = document.getElementById('ended');
  const why = session.whyEnded();
  root.hidden = !why;
  if (!why) return root.replaceChildren();
  root.replaceChildren(h('p', {}, why), h('div', { class: 'ended-actions' },
    h('button', { type: 'button', class: 'button button-small', onclick: () => openAccount('login') }, 'Log in again'),
    h('button', { type: 'button', class: 'button button-small button-quiet', onclick: () => session.explainEnd(null) }, 'Close')));
}

function drawAccount() {
  const root = document.getElementById('account');
  const focused = root.contains(document.activeElement);
  const user = session.user();
  root.replaceChildren(...(user ? accountMenu(user) : accountButtons()));
  // After "Log out" the focus moves to the button that takes its place, unless the view changes.
  if (focused) root.querySelector(':scope > button:last-of-type').focus();
}

function accountButtons() {
  return [
    mayRegister
      ? h('button', { type: 'button', class: 'button button-quiet', onclick: () => openAccount('register') }, 'Register')
      : '',
    h('button', { type: 'button', class: 'button', onclick: () => openAccount('login') }, 'Log in'),
  ];
}

function accountMenu(user) {
  // The browser closes a popover on Escape or a press elsewhere, and returns the focus.
  const close = () => { if (menu.matches(':popover-open')) menu.hidePopover(); };
  const link = (target, text) => h('a', { href: target, onclick: close }, text);
  const act = (text, fn) => h('button', { type: 'button', onclick: () => { close(); fn(); } }, text);
  const menu = h('div', { class: 'menu', id: 'account-menu', popover: 'auto' },
    h('p', { class: 'menu-who' }, h('b', { dir: 'auto' }, user.name), h('span', {}, user.email),
      ROLES[user.role] ? h('span', { class: 'menu-role' }, ROLES[user.role]) : null),
    link('/my/purchases', session.isAdmin() ? 'Purchases' : 'My purchases'),
    session.isAdmin() ? [link('/admin', 'Manage sales'), link('/admin/users', 'Users'), link('/admin/audit', 'Audit log')] : null,
    act('Change password', changePassword),
    act(session.hidesName() ? 'Show my name' : 'Hide my name', askHideName),
    h('hr', {}),
    act('Log out', () => { logOut(); router.go('/'); }),
    act('Log out everywhere', askLogOutEverywhere));
  const button = h('button', {
    type: 'button', class: 'button button-account', popovertarget: 'account-menu',
  }, h('span', { class: 'avatar', 'aria-hidden': 'true', 'data-letter': [...user.name][0]?.toUpperCase() }),
  unseen('Account: '), h('span', { class: 'account-name', dir: 'auto' }, user.name));
  return [button, menu];
}

async function askHideName() {
  const hide = !session.hidesName();
  const others = 'Every other browser and program that is logged in with your account has to log in again.';
  const sure = await confirm({
    title: hide ? 'Hide your name?' : 'Show your name again?', yes: hide ? 'Hide my name' : 'Show my name', danger: false,
    text: hide ? `Everybody else sees “Anonymous” as the buyer of what you have bought and will buy. ${others}`
      : `What you buy from now on has your first name and an initial. Earlier purchases stay anonymous. ${others}`,
  });
  if (!sure) return;
  try {
    await hideName(hide);
  } catch (error) {
    if (!loginIsOver(error)) await tell({ title: 'This did not work', text: inWords(error) });
  }
}

async function askLogOutEverywhere() {
  const sure = await confirm({
    title: 'Log out everywhere?', yes: 'Log out everywhere',
    text: 'Every browser and program that is logged in with your account has to log in again, this one too. What you have bought stays yours.',
  });
  if (!sure) return;
  try {
    await logOutEverywhere();
    router.go('/');
  } catch (error) {
    await tell({ title: 'This did not work', text: whyNotEverywhere(error) });
  }
}

const CONNECTION = {
  connecting: 'Connecting',
  live: 'Live: figures change as they happen',
  polling: 'Reconnecting: figures refresh every 10 seconds',
  old: 'The figures may be old: the shop is not answering',
};
const OFFLINE = 'Your device is offline: the figures are old';

function drawConnection() {
  const text = h('span', { role: 'status' });
  const element = document.getElementById('connection');
  element.className = 'connection';
  element.append(h('span', { class: 'connection-dot', 'aria-hidden': 'true' }), text);
  let state = 'connecting';
  const draw = () => {
    setAttribute(element, 'data-state', navigator.onLine ? state : 'old');
    setText(text, navigator.onLine ? CONNECTION[state] : OFFLINE);
  };
  live.onState((newer) => { state = newer; draw(); });
  addEventListener('online', draw);
  addEventListener('offline', draw);
}
