// Who bought, updated as it happens. A sale has tens of thousands of buyers; the table shows at most fifty and
// changes a few times a second, however many come.

import { get, inWords, pathOf } from '../api.js';
import { h, setText, uniqueId, whenOver } from '../dom.js';
import { number, preciseTime } from '../format.js';
import * as live from '../live.js';
import * as own from '../own.js';

const ROWS = 50;
// The list can only be read from its start. To show the newest buyers it is read to its end, but at most this many
// pages.
const TAIL_PAGES_MAX = 5;
const TAIL_LIMIT = 200;
const DRAW_EVERY_MS = 250;
// How long an arrival is marked. Not by an animation: in a sale it would never end, and repaint the table each frame.
const ARRIVAL_MS = 1_600;

/// The leaderboard of a product with `sold` units sold. `newest` decides whether the newest buyers are shown first or
/// the earliest.
export function leaderboard(productId, { newest, sold }, signal) {
  let mode = newest ? 'newest' : 'first';
  /// The end of the list, newest first, and whether it is complete; if not, it begins with the purchases from now on.
  let tail = [];
  let tailKnown = false;
  let tailCursor = null;
  /// The cursor of each page from the start, and the page that is shown.
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

  /// Reads from the last known page to the end, unless that is too far.
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

  /// Adds buyers that are newer than the known ones; `list` is oldest first.
  function take(list) {
    const last = tail[0]?.sequence ?? 0;
    const fresh = list.filter(({ sequence }) => sequence > last).reverse();
    tail = [...fresh, ...tail].slice(0, ROWS);
  }

  let waiting = [];
  let drawing;
  // The number up to which no purchase was missed.
  let reached = 0;
  function drawSoon() {
    drawing ??= setTimeout(() => {
      drawing = undefined;
      take(waiting);
      waiting = [];
      draw();
    }, DRAW_EVERY_MS);
  }

  live.onPurchase((item) => {
    if (item.productId !== productId) return;
    const isNext = item.sequence === Math.max(reached, items.at(-1)?.sequence ?? 0) + 1;
    if (isNext) reached = item.sequence;
    // Who comes back after a break is told of purchases that have been given back since.
    if (!['pending', 'confirmed'].includes(item.status ?? 'confirmed')) return;
    // More than a tableful between two drawings: the first of them will never be seen.
    waiting.push(item);
    if (waiting.length > 2 * ROWS) waiting = waiting.slice(-ROWS);
    if (!more && isNext) {
      if (items.length < ROWS) items = [...items, item];
      else more = true;
    }
    drawSoon();
  }, signal);
  whenOver(signal, () => clearTimeout(drawing));

  live.onReleased((released) => {
    if (released.productId !== productId) return;
    const without = (list) => list.filter(({ sequence }) => sequence !== released.sequence);
    [items, tail, waiting] = [without(items), without(tail), without(waiting)];
    drawSoon();
  }, signal);

  function choose(value) {
    mode = value;
    draw();
  }

  async function turn(by) {
    try {
      // The next page's cursor is unknown if this page was filled by events.
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
    if (!loaded) return 'Loading the buyers…';
    if (shown.length === 0) {
      return mode === 'newest' && !tailKnown && items.length > 0
        ? 'Buyers appear here the moment they buy.' : 'Nobody has bought yet. The first buyer appears here.';
    }
    return mode === 'newest' && shown.length === ROWS ? `The newest ${ROWS} are shown.` : '';
  }

  /// Keeps the rows that stay and inserts the new ones before or after them.
  function drawRows(shown) {
    const wanted = new Set(shown.map(({ sequence }) => String(sequence)));
    const present = new Map();
    for (const row of [...rows.children]) {
      if (wanted.has(row.dataset.sequence)) present.set(row.dataset.sequence, row);
      else row.remove();
    }
    // A few arrivals are marked; a flood is not.
    const arrivals = present.size > 0 && shown.length - present.size <= 5;
    shown.forEach((item, index) => {
      const row = present.get(String(item.sequence)) ?? makeRow(item, arrivals);
      if (rows.children[index] !== row) rows.insertBefore(row, rows.children[index] ?? null);
      if (own.isOwn(productId, item.sequence)) markOwn(row);
    });
  }

  /// Refreshes what no event has brought.
  async function refresh() {
    if (!loaded || live.isLive()) return;
    if (tailKnown) await readTail();
    await readPage();
    failed = null;
    if (!signal.aborted) draw();
  }

  own.onChange(() => {
    // The event of a purchase may arrive before the answer to the buyer; without a socket none arrives.
    draw();
    refresh().catch(() => {});
  }, signal);
  draw();
  load();
  /// The newest purchase, or null if it is not known.
  const last = () => (loaded && tailKnown ? tail[0] ?? null : null);
  return { element, refresh, last };
}

function markOwn(row) {
  if (row.hasAttribute('data-own')) return;
  row.setAttribute('data-own', '');
  row.querySelector('.board-buyer').append(h('span', { class: 'board-you' }, ' (you)'));
}

/// The number is the one on the receipt; the rank would change with each purchase that is given back.
function makeRow({ sequence, buyer, quantity, purchasedAt }, arrives) {
  const row = h('tr', { 'data-sequence': sequence, class: arrives ? 'arrives' : null },
    h('td', { class: 'board-rank' }, number(sequence)), h('th', { scope: 'row', class: 'board-buyer' }, h('bdi', {}, buyer)),
    h('td', { class: 'board-units' }, number(quantity)),
    h('td', { class: 'board-time' }, h('time', { datetime: purchasedAt }, breakable(preciseTime(purchasedAt)))));
  if (arrives) setTimeout(() => row.classList.remove('arrives'), ARRIVAL_MS);
  return row;
}

/// The time may break before its fraction, where a column is narrow.
function breakable(time) {
  return time.split(/(?=[.,])/).flatMap((part, index) => (index === 0 ? part : [h('wbr'), part]));
}
