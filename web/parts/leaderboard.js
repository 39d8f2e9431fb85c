// Who bought, filling up as it happens. A sale has tens of thousands of buyers; the table never has more than fifty of
// them, and changes a few times a second, however many come.

import { get, inWords, pathOf } from '../api.js';
import { h, setText, uniqueId, whenOver } from '../dom.js';
import { number, preciseTime } from '../format.js';
import * as live from '../live.js';
import { isOwn, onBought } from '../purchase.js';

const ROWS = 50;
// To show the newest, the list is read to its end, for it can only be read from its start; so far at most.
const TAIL_PAGES_MAX = 5;
const TAIL_LIMIT = 200;
const DRAW_EVERY_MS = 250;

/// The leaderboard of one product, of which `sold` units have been sold. `newest` chooses what is shown first: the newest
/// buyers, or the first.
export function leaderboard(productId, { newest, sold }, signal) {
  let mode = newest ? 'newest' : 'first';
  /// The end of the list, newest first; and whether it is known, or begins with those that come from now on.
  let tail = [];
  let tailKnown = false;
  let tailCursor = null;
  /// The pages of the list from its start: where each begins, and the one that is shown.
  const cursors = [null];
  let page = 0;
  let items = [];
  let more = false;
  let failed = null;
  let loaded = false;

  const rows = h('tbody', {});
  const caption = h('caption', { class: 'unseen' });
  const table = h('table', { class: 'board' }, caption,
    h('thead', {}, h('tr', {}, ['No.', 'Buyer', 'Units', 'Time'].map((text) => h('th', { scope: 'col' }, text)))), rows);
  const text = h('p', { class: 'board-text' });
  const previous = h('button', { type: 'button', class: 'button button-small', onclick: () => turn(-1) }, 'Earlier buyers');
  const next = h('button', { type: 'button', class: 'button button-small', onclick: () => turn(1) }, 'Later buyers');
  const pager = h('div', { class: 'board-pager' }, previous, next);
  const group = uniqueId('board');
  const choice = (value, label) => h('label', { class: 'segment' },
    h('input', { type: 'radio', name: group, value, checked: value === mode, onchange: () => choose(value) }), h('span', {}, label));
  const element = h('section', { class: 'leaderboard', 'aria-labelledby': `${group}-title` },
    h('div', { class: 'section-head' },
      h('h2', { id: `${group}-title` }, 'Leaderboard'),
      h('fieldset', { class: 'segments' }, h('legend', { class: 'unseen' }, 'Order of buyers'),
        choice('first', 'First buyers'), choice('newest', 'Newest'))),
    table, text, pager);

  async function load() {
    try {
      await readPage();
      if (!more) {
        take(items);
        tailKnown = true;
      } else if (sold <= TAIL_PAGES_MAX * TAIL_LIMIT) {
        await readTail();
      }
      failed = null;
    } catch (error) {
      failed = error;
    }
    if (signal.aborted) return;
    loaded = true;
    draw();
    live.follow(productId, { purchases: true, after: tailKnown ? (tail[0]?.sequence ?? 0) : null }, signal);
  }

  /// Reads on from the last page that is known, to the end if it is not too far.
  async function readTail() {
    for (let pages = 0; pages < TAIL_PAGES_MAX; pages += 1) {
      const path = pathOf('/leaderboard', { productId, limit: TAIL_LIMIT, cursor: tailCursor });
      const { data } = await get(path, { signal });
      take(data.items);
      tailKnown = data.nextCursor === null;
      if (tailKnown) return;
      tailCursor = data.nextCursor;
    }
    tail = [];
  }

  async function readPage() {
    const { data } = await get(pathOf('/leaderboard', { productId, limit: ROWS, cursor: cursors[page] }), { signal });
    items = data.items;
    more = data.nextCursor !== null;
    if (more) cursors[page + 1] = data.nextCursor;
  }

  /// Adds buyers, oldest first, that are newer than those that are known.
  function take(list) {
    const last = tail[0]?.sequence ?? 0;
    const fresh = list.filter(({ sequence }) => sequence > last).reverse();
    tail = [...fresh, ...tail].slice(0, ROWS);
  }

  let waiting = [];
  let drawing;
  live.onPurchase((item) => {
    if (item.productId !== productId) return;
    // More than a table full between two drawings: the first of them are not going to be seen.
    waiting.push(item);
    if (waiting.length > 2 * ROWS) waiting = waiting.slice(-ROWS);
    const lastItem = items.at(-1)?.sequence ?? page * ROWS;
    if (!more && item.sequence === lastItem + 1) {
      if (items.length < ROWS) items = [...items, item];
      else more = true;
    }
    drawing ??= setTimeout(() => {
      drawing = undefined;
      take(waiting);
      waiting = [];
      draw();
    }, DRAW_EVERY_MS);
  }, signal);
  whenOver(signal, () => clearTimeout(drawing));

  function choose(value) {
    mode = value;
    draw();
  }

  async function turn(by) {
    try {
      // The cursor behind this page is not known if its rows came live.
      if (by > 0 && cursors[page + 1] === undefined) await readPage();
      if (cursors[page + by] !== undefined) {
        page += by;
        await readPage();
      }
      failed = null;
    } catch (error) {
      failed = error;
    }
    if (signal.aborted) return;
    draw();
    table.scrollIntoView({ block: 'nearest' });
  }

  function draw() {
    const shown = mode === 'newest' ? tail : items;
    setText(caption, mode === 'newest' ? 'The newest buyers, newest first' : 'Buyers in the order of their purchases');
    drawRows(shown);
    table.hidden = shown.length === 0;
    pager.hidden = mode === 'newest' || (page === 0 && !more);
    previous.disabled = page === 0;
    next.disabled = !more;
    setText(text, failed ? inWords(failed) : words(shown));
    text.hidden = text.textContent === '';
  }

  function words(shown) {
    if (!loaded) return 'Reading who bought…';
    if (shown.length === 0) {
      return mode === 'newest' && !tailKnown && items.length > 0
        ? 'Buyers appear here the moment they buy.' : 'Nobody has bought yet. The first one stands here.';
    }
    return mode === 'newest' && shown.length === ROWS ? `The newest ${ROWS} are shown.` : '';
  }

  /// Rows that stay are not touched; those that are new are put before them or after.
  function drawRows(shown) {
    const wanted = new Set(shown.map(({ sequence }) => String(sequence)));
    const present = new Map();
    for (const row of [...rows.children]) {
      if (wanted.has(row.dataset.sequence)) present.set(row.dataset.sequence, row);
      else row.remove();
    }
    // What arrives one by one may be seen to arrive; a flood just stands there.
    const arrivals = present.size > 0 && shown.length - present.size <= 5;
    shown.forEach((item, index) => {
      const row = present.get(String(item.sequence)) ?? makeRow(item, arrivals);
      if (rows.children[index] !== row) rows.insertBefore(row, rows.children[index] ?? null);
      if (isOwn(productId, item.sequence)) markOwn(row);
    });
  }

  // The news of it may be faster than the answer.
  onBought(draw, signal);
  draw();
  load();
  return {
    element,
    /// Reads anew what has not come by itself.
    async refresh() {
      if (!loaded || live.isLive()) return;
      if (tailKnown) await readTail();
      await readPage();
      failed = null;
      draw();
    },
  };
}

function markOwn(row) {
  if (row.hasAttribute('data-own')) return;
  row.setAttribute('data-own', '');
  row.querySelector('.board-buyer').append(h('span', { class: 'board-you' }, ' (you)'));
}

function makeRow({ sequence, rank, buyer, quantity, purchasedAt }, arrives) {
  return h('tr', { 'data-sequence': sequence, class: arrives ? 'arrives' : null },
    h('td', { class: 'board-rank' }, number(rank)), h('th', { scope: 'row', class: 'board-buyer' }, buyer),
    h('td', { class: 'board-units' }, number(quantity)),
    h('td', { class: 'board-time' }, h('time', { datetime: purchasedAt }, preciseTime(purchasedAt))));
}
