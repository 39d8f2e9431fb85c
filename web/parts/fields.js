// Form fields: a label, a hint, the field, and its error. The browser checks what it can before anything is sent; an
// error of the server is shown beside the field that it names.

import { h, setAttribute, setText, uniqueId } from '../dom.js';

/// A labelled field. `attributes` are the input's; `input` replaces the input by another element. `name` is the
/// field's name in the API.
export function field({ name, label, hint = null, input = null, attributes = {}, extra = null }) {
  const id = uniqueId('field');
  const control = input ?? h('input', attributes);
  control.id = id;
  control.name = name;
  const error = h('p', { class: 'field-error', id: `${id}-error` });
  const hintText = hint ? h('p', { class: 'field-hint', id: `${id}-hint` }, hint) : null;
  const described = [`${id}-error`, hintText ? `${id}-hint` : null].filter(Boolean).join(' ');
  control.setAttribute('aria-describedby', described);
  // The error is cleared as soon as the visitor edits the field.
  control.addEventListener('input', () => setError(''));
  function setError(text) {
    setText(error, text);
    setAttribute(control, 'aria-invalid', text ? 'true' : null);
  }
  const optional = control.required ? null : h('span', { class: 'field-optional' }, ' (optional)');
  const element = h('div', { class: 'field', 'data-field': name },
    h('label', { for: id }, label, optional), control, extra, hintText, error);
  return { name, element, control, setError };
}

/// A field for a password, with a button that shows what was typed: on a phone nobody types twelve characters blindly.
export function passwordField({ attributes, ...rest }) {
  const one = field({ ...rest, attributes: { ...attributes, type: 'password', autocapitalize: 'off', spellcheck: 'false' } });
  const { control } = one;
  const button = h('button', { type: 'button', class: 'password-show', onclick: () => show(control.type === 'password') });
  const box = h('div', { class: 'password' });
  control.replaceWith(box);
  box.append(control, button);
  function show(visible) {
    control.type = visible ? 'text' : 'password';
    setText(button, visible ? 'Hide' : 'Show');
    setAttribute(button, 'aria-label', `${visible ? 'Hide' : 'Show'}: ${rest.label}`);
  }
  show(false);
  // Browsers offer to keep only what was entered as a password.
  return { ...one, hide: () => show(false) };
}

/// Shows the server's `errors` beside their fields, focuses the first of these, and returns the errors without a
/// field.
export function showErrors(fields, errors) {
  const rest = [];
  let first = null;
  for (const { field: name, message } of errors) {
    // `price.amount` belongs to the field `price` if there is no field with the full name.
    const found = fields.find((one) => one.name === name) ?? fields.find((one) => one.name === name.split('.')[0]);
    if (!found) {
      rest.push(name ? `${name} ${message}` : message);
      continue;
    }
    found.setError(sentence(message));
    first ??= found.control;
  }
  first?.focus();
  return rest.join('; ');
}

/// Turns "must be ..." into a sentence.
function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
