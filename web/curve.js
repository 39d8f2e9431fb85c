// How many units were bought in each second of a sale: what was before from the report, what is now from the purchases as
// they happen. Seconds are those of the server's clock since 1970.

const RECENT_SECONDS = 60;
const RATE_SECONDS = 10;

const secondOf = (instant) => Math.floor(Date.parse(instant) / 1000);

/// A curve without purchases, watched from the second `since` on.
export function curve(since) {
  // second -> units, of the purchases that were heard of
  const heard = new Map();
  // What the report told: points of `width` seconds, the last of which ends with the second `last`.
  let points = [];
  let width = 1;
  let last = -Infinity;

  /// What was bought in the points of the report. Of a second that it may have seen only in part, what was heard is more.
  function pointUnits({ second, units }) {
    return width === 1 ? Math.max(units, heard.get(second) ?? 0) : units;
  }

  return {
    /// Takes a purchase as it happens.
    add({ purchasedAt, quantity }) {
      const second = secondOf(purchasedAt);
      heard.set(second, (heard.get(second) ?? 0) + quantity);
    },

    /// Takes a report, which knows all that was before it.
    take({ curve: told, secondsPerPoint, lastPurchaseAt }) {
      if (lastPurchaseAt === null) return;
      width = secondsPerPoint;
      points = told.map(({ at, units }) => ({ second: secondOf(at), units }));
      last = secondOf(lastPurchaseAt);
      for (const second of heard.keys()) if (second < last - RECENT_SECONDS) heard.delete(second);
    },

    /// The first and the last second in which something was bought, as far as known; null without any.
    span() {
      const seconds = [...points.map(({ second }) => second), ...heard.keys()];
      if (seconds.length === 0) return null;
      return [Math.min(...seconds), Math.max(last, ...heard.keys())];
    },

    /// Units a second over the last ten whole seconds, or as many as were watched.
    rate(now) {
      const told = new Map(width === 1 ? points.map((point) => [point.second, pointUnits(point)]) : []);
      const seconds = width === 1 && points.length > 0 ? RATE_SECONDS : Math.min(RATE_SECONDS, Math.max(1, now - since));
      let units = 0;
      for (let second = now - seconds; second < now; second += 1) units += told.get(second) ?? heard.get(second) ?? 0;
      return units / seconds;
    },

    /// The most units in one second; null if the report is coarser than seconds.
    peak() {
      if (width > 1) return null;
      const all = [...points.map(pointUnits), ...[...heard].filter(([second]) => second > last).map(([, units]) => units)];
      return Math.max(0, ...all);
    },

    /// The average units a second in each of `count` columns of `columnSeconds`, from the second `from` on.
    columns(from, columnSeconds, columns) {
      const sums = new Array(columns).fill(0);
      const spread = (begin, seconds, units) => {
        const first = Math.max(0, Math.floor((begin - from) / columnSeconds));
        for (let column = first; column < columns; column += 1) {
          const left = from + column * columnSeconds;
          const shared = Math.min(begin + seconds, left + columnSeconds) - Math.max(begin, left);
          if (shared <= 0) return;
          sums[column] += (units * shared) / seconds;
        }
      };
      for (const point of points) spread(point.second, Math.min(width, last + 1 - point.second), pointUnits(point));
      for (const [second, units] of heard) if (second > last) spread(second, 1, units);
      return sums.map((units) => units / columnSeconds);
    },
  };
}
