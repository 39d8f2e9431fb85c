// Announcements for screen readers.

import { setText } from './dom.js';

const region = document.getElementById('announcer');
let clearing;

/// Says `text` politely. The same text twice in a row is announced twice.
export function announce(text) {
  clearTimeout(clearing);
  setText(region, '');
  // A screen reader notices no change in a region that is emptied and filled within one task.
  setTimeout(() => setText(region, text), 50);
  clearing = setTimeout(() => setText(region, ''), 10_000);
}

/// Returns a function that announces only its newest text, at most once in `interval` milliseconds: a stock that
/// falls a hundred times a second would drown out everything else.
export function throttled(interval, signal) {
  let last = 0;
  let timer;
  let newest;
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  return (text) => {
    newest = text;
    if (timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      last = performance.now();
      // Not in place of something more important that was just said.
      if (!region.textContent) announce(newest);
    }, Math.max(0, last + interval - performance.now()));
  };
}
