// The time until a sale opens or closes, by the server's clock.

import * as clock from '../clock.js';
import { h, setAttribute, setText } from '../dom.js';
import { countdownParts, dateTime, inWords, number, twoDigits } from '../format.js';

const SOON_MS = 60_000;

/// A countdown for `product()`, which may change at any time. Not a live region: it would speak all the time.
export function countdown(product, signal) {
  const label = h('span', { class: 'countdown-label' });
  const digits = h('span', { class: 'countdown-digits', 'aria-hidden': 'true' });
  const words = h('span', { class: 'unseen' });
  const time = h('span', { class: 'countdown-time', role: 'timer' }, digits, words);
  const element = h('p', { class: 'countdown' }, label, ' ', time);

  function update() {
    const { saleStartTime, saleEndTime } = product();
    const moment = clock.now();
    const start = Date.parse(saleStartTime);
    const end = Date.parse(saleEndTime);
    // Without the server's clock a countdown might be days wrong.
    setAttribute(element, 'data-unknown', clock.isSynced() ? null : '');
    if (!clock.isSynced()) {
      const status = clock.statusOf(product());
      const instant = status === 'upcoming' ? start : end;
      setText(label, { upcoming: 'Opens', ended: 'Ended' }[status] ?? 'Ends');
      setText(digits, dateTime(instant));
      setText(words, dateTime(instant));
      return;
    }
    setAttribute(element, 'data-soon', start > moment && start - moment <= SOON_MS ? '' : null);
    setAttribute(element, 'data-over', end <= moment ? '' : null);
    if (end <= moment) {
      setText(label, 'Ended');
      setText(digits, dateTime(end));
      setText(words, dateTime(end));
      return;
    }
    const left = (start > moment ? start : end) - moment;
    setText(label, start > moment ? 'Opens in' : 'Ends in');
    setText(digits, asDigits(left));
    setText(words, inWords(left));
  }

  clock.onTick(update, signal);
  return { element, update };
}

/// `2 d 03:14:09`. Days only if there are any; hours always, so that the width stays the same at a full hour.
export function asDigits(milliseconds) {
  const { days, hours, minutes, seconds } = countdownParts(milliseconds);
  // From 100 days on, seconds do not matter.
  if (days >= 100) return `${number(days)} days`;
  return `${days > 0 ? `${number(days)} d ` : ''}${twoDigits(hours)}:${twoDigits(minutes)}:${twoDigits(seconds)}`;
}

/// The same without hours when there are none: `14:09`.
export function asShortDigits(milliseconds) {
  const none = `${twoDigits(0)}:`;
  const digits = asDigits(milliseconds);
  return digits.startsWith(none) ? digits.slice(none.length) : digits;
}
