// Says things to those who listen to the page rather than look at it.

import { setText } from './dom.js';

const region = document.getElementById('announcer');
let clearing;

/// Says `text` politely. The same text twice in a row is said twice.
export function announce(text) {
  clearTimeout(clearing);
  setText(region, '');
  // A region that is emptied and filled in the same task has not changed, as far as a screen reader is concerned.
  setTimeout(() => setText(region, text), 50);
  clearing = setTimeout(() => setText(region, ''), 10_000);
}

/// Gives a function that says only the newest of what it is told, at most once in `interval` milliseconds: a stock that
/// falls a hundred times a second would otherwise be all one hears.
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
      announce(newest);
    }, Math.max(0, last + interval - performance.now()));
  };
}
