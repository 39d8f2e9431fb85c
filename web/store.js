// The products that the page knows, each in its newest version, however it arrived (a list, a single read, an event).

const products = new Map();
const watchers = new Map();
const everyone = new Set();
const changed = new Set();
let frame;

export function find(id) {
  return products.get(id);
}

/// Stores a whole product. Ignores a version older than the known one: answers can overtake each other.
export function put(product) {
  const known = products.get(product.id);
  if (known && (known.version > product.version || (known.version === product.version && !known.isGuess))) return known;
  products.set(product.id, product);
  mark(product.id);
  return product;
}

/// Stores the figures of a stock event.
export function putStock({ productId, stock, held = 0, sold, version }) {
  const known = products.get(productId);
  if (!known || known.version >= version) return;
  products.set(productId, { ...known, stock, held, sold, totalStock: stock + held + sold, version });
  mark(productId);
}

/// Stores what a refusal told of a product. Of which version that is, is not known, so a whole product of the known version
/// replaces it.
export function putTold(productId, told) {
  const known = products.get(productId);
  if (!known) return;
  products.set(productId, { ...known, ...told, isGuess: true });
  mark(productId);
}

/// Removes a deleted product.
export function remove(id) {
  products.delete(id);
  mark(id);
}

/// Calls `fn(product)` when one product changes; with undefined when it is gone.
export function watch(id, fn, signal) {
  if (!watchers.has(id)) watchers.set(id, new Set());
  watchers.get(id).add(fn);
  signal.addEventListener('abort', () => {
    watchers.get(id)?.delete(fn);
    if (watchers.get(id)?.size === 0) watchers.delete(id);
  }, { once: true });
}

/// Calls `fn(ids)` when any products change.
export function watchAll(fn, signal) {
  everyone.add(fn);
  signal.addEventListener('abort', () => everyone.delete(fn), { once: true });
}

// A hundred events may come between two frames; the page is updated once for all of them, when it is drawn.
function mark(id) {
  changed.add(id);
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    const ids = [...changed];
    changed.clear();
    for (const one of ids) {
      for (const fn of [...(watchers.get(one) ?? [])]) fn(products.get(one));
    }
    for (const fn of [...everyone]) fn(ids);
  });
}
