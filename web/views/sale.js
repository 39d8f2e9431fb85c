// The form of one sale: a new one, or an existing one that may be selling meanwhile.

import { Problem, inWords, request } from '../api.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, setText } from '../dom.js';
import { amountToText, currencyDigits, textToAmount } from '../format.js';
import * as live from '../live.js';
import { go } from '../router.js';
import * as store from '../store.js';
import { restock } from '../parts/actions.js';
import { admitAdmin, asAdmin, instantInWords } from '../parts/admin.js';
import { field, showErrors } from '../parts/fields.js';
import { instantField } from '../parts/instant.js';
import { windowInWords } from '../parts/paying.js';
import { salePurchases } from '../parts/purchases.js';
import { failure, skeleton } from '../parts/states.js';

const CURRENCIES = ['USD', 'EUR', 'GBP', 'CHF', 'JPY', 'CAD', 'AUD', 'SEK', 'NOK', 'DKK', 'PLN', 'BRL', 'INR', 'NGN', 'KWD'];
// The version of a selling product changes with every batch of purchases, so several tries are normal.
const CONFLICTS_MAX = 10;

/// The view of `/admin/new` and `/admin/sales/ID`.
export async function sale(page) {
  const { root, parameters: [id], signal } = page;
  if (!admitAdmin(page, page.again)) return;
  page.setTitle(id ? 'Edit a sale' : 'New sale');
  const heading = h('h1', { tabindex: '-1' }, id ? 'Edit the sale' : 'New sale');
  root.append(h('p', { class: 'back' }, h('a', { href: '/admin' }, '← Manage sales')), heading);
  if (!id) {
    root.append(saleForm(null, null));
    return;
  }
  const waiting = skeleton('rows', 4, 'Loading the sale');
  root.append(waiting);
  try {
    // As everybody sees it: with a token the answer is the visitor's own, and has no entity tag.
    const { data, etag } = await request('GET', `/products/${id}`, { signal, anonymous: true });
    store.put(data);
    setText(heading, `Edit “${data.name}”`);
    live.follow(id, {}, signal);
    waiting.replaceWith(saleForm(data, etag), salePurchases(id, signal));
  } catch (error) {
    if (!signal.aborted) waiting.replaceWith(failure(error, page.again));
  }
}

/// The fields of the form by their API names: how each is read, and how it is filled.
function saleFields(product) {
  const start = product?.saleStartTime ?? new Date(Math.ceil((clock.now() + 600_000) / 600_000) * 600_000).toISOString();
  const end = product?.saleEndTime ?? new Date(Date.parse(start) + 3_600_000).toISOString();
  const text = (control) => control.value.trim() || null;
  const currency = field({
    name: 'price.currency', label: 'Currency', hint: 'Three letters, ISO 4217.',
    attributes: {
      type: 'text', required: true, pattern: '[A-Z]{3}', maxlength: 3, list: 'currencies', autocomplete: 'off', spellcheck: 'false',
      value: product?.price.currency ?? 'USD',
    },
  });
  const money = (control) => {
    const amount = textToAmount(control.value, currency.control.value);
    return amount === null ? null : { amount, currency: currency.control.value };
  };
  const whole = (control) => Number(control.value);
  const make = (name, label, read, attributes, more = {}) => ({ ...field({ name, label, attributes, ...more }), read });
  const amount = (value) => ({
    type: 'text', inputmode: 'decimal', autocomplete: 'off', value: value ? amountToText(value.amount, value.currency) : '',
  });
  const units = (min, max, value) => ({ type: 'number', required: true, min, max, step: 1, value, inputmode: 'numeric' });
  const description = h('textarea', { rows: 4, maxlength: 5000 });
  description.value = product?.description ?? '';
  const fields = [
    make('name', 'Name', (control) => control.value.trim(),
      { type: 'text', required: true, maxlength: 200, value: product?.name ?? '' }),
    make('description', 'Description', text, {}, { input: description }),
    make('imageUrl', 'Address of a picture', text,
      { type: 'url', pattern: 'https?://.+', maxlength: 2048, value: product?.imageUrl ?? '', placeholder: 'https://' },
      { hint: 'http or https. Without one, a picture is drawn.' }),
    make('price', 'Price', money, { ...amount(product?.price), required: true }),
    currency,
    make('originalPrice', 'Usual price', money, amount(product?.originalPrice), { hint: 'Shown struck through.' }),
    // The stock of an existing sale grows only by a restock.
    product ? null : make('stock', 'Stock', whole, units(0, 1_000_000_000, 100)),
    make('purchaseLimit', 'Limit per person', whole, units(1, 1000, product?.purchaseLimit ?? 1)),
    make('paymentWindowSeconds', 'Minutes to pay', (control) => (control.value ? Math.round(Number(control.value) * 60) : null),
      { type: 'number', min: 1, max: 1440, step: 'any', inputmode: 'decimal', value: product?.paymentWindowSeconds ? product.paymentWindowSeconds / 60 : '' },
      { hint: 'Units are held for so long, and are for sale again if they are not paid for. Empty: a purchase is final at once.' }),
    instantField('saleStartTime', 'Opens', start),
    instantField('saleEndTime', 'Ends', end),
  ];
  return fields.filter(Boolean);
}

