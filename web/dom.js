// Makes elements. There is no other way here that text comes onto the page: every string becomes a text node, so what
// people have typed (names, descriptions) can never become markup.

/// `h('a', {class: 'link', href, onclick: fn, hidden: true}, 'text', node, [nodes])`
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/// The same for the elements of a picture.
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/// Changes a text only if it is another one: an unchanged live region stays silent, and nothing is laid out anew.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Sets an attribute only if it changes; `null` removes it.
export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/// Text for those who listen to the page.
export function unseen(text) {
  return h('span', { class: 'unseen' }, text);
}

let lastId = 0;
/// An id that no other element has, to label one by another.
export function uniqueId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/// Runs `fn` when the scope that `signal` stands for is over, at once if it is already.
export function whenOver(signal, fn) {
  if (signal.aborted) fn();
  else signal.addEventListener('abort', fn, { once: true });
}
