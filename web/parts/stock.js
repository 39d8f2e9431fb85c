// How much is left.

import { h, setAttribute, setText } from '../dom.js';
import { number } from '../format.js';

const LOW = 0.2;

/// A bar and the figures. The bar empties as the product sells.
export function stockBar(label = 'Stock') {
  const level = h('span', { class: 'stock-level' });
  const bar = h('div', {
    class: 'stock-bar', role: 'meter', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '1', 'aria-valuenow': '1',
  }, level);
  const left = h('span', { class: 'stock-left' });
  const sold = h('span', { class: 'stock-sold' });
  const element = h('div', { class: 'stock' }, bar, h('p', { class: 'stock-figures' }, left, sold));
  return {
    element,
    update(product, status) {
      const { stock, totalStock } = product;
      const part = totalStock === 0 ? 0 : stock / totalStock;
      level.style.setProperty('--part', part.toFixed(4));
      setAttribute(element, 'data-low', stock > 0 && part <= LOW ? '' : null);
      setAttribute(element, 'data-empty', stock === 0 ? '' : null);
      // A meter's range must not be from 0 to 0.
      setAttribute(bar, 'aria-valuemax', Math.max(1, totalStock));
      setAttribute(bar, 'aria-valuenow', stock);
      setAttribute(bar, 'aria-valuetext', `${number(stock)} of ${number(totalStock)} left`);
      setText(left, leftInWords(product, status));
      setText(sold, status === 'upcoming' && product.sold + product.held === 0 ? '' : soldInWords(product));
    },
  };
}

function leftInWords({ stock, held }, status) {
  if (stock === 0 && held > 0 && status !== 'ended') return `0 left, ${heldInWords(held)}: some may come back`;
  if (status === 'ended') return stock === 0 ? 'Sold out' : `${number(stock)} ${stock === 1 ? 'was' : 'were'} left`;
  if (stock === 0) return 'None left';
  return status === 'upcoming' ? `${number(stock)} available` : `${number(stock)} left`;
}

/// Units that are bought and not yet paid for: they come back if they are not.
export function heldInWords(held) {
  return `${number(held)} ${held === 1 ? 'is' : 'are'} being paid for`;
}

function soldInWords({ stock, held, sold, totalStock }) {
  return `${number(sold)} of ${number(totalStock)} sold${stock > 0 && held > 0 ? `, ${heldInWords(held)}` : ''}`;
}
