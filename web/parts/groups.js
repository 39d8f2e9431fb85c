// Which group a product stands in, and in which order.

import * as clock from '../clock.js';

// The list is asked for by status, since it comes by the start of the sale: the first page of all of it would be the
// sales of years ago. Whoever sold out while the sale runs stands with those that are live.
export const GROUPS = [
  { name: 'live', title: 'Live now', lists: ['live', 'sold_out'] },
  { name: 'upcoming', title: 'Opening soon', lists: ['upcoming'] },
  { name: 'ended', title: 'Ended', lists: ['ended'] },
];
// So long a card stays where it is although its sale has opened or ended: at the opening it is just about to be pressed.
const STAY_MS = 20_000;

const groupOf = (status) => (status === 'sold_out' ? 'live' : status);
const start = (product) => Date.parse(product.saleStartTime);
const end = (product) => Date.parse(product.saleEndTime);

/// Keeps where products have been put. `isSeen(id)` tells whether its card is on the screen, `isUsed(id)` whether the
/// visitor is at it.
export function places(isSeen, isUsed) {
  /// id -> {group, late, since}: the group, whether it was sold out when it was put there, since when it belongs elsewhere.
  const placed = new Map();

  /// The group by the server's clock, and not by the list it was read from: time moves it. But not from under the
  /// visitor's finger.
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
    /// Lets everything go where it belongs.
    clear: () => placed.clear(),

    /// group -> its products, in order
    arrange(products) {
      const groups = new Map(GROUPS.map(({ name }) => [name, []]));
      for (const product of products) groups.get(place(product)).push(product);
      // What sells out under one's eyes stays where it is; only what came sold out stands behind.
      const late = ({ id }) => (placed.get(id).late ? 1 : 0);
      groups.get('live').sort((a, b) => late(a) - late(b) || end(a) - end(b));
      groups.get('upcoming').sort((a, b) => start(a) - start(b));
      groups.get('ended').sort((a, b) => end(b) - end(a));
      return groups;
    },
  };
}
