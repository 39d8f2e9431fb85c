// The audit log, for an admin: who changed what, when, and from where.

import { get, pathOf, request } from '../api.js';
import { h, setText, uniqueId } from '../dom.js';
import { dateTime, money, number, preciseTime } from '../format.js';
import { replaceQuery } from '../router.js';
import * as store from '../store.js';
import { adminHead, admitAdmin, asAdmin } from '../parts/admin.js';
import { pagedList } from '../parts/pages.js';
import { notice } from '../parts/states.js';

const PAGE = 50;
const FILTER_AFTER_MS = 300;
const NAMES_AT_ONCE = 4;

/// What was done, in words. Actions that are not here are shown by the server's name.
const ACTIONS = {
  user_registered: 'registered',
  user_logged_in: 'logged in',
  user_logged_out: 'logged out',
  user_logged_out_everywhere: 'logged out everywhere',
  user_password_changed: 'changed a password',
  user_changed: 'changed an account',
  admin_created: 'created an admin',
  admin_promoted: 'made an account an admin’s',
  product_created: 'created a sale',
  product_changed: 'changed a sale',
  product_restocked: 'restocked a sale',
  product_deleted: 'deleted a sale',
  purchase_confirmed: 'told that a purchase is paid for',
  purchase_canceled: 'canceled a purchase',
  purchase_expired: 'let a purchase expire',
  purchase_refunded: 'refunded a purchase',
  payment_unfillable: 'told of a payment for which nothing was left',
  payment_returned: 'gave such a payment back',
};

const FIELDS = {
  name: 'Name', description: 'Description', imageUrl: 'Picture', price: 'Price', originalPrice: 'Usual price', stock: 'Stock',
  totalStock: 'Total stock', sold: 'Sold', held: 'Held', purchaseLimit: 'Limit per person', paymentWindowSeconds: 'Seconds to pay',
  registeredBefore: 'Accounts made before', paused: 'Paused', saleStartTime: 'Opens', saleEndTime: 'Ends', role: 'Role',
  disabled: 'Disabled', hideName: 'Name hidden', email: 'E-mail', status: 'Status', quantity: 'Quantity', paymentReference: 'Payment', refundDue: 'Refund due',
};

export function audit(page) {
  const { root, query, signal } = page;
  if (!admitAdmin(page, page.again)) return;
  page.setTitle('Audit log');
  const names = nameBook(signal);
  let changing;
  signal.addEventListener('abort', () => clearTimeout(changing), { once: true });

  const actions = Object.entries(ACTIONS);
  const asked = query.get('action');
  if (asked && !ACTIONS[asked]) actions.push([asked, inWords(asked)]);
  const inputs = {
    actor: h('input', { type: 'text', ...ID_FIELD, value: query.get('actor') ?? '' }),
    target: h('input', { type: 'text', ...ID_FIELD, value: query.get('target') ?? '' }),
    action: h('select', {}, h('option', { value: '' }, 'Anything'),
      actions.map(([value, text]) => h('option', { value, selected: value === asked }, text))),
    after: h('input', { type: 'datetime-local', step: 1, value: toLocal(query.get('after')) }),
    before: h('input', { type: 'datetime-local', step: 1, value: toLocal(query.get('before')) }),
  };
  const LABELS = { actor: 'Who (id)', target: 'To what (id)', action: 'Did what', after: 'From', before: 'Until' };

  function filters() {
    const instant = ({ value }) => (value && !Number.isNaN(Date.parse(value)) ? new Date(value).toISOString() : '');
    return {
      actor: inputs.actor.value.trim(), target: inputs.target.value.trim(), action: inputs.action.value,
      after: instant(inputs.after), before: instant(inputs.before),
    };
  }

  function change() {
    clearTimeout(changing);
    // Half an id is not sent: the server would refuse it.
    if (![inputs.actor, inputs.target].every((input) => input.checkValidity())) return;
    replaceQuery(filters());
    clear.hidden = !Object.values(filters()).some(Boolean);
    list.load();
  }

  /// Shows only what this person did, or what was done to this.
  function narrow(name, value) {
    inputs[name].value = value;
    change();
    scrollTo(0, 0);
    inputs[name].focus({ preventScroll: true });
  }

  const clear = h('button', { type: 'button', class: 'button button-quiet', onclick: () => {
    for (const input of Object.values(inputs)) input.value = '';
    inputs.actor.focus();
    change();
  } }, 'Clear the filters');
  clear.hidden = !Object.values(filters()).some(Boolean);

  const list = pagedList({
    kind: 'entries', loading: 'Loading the audit log', row: (entry) => row(entry, names, narrow),
    read: async (cursor, own) => (await asAdmin('GET', pathOf('/audit', { ...filters(), limit: PAGE, cursor }), { signal: own })).data,
    empty: () => notice({ title: 'Nothing found', text: 'Nothing in the audit log matches these filters.' }),
  }, signal);

  const form = h('form', { class: 'filter-row', role: 'search', onsubmit: (event) => { event.preventDefault(); change(); } },
    Object.entries(inputs).map(([name, input]) => {
      input.id = uniqueId('filter');
      input.addEventListener('input', () => { clearTimeout(changing); changing = setTimeout(change, FILTER_AFTER_MS); });
      return h('div', { class: 'field', 'data-field': name }, h('label', { for: input.id }, LABELS[name]), input);
    }), clear);
  root.append(adminHead('/admin/audit', 'Audit log'), form, list.element);
  return list.load();
}

