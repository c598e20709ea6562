// Soft skeletons and the soft-clDice loss as their definitions, in float64, with the choices of
// torch's max_pool and min at ties.

/** planes, rows, columns; a volume has three axes even where it has one plane. */
export interface Extent {
  size: readonly [number, number, number];
  volume: boolean;
}

type Offset = readonly [number, number, number];
interface Pooled {
  values: Float64Array;
  /** Of each pixel, whose value it has. */
  from: Int32Array;
}

/** Each pixel's first value, in the order of the offsets, that no other of the window beats. */
function pool(
  values: Float64Array,
  { size: [planes, rows, columns] }: Extent,
  offsets: readonly Offset[],
  beats: (a: number, b: number) => boolean,
): Pooled {
  const result = { values: new Float64Array(values.length), from: new Int32Array(values.length) };
  for (let i = 0; i < values.length; i++) {
    const [z, y, x] = [
      Math.floor(i / (rows * columns)),
      Math.floor(i / columns) % rows,
      i % columns,
    ];
    let best = -1;
    for (const [dz, dy, dx] of offsets) {
      const [a, b, c] = [z + dz, y + dy, x + dx];
      if (a < 0 || a >= planes || b < 0 || b >= rows || c < 0 || c >= columns) continue;
      const at = (a * rows + b) * columns + c;
      if (best < 0 || beats(values[at], values[best]) || Number.isNaN(values[at])) best = at;
    }
    result.values[i] = values[best];
    result.from[i] = best;
  }
  return result;
}

const three = [-1, 0, 1];
const along: readonly Offset[][] = [
  three.map((d) => [d, 0, 0] as const),
  three.map((d) => [0, d, 0] as const),
  three.map((d) => [0, 0, d] as const),
];
const block = (volume: boolean): Offset[] =>
  (volume ? three : [0]).flatMap((z) => three.flatMap((y) => three.map((x) => [z, y, x] as const)));

const scatter = (g: Float64Array, from: Int32Array, to: Float64Array) => {
  for (let i = 0; i < g.length; i++) to[from[i]] += g[i];
};

/** The erosion, and what adds its gradient to `to`. */
function erode(values: Float64Array, extent: Extent) {
  const less = (a: number, b: number) => a < b;
  const axes = along
    .slice(extent.volume ? 0 : 1)
    .map((offsets) => pool(values, extent, offsets, less));
  const least = (n: number) =>
    values.map((_, i) => Math.min(...axes.slice(0, n).map((axis) => axis.values[i])));
  const minima = axes.map((_, k) => least(k + 1));
  return {
    values: minima[axes.length - 1],
    backward(g: Float64Array, to: Float64Array) {
      let rest = g;
      for (let k = axes.length - 1; k > 0; k--) {
        const [a, b] = [minima[k - 1], axes[k].values];
        const share = (mine: Float64Array, other: Float64Array) =>
          rest.map((v, i) => (mine[i] > other[i] ? 0 : mine[i] === other[i] ? v / 2 : v));
        scatter(share(b, a), axes[k].from, to);
        rest = share(a, b);
      }
      scatter(rest, axes[0].from, to);
    },
  };
}

interface Level {
  eroded: ReturnType<typeof erode>;
  opened: Pooled;
  ridge: Float64Array;
  before: Float64Array;
}

const relu = (x: number) => (x <= 0 ? 0 : x);

/** The skeleton of one image, and its gradient from that of the skeleton. */
export function softSkeleton(image: ArrayLike<number>, extent: Extent, iterations: number) {
  const first = Float64Array.from(image);
  const levels: Level[] = [];
  let [level, skeleton] = [first, new Float64Array(first.length)];
  for (let j = 0; j <= iterations; j++) {
    const eroded = erode(level, extent);
    const opened = pool(eroded.values, extent, block(extent.volume), (a, b) => a > b);
    const ridge = level.map((v, i) => relu(v - opened.values[i]));
    const before = skeleton;
    skeleton = j === 0 ? ridge : before.map((s, i) => s + relu(ridge[i] - s * ridge[i]));
    levels.push({ eroded, opened, ridge, before });
    level = eroded.values;
  }
  const backward = (upstream: ArrayLike<number>) => {
    let [s, next] = [Float64Array.from(upstream), new Float64Array(first.length)];
    for (let j = iterations; j >= 0; j--) {
      const { eroded, opened, ridge, before } = levels[j];
      const isOpen = ridge.map((d, i) => (j === 0 || d - before[i] * d > 0 ? 1 : 0));
      const slope = ridge.map((d, i) =>
        d > 0 ? isOpen[i] * s[i] * (j === 0 ? 1 : 1 - before[i]) : 0,
      );
      s = s.map((g, i) => g - isOpen[i] * g * ridge[i]);
      scatter(
        slope.map((g) => -g),
        opened.from,
        next,
      );
      const own = slope.slice();
      eroded.backward(next, own);
      next = own;
    }
    return next;
  };
  return { skeleton, backward };
}

export interface ClDice {
  iterations?: number;
  smooth?: number;
  diceWeight?: number;
  fromLogits?: boolean;
  sums?: 'batch' | 'channel' | 'image';
  background?: boolean;
}

/** Losses of each unit of images (B, C, ...) against masks alike. */
export function clDiceLosses(
  image: ArrayLike<number>,
  target: ArrayLike<number>,
  [batch, channels]: readonly [number, number],
  extent: Extent,
  o: ClDice,
): number[] {
  const { iterations = 10, smooth = 1, diceWeight = 0, sums: kind = 'batch' } = o;
  const first = o.background === false ? 1 : 0;
  const scored = channels - first;
  const units = kind === 'batch' ? 1 : kind === 'channel' ? scored : batch * scored;
  const sums = Array.from({ length: units }, () => new Array<number>(7).fill(0));
  const voxels = extent.size.reduce((a, b) => a * b, 1);
  for (let k = 0; k < batch * scored; k++) {
    const at = (Math.floor(k / scored) * channels + first + (k % scored)) * voxels;
    const cut = (x: ArrayLike<number>) => Array.from({ length: voxels }, (_, i) => x[at + i]);
    const p = cut(image).map((x) => (o.fromLogits ? 1 / (1 + Math.exp(-x)) : x));
    const y = cut(target);
    const [ofP, ofY] = [p, y].map((x) => softSkeleton(x, extent, iterations).skeleton);
    const to = sums[kind === 'batch' ? 0 : kind === 'channel' ? k % scored : k];
    for (let i = 0; i < voxels; i++) {
      const terms = [ofP[i] * y[i], ofP[i], ofY[i] * p[i], ofY[i], p[i] * y[i], p[i], y[i]];
      for (const [n, term] of terms.entries()) to[n] += term;
    }
  }
  return sums.map((t) => {
    const a = (t[0] + smooth) / (t[1] + smooth);
    const b = (t[2] + smooth) / (t[3] + smooth);
    const dice = 1 - (2 * t[4] + smooth) / (t[5] + t[6] + smooth);
    return (1 - diceWeight) * (1 - (2 * a * b) / (a + b)) + diceWeight * dice;
  });
}
