// The frame of every view: the navigation, the account menu, and how fresh the figures are.

import { announce } from '../announce.js';
import { logOut } from '../api.js';
import { h, setAttribute, setText, unseen } from '../dom.js';
import * as live from '../live.js';
import * as router from '../router.js';
import * as session from '../session.js';
import { mayRegister, openAccount } from './account.js';

/// Fills the header and the footer and keeps them up to date.
export function start() {
  const draw = () => {
    drawNavigation();
    drawAccount();
  };
  draw();
  session.onChange(draw);
  drawConnection();
}

function drawNavigation() {
  const { path } = router.place();
  const link = (target, text) => h('a', { href: `#${target}`, 'aria-current': path === target ? 'page' : null }, text);
  document.getElementById('nav').replaceChildren(
    link('/', 'Sales'),
    session.user() ? link('/purchases', session.isAdmin() ? 'Purchases' : 'My purchases') : '',
    session.isAdmin() ? link('/admin', 'Admin') : '');
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
      ? h('button', { type: 'button', class: 'button button-quiet hide-narrow', onclick: () => openAccount('register') }, 'Register')
      : '',
    h('button', { type: 'button', class: 'button', onclick: () => openAccount('login') }, 'Log in'),
  ];
}

function accountMenu(user) {
  // The browser closes a popover on Escape or a press elsewhere, and returns the focus.
  const menu = h('div', { class: 'menu', id: 'account-menu', popover: 'auto' },
    h('p', { class: 'menu-who' }, h('b', {}, user.name), h('span', {}, user.email),
      session.isAdmin() ? h('span', { class: 'menu-role' }, 'Admin') : null),
    h('a', { href: '#/purchases', onclick: () => menu.hidePopover() }, session.isAdmin() ? 'Purchases' : 'My purchases'),
    session.isAdmin() ? h('a', { href: '#/admin', onclick: () => menu.hidePopover() }, 'Manage sales') : null,
    h('button', { type: 'button', onclick: () => { logOut(); announce('Logged out.'); router.go('/'); } }, 'Log out'));
  const button = h('button', {
    type: 'button', class: 'button button-account', popovertarget: 'account-menu',
  }, h('span', { class: 'avatar', 'aria-hidden': 'true', 'data-letter': [...user.name][0].toUpperCase() }),
  unseen('Account: '), h('span', { class: 'account-name' }, user.name));
  return [button, menu];
}

const CONNECTION = {
  connecting: 'Connecting',
  live: 'Live: figures change as they happen',
  polling: 'Reconnecting: figures refresh every 10 seconds',
  old: 'The figures may be old: the shop is not answering',
};

function drawConnection() {
  const text = h('span', { role: 'status' });
  const element = document.getElementById('connection');
  element.className = 'connection';
  element.append(h('span', { class: 'connection-dot', 'aria-hidden': 'true' }), text);
  live.onState((state) => {
    setAttribute(element, 'data-state', state);
    setText(text, CONNECTION[state]);
  });
}