const ID_FIELD = {
  pattern: '[0-9a-fA-F]{24}', maxlength: 24, autocomplete: 'off', spellcheck: 'false', placeholder: '24 hexadecimal digits',
  title: '24 hexadecimal digits',
};

/// The format of `datetime-local`: the visitor's wall clock, without a zone.
function toLocal(instant) {
  const date = new Date(instant ?? NaN);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/// The list item of one entry.
function row(entry, names, narrow) {
  const { id, at, actor, action, target, before, after, requestId, address } = entry;
  const who = actor === null ? h('b', {}, 'The server or its command line')
    : h('button', { type: 'button', class: 'link-button', dir: 'auto', title: actor, onclick: () => narrow('actor', actor) }, short(actor));
  if (actor !== null) names.user(actor, (name) => setText(who, name));
  const self = target === actor && target !== null;
  const what = target === null || self ? null
    : h('button', { type: 'button', class: 'link-button', dir: 'auto', title: target, onclick: () => narrow('target', target) }, short(target));
  if (what) names.target(action, target, after ?? before, (name) => setText(what, name));
  return h('li', { class: 'row entry', 'data-entry-id': id, 'data-action': action },
    h('p', { class: 'entry-when' },
      h('time', { datetime: at, title: `${at} (UTC)` }, dateTime(at), h('span', { class: 'entry-precise' }, ` ${preciseTime(at)}`))),
    h('div', { class: 'row-what' },
      h('p', { class: 'entry-what' }, who, ` ${inWords(action)}`, what ? [': ', what] : ''),
      changes(before, after),
      h('p', { class: 'row-note entry-where' },
        address ? h('span', {}, 'from ', h('code', {}, address)) : '',
        requestId ? h('span', {}, 'request ', h('code', {}, requestId)) : '')));
}

/// The end of an id: that is where ids of the same day differ.
const short = (id) => `…${id.slice(-6)}`;

function inWords(action) {
  return ACTIONS[action] ?? action.replaceAll('_', ' ');
}

/// The changed fields: as they were, as they are. Nothing if no field is named.
function changes(before, after) {
  const fields = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  if (fields.length === 0) return '';
  const isNew = before === null || Object.keys(before).length === 0;
  const isGone = after === null || Object.keys(after).length === 0;
  return h('dl', { class: 'changes' }, fields.map((name) => h('div', {},
    h('dt', {}, FIELDS[name] ?? spaced(name)),
    h('dd', {},
      isNew ? '' : h('span', { class: 'change-before', dir: 'auto' }, valueInWords(before[name])),
      isNew || isGone ? '' : h('span', { class: 'change-to' }, h('span', { 'aria-hidden': 'true' }, ' → '), h('span', { class: 'unseen' }, ' became ')),
      isGone ? '' : h('span', { class: 'change-after', dir: 'auto' }, valueInWords(after[name]))))));
}

/// `someField` becomes "Some field".
function spaced(name) {
  const text = name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function valueInWords(value) {
  if (value === null || value === undefined || value === '') return 'nothing';
  if (value === true) return 'yes';
  if (value === false) return 'no';
  if (typeof value === 'number') return number(value);
  if (typeof value === 'string') return instantOr(value);
  if (typeof value.amount === 'number' && typeof value.currency === 'string') return money(value);
  return JSON.stringify(value);
}

/// A moment in the visitor's time; to the millisecond if it is not a full minute. Any other text as it is.
function instantOr(text) {
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) return text;
  return /:00(\.000)?Z$/.test(text) ? dateTime(text) : `${dateTime(text)} (${preciseTime(text)})`;
}

/// The names behind the ids, each asked for once and a few at a time; until one is known its id is shown.
function nameBook(signal) {
  const known = new Map();
  const waiting = [];
  let working = 0;

  function ask(id, find, tell) {
    if (!known.has(id)) {
      known.set(id, new Promise((resolve) => { waiting.push(async () => resolve(await find().catch(() => null))); }));
      work();
    }
    known.get(id).then((name) => { if (name && !signal.aborted) tell(name); });
  }

  async function work() {
    if (working === NAMES_AT_ONCE) return;
    working += 1;
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) await next();
    working -= 1;
  }

  async function userName(id) {
    const { data } = await request('GET', `/users/${id}`, { signal });
    return data.name;
  }

  async function productName(id) {
    const { data } = await get(`/products/${id}`, { signal });
    store.put(data);
    return data.name;
  }

  return {
    user: (id, tell) => ask(id, () => userName(id), tell),
    target(action, id, fields, tell) {
      if (/^(user|admin)_/.test(action)) return ask(id, () => userName(id), tell);
      if (!action.startsWith('product_')) return undefined;
      // A deleted sale has no other name any more.
      const name = store.find(id)?.name ?? (action === 'product_deleted' ? fields?.name : null);
      if (name) return tell(name);
      return ask(id, () => productName(id), tell);
    },
  };
}
