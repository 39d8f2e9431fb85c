// Form fields: a label, a hint, the field, and what is wrong with it. The browser checks what it can before anything is
// sent; what the server finds is shown beside the field that it names.

import { h, setAttribute, setText, uniqueId } from '../dom.js';

/// A labelled field. `attributes` are the input's; `input` is another element in its place. `name` is what the server
/// calls it.
export function field({ name, label, hint = null, input = null, attributes = {}, extra = null }) {
  const id = uniqueId('field');
  const control = input ?? h('input', attributes);
  control.id = id;
  control.name = name;
  const error = h('p', { class: 'field-error', id: `${id}-error` });
  const hintText = hint ? h('p', { class: 'field-hint', id: `${id}-hint` }, hint) : null;
  const described = [`${id}-error`, hintText ? `${id}-hint` : null].filter(Boolean).join(' ');
  control.setAttribute('aria-describedby', described);
  // It is answered as soon as it is touched.
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

/// Shows the server's `errors` beside the fields, moves the focus to the first, and gives what belongs to none.
export function showErrors(fields, errors) {
  const rest = [];
  let first = null;
  for (const { field: name, message } of errors) {
    // `price.amount` belongs to the field `price` if there is none of that name.
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

/// "must be ..." as it stands under a field.
function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
