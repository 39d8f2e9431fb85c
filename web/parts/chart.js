// The curve of a sale: units a second since its opening.

import { h, setText, svg, uniqueId } from '../dom.js';
import { clockTime, number } from '../format.js';

const WIDTH = 600;
const HEIGHT = 160;
const COLUMNS_MAX = 200;

/// The chart. `update(curve, begin, end)` draws what was bought between these seconds.
export function chart() {
  const area = svg('path', { class: 'chart-area' });
  const line = svg('path', { class: 'chart-line' });
  const summaryId = uniqueId('chart');
  const summary = h('p', { class: 'chart-summary', id: summaryId });
  const top = h('span', { class: 'chart-top' });
  const [from, until] = [h('span', {}), h('span', {})];
  const element = h('figure', { class: 'chart' },
    h('div', { class: 'chart-plot' },
      svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-labelledby': summaryId }, area, line),
      top),
    h('div', { class: 'chart-axis', 'aria-hidden': 'true' }, from, until),
    summary);

  return {
    element,
    update(curve, begin, end) {
      const columnSeconds = Math.max(1, Math.ceil((end - begin) / COLUMNS_MAX));
      const columns = Math.max(1, Math.ceil((end - begin) / columnSeconds));
      const values = curve.columns(begin, columnSeconds, columns);
      const highest = Math.max(...values);
      const scale = Math.max(1, highest);
      const step = WIDTH / columns;
      // Steps, not slopes: nothing is known between two points.
      const path = values.map((value, index) => {
        const y = (HEIGHT - 2 - (value / scale) * (HEIGHT - 12)).toFixed(1);
        return `${index === 0 ? 'M' : 'L'}${(index * step).toFixed(1)} ${y}H${((index + 1) * step).toFixed(1)}`;
      }).join('');
      line.setAttribute('d', path);
      area.setAttribute('d', `${path}V${HEIGHT}H0Z`);
      setText(top, `${number(rounded(scale))} a second`);
      setText(from, clockTime(begin * 1000));
      setText(until, clockTime(end * 1000));
      const peak = curve.peak() ?? highest;
      const each = columnSeconds === 1 ? '' : ` Each step is the average of ${number(columnSeconds)} seconds.`;
      setText(summary, highest === 0 ? 'Nothing was bought yet.'
        : `Units bought a second since the opening: at most ${number(rounded(peak))}.${each}`);
    },
  };
}

/// To three digits that matter.
function rounded(value) {
  return Number(value.toPrecision(3));
}
