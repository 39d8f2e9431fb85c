// The group of each product, and the order within a group.

import * as clock from '../clock.js';

// The list is read by status because it is sorted by the start of the sale: the first page of everything would be
// years old. Sales that are sold out but still running belong to the live ones.
export const GROUPS = [
  { name: 'live', title: 'Live now', lists: ['live', 'sold_out'] },
  { name: 'upcoming', title: 'Opening soon', lists: ['upcoming'] },
  { name: 'ended', title: 'Ended', lists: ['ended'] },
];
// How long a card stays in place after its sale has opened or ended: at the opening the visitor is about to press it.
const STAY_MS = 20_000;

const groupOf = (status) => (status === 'sold_out' ? 'live' : status);
const start = (product) => Date.parse(product.saleStartTime);
const end = (product) => Date.parse(product.saleEndTime);

/// Remembers where products were placed. `isSeen(id)`: its card is on the screen. `isUsed(id)`: the visitor is using
/// it.
export function places(isSeen, isUsed) {
  /// id -> {group, late, since}: its group, whether it was sold out when placed, since when it belongs elsewhere
  const placed = new Map();

  /// The group by the server's clock, not by the list it was read from, because time moves it. But a card must not
  /// move away under the visitor's finger.
  function place(product) {
    const group = groupOf(clock.statusOf(product));
    const before = placed.get(product.id);
    if (before?.group === group) return group;
    if (before && isSeen(product.id)) {
      before.since ??= performance.now();
      if (isUsed(product.id) || performance.now() - before.since < STAY_MS) return before.group;
    }
    placed.set(product.id, { group, late: product.stock === 0 });
    return group;
  }

  return {
    /// Lets every product move to its group.
    clear: () => placed.clear(),

    /// group -> its products, in order
    arrange(products) {
      const groups = new Map(GROUPS.map(({ name }) => [name, []]));
      for (const product of products) groups.get(place(product)).push(product);
      // A product that sells out while shown keeps its place; only those that arrived sold out come last.
      const late = ({ id }) => (placed.get(id).late ? 1 : 0);
      groups.get('live').sort((a, b) => late(a) - late(b) || end(a) - end(b));
      groups.get('upcoming').sort((a, b) => start(a) - start(b));
      groups.get('ended').sort((a, b) => end(b) - end(a));
      return groups;
    },
  };
}
