// Tells others of a sale, and oneself: a link to share, and an entry for the calendar.

import { announce } from '../announce.js';
import * as clock from '../clock.js';
import { h, saveFile, setText } from '../dom.js';
import { money } from '../format.js';

// The alarm of a calendar entry rings this long before the opening.
const ALARM_MINUTES = 5;
const SAID_MS = 3_000;

/// The buttons for `product()`; the one for the calendar is there until the sale opens.
export function shareButtons(product, signal) {
  const share = h('button', { type: 'button', class: 'button button-small', onclick: shareLink }, 'Share');
  const remind = h('button', { type: 'button', class: 'button button-small', onclick: () => saveEntry(product()) }, 'Add to calendar');
  clock.onTick(() => { remind.hidden = clock.statusOf(product()) !== 'upcoming'; }, signal);

  async function shareLink() {
    const { id, name } = product();
    const url = new URL(`/sales/${id}`, location.href).href;
    try {
      // Phones have a dialog of their own for this; browsers that have none get the link into the clipboard.
      if (navigator.share) await navigator.share({ title: name, url });
      else await copy(url);
    } catch (error) {
      if (error.name !== 'AbortError') prompt('The link to this sale:', url);
    }
  }

  async function copy(url) {
    await navigator.clipboard.writeText(url);
    setText(share, 'Link copied');
    announce('The link is copied.');
    setTimeout(() => setText(share, 'Share'), SAID_MS);
  }

  return h('p', { class: 'product-tools' }, share, remind);
}

/// Has the browser save an entry that any calendar opens (RFC 5545).
function saveEntry(product) {
  const { id, name, price, saleStartTime, saleEndTime } = product;
  const url = new URL(`/sales/${id}`, location.href).href;
  const lines = [
    'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//flash-sale//storefront//EN', 'BEGIN:VEVENT',
    `UID:${id}@${location.host}`, `DTSTAMP:${instant(clock.now())}`, `DTSTART:${instant(saleStartTime)}`, `DTEND:${instant(saleEndTime)}`,
    `SUMMARY:${text(`${name}, ${money(price)}`)}`, `DESCRIPTION:${text(url)}`, `URL:${url}`,
    'BEGIN:VALARM', 'ACTION:DISPLAY', `TRIGGER:-PT${ALARM_MINUTES}M`, `DESCRIPTION:${text(name)}`, 'END:VALARM',
    'END:VEVENT', 'END:VCALENDAR', '',
  ];
  const file = new Blob([lines.map(folded).join('\r\n')], { type: 'text/calendar' });
  saveFile(file, 'sale.ics');
  announce('The calendar entry is saved.');
}

/// `20261128T100000Z`
function instant(time) {
  return new Date(time).toISOString().replace(/[-:]|\.\d+/g, '');
}

/// These characters mean something in a calendar file.
function text(value) {
  return value.replace(/[\\;,]/g, '\\$&').replace(/\r?\n/g, '\\n');
}

/// A line has at most 75 bytes, and goes on after a blank in the next.
function folded(line) {
  const parts = [''];
  let bytes = 0;
  for (const character of line) {
    const length = new TextEncoder().encode(character).length;
    if (bytes + length > 74) {
      parts.push('');
      bytes = 0;
    }
    parts[parts.length - 1] += character;
    bytes += length;
  }
  return parts.join('\r\n ');
}
