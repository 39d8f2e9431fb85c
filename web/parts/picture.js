// A product's picture. Its address comes from an admin and may be wrong, slow or dead. Then, or without an address, a
// picture is drawn from the product's id: always the same for one product, seldom the same for two.

import { h, svg } from '../dom.js';

// Ground, figure, accent: dark enough for white letters, muted enough to stand beside each other.
const PALETTES = [
  ['#1f3a5f', '#2f5d8c', '#f2b56b'], ['#4a2545', '#7a3b69', '#f0a7a0'], ['#1f4a43', '#2f7265', '#e9c46a'],
  ['#5a2a1c', '#99462c', '#f3c99b'], ['#2c2f55', '#4a4f8f', '#9fd0d6'], ['#3b4422', '#66763a', '#f0d9a0'],
  ['#51203a', '#8c3a5f', '#f5c6a5'], ['#233b4a', '#3d6275', '#f29e7d'],
];

/// The picture; `update(product)` brings it up to date.
export function picture({ eager = false } = {}) {
  const element = h('div', { class: 'picture' });
  let drawn = null;
  let address;
  return {
    element,
    update({ id, name, imageUrl }) {
      if (drawn !== `${id} ${name}`) {
        drawn = `${id} ${name}`;
        element.querySelector('svg')?.remove();
        element.prepend(placeholder(id, name));
      }
      if (address === imageUrl) return;
      address = imageUrl;
      element.querySelector('img')?.remove();
      if (!isWeb(imageUrl)) return;
      // Laid over the drawing and shown only once loaded: no empty frame, no shift. No alt text, the name is beside
      // it.
      const img = h('img', { alt: '', decoding: 'async', loading: eager ? 'eager' : 'lazy', referrerpolicy: 'no-referrer' });
      img.onload = () => img.classList.add('loaded');
      img.onerror = () => img.remove();
      img.src = imageUrl;
      element.append(img);
    },
  };
}

function isWeb(address) {
  return typeof address === 'string' && /^https?:\/\//i.test(address);
}

function placeholder(id, name) {
  const random = generator(id);
  const pick = (count) => Math.floor(random() * count);
  const [ground, figure, accent] = PALETTES[pick(PALETTES.length)];
  return svg('svg', { viewBox: '0 0 400 300', preserveAspectRatio: 'xMinYMax slice', 'aria-hidden': 'true', focusable: 'false' },
    svg('rect', { width: 400, height: 300, fill: ground }),
    [rings, bands, arches, dots][pick(4)](random, figure, accent),
    svg('text', {
      x: 26, y: 272, fill: '#fff', 'font-size': 72, 'font-weight': 800, 'letter-spacing': -3, 'font-family': 'inherit',
    }, initials(name)));
}

function rings(random, figure, accent) {
  const x = 250 + random() * 110;
  const y = 60 + random() * 80;
  return [150, 112, 76, 42].map((radius, index) => svg('circle', {
    cx: x, cy: y, r: radius, fill: index === 3 ? accent : 'none', stroke: figure, 'stroke-width': index === 3 ? 0 : 18,
  }));
}

function bands(random, figure, accent) {
  const angle = -50 + random() * 30;
  const lit = Math.floor(random() * 5);
  return svg('g', { transform: `rotate(${angle.toFixed(1)} 200 150)` }, Array.from({ length: 6 }, (_, index) => svg('rect', {
    x: 110 + index * 62, y: -200, width: 30, height: 700, fill: index === lit + 1 ? accent : figure,
  })));
}

function arches(random, figure, accent) {
  const lit = Math.floor(random() * 3);
  return [0, 1, 2].map((index) => svg('path', {
    d: `M${150 + index * 88} 300 v-${110 + random() * 90} a38 38 0 0 1 76 0 v220 z`, fill: index === lit ? accent : figure,
  }));
}

function dots(random, figure, accent) {
  const lit = Math.floor(random() * 20);
  return Array.from({ length: 20 }, (_, index) => svg('circle', {
    cx: 172 + (index % 5) * 54, cy: 30 + Math.floor(index / 5) * 54, r: index === lit ? 24 : 9 + random() * 9,
    fill: index === lit ? accent : figure,
  }));
}

function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join('') || '?';
}

/// Numbers from 0 to 1 that depend only on the text (mulberry32 over an FNV hash).
function generator(text) {
  let state = 0x811c9dc5;
  for (const character of text) state = Math.imul(state ^ character.codePointAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
