// What an admin does to a sale that runs: pause it, let it go on, end it, restock it, move its window.

import { Problem, Unreachable, inWords, request } from '../api.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, openModal, setText, uniqueId } from '../dom.js';
import { count, dateTime, number } from '../format.js';
import { newKey } from '../purchase.js';
import * as store from '../store.js';
import { asAdmin } from './admin.js';
import { confirm } from './confirm.js';
import { field, showErrors } from './fields.js';
import { instantField } from './instant.js';

// The version of a selling product changes with every batch of purchases, so several tries are normal.
const CONFLICTS_MAX = 10;

/// Changes the sale itself, whatever its version (`*`): the admin means the sale, not a state that was read earlier.
async function change(product, body) {
  const { data } = await asAdmin('PATCH', `/products/${product.id}`, { body, headers: { 'If-Match': '*' } });
  store.put(data);
  return data;
}

/// Refuses all purchases until the sale goes on. Without a question: a pause can be taken back, and it is urgent.
export async function pause(product) {
  const { name } = await change(product, { paused: true });
  announce(`${name} is paused.`);
}

/// Lets a paused sale go on, after a question: a second press on the button that has just paused must change nothing.
export async function goOn(product) {
  const sure = await confirm({
    title: `Let “${product.name}” go on?`, yes: 'Go on', danger: false,
    text: 'From then on people can buy again, as long as its window is open and there is stock.',
  });
  if (!sure) return;
  const { name } = await change(product, { paused: false });
  announce(`${name} goes on.`);
}

/// Ends a sale now, after a question.
export async function endNow(product) {
  const sure = await confirm({
    title: `End “${product.name}” now?`, text: 'Nobody can buy any more. Purchases already made stay valid.', yes: 'End now',
  });
  if (!sure) return;
  const { name } = await change(product, { saleEndTime: new Date(clock.now()).toISOString() });
  announce(`${name} has ended.`);
}

/// A dialog with a form. `submit(say)` sends it and returns whether it is done; `say(text)` shows what is wrong.
function formDialog({ title, fields, yes, submit }) {
  const titleId = uniqueId('form');
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const button = h('button', { class: 'button button-primary' }, yes);
  let sending = false;
  async function send(event) {
    event.preventDefault();
    if (sending) return;
    sending = true;
    button.setAttribute('aria-disabled', 'true');
    setText(problem, '');
    try {
      if (await submit((text) => setText(problem, text))) dialog.close();
    } finally {
      sending = false;
      button.removeAttribute('aria-disabled');
    }
  }
  const form = h('form', { class: 'form', onsubmit: send }, fields.map(({ element }) => element), problem,
    h('div', { class: 'dialog-actions' }, h('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'Cancel'), button));
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId }, h('h2', { class: 'dialog-title', id: titleId }, title), form);
  const closed = openModal(dialog);
  fields[0].control.focus();
  return closed;
}

/// Asks how much to add, and adds it. Resolves when the dialog closes.
export function restock(product) {
  const quantity = field({
    name: 'quantity', label: 'Units to add', hint: 'From 1 to 1,000.',
    attributes: { type: 'number', required: true, min: 1, max: 1000, step: 1, inputmode: 'numeric' },
  });
  // However often this dialog sends it, the units are added once.
  const key = newKey();

  async function submit(say) {
    try {
      const { data } = await asAdmin('POST', `/products/${product.id}/restock`, {
        body: { quantity: Number(quantity.control.value) }, headers: { 'Idempotency-Key': key },
      });
      store.put(data);
      announce(`${count(Number(quantity.control.value), 'unit')} added: ${number(data.stock)} left.`);
      return true;
    } catch (error) {
      if (mayHaveHappened(error)) {
        // Another number would be another request, and the first may have been carried out.
        quantity.control.readOnly = true;
        say(`${inWords(error)} Press again to find out: they are added once only.`);
      } else {
        say(error.body?.errors ? showErrors([quantity], error.body.errors) : inWords(error));
      }
      return false;
    }
  }

  return formDialog({ title: `Restock “${product.name}”`, fields: [quantity], yes: 'Add', submit });
}

/// Whether a request that failed may have been carried out.
function mayHaveHappened(error) {
  return error instanceof Unreachable || error.code === 'outcome_unknown' || (error.status >= 500 && !error.code);
}

/// Asks for the opening and the end, and moves them. Resolves when the dialog closes.
export async function moveWindow({ id, name }) {
  const read = () => request('GET', `/products/${id}`, { anonymous: true });
  let { data: base, etag } = await read();
  store.put(base);
  const fields = [instantField('saleStartTime', 'Opens', base.saleStartTime), instantField('saleEndTime', 'Ends', base.saleEndTime)];

  async function submit(say) {
    const entered = Object.fromEntries(fields.map((one) => [one.name, one.read(one.control)]));
    if (entered.saleEndTime <= entered.saleStartTime) {
      say(showErrors(fields, [{ field: 'saleEndTime', message: 'must be later than the opening' }]));
      return false;
    }
    const body = Object.fromEntries(Object.entries(entered).filter(([member, value]) => value !== base[member]));
    try {
      for (let conflicts = 0; ; conflicts += 1) {
        try {
          const { data } = await asAdmin('PATCH', `/products/${id}`, { body, headers: { 'If-Match': etag } });
          store.put(data);
          announce(`${name} opens on ${dateTime(data.saleStartTime)} and ends on ${dateTime(data.saleEndTime)}.`);
          return true;
        } catch (error) {
          if (!(error instanceof Problem) || error.code !== 'version_conflict' || conflicts === CONFLICTS_MAX) throw error;
        }
        const before = base;
        ({ data: base, etag } = await read());
        store.put(base);
        // A purchase has changed the version; only another window is a conflict.
        const moved = fields.filter((one) => base[one.name] !== before[one.name]);
        for (const one of moved) one.setError(`Somebody else has moved this to ${dateTime(base[one.name])} meanwhile.`);
        if (moved.length > 0) {
          say('Nothing was saved. Save again to overwrite it.');
          return false;
        }
      }
    } catch (error) {
      say(error.body?.errors ? showErrors(fields, error.body.errors) : inWords(error));
      return false;
    }
  }

  return formDialog({ title: `Move the window of “${name}”`, fields, yes: 'Move', submit });
}
