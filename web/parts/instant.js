// A field for a moment, such as the opening of a sale.

import { h, setText } from '../dom.js';
import { timeZone } from '../format.js';
import { field } from './fields.js';

/// A moment in the visitor's time zone, shown in UTC too: a sale is for people in all zones.
export function instantField(name, label, value) {
  const shown = h('p', { class: 'field-instant' });
  // With a step of a second, touching the field would lose its milliseconds.
  const step = value.endsWith('.000Z') ? 1 : 0.001;
  const one = field({
    name, label, extra: shown, attributes: { type: 'datetime-local', required: true, step, value: toLocal(value) },
  });
  const read = (control) => {
    const date = new Date(control.value);
    return Number.isNaN(date.getTime()) ? null : date.toISOString();
  };
  const show = () => {
    const instant = read(one.control);
    setText(shown, instant ? `${timeZone(instant)}. In UTC: ${instant.replace('.000Z', 'Z')}` : timeZone());
  };
  one.control.addEventListener('input', show);
  show();
  return { ...one, read };
}

/// The format of `datetime-local`: the visitor's wall clock, without a zone.
function toLocal(instant) {
  const date = new Date(instant);
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString();
  return local.replace('Z', '').replace(/\.000$/, '');
}
