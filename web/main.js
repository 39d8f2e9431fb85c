// Puts the page together and starts it.

import * as clock from './clock.js';
import * as live from './live.js';
import * as header from './parts/header.js';
import * as router from './router.js';
import { admin } from './views/admin.js';
import { catalogue } from './views/catalogue.js';
import { product } from './views/product.js';
import { purchases } from './views/purchases.js';
import { sale } from './views/sale.js';

clock.start();
header.start();
router.start([
  [/^\/$/, catalogue],
  [/^\/products\/([0-9a-f]{24})$/i, product],
  [/^\/purchases$/, purchases],
  [/^\/admin$/, admin],
  [/^\/admin\/new$/, sale],
  [/^\/admin\/([0-9a-f]{24})$/i, sale],
]);
live.start();
