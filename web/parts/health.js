// How the servers are, and what they refuse, for an admin who watches a sale.

import { inWords } from '../api.js';
import { h, setAttribute, setText } from '../dom.js';
import { clockTime, count, number } from '../format.js';
import { percentile99 } from '../servers.js';
import * as clock from '../clock.js';
import { table } from './report.js';

// A heartbeat is made once a second; two that are missing are a fault.
const HEARTBEAT_MS_MAX = 3_000;
// Figures are asked for every five seconds; older ones are not of now.
const FRESH_MS = 6_000;

const REASONS = {
  sold_out: 'Sold out', insufficient_stock: 'Less left than was wanted', purchase_limit_reached: 'Limit per person reached',
  sale_not_started: 'Before the opening', sale_ended: 'After the end', sale_paused: 'While paused', price_changed: 'At an old price',
  account_too_new: 'Account too new', account_disabled: 'Account disabled', too_many_lapses: 'Too many purchases not paid for',
  rate_limited: 'Too many attempts', overloaded: 'Server too busy', database_unavailable: 'Database not available',
  outcome_unknown: 'Outcome unknown', unauthenticated: 'Not logged in', token_expired: 'Login expired', internal: 'Fault of the server',
  validation_failed: 'Not a valid request', product_not_found: 'No such sale', idempotency_key_reused: 'Key used for something else',
};

/// The panel, and the two figures that are shown elsewhere. `update(sum)` takes what `watchServers` brings.
export function healthPanel() {
  const state = h('p', { class: 'health-state', role: 'status' });
  const servers = h('ul', { class: 'plain' });
  const refusals = h('div', {});
  const scope = h('p', { class: 'row-note' });
  const element = h('section', { class: 'panel', 'aria-labelledby': 'health-title' },
    h('h2', { id: 'health-title' }, 'Servers and refusals'), state, servers, refusals, scope);

  function update({ servers: all, silent, error, answeredAt, outcomes, underWay, inDoubt }) {
    const since = answeredAt === null ? '' : ` since ${clockTime(clock.now() - (performance.now() - answeredAt))}`;
    const faults = [...all.flatMap(faultsOf), ...silent.map((one) => `${nameOf(one)} has not answered for ${age(one)}.`)];
    setAttribute(state, 'data-state', error || faults.length > 0 ? 'bad' : 'good');
    setText(state, error ? `No figures${since}: ${inWords(error)}` : faults.length > 0 ? faults.join(' ') : 'All is well.');
    servers.replaceChildren(...[...all, ...silent].map((one) => h('li', {}, describe(one))));
    const refused = outcomes.filter(({ outcome, total }) => total > 0 && outcome !== 'bought' && outcome !== 'replayed')
      .sort((a, b) => b.total - a.total);
    const rows = refused.map(({ outcome, recent, total }) => [REASONS[outcome] ?? outcome, number(recent), number(total)]);
    refusals.replaceChildren(table('Refused purchases by reason', ['Reason', 'Last minute', 'Since the start'], rows)
      ?? h('p', {}, all.length > 0 ? 'Nothing was refused.' : ''));
    const unknown = inDoubt > 0 ? ` Of ${number(inDoubt)} it is not known yet whether they were committed.` : '';
    setText(scope, all.length === 0 ? '' : `Of all sales, on ${all.length === 1 ? 'the server that answers this page' : `the ${number(all.length)} servers that answered this page lately`}, `
      + `since ${all.length === 1 ? 'it' : 'each'} started; another server counts for itself. Waiting now: ${count(underWay, 'purchase')}.${unknown}`);
  }

  return { element, update };
}

function nameOf({ server }) {
  return `Server …${server.slice(-6)}`;
}

function age({ ageMs }) {
  return `${number(Math.round(ageMs / 1000))} s`;
}

function describe(one) {
  const { startedAt, feed, feedLagMs, heartbeatAgeMs, ageMs } = one;
  const started = `started at ${clockTime(startedAt)}.`;
  // What was true then is not said of now.
  if (ageMs > FRESH_MS) return `${nameOf(one)} last answered ${age(one)} ago; ${started}`;
  const follows = feed === 'live' ? `knows what other servers do, ${number(feedLagMs)} ms late` : 'does not learn what other servers do';
  return `${nameOf(one)}: the database committed ${number(Math.round((heartbeatAgeMs + ageMs) / 100) / 10)} s ago; it ${follows}; ${started}`;
}

function faultsOf(one) {
  const { feed, heartbeatAgeMs } = one;
  const name = nameOf(one);
  return [
    heartbeatAgeMs > HEARTBEAT_MS_MAX ? `${name}: the database does not commit.` : null,
    feed === 'stale' ? `${name} does not learn what other servers do: what people watch may be old.` : null,
  ].filter(Boolean);
}

/// How long 99 of 100 purchases took, and of which time that is.
export function slowestInWords(times) {
  const found = percentile99(times);
  if (!found) return ['–', 'no purchase yet'];
  const { withinMs, isRecent } = found;
  const period = isRecent ? 'last minute, all sales' : 'since the start, all sales';
  if (withinMs === Infinity) return ['more than 10 s', period];
  return [withinMs < 1000 ? `≤ ${number(withinMs)} ms` : `≤ ${number(withinMs / 1000)} s`, period];
}
