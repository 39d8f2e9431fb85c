// Chooses the view by the part of the address behind `#`. The server does not see that part, so one page serves all
// views.

import { h } from './dom.js';
import { notice } from './parts/states.js';

const SHOP = 'flash sale';
const main = document.getElementById('main');
let scope = null;
let shown = null;

/// Shows the view of the address, now and after each change. `routes` is a list of [pattern, view]. A view is a
/// function of the page, `{root, parameters, query, signal, setTitle, again}`; what it starts must end with `signal`.
export function start(routes) {
  const show = () => open(routes);
  addEventListener('hashchange', show);
  show();
}

export function place() {
  const [path, query = ''] = location.hash.slice(1).split('?');
  return { path: path.startsWith('/') ? path : '/', query: new URLSearchParams(query) };
}

export function go(path) {
  location.hash = `#${path}`;
}

/// Stores the view's query in the address without a new history entry.
export function replaceQuery(query) {
  const text = query.toString();
  const hash = `#${place().path}${text ? `?${text}` : ''}`;
  history.replaceState(history.state, '', hash);
  shown = hash;
}

function open(routes) {
  // The target of the skip link and other places within the page are not views.
  if (location.hash && !location.hash.startsWith('#/')) return;
  if (shown !== null && shown === location.hash) return;
  const first = shown === null;
  shown = location.hash;
  // An entry that was shown before means going back: restore its scroll position.
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
    // Renders the view again, for example after a login.
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
  // A screen reader must hear that the page has changed, and the keyboard must start at its top.
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
  const hash = location.hash;
  saving = setTimeout(() => {
    if (hash === location.hash) history.replaceState({ ...history.state, scroll: scrollY }, '');
  }, 150);
}, { passive: true });

// The router would take a link within the page for a view, so the skip link moves the focus itself.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
  main.scrollIntoView();
});
