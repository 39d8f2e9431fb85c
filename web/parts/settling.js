// What may be done with a purchase by those who look at it: its buyer may cancel it, an admin also settles its payment.
// The server decides; the buttons only say what it will take.

import { Problem, inWords, request } from '../api.js';
import { announce } from '../announce.js';
import { h, setText } from '../dom.js';
import { count, money, number } from '../format.js';
import * as own from '../own.js';
import * as session from '../session.js';
import * as unpaid from '../unpaid.js';
import { asAdmin } from './admin.js';
import { confirm } from './confirm.js';
import { settledInWords } from './paying.js';
import { askRefund } from './refund.js';

/// Whether this shop is tried out without a payment service. The server writes it into the page.
export const isDemo = document.documentElement.dataset.demoPayments === 'on';

/// The buttons for a purchase, and the place where a refusal stands. `changed(purchase)` is called with what has become
/// of it; call `update(purchase)` when it is another one, or its time is over.
export function purchaseActions(first, changed) {
  let purchase = first;
  let shown = '';
  let acting = false;
  const row = h('div', { class: 'row-actions' });
  const problem = h('p', { class: 'form-problem', role: 'alert', tabindex: '-1' });
  const element = h('div', { class: 'purchase-actions' }, row, problem);

  function update(newer = purchase) {
    if (newer.status !== purchase.status) setText(problem, '');
    purchase = newer;
    const offered = offers(purchase);
    const names = offered.map(([label]) => label).join();
    element.hidden = offered.length === 0 && problem.textContent === '';
    if (names === shown) return;
    shown = names;
    const focused = row.contains(document.activeElement);
    row.replaceChildren(...offered.map(([label, fn, kind]) => h('button', {
      type: 'button', class: `button button-small ${kind}`, 'aria-label': `${label}: number ${number(purchase.sequence)}`,
      onclick: () => act(fn),
    }, label)));
    // The button that was pressed is gone.
    if (focused) keepFocus();
  }

  /// Moves the focus to what is left of the purchase.
  function keepFocus() {
    (row.querySelector('button') ?? element.closest('li, article')?.querySelector('a, h1'))?.focus({ preventScroll: true });
  }

  async function act(fn) {
    if (acting) return;
    acting = true;
    setText(problem, '');
    try {
      const newer = await fn(purchase);
      if (newer) tell(newer);
    } catch (error) {
      await refused(error);
    } finally {
      acting = false;
      update();
      // The button may have gone while a question about it was open: then the focus could not return to it.
      if (document.activeElement === document.body) {
        if (problem.textContent) problem.focus({ preventScroll: true });
        else keepFocus();
      }
    }
  }

  function tell(newer) {
    own.settle(newer);
    update(newer);
    changed(newer);
  }

  async function refused(error) {
    // Asking twice makes no difference to any of these.
    const again = error instanceof Problem && error.status < 500 ? '' : ' Try again: asking twice makes no difference.';
    // It has become something else meanwhile.
    if (error.status === 409) {
      await request('GET', `/purchases/${purchase.id}`).then(({ data }) => tell(data), () => {});
    }
    setText(problem, `${inWords(error)}${again}`);
  }

  update();
  return { element, update };
}

/// The label, the function and the look of each button.
function offers(purchase) {
  const user = session.user();
  const isAdmin = session.isAdmin();
  const { status, userId, refundDue } = purchase;
  const list = [];
  if (status === 'pending' && isAdmin && isDemo) list.push(['Mark as paid', markPaid, 'button-primary']);
  if (status === 'pending' && (isAdmin || userId === user?.id) && !unpaid.isOver(purchase)) list.push(['Cancel the purchase', cancel, 'button-danger-quiet']);
  if (status === 'confirmed' && isAdmin) list.push(['Refund', refund, '']);
  if (refundDue && isAdmin) list.push(['Money has gone back', returned, '']);
  return list;
}

async function cancel({ id, productId, userId, sequence, quantity }) {
  const isOwn = userId === session.user()?.id;
  const lapses = own.of(productId)?.lapses ?? 0;
  const back = quantity === 1 ? 'It is for sale again at once.' : `${number(quantity)} units are for sale again at once.`;
  const lapse = `This counts as a lapse: who has ${own.LAPSES_MAX} lapses cannot hold this product any more.`;
  const sure = await confirm({
    title: `Cancel number ${number(sequence)}?`, yes: 'Cancel the purchase', no: 'Keep it',
    text: isOwn ? `${back} ${lapse}${lapses > 0 ? ` You have ${count(lapses, 'lapse')} so far.` : ''}`
      : `${back} For its buyer it is no lapse.`,
  });
  if (!sure) return null;
  return done(await asAdmin('POST', `/purchases/${id}/cancel`));
}

/// In place of a payment service. The reference is the same however often the button is pressed.
async function markPaid({ id, total }) {
  return done(await asAdmin('POST', `/purchases/${id}/confirm`, { body: { paymentReference: `demo-${id}`, amount: total } }));
}

async function refund(purchase) {
  const body = await askRefund(purchase);
  return body && done(await asAdmin('POST', `/purchases/${purchase.id}/refund`, { body }));
}

async function returned({ id, sequence, total, paymentReference }) {
  const sure = await confirm({
    title: `Has the money for number ${number(sequence)} gone back?`, yes: 'It has gone back', danger: false,
    text: `Say so once ${money(total)} of the payment ${paymentReference} has gone back to the buyer. This moves no money.`,
  });
  if (!sure) return null;
  const { data } = await asAdmin('POST', `/purchases/${id}/refund`, { body: {} });
  announce(`Number ${number(sequence)}: no refund is due any more.`);
  return data;
}

function done({ data }) {
  announce(settledInWords(data));
  return data;
}
