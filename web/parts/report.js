// The report of a sale: how fast it went, and to whom.

import { h, saveFile } from '../dom.js';
import { clockTime, count, money, number } from '../format.js';

const ROWS_MAX = 10;
const STATUSES = { pending: 'Not paid for yet', confirmed: 'Bought', expired: 'Not paid for in time', canceled: 'Canceled', refunded: 'Refunded' };

/// Sums of money, or nothing of this currency.
export function sums(totals, currency) {
  return totals?.length > 0 ? totals.map(money).join(' + ') : money({ amount: 0, currency });
}

/// What the report says of purchases with this status.
export function outcomeOf(report, status) {
  return report?.outcomes.find((outcome) => outcome.status === status) ?? null;
}

/// The report as elements.
export function reportView(report, { name, price }) {
  const { at, firstPurchaseAt, timeToSellOutMs, outcomes, early, networks, accounts } = report;
  const made = h('p', { class: 'row-note' }, `As of ${clockTime(at)}.`);
  if (firstPurchaseAt === null) return [made, h('p', {}, 'Nobody has bought yet.')];
  return [
    made,
    h('ul', { class: 'plain' },
      timeToSellOutMs === null ? null : h('li', {}, `Sold out after ${seconds(timeToSellOutMs)}.`),
      early.map(({ withinMs, purchases, units }) => h('li', {},
        `Within ${seconds(withinMs)} of the opening: ${count(purchases, 'purchase')}, ${count(units, 'unit')}.`))),
    table('What became of the purchases', ['Status', 'Purchases', 'Units', 'Amount'],
      outcomes.map(({ status, purchases, units, totals }) => [STATUSES[status] ?? status, number(purchases), number(units), sums(totals, price.currency)])),
    table('Networks with the most buyers', ['Network', 'Buyers', 'Purchases', 'Units'],
      networks.slice(0, ROWS_MAX).map((one) => [one.network, number(one.buyers), number(one.purchases), number(one.units)])),
    table('Age of the accounts when they bought', ['Younger than', 'Purchases'],
      accounts.byAge.filter(({ purchases }) => purchases > 0).map(({ belowSeconds, purchases }) => [
        belowSeconds === null ? 'older' : seconds(belowSeconds * 1000), number(purchases)])),
    table('Accounts with the same address but for dots and what follows a plus', ['Address', 'Accounts', 'Purchases'],
      accounts.sharedAddresses.slice(0, ROWS_MAX).map((one) => [one.address, number(one.accounts), number(one.purchases)])),
    h('p', {}, h('button', { type: 'button', class: 'button button-small', onclick: () => save(report, name) }, 'Save the whole report as JSON')),
  ].filter(Boolean);
}

function save(report, name) {
  const file = new Blob([JSON.stringify(report, null, 2)], { type: 'application/json' });
  saveFile(file, `report ${name.replace(/[^\p{L}\p{N} ._-]+/gu, '').trim().slice(0, 60)} ${report.productId.slice(-6)}.json`);
}

/// A table with a caption; nothing without rows. The first cell of each row names it.
export function table(caption, heads, rows) {
  if (rows.length === 0) return null;
  return h('table', { class: 'figures' }, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row', dir: 'auto' }, first), rest.map((text) => h('td', {}, text))))));
}

const UNITS = [[86_400_000, 'day'], [3_600_000, 'hour'], [60_000, 'minute']];

/// A duration to the millisecond, or in whole larger units.
function seconds(milliseconds) {
  const unit = UNITS.find(([length]) => milliseconds >= length && milliseconds % length === 0);
  return unit ? count(milliseconds / unit[0], unit[1]) : `${number(milliseconds / 1000)} s`;
}
