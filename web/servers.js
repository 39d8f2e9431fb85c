// What the servers have counted. Each counts for itself, and behind a load balancer another one answers each time, so the
// page keeps one account for each that has answered lately and adds them up. One that answers no more is not counted: its
// watchers have gone elsewhere.

import { request } from './api.js';

const ASK_EVERY_MS = 5_000;
const ANSWER_MS_MAX = 4_000;
// A server that has missed two rounds is silent; after this long it is forgotten.
const SILENT_MS = 12_000;
const KNOWN_MS = 45_000;
const WINDOW_MS = 60_000;

/// Asks for the figures until `signal`, and calls `fn(sum)` after each round of questions:
/// `{servers, silent, error, answeredAt, outcomes, watchers, underWay, inDoubt, times}`. `servers` and `silent` have the
/// figures of each with their age, `ageMs`; the sums are of `servers` alone. `answeredAt` is a time of
/// `performance.now()`, or null. `outcomes` has `{outcome, recent, total}`, where `recent` is what was counted while the page
/// looked, at most in the last minute. `times` has how long the answers with a purchase took, `{withinMs, recent, total}`.
export function watchServers(fn, signal) {
  // id -> [{at, figures}], oldest first
  const accounts = new Map();
  let answeredAt = null;
  let askedAt = -Infinity;
  let timer;

  function take(figures) {
    const at = performance.now();
    answeredAt = at;
    const samples = accounts.get(figures.server) ?? [];
    accounts.set(figures.server, samples);
    samples.push({ at, figures });
    while (samples.length > 2 && at - samples[1].at >= WINDOW_MS) samples.shift();
  }

  function sum(error) {
    const at = performance.now();
    for (const [id, samples] of accounts) if (at - samples.at(-1).at > KNOWN_MS) accounts.delete(id);
    const known = [...accounts.values()].map((samples) => {
      const { at: answered, figures } = samples.at(-1);
      return { now: { ...figures, ageMs: at - answered }, then: samples[0].figures };
    });
    const all = known.filter(({ now }) => now.ageMs < SILENT_MS);
    const total = (member) => all.reduce((whole, { now }) => whole + now[member], 0);
    return {
      servers: all.map(({ now }) => now), silent: known.map(({ now }) => now).filter(({ ageMs }) => ageMs >= SILENT_MS),
      error, answeredAt,
      watchers: total('watchers'), underWay: total('purchasesUnderWay'), inDoubt: total('purchasesInDoubt'),
      outcomes: counted(all, 'purchases', 'outcome'), times: counted(all, 'purchaseTimes', 'withinMs'),
    };
  }

  /// Asks until all have answered that do so at all, if a load balancer sends every request to another one; not for ever,
  /// because one may be gone.
  async function askAll() {
    const now = performance.now();
    // After a pause, nobody is silent who was not asked.
    const isBack = now - askedAt > SILENT_MS;
    askedAt = now;
    const missing = new Set([...accounts].filter(([, samples]) => isBack || now - samples.at(-1).at < SILENT_MS).map(([id]) => id));
    for (let asks = Math.max(1, 2 * missing.size); asks > 0; asks -= 1) {
      const { data } = await request('GET', '/server', { signal, timeout: ANSWER_MS_MAX });
      take(data);
      missing.delete(data.server);
      if (missing.size === 0) return;
    }
  }

  async function ask() {
    let error = null;
    if (document.visibilityState === 'visible') {
      try {
        await askAll();
      } catch (failure) {
        error = failure;
      }
      if (signal.aborted) return;
      fn(sum(error));
    }
    clearTimeout(timer);
    timer = setTimeout(ask, ASK_EVERY_MS);
  }

  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') ask();
  }, { signal });
  ask();
}

/// Adds up the counts of all servers by their name.
function counted(all, list, name) {
  const counts = new Map();
  for (const { now, then } of all) {
    for (const { [name]: key, count } of now[list]) {
      const before = then[list].find((one) => one[name] === key)?.count ?? 0;
      const { recent, total } = counts.get(key) ?? { recent: 0, total: 0 };
      counts.set(key, { recent: recent + count - before, total: total + count });
    }
  }
  return [...counts].map(([key, count]) => ({ [name]: key, ...count }));
}

/// The bound in milliseconds below which 99 of 100 answers were, and whether it is of the last minute; null without answers.
/// The bound is infinite if it is not known.
export function percentile99(times) {
  for (const period of ['recent', 'total']) {
    const count = times.reduce((sum, time) => sum + time[period], 0);
    if (count === 0) continue;
    let below = 0;
    for (const time of times) {
      below += time[period];
      if (below >= count * 0.99) return { withinMs: time.withinMs ?? Infinity, isRecent: period === 'recent' };
    }
  }
  return null;
}
