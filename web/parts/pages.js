// A list that is read page by page.

import { h, setAttribute, setText } from '../dom.js';
import { failure, skeleton } from './states.js';

/// `read(cursor, signal)` resolves to `{items, nextCursor}`; `row(item)` makes the list's item; `empty()` is shown in
/// place of an empty list. `load()` reads from the start, with the filters that apply by then.
export function pagedList({ read, row, empty, loading, kind = '' }, signal) {
  const element = h('div', { class: 'pages' });
  let reading = null;

  function load() {
    reading?.abort();
    reading = new AbortController();
    // What is there stays until its successor comes: a list that flickers at every key cannot be read.
    if (element.childElementCount === 0) element.replaceChildren(skeleton('rows', 4, loading));
    setAttribute(element, 'aria-busy', 'true');
    return readPage(h('ul', { class: `rows ${kind}` }), null, AbortSignal.any([signal, reading.signal]));
  }

  async function readPage(list, cursor, own) {
    let page;
    try {
      page = await read(cursor, own);
    } catch (error) {
      if (own.aborted) return;
      const box = failure(error, () => { box.remove(); readPage(list, cursor, own); });
      if (cursor) element.lastElementChild.replaceWith(box);
      else element.replaceChildren(box);
      return setAttribute(element, 'aria-busy', null);
    }
    if (own.aborted) return;
    setAttribute(element, 'aria-busy', null);
    if (cursor === null && page.items.length === 0) return element.replaceChildren(empty());
    const rows = page.items.map(row);
    list.append(...rows);
    const more = h('button', { type: 'button', class: 'button', onclick: () => {
      if (more.hasAttribute('aria-disabled')) return;
      setAttribute(more, 'aria-disabled', 'true');
      setText(more, 'One moment…');
      readPage(list, page.nextCursor, own);
    } }, 'Show more');
    element.replaceChildren(list, page.nextCursor ? h('p', { class: 'group-more' }, more) : '');
    // The button that was pressed is gone: the focus goes to the first new row.
    if (cursor) rows[0]?.querySelector('a, button, summary')?.focus();
  }

  return { element, load };
}
