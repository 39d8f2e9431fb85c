// The status and the price of a sale.

import { h, setText, unseen } from '../dom.js';
import { discount, money, saving } from '../format.js';

const STATUS = { upcoming: 'Upcoming', live: 'Live', sold_out: 'Sold out', ended: 'Ended' };

/// The status of a sale, in a word.
export function statusPill() {
  const element = h('span', { class: 'pill' });
  return {
    element,
    update(status) {
      if (element.dataset.status === status) return;
      element.dataset.status = status;
      setText(element, STATUS[status]);
    },
  };
}

/// The price, the original price, and the saving.
export function priceTag() {
  const now = h('span', { class: 'price-now' });
  const was = h('s', { class: 'price-was' });
  const wasPart = h('span', {}, unseen('instead of '), was);
  const off = h('span', { class: 'price-off' });
  const element = h('p', { class: 'price' }, now, ' ', wasPart, ' ', off);
  return {
    element,
    update({ price, originalPrice }) {
      const percent = discount(price, originalPrice);
      setText(now, price.amount === 0 ? 'Free' : money(price));
      wasPart.hidden = off.hidden = percent === null;
      if (percent === null) return;
      setText(was, money(originalPrice));
      setText(off, saving(percent));
    },
  };
}
