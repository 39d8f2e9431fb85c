// The dialog in which a visitor changes the password.

import { Problem, inWords, loginIsOver, request } from '../api.js';
import { announce } from '../announce.js';
import { h, openModal, setText, uniqueId } from '../dom.js';
import * as session from '../session.js';
import { passwordField, showErrors } from './fields.js';

/// Opens the dialog.
export function changePassword() {
  const titleId = uniqueId('password');
  const current = passwordField({
    name: 'currentPassword', label: 'Current password',
    attributes: { required: true, maxlength: 128, autocomplete: 'current-password' },
  });
  const next = passwordField({
    name: 'newPassword', label: 'New password', hint: 'At least 12 characters.',
    attributes: { required: true, minlength: 12, maxlength: 128, autocomplete: 'new-password' },
  });
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const save = h('button', { class: 'button button-primary' }, 'Change password');
  const form = h('form', { class: 'form', onsubmit: submit },
    // For the browser's password manager, which has to know whose password this is.
    h('input', { type: 'text', name: 'username', autocomplete: 'username', value: session.user().email, hidden: true }),
    current.element, next.element, problem,
    h('div', { class: 'dialog-actions' },
      h('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'Cancel'), save));
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId },
    h('h2', { class: 'dialog-title', id: titleId }, 'Change password'),
    h('p', { class: 'dialog-text' }, 'Every other browser and program that is logged in with your account has to log in again.'),
    form);
  const over = new AbortController();

  async function submit(event) {
    event.preventDefault();
    if (save.getAttribute('aria-disabled') === 'true') return;
    save.setAttribute('aria-disabled', 'true');
    setText(problem, '');
    current.hide();
    next.hide();
    try {
      const body = { currentPassword: current.control.value, newPassword: next.control.value };
      const { data } = await request('POST', '/auth/password', { body });
      session.begin(data);
      dialog.close();
      announce('The password is changed. All other logins have ended.');
    } catch (error) {
      // The page says why the login is over.
      if (loginIsOver(error)) dialog.close();
      else setText(problem, explain(error, [current, next]));
    } finally {
      save.removeAttribute('aria-disabled');
    }
  }

  // Another tab has logged out, or is somebody else now.
  const { id } = session.user();
  session.onChange(() => { if (session.user()?.id !== id) dialog.close(); }, over.signal);
  openModal(dialog).then(() => over.abort());
  current.control.focus();
}

function explain(error, fields) {
  if (!(error instanceof Problem) || error.code === 'outcome_unknown') {
    return `${inWords(error)} The password may have been changed: if you are logged out, try the new one before the old one.`;
  }
  switch (error.code) {
    case 'validation_failed': return showErrors(fields, error.body.errors ?? []);
    case 'invalid_credentials': return showErrors(fields, [{ field: 'currentPassword', message: 'is not your password' }]);
    default: return inWords(error);
  }
}
