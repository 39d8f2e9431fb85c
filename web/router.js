// Chooses the view by the address. The server answers each of these addresses with the same page, and a link within
// the page only changes the view.

import { pathOf } from './api.js';
import { h } from './dom.js';
import { notice } from './parts/states.js';

const SHOP = document.querySelector('meta[name=application-name]').content;
const main = document.getElementById('main');
let routes = [];
let scope = null;
let shown = null;

/// Shows the view of the address, now and after each change. `list` is a list of [pattern, view]. A view is a function
/// of the page, `{root, parameters, query, signal, setTitle, again}`; what it starts must end with `signal`.
export function start(list) {
  routes = list;
  // Views fill up after they are shown, so the browser would come too early.
  history.scrollRestoration = 'manual';
  leaveOldAddress();
  addEventListener('popstate', () => open());
  document.addEventListener('click', follow);
  open();
}

export function place() {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export function go(path) {
  if (path === location.pathname + location.search) return;
  history.pushState(null, '', path);
  open();
}

/// Stores the view's query in the address, without what is empty and without a new history entry.
export function replaceQuery(query) {
  history.replaceState(history.state, '', pathOf(location.pathname, query));
  shown = location.pathname + location.search;
}

/// A plain click on a link to a view changes the view; everything else is the browser's.
function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.('a[href]');
  if (!link || link.target || link.download || link.origin !== location.origin || link.hash) return;
  if (!routes.some(([pattern]) => pattern.test(link.pathname))) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

/// Addresses were once behind `#`; bookmarks of them still work. Whatever else is there leads to the start page: as it is,
/// `//elsewhere` would be another site.
function leaveOldAddress() {
  if (!location.hash.startsWith('#/')) return;
  const path = location.hash.slice(1)
    .replace(/^\/products\//, '/sales/').replace(/^\/purchases/, '/my/purchases').replace(/^\/admin\/(?=[0-9a-f]{24}$)/, '/admin/sales/');
  const { pathname, search } = new URL(location.origin + path);
  history.replaceState(null, '', routes.some(([pattern]) => pattern.test(pathname)) ? pathname + search : '/');
}

function open() {
  const address = location.pathname + location.search;
  // The target of the skip link is not a view.
  if (shown === address) return;
  const first = shown === null;
  shown = address;
  // An entry that was shown before means going back: restore its scroll position.
  const back = history.state?.seen === true;
  const place = history.state?.scroll ?? 0;
  history.replaceState({ seen: true, scroll: place }, '');
  render(!first);
  if (!first) scrollTo(0, back ? place : 0);
  if (back) restoreScroll(place, scope.signal);
}

function render(focus) {
  scope?.abort();
  scope = new AbortController();
  const { path, query } = place();
  const page = {
    root: main, query, parameters: [], signal: scope.signal,
    // Renders the view again, for example after a login.
    again: () => render(false),
    setTitle: (title) => { document.title = title ? `${title} – ${SHOP}` : SHOP; },
  };
  main.replaceChildren();
  let view = missing;
  for (const [pattern, candidate] of routes) {
    const match = pattern.exec(path);
    if (match) {
      view = candidate;
      page.parameters = match.slice(1);
      break;
    }
  }
  for (const link of document.querySelectorAll('#nav a')) {
    if (link.getAttribute('href') === path) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const viewing = view(page);
  if (!focus) return;
  // A screen reader must hear that the page has changed, and the keyboard must start at its top.
  const heading = () => main.querySelector('h1');
  (heading() ?? main).focus({ preventScroll: true });
  if (!heading()) Promise.resolve(viewing).then(() => { if (!page.signal.aborted) heading()?.focus({ preventScroll: true }); });
}

function missing(page) {
  page.setTitle('Not found');
  page.root.append(notice({
    heading: 'h1', title: 'There is nothing here', text: 'The address is wrong, or what was here is gone.',
    action: h('a', { class: 'button', href: '/' }, 'See all sales'),
  }));
}

/// The view fills up after it is shown; only then can it scroll to the old position.
function restoreScroll(place, signal) {
  if (place === 0) return;
  const observer = new ResizeObserver(() => {
    if (document.documentElement.scrollHeight >= place + innerHeight) {
      scrollTo(0, place);
      observer.disconnect();
    }
  });
  observer.observe(main);
  signal.addEventListener('abort', () => observer.disconnect(), { once: true });
  setTimeout(() => observer.disconnect(), 3_000);
}

let saving;
addEventListener('scroll', () => {
  clearTimeout(saving);
  const { pathname } = location;
  saving = setTimeout(() => {
    if (pathname === location.pathname) history.replaceState({ ...history.state, scroll: scrollY }, '');
  }, 150);
}, { passive: true });

// The router would take a link within the page for a view, so the skip link moves the focus itself.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
  main.scrollIntoView();
});
