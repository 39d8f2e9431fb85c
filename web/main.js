// Assembles the page and starts it.

import * as access from './access.js';
import { Unreachable } from './api.js';
import * as clock from './clock.js';
import * as live from './live.js';
import * as header from './parts/header.js';
import * as router from './router.js';
import { failure } from './parts/states.js';
import { catalogue } from './views/catalogue.js';
import { product } from './views/product.js';

/// A view whose files are loaded when it is first shown: a crowd of buyers need not load the admin's views.
function later(load, name) {
  return async (page) => {
    let views;
    try {
      views = await load();
    } catch {
      if (!page.signal.aborted) page.root.append(failure(new Unreachable(), page.again, 'h1'));
      return;
    }
    if (!page.signal.aborted) views[name](page);
  };
}

clock.start();
access.start();
header.start();
const ID = '([0-9a-f]{24})';
const routes = [
  ['/', catalogue],
  [`/sales/${ID}`, product],
  ['/my/purchases', later(() => import('./views/purchases.js'), 'purchases')],
  [`/my/purchases/${ID}`, later(() => import('./views/receipt.js'), 'receipt')],
  ['/admin', later(() => import('./views/admin.js'), 'admin')],
  ['/admin/users', later(() => import('./views/users.js'), 'users')],
  ['/admin/audit', later(() => import('./views/audit.js'), 'audit')],
  ['/admin/new', later(() => import('./views/sale.js'), 'sale')],
  [`/admin/sales/${ID}/control`, later(() => import('./views/control.js'), 'control')],
  [`/admin/sales/${ID}`, later(() => import('./views/sale.js'), 'sale')],
];
router.start(routes.map(([path, view]) => [new RegExp(`^${path}$`, 'i'), view]));
live.start();
