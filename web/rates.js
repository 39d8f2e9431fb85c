// How fast products sell, computed from the figures that arrive anyway.

import * as store from './store.js';

const WINDOW_MS = 10_000;
const KEPT_SECONDS = 60;

/// Watches the products of `ids()` until `signal`. `rate(id)` is in units per second over the last ten seconds;
/// `history(id)` has the rate of each of the last sixty seconds, oldest first.
export function watchRates(signal) {
  const samples = new Map();
  const started = performance.now();

  function sample(id) {
    const product = store.find(id);
    if (!product) return;
    if (!samples.has(id)) samples.set(id, []);
    const list = samples.get(id);
    const at = performance.now();
    const last = list.at(-1);
    // A resolution of 200 ms is enough, and it bounds the list however fast events come.
    if (last && list.length > 1 && at - last.at < 200) list[list.length - 1] = { at: last.at, sold: product.sold };
    else list.push({ at, sold: product.sold });
    while (list.length > 2 && at - list[1].at > KEPT_SECONDS * 1000) list.shift();
  }

  /// The units sold by that time, as far as known.
  function soldAt(list, at) {
    let before = list[0];
    for (const one of list) {
      if (one.at > at) break;
      before = one;
    }
    return before.sold;
  }

  store.watchAll((ids) => ids.forEach(sample), signal);

  return {
    sample,
    rate(id) {
      const list = samples.get(id);
      if (!list) return 0;
      const at = performance.now();
      // At the start the window is only as long as we have been watching.
      const span = Math.min(WINDOW_MS, Math.max(1000, at - Math.max(started, list[0].at)));
      return (list.at(-1).sold - soldAt(list, at - span)) / (span / 1000);
    },
    history(id) {
      const list = samples.get(id);
      if (!list) return [];
      const at = performance.now();
      const points = [];
      for (let second = KEPT_SECONDS; second > 0; second -= 1) {
        const from = soldAt(list, at - second * 1000);
        points.push(soldAt(list, at - (second - 1) * 1000) - from);
      }
      return points;
    },
  };
}
