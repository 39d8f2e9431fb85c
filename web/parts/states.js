// What a view shows instead of its content: loading, empty, or failed.

import { h } from '../dom.js';
import { inWords } from '../api.js';

/// A title, a text and an action to go on.
export function notice({ title, text, action = null, heading = 'h2', kind = 'empty' }) {
  return h('div', { class: `notice-box notice-${kind}` },
    h(heading, { class: 'notice-title', tabindex: heading === 'h1' ? '-1' : null }, title),
    text ? h('p', {}, text) : null,
    action ? h('div', { class: 'notice-actions' }, action) : null);
}

/// A failure with a button to try again.
export function failure(error, retry, heading = 'h2') {
  const button = h('button', { type: 'button', class: 'button', onclick: () => retry() }, 'Try again');
  const box = notice({ heading, kind: 'error', title: 'This could not be loaded', text: inWords(error), action: button });
  box.setAttribute('role', 'alert');
  return box;
}

/// Grey shapes in place of the coming content. For screen readers one sentence stands for all of them.
export function skeleton(kind, pieces, label) {
  return h('div', { class: `skeleton skeleton-${kind}`, role: 'status' },
    h('span', { class: 'unseen' }, label),
    Array.from({ length: pieces }, () => h('div', { class: 'bone', 'aria-hidden': 'true' })));
}
