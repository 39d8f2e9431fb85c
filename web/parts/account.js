// Login and registration, in a dialog over the current view, so that the visitor can go on afterwards.

import { Problem, inWords, request } from '../api.js';
import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, openModal, setText, uniqueId } from '../dom.js';
import * as session from '../session.js';
import { field, passwordField, showErrors } from './fields.js';

const MODES = {
  login: {
    title: 'Log in', button: 'Log in', path: '/auth/login', other: 'register',
    question: 'No account yet?', otherLabel: 'Register',
  },
  register: {
    title: 'Register', button: 'Create account', path: '/auth/register', other: 'login',
    question: 'Already have an account?', otherLabel: 'Log in',
  },
};

/// Whether anybody may register here. The server writes it into the page.
export const mayRegister = document.documentElement.dataset.registration === 'open';

let opened = null;

/// Resolves to whether the visitor is logged in: at once, or when the dialog closes. `reason` says why to log in.
export function ensureLogin(reason) {
  const expires = Date.parse(session.current()?.expiresAt ?? 0);
  // By the server's clock: the visitor's may be days wrong. This only saves a request, the server decides.
  const expired = clock.isSynced() && expires < clock.now();
  if (session.current() && !expired) return Promise.resolve(true);
  return openAccount('login', reason);
}

/// Opens the dialog. Resolves to whether the visitor is logged in when it closes.
export function openAccount(mode = 'login', reason = '') {
  opened ??= dialog(mode, reason).finally(() => { opened = null; });
  return opened;
}

function dialog(mode, reason) {
  const titleId = uniqueId('account');
  const title = h('h2', { class: 'dialog-title', id: titleId });
  const body = h('div', {});
  const close = h('button', { type: 'button', class: 'dialog-close', 'aria-label': 'Close', onclick: () => element.close() }, '×');
  const element = h('dialog', { class: 'dialog dialog-account', 'aria-labelledby': titleId },
    h('div', { class: 'dialog-head' }, title, close),
    reason ? h('p', { class: 'dialog-reason' }, reason) : null, body);

  let email = '';
  function show(next) {
    const texts = MODES[next];
    setText(title, texts.title);
    const form = accountForm(next, email, () => element.close());
    const other = h('button', { type: 'button', class: 'link-button', onclick: () => {
      email = form.querySelector('[name=email]').value;
      show(texts.other);
    } }, texts.otherLabel);
    body.replaceChildren(form, mayRegister ? h('p', { class: 'dialog-other' }, texts.question, ' ', other) : '');
    if (element.open) form.querySelector('input').focus();
  }
  show(mode);

  const closed = openModal(element);
  body.querySelector('input').focus();
  return closed.then(() => {
    keepFocus();
    return session.current() !== null;
  });
}

/// The browser returns the focus to the element that was pressed. A login may have replaced it, as it does the
/// header's buttons; then the focus goes to what the header has now.
function keepFocus() {
  if (document.activeElement === document.body) document.querySelector('#account > button:last-of-type').focus();
}

function accountForm(mode, email, done) {
  const registers = mode === 'register';
  const fields = [];
  if (registers) {
    fields.push(field({
      name: 'name', label: 'Name', hint: 'Others see your first name and an initial when you buy; of a single word, its initial.',
      attributes: { type: 'text', required: true, maxlength: 80, autocomplete: 'name' },
    }));
  }
  fields.push(field({
    name: 'email', label: 'E-mail',
    attributes: { type: 'email', required: true, maxlength: 254, autocomplete: 'username', value: email, inputmode: 'email' },
  }));
  const password = passwordField({
    name: 'password', label: 'Password', hint: registers ? 'At least 12 characters.' : null,
    attributes: {
      required: true, maxlength: 128, minlength: registers ? 12 : 1,
      autocomplete: registers ? 'new-password' : 'current-password',
    },
  });
  fields.push(password);
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const button = h('button', { class: 'button button-primary button-wide' }, MODES[mode].button);
  const form = h('form', { class: 'form', onsubmit: submit }, fields.map((one) => one.element), problem, button);

  async function submit(event) {
    event.preventDefault();
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    setText(problem, '');
    password.hide();
    try {
      const body = Object.fromEntries(fields.map(({ name, control }) => [name, control.value]));
      const { data } = await request('POST', MODES[mode].path, { body, anonymous: true });
      session.begin(data);
      announce(`Logged in as ${data.user.name}.`);
      done();
    } catch (error) {
      setText(problem, explain(error, fields));
    } finally {
      button.removeAttribute('aria-disabled');
    }
  }
  return form;
}

function explain(error, fields) {
  if (!(error instanceof Problem)) return inWords(error);
  switch (error.code) {
    case 'validation_failed': return showErrors(fields, error.body.errors ?? []);
    case 'invalid_credentials': return 'The e-mail address or the password is wrong.';
    case 'email_taken': return showErrors(fields, [{ field: 'email', message: 'already has an account: log in with it' }]);
    default: return inWords(error);
  }
}
