// Betti matching of two images with every option, its metrics and its loss with gradient, by what
// they say of test/reference/betti-matching.ts.
import { bettiMatching, bettiNumbers, type Matching } from './betti-matching.js';

type Values = ArrayLike<number>;

export interface Options {
  filtration?: 'sublevel' | 'superlevel';
  comparison?: 'union' | 'intersection';
  imageBars?: 'all' | 'positive';
  padding?: 'none' | 'minmax' | number;
  dims?: readonly number[];
  minLength?: number;
  essential?: boolean;
  threshold?: number;
  weights?: { matched?: number; unmatchedPrediction?: number; unmatchedTarget?: number };
  pushUnmatchedTo?: 'diagonal' | 'one-zero';
}

/** As `bettiMatching`'s, -1 in the padding and for the death that never comes. */
export type Found = (Matching | null)[];

const signOf = ({ filtration }: Options) => (filtration === 'sublevel' ? 1 : -1);
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Of each voxel of the padded grid its voxel in the image, or -1. */
function paddedVoxels(shape: readonly number[]): number[] {
  return Array.from({ length: sizeOf(shape.map((n) => n + 2)) }, (_, position) => {
    let [rest, voxel, step] = [position, 0, 1];
    for (let a = shape.length - 1; a >= 0; a--) {
      const c = (rest % (shape[a] + 2)) - 1;
      rest = Math.floor(rest / (shape[a] + 2));
      if (c < 0 || c >= shape[a]) return -1;
      voxel += c * step;
      step *= shape[a];
    }
    return voxel;
  });
}

/** The voxel whose value the padding has: its own, or none. */
function paddingValue(values: Values, { padding, filtration }: Options): number {
  if (typeof padding === 'number') return padding;
  const extremum = filtration === 'sublevel' ? Math.min : Math.max;
  return Array.from(values).reduce((a, b) => extremum(a, b));
}

interface Framed {
  shape: readonly number[];
  /** In the order of a sublevel filtration. */
  images: number[][];
  /** The voxel of a position. */
  voxel: (position: number) => number;
}

function framed(images: readonly Values[], shape: readonly number[], o: Options): Framed {
  const sign = signOf(o);
  if (o.padding === undefined || o.padding === 'none') {
    const own = images.map((values) => Array.from(values, (x) => sign * x));
    return { shape, images: own, voxel: (position) => position };
  }
  const voxels = paddedVoxels(shape);
  return {
    shape: shape.map((n) => n + 2),
    images: images.map((values) => {
      const pad = paddingValue(values, o);
      return voxels.map((v) => sign * (v < 0 ? pad : values[v]));
    }),
    voxel: (position) => voxels[position],
  };
}

const isWanted = ({ dims }: Options, k: number) => !dims || dims.includes(k);
const valueAt = (values: Values, voxel: number, o: Options) =>
  voxel < 0 ? paddingValue(values, o) : values[voxel];

/** The pairs of two images as they are. */
export function matchingWith(
  images: readonly Values[],
  shape: readonly number[],
  o: Options,
): Found {
  const frame = framed(images, shape, o);
  const found = bettiMatching(frame.images[0], frame.images[1], frame.shape, {
    intersection: o.comparison === 'intersection',
    positive: o.imageBars === 'positive',
  });
  const placed = (list: number[][]) => list.map((pair) => pair.map(frame.voxel));
  const isLong = ([b, d]: number[]) =>
    !o.minLength || !(Math.abs(valueAt(images[0], b, o) - valueAt(images[0], d, o)) <= o.minLength);
  return found.map(({ matched, unmatched }, k) => {
    if (!isWanted(o, k)) return null;
    const pairs = placed(matched);
    if (o.essential && k === 0) {
      const oldest = frame.images.map((values) =>
        frame.voxel(values.reduce((best, x, i) => (x < values[best] ? i : best), 0)),
      );
      pairs.push([oldest[0], -1, oldest[1], -1]);
    }
    return {
      matched: pairs,
      unmatched: [placed(unmatched[0]).filter(isLong), placed(unmatched[1])],
    };
  });
}

/** Unmatched pairs of the masks, and the sum of differences of their Betti numbers. */
export function metricsOf(
  images: readonly Values[],
  shape: readonly number[],
  o: Options,
): [number, number] {
  const { threshold = 0.5, padding } = o;
  const isIn = (x: number) => (o.filtration === 'sublevel' ? x <= threshold : x >= threshold);
  // 0 is in the foreground, so that a sublevel filtration of 0 and 1 is that of the masks.
  const masks = images.map((values) => Array.from(values, (x) => (isIn(x) ? 0 : 1)));
  const own: Options = {
    ...o,
    filtration: 'sublevel',
    padding: typeof padding === 'number' ? (isIn(padding) ? 0 : 1) : padding,
    essential: false,
    minLength: 0,
  };
  const pairs = matchingWith(masks, shape, own).map((d) =>
    d ? d.unmatched[0].length + d.unmatched[1].length : 0,
  );
  const frame = framed(masks, shape, own);
  const [ours, theirs] = frame.images.map((mask) =>
    bettiNumbers(
      mask.map((x) => 1 - x),
      frame.shape,
    ),
  );
  const differences = ours.map((n, k) => (isWanted(o, k) ? Math.abs(n - theirs[k]) : 0));
  const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);
  return [sum(pairs), sum(differences)];
}

/** Adds the gradient by the prediction to `grad`; gives the loss. */
export function lossWith(
  found: Found,
  images: readonly Values[],
  o: Options,
  grad: Float64Array,
): number {
  const { matched = 1, unmatchedPrediction = 1, unmatchedTarget = 1 } = o.weights ?? {};
  const at = (i: number, voxel: number) => valueAt(images[i], voxel, o);
  const add = (voxel: number, slope: number) => {
    if (voxel >= 0) grad[voxel] += slope;
  };
  let loss = 0;
  // w (x - y)² with its slope at the voxel of x.
  const square = (w: number, x: number, y: number, voxel: number) => {
    loss += w * (x - y) ** 2;
    add(voxel, 2 * w * (x - y));
  };
  for (const [k, lists] of found.entries()) {
    const last = lists && o.essential && k === 0 ? lists.matched.length - 1 : -1;
    for (const [i, [b, d, b2, d2]] of (lists?.matched ?? []).entries()) {
      square(2 * matched, at(0, b), at(1, b2), b);
      if (i !== last) square(2 * matched, at(0, d), at(1, d2), d);
    }
    for (const [i, w] of [unmatchedPrediction, unmatchedTarget].entries()) {
      for (const [b, d] of lists?.unmatched[i] ?? []) {
        const [x, y] = [at(i, b), at(i, d)];
        const [bv, dv] = i === 0 ? [b, d] : [-1, -1];
        if (o.pushUnmatchedTo !== 'one-zero') {
          loss += w * (x - y) ** 2;
          add(bv, 2 * w * (x - y));
          add(dv, -2 * w * (x - y));
          continue;
        }
        const [birth, death] = o.filtration === 'sublevel' ? [1, 0] : [0, 1];
        square(2 * w, x, birth, bv);
        square(2 * w, y, death, dv);
      }
    }
  }
  return loss;
}
