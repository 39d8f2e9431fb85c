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
      setText(left, leftInWords(stock, status));
      setText(sold, status === 'upcoming' && product.sold === 0 ? '' : `${number(product.sold)} of ${number(totalStock)} sold`);
    },
  };
}

function leftInWords(stock, status) {
  if (status === 'ended') return stock === 0 ? 'Sold out' : `${number(stock)} ${stock === 1 ? 'was' : 'were'} left`;
  if (stock === 0) return 'None left';
  return status === 'upcoming' ? `${number(stock)} available` : `${number(stock)} left`;
}
