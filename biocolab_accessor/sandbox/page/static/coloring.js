// Coloring: a color for each cell from the values of a field or gene, and the order in which cells are drawn.

import { faint, labelColor, missing, ramp } from "./palette.js";

const MISSING = 65_535;

// Labels are {kind, name, labels, counts, codes, missing}; `chosen` holds the codes of the highlighted labels.
export function labelColors({ codes, labels }, chosen) {
  const n = codes.length;
  const colors = labels.map((_, i) => pack(labelColor(i)));
  const [gone, pale] = [pack(missing()), pack(faint())];
  const packed = new Uint32Array(n);
  const mixed = shuffled(n);
  const order = new Uint32Array(n);
  let back = 0;
  let front = n;
  for (let k = 0; k < n; k++) {
    const i = mixed[k];
    const code = codes[i];
    const stands = !chosen.size || chosen.has(code);
    packed[i] = !stands ? pale : code === MISSING ? gone : colors[code];
    if (stands && code !== MISSING) order[--front] = i;
    else order[back++] = i;
  }
  return { rgba: new Uint8Array(packed.buffer), order };
}

// Numbers are {kind, name, values, range}; higher values are drawn later.
export function numberColors({ values, range: { low, high } }) {
  const n = values.length;
  const colors = ramp().map(pack);
  const gone = pack(missing());
  const packed = new Uint32Array(n);
  const steps = new Uint16Array(n);
  const starts = new Uint32Array(258);
  for (let i = 0; i < n; i++) {
    const value = values[i];
    const known = Number.isFinite(value);
    const place = high > low ? (value - low) / (high - low) : 0;
    const step = known ? Math.max(0, Math.min(255, Math.round(place * 255))) : 0;
    packed[i] = known ? colors[step] : gone;
    steps[i] = known ? step + 1 : 0;
    starts[steps[i] + 1]++;
  }
  for (let s = 0; s < 257; s++) starts[s + 1] += starts[s];
  const order = new Uint32Array(n);
  const mixed = shuffled(n);
  for (let k = 0; k < n; k++) order[starts[steps[mixed[k]]]++] = mixed[k];
  return { rgba: new Uint8Array(packed.buffer), order };
}

// Minimum, maximum and values between; `high` excludes a thin tail, which would make all other values look alike.
export function rangeOf(values) {
  const sorted = values.filter(Number.isFinite).sort();
  const n = sorted.length;
  if (!n) return null;
  const at = (share) => sorted[Math.min(n - 1, Math.floor(share * n))];
  const [low, most, near] = [sorted[0], sorted[n - 1], at(0.995)];
  const tail = near > low && most - low > 1.3 * (near - low);
  let above = 0;
  for (const value of sorted) above += value > 0;
  return { low, high: tail ? near : most, most, median: at(0.5), known: n, above };
}

export function histogram(values, { low, high }, bins) {
  const counts = new Array(bins).fill(0);
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const place = high > low ? ((value - low) / (high - low)) * bins : 0;
    counts[Math.max(0, Math.min(bins - 1, Math.floor(place)))]++;
  }
  return counts;
}

// Positions of the label names: the cell nearest to the median coordinates, so that a name lies among its own cells.
export function middles({ codes, labels, counts }, xy) {
  const xs = counts.map((count) => new Float32Array(count));
  const ys = counts.map((count) => new Float32Array(count));
  const filled = counts.map(() => 0);
  for (let i = 0; i < codes.length; i++) {
    if (codes[i] === MISSING || !Number.isFinite(xy[2 * i])) continue;
    xs[codes[i]][filled[codes[i]]] = xy[2 * i];
    ys[codes[i]][filled[codes[i]]++] = xy[2 * i + 1];
  }
  const found = labels.map((text, code) => ({ text, code, weight: filled[code] })).filter((label) => label.weight);
  const aims = new Map(found.map(({ code }) => {
    return [code, { ...densest(xs[code], ys[code], filled[code]), away: Infinity }];
  }));
  for (let i = 0; i < codes.length; i++) {
    const aim = aims.get(codes[i]);
    const away = aim ? (xy[2 * i] - aim.x) ** 2 + (xy[2 * i + 1] - aim.y) ** 2 : NaN;
    if (away < aim?.away) Object.assign(aim, { away, near: [xy[2 * i], xy[2 * i + 1]] });
  }
  const placed = found.map((label) => ({ ...label, x: aims.get(label.code).near[0], y: aims.get(label.code).near[1] }));
  return placed.sort((one, other) => other.weight - one.weight);
}

// The middle of the densest part. The median of all cells can lie between two islands, or on other cells.
const GRID = 24;
function densest(xs, ys, n) {
  const place = (value) => Math.min(GRID - 1, Math.max(0, Math.floor(((value + 1) / 2) * GRID)));
  const tally = new Uint32Array((GRID + 2) ** 2); // with a margin, so that each square has neighbors
  const square = (i) => (place(ys[i]) + 1) * (GRID + 2) + place(xs[i]) + 1;
  for (let i = 0; i < n; i++) tally[square(i)]++;
  const around = [-GRID - 3, -GRID - 2, -GRID - 1, -1, 0, 1, GRID + 1, GRID + 2, GRID + 3];
  let best = 0, most = -1;
  for (let i = 0; i < n; i++) {
    const within = around.reduce((sum, step) => sum + tally[square(i) + step], 0);
    if (within > most) [best, most] = [square(i), within];
  }
  const near = new Set(around.map((step) => best + step));
  let [x, y, cells] = [0, 0, 0];
  for (let i = 0; i < n; i++) if (near.has(square(i))) { x += xs[i]; y += ys[i]; cells++; }
  return { x: x / cells, y: y / cells };
}

// A fixed random order, so that no label covers others because it comes later.
const orders = new Map();
function shuffled(n) {
  if (!orders.has(n)) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    let seed = 7;
    for (let i = n - 1; i > 0; i--) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = Math.floor((seed / 2 ** 32) * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    orders.clear();
    orders.set(n, order);
  }
  return orders.get(n);
}

function pack([r, g, b]) {
  return new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
}
