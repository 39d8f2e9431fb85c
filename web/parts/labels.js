// The status and the price of a sale.

import { h, setText, unseen } from '../dom.js';
import { discount, money, saving } from '../format.js';

const STATUS = { upcoming: 'Upcoming', live: 'Live', sold_out: 'Sold out', ended: 'Ended', paused: 'Paused' };

/// The status of a sale, in a word.
export function statusPill() {
  const element = h('span', { class: 'pill' });
  return {
    element,
    /// A sale that could be bought now or later, and is paused, is above all paused.
    update(status, paused = false) {
      const shown = paused && (status === 'live' || status === 'upcoming') ? 'paused' : status;
      if (element.dataset.status === shown) return;
      element.dataset.status = shown;
      setText(element, STATUS[shown]);
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
