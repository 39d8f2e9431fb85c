// A small curve of the recent past. The number beside it says the same in text.

import { svg } from '../dom.js';

const WIDTH = 120;
const HEIGHT = 28;

/// The curve; `update(points)` redraws it.
export function sparkline() {
  const area = svg('path', { class: 'spark-area' });
  const line = svg('path', { class: 'spark-line' });
  const element = svg('svg', {
    class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false',
  }, area, line);
  return {
    element,
    update(points) {
      const top = Math.max(1, ...points);
      const step = WIDTH / Math.max(1, points.length - 1);
      const path = points.map((value, index) => {
        const y = HEIGHT - 2 - (value / top) * (HEIGHT - 4);
        return `${index === 0 ? 'M' : 'L'}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
      }).join('');
      line.setAttribute('d', path);
      area.setAttribute('d', path ? `${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` : '');
    },
  };
}