function saleForm(product, etag) {
  let base = product;
  let tag = etag;
  const fields = saleFields(product);
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const save = h('button', { class: 'button button-primary' }, product ? 'Save' : 'Create the sale');
  const byName = (name) => fields.find((one) => one.name === name);
  const currency = byName('price.currency');
  currency.control.addEventListener('input', () => { currency.control.value = currency.control.value.toUpperCase(); });
  const form = h('form', { class: 'form form-sale', onsubmit: submit },
    fields.map(({ element }) => element),
    h('datalist', { id: 'currencies' }, CURRENCIES.map((code) => h('option', { value: code }))),
    problem,
    h('div', { class: 'form-actions' }, save, h('a', { class: 'button', href: '/admin' }, 'Cancel'),
      product ? h('button', { type: 'button', class: 'button', onclick: () => restock(base) }, 'Restock') : null));
  let sending = false;

  function values() {
    return Object.fromEntries(fields.filter(({ read }) => read).map(({ name, control, read }) => [name, read(control)]));
  }

  /// Errors that only the page can find: amounts, which are text, and the order of the times.
  function check(entered) {
    const errors = [];
    const digits = currencyDigits(currency.control.value);
    const message = digits === 0 ? 'must be a whole amount' : `must be an amount with at most ${digits} decimal places`;
    for (const name of ['price', 'originalPrice']) {
      if (entered[name] === null && byName(name).control.value.trim()) errors.push({ field: name, message });
    }
    // Such a price would be taken, and never shown.
    if (entered.originalPrice && entered.price && entered.originalPrice.amount <= entered.price.amount) {
      errors.push({ field: 'originalPrice', message: 'must be higher than the price, or empty' });
    }
    if (entered.saleEndTime <= entered.saleStartTime) {
      errors.push({ field: 'saleEndTime', message: 'must be later than the opening' });
    }
    return errors;
  }

  async function submit(event) {
    event.preventDefault();
    if (sending) return;
    setText(problem, '');
    const entered = values();
    const errors = check(entered);
    if (errors.length > 0) return setText(problem, showErrors(fields, errors));
    sending = true;
    save.setAttribute('aria-disabled', 'true');
    try {
      if (base) await change(entered);
      else await create(entered);
    } catch (error) {
      setText(problem, explain(error));
    } finally {
      sending = false;
      save.removeAttribute('aria-disabled');
    }
  }

  function explain(error) {
    if (error instanceof Problem && error.code === 'validation_failed') return showErrors(fields, error.body.errors ?? []);
    if (base || !(error instanceof Problem) || error.code === 'outcome_unknown') {
      return `${inWords(error)}${base ? '' : ' Look at the list of sales before you try again: it may have been created.'}`;
    }
    return inWords(error);
  }

  async function create(entered) {
    const { data } = await asAdmin('POST', '/products', { body: entered });
    store.put(data);
    announce(`${data.name} is created.`);
    go(`/sales/${data.id}`);
  }

  /// Sends only what the admin has changed. If the product has changed meanwhile in other fields (every purchase
  /// changes its version), there is no conflict: it is read and the change is sent again.
  async function change(entered) {
    const changed = Object.fromEntries(Object.entries(entered).filter(([name, value]) => !same(value, base[name])));
    if (Object.keys(changed).length === 0) return setText(problem, 'Nothing has been changed.');
    for (let conflicts = 0; ; conflicts += 1) {
      try {
        const { data } = await asAdmin('PATCH', `/products/${base.id}`, { body: changed, headers: { 'If-Match': tag } });
        store.put(data);
        announce(`${data.name} is saved.`);
        return go(`/sales/${data.id}`);
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== 'version_conflict') throw error;
      }
      const { data, etag: newTag } = await request('GET', `/products/${base.id}`, { anonymous: true });
      store.put(data);
      const others = Object.keys(changed).filter((name) => !same(data[name], base[name]));
      const before = base;
      [base, tag] = [data, newTag];
      refreshUntouched(before, changed);
      if (others.length > 0) return tellConflict(others);
      if (conflicts >= CONFLICTS_MAX) {
        return setText(problem, 'It is selling so fast that the change came too late each time. Save again.');
      }
    }
  }

  function tellConflict(names) {
    for (const name of names) byName(name).setError(`Somebody else has changed this to ${shown(base[name], name)} meanwhile.`);
    byName(names[0]).control.focus();
    setText(problem, 'Nothing was saved, because somebody else has changed the same field. Save again to overwrite it.');
  }

  /// Fields that somebody else changed and this admin did not touch get the new values.
  function refreshUntouched(before, changed) {
    const fresh = saleFields(base);
    for (const { name, control } of fields) {
      const edited = name === 'price.currency' ? 'price' in changed : name in changed;
      if (!edited && !same(base[name], before[name])) control.value = fresh.find((one) => one.name === name).control.value;
    }
  }
  return form;
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

function shown(value, name) {
  if (value === null) return 'nothing';
  if (name === 'paymentWindowSeconds') return windowInWords(value);
  if (typeof value === 'object') return `${amountToText(value.amount, value.currency)} ${value.currency}`;
  return /^\d{4}-\d\d-\d\dT.*Z$/.test(value) ? instantInWords(value) : `“${value}”`;
}
