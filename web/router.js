// Which view is shown: the part of the address behind `#`. The server needs to know nothing of it, so there is one page
// for all of them.

import { h } from './dom.js';
import { notice } from './parts/states.js';

const SHOP = 'flash sale';
const main = document.getElementById('main');
let scope = null;
let shown = null;

/// Shows the view of the address, now and whenever it changes. `routes` is a list of [pattern, view]; a view is a
/// function that gets the page: `{root, parameters, query, signal, setTitle, again}`. What it starts has to end with `signal`.
export function start(routes) {
  const show = () => open(routes);
  addEventListener('hashchange', show);
  show();
}

/// The address as `{path, query}`.
export function place() {
  const [path, query = ''] = location.hash.slice(1).split('?');
  return { path: path.startsWith('/') ? path : '/', query: new URLSearchParams(query) };
}

/// Goes to another view.
export function go(path) {
  location.hash = `#${path}`;
}

/// Notes something of the view in its address, without a new entry in the history.
export function replaceQuery(query) {
  const text = query.toString();
  const hash = `#${place().path}${text ? `?${text}` : ''}`;
  history.replaceState(history.state, '', hash);
  shown = hash;
}

function open(routes) {
  // The skip link's target, and other places within the page, are no views.
  if (location.hash && !location.hash.startsWith('#/')) return;
  if (shown !== null && shown === location.hash) return;
  const first = shown === null;
  shown = location.hash;
  // An entry that has been shown before is being gone back to: the browser finds the place again if it can.
  const back = history.state?.seen === true;
  const place = history.state?.scroll ?? 0;
  history.replaceState({ seen: true, scroll: place }, '');
  render(routes, !first);
  if (!first) scrollTo(0, back ? place : 0);
  if (back) restoreScroll(place, scope.signal);
}

function render(routes, focus) {
  scope?.abort();
  scope = new AbortController();
  const { path, query } = place();
  const page = {
    root: main, query, parameters: [], signal: scope.signal,
    // As after a login.
    again: () => render(routes, false),
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
    if (link.getAttribute('href') === `#${path}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const viewing = view(page);
  if (!focus) return;
  // A screen reader has to hear that it is another page, and the keyboard has to start at its top.
  const heading = () => main.querySelector('h1');
  (heading() ?? main).focus({ preventScroll: true });
  if (!heading()) Promise.resolve(viewing).then(() => { if (!page.signal.aborted) heading()?.focus({ preventScroll: true }); });
}

function missing(page) {
  page.setTitle('Not found');
  page.root.append(notice({
    heading: 'h1', title: 'There is nothing here', text: 'The address is wrong, or what was here is gone.',
    action: h('a', { class: 'button', href: '#/' }, 'See all sales'),
  }));
}

/// The view fills up after it is shown; only then there is a place to go back to.
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
  const hash = location.hash;
  saving = setTimeout(() => {
    if (hash === location.hash) history.replaceState({ ...history.state, scroll: scrollY }, '');
  }, 150);
}, { passive: true });

// A link within the page would be taken for a view; so the skip link moves the focus itself.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
  main.scrollIntoView();
});
