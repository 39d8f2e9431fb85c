// Makes elements. All text reaches the page through here, as text nodes, so what people type (names, descriptions)
// can never become markup.

/// `h('a', {class: 'link', href, onclick: fn, hidden: true}, 'text', node, [nodes])`
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/// The same for SVG elements.
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

/// Has the browser save a file.
export function saveFile(file, name) {
  const link = h('a', { href: URL.createObjectURL(file), download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the file after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/// Changes a text only if it differs: an unchanged live region stays silent and causes no layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Sets an attribute only if it changes; `null` removes it.
export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/// Text for screen readers only.
export function unseen(text) {
  return h('span', { class: 'unseen' }, text);
}

/// Opens a dialog over the page. Resolves when it is closed, and gone from the page: at once, while its event may wait behind
/// other work. A press in between would find the dialog gone, and a page that still waits for it.
export function openModal(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (dialog.open) return;
      observer.disconnect();
      dialog.remove();
      resolve();
    });
    observer.observe(dialog, { attributeFilter: ['open'] });
  });
}

let lastId = 0;
/// A unique id, so that one element can label another.
export function uniqueId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/// Runs `fn` when `signal` is aborted, or at once if it already is.
export function whenOver(signal, fn) {
  if (signal.aborted) fn();
  else signal.addEventListener('abort', fn, { once: true });
}
