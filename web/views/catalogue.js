// All sales: open now, opening soon, ended.

import { get, pathOf } from '../api.js';
import * as clock from '../clock.js';
import { h, setAttribute, setText, uniqueId } from '../dom.js';
import { clockTime, count, timeZone } from '../format.js';
import * as live from '../live.js';
import { replaceQuery } from '../router.js';
import * as session from '../session.js';
import * as store from '../store.js';
import { openAccount } from '../parts/account.js';
import { card } from '../parts/card.js';
import { GROUPS, places } from '../parts/groups.js';
import { failure, notice, skeleton } from '../parts/states.js';

const PAGE = 24;
const LIMIT_MAX = 200;
const SEARCH_AFTER_MS = 250;
// A search scans every product of any status, and the server runs only a few at a time: one request serves all
// groups.
const ANY = 'any';

export function catalogue(page) {
  const { root, query, signal } = page;
  page.setTitle('');
  let show = GROUPS.some(({ name }) => name === query.get('show')) ? query.get('show') : 'all';
  let search = query.get('q') ?? '';

  /// status -> {ids, cursor}: how far that list has been read
  let lists = new Map();
  const cards = new Map();
  const onScreen = new Set();
  const placed = places((id) => onScreen.has(id), (id) => cards.get(id)?.element.matches(':hover, :focus-within'));
  let loading = null;
  let failed = null;

  const time = h('span', { class: 'shop-clock-time' });
  clock.onTick(() => setText(time, clock.isSynced() ? clockTime(clock.now()) : '--:--:--'), signal);
  const searchField = h('input', {
    type: 'search', id: uniqueId('search'), placeholder: 'Search by name', maxlength: 200, value: search, autocomplete: 'off',
    'aria-label': 'Search sales by name', oninput: () => searchSoon(),
  });
  const choice = (value, label) => h('label', { class: 'segment' },
    h('input', { type: 'radio', name: 'show', value, checked: value === show, onchange: () => change(value, search) }),
    h('span', {}, label));
  const found = h('p', { class: 'unseen', role: 'status' });
  const body = h('div', { class: 'groups' });
  root.append(
    h('div', { class: 'hero' },
      h('div', {},
        h('h1', { tabindex: '-1' }, 'Flash sales'),
        h('p', { class: 'lead' }, 'Limited stock, first come, first served.')),
      h('p', { class: 'shop-clock', title: `Your time zone: ${timeZone()}` }, h('span', {}, 'Shop time'), ' ', time)),
    h('div', { class: 'filters', role: 'search' },
      h('fieldset', { class: 'segments' }, h('legend', { class: 'unseen' }, 'Which sales'),
        choice('all', 'All'), choice('live', 'Live'), choice('upcoming', 'Upcoming'), choice('ended', 'Ended')),
      searchField),
    found, body);

  let searching;
  function searchSoon() {
    clearTimeout(searching);
    searching = setTimeout(() => change(show, searchField.value.trim()), SEARCH_AFTER_MS);
  }

  function change(newShow, newSearch) {
    if (newShow === show && newSearch === search) return;
    // One list does not show the same as two lists together.
    const reread = newSearch !== search || (search && newShow !== show);
    [show, search] = [newShow, newSearch];
    placed.clear();
    replaceQuery({ show: show === 'all' ? '' : show, q: search });
    if (reread) lists = new Map();
    load();
  }

  const listsOf = (group) => (search && show === 'all' ? [ANY] : group.lists);
  const shownGroups = () => GROUPS.filter(({ name }) => show === 'all' || show === name);

  async function readList(status, cursor = null, limit = PAGE) {
    const { data } = await get(pathOf('/products', { status: status === ANY ? null : status, search, limit, cursor }), { signal });
    data.items.forEach(store.put);
    return { ids: data.items.map(({ id }) => id), cursor: data.nextCursor };
  }

  /// Reads what the filters ask for; lists that were read are read again, as far as before.
  async function readAll() {
    const asked = `${show} ${search}`;
    const statuses = [...new Set(shownGroups().flatMap(listsOf))];
    const read = await Promise.all(statuses.map((status) => {
      const length = lists.get(status)?.ids.length ?? 0;
      return readList(status, null, Math.min(LIMIT_MAX, Math.max(PAGE, length)));
    }));
    if (asked !== `${show} ${search}`) return;
    statuses.forEach((status, index) => {
      const longer = lists.get(status);
      // Longer than one request can refresh: keep the list as it is.
      if (longer && longer.ids.length > LIMIT_MAX) return;
      lists.set(status, read[index]);
    });
  }

  async function load() {
    const own = {};
    loading = own;
    failed = null;
    draw();
    try {
      await readAll();
    } catch (error) {
      if (loading === own) failed = error;
    }
    if (loading !== own || signal.aborted) return;
    loading = null;
    draw();
    const total = shownIds().size;
    if (search) setText(found, total === 0 ? 'Nothing found.' : `${count(total, 'sale')} found.`);
    else setText(found, '');
  }

  async function showMore(group, button) {
    setAttribute(button, 'aria-disabled', 'true');
    for (const status of listsOf(group)) {
      const known = lists.get(status);
      if (!known?.cursor) continue;
      try {
        const next = await readList(status, known.cursor);
        lists.set(status, { ids: [...known.ids, ...next.ids], cursor: next.cursor });
      } catch {
        break;
      }
    }
    if (!signal.aborted) draw();
  }

  function shownIds() {
    return new Set([...lists.values()].flatMap(({ ids }) => ids));
  }

  // Only products on the screen are followed: the visitor sees no others, and a socket carries a limited number.
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const id = target.dataset.productId;
      if (isIntersecting) onScreen.add(id);
      else onScreen.delete(id);
      if (isIntersecting) live.follow(id);
      else live.unfollow(id);
    }
  }, { rootMargin: '100px' });
  signal.addEventListener('abort', () => {
    observer.disconnect();
    for (const id of cards.keys()) live.unfollow(id);
  }, { once: true });

  function cardOf(product) {
    if (!cards.has(product.id)) {
      const scope = new AbortController();
      const element = card(product, AbortSignal.any([signal, scope.signal]));
      cards.set(product.id, { element, scope });
      observer.observe(element.firstElementChild);
    }
    return cards.get(product.id).element;
  }

  function dropCards(kept) {
    for (const [id, { element, scope }] of cards) {
      if (kept.has(id)) continue;
      observer.unobserve(element.firstElementChild);
      onScreen.delete(id);
      live.unfollow(id);
      scope.abort();
      element.remove();
      cards.delete(id);
    }
  }

  const sections = new Map(GROUPS.map((group) => {
    const title = h('h2', { id: `group-${group.name}` }, group.title);
    const list = h('ul', { class: 'cards' });
    const more = h('button', { type: 'button', class: 'button', onclick: () => showMore(group, more) }, 'Show more');
    const element = h('section', { class: `group group-${group.name}`, 'aria-labelledby': title.id },
      h('div', { class: 'section-head' }, title), list, h('p', { class: 'group-more' }, more));
    return [group.name, { element, list, more }];
  }));

  let layout = '';
  function draw() {
    const nothingRead = shownGroups().every((group) => listsOf(group).every((status) => !lists.has(status)));
    layout = '';
    if (nothingRead) {
      dropCards(new Set());
      if (failed) body.replaceChildren(failure(failed, load));
      else body.replaceChildren(skeleton('cards', 6, 'Loading the sales'));
      return;
    }
    arrange();
  }

  /// Puts every card in its place and reuses the cards that stay.
  function arrange() {
    const groups = placed.arrange([...shownIds()].map(store.find).filter(Boolean));
    const next = shownGroups().map(({ name }) => `${name}:${groups.get(name).map(({ id }) => id).join()}`).join(';');
    if (next === layout) return;
    layout = next;
    const kept = new Set();
    const shown = [];
    for (const group of shownGroups()) {
      const { element, list, more } = sections.get(group.name);
      const products = groups.get(group.name);
      products.forEach((product, index) => {
        kept.add(product.id);
        const item = cardOf(product);
        if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
      });
      more.parentElement.hidden = !listsOf(group).some((status) => lists.get(status)?.cursor);
      more.removeAttribute('aria-disabled');
      if (products.length > 0) shown.push(element);
    }
    dropCards(kept);
    if (shown.length === 0) return body.replaceChildren(nothing());
    // Moving a node takes the focus from its content, so only when the sections have changed.
    if (shown.length !== body.children.length || shown.some((element, index) => body.children[index] !== element)) {
      body.replaceChildren(...shown);
    }
  }

  function clearSearch() {
    searchField.value = '';
    // The pressed element is about to disappear, and the focus with it.
    searchField.focus();
    change(show, '');
  }

  function showAll() {
    const all = root.querySelector('input[value=all]');
    all.focus();
    all.click();
  }

  function nothing() {
    if (search) {
      return notice({
        title: 'Nothing found', text: `No ${show === 'all' ? '' : `${show} `}sale has “${search}” in its name.`,
        action: h('button', { type: 'button', class: 'button', onclick: clearSearch }, 'Clear the search'),
      });
    }
    if (show !== 'all') {
      return notice({
        title: `No ${show} sales`, text: 'There may be others.',
        action: h('button', { type: 'button', class: 'button', onclick: showAll }, 'Show all sales'),
      });
    }
    if (session.isAdmin()) {
      return notice({
        title: 'No sales yet', text: 'Create the first one: a name, a price, some stock, and when it opens.',
        action: h('a', { class: 'button button-primary', href: '/admin/new' }, 'Create a sale'),
      });
    }
    return notice({
      title: 'No sales yet', text: 'Come back soon. If this is your shop, log in as its admin to create the first sale.',
      action: session.user() ? null : h('button', { type: 'button', class: 'button', onclick: () => openAccount('login') }, 'Log in'),
    });
  }

  const settled = () => loading === null && lists.size > 0 && !signal.aborted;
  clock.onTick(() => { if (settled()) arrange(); }, signal);
  store.watchAll(() => { if (settled()) arrange(); }, signal);
  session.onChange(() => { if (settled()) draw(); }, signal);
  live.setRefresh(async () => {
    await readAll();
    failed = null;
    if (!signal.aborted && loading === null) draw();
  }, signal);
  load();
}
