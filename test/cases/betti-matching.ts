// Small images for Betti matching, most of them full of ties, and options, from a seed.
import type { BettiMatchingLossOptions } from '../../src/index.js';
import type { Random } from '../harness/random.js';

export interface ImagePair {
  shape: number[];
  prediction: Float64Array;
  target: Float64Array;
}

const mostVoxels = [0, 40, 90, 100];

/** Every option that has an effect on `axes` axes; weights and reductions are of the loss alone. */
export function drawOptions(random: Random, axes: number): BettiMatchingLossOptions {
  const degrees = Array.from({ length: axes }, (_, k) => [k]);
  const drawn = {
    filtration: random.pick(['sublevel', 'superlevel', 'superlevel', 'both'] as const),
    comparison: random.pick(['union', 'intersection'] as const),
    imageBars: random.pick(['all', 'all', 'positive'] as const),
    padding: random.pick(['none', 'none', 'minmax', 0.25, -0.3] as const),
    pushUnmatchedTo: random.pick(['diagonal', 'diagonal', 'one-zero'] as const),
    reduction: random.pick(['mean', 'sum', 'none'] as const),
    weights: random.pick([undefined, { matched: 0.3, unmatchedPrediction: 1.7 }]),
    minLength: random.pick([0, 0, 0.3]),
    essential: random.integer(3) === 0,
    dims: random.pick([undefined, undefined, undefined, ...degrees]),
  };
  return { ...drawn, essential: drawn.essential && (drawn.dims?.includes(0) ?? true) };
}

/** Sizes of `axes` axes, 1 often among them, of at most `voxels`. */
export function drawShape(random: Random, axes: number, voxels = mostVoxels[axes]): number[] {
  for (;;) {
    const most = [0, 40, 10, 6][axes];
    const shape = Array.from({ length: axes }, () => 1 + random.integer(most));
    if (shape.reduce((a, b) => a * b, 1) <= voxels) return shape;
  }
}

/** Two images: few or many levels, masks, equal or nearly equal ones, infinities now and then. */
export function drawPair(random: Random, axes: number, voxels?: number): ImagePair {
  const shape = drawShape(random, axes, voxels);
  const size = shape.reduce((a, b) => a * b, 1);
  const levels = random.pick([2, 3, 4, 8, 1e6]);
  const value = (n: number) => (random.integer(n) - Math.floor(n / 2)) / 4;
  const prediction = random.fill(size, () => value(levels));
  const targets = [
    () => random.fill(size, () => value(levels)),
    () => random.fill(size, () => random.integer(2)),
    () => prediction.slice(),
    () => prediction.map((x) => (random.integer(4) === 0 ? x + 0.25 : x)),
  ];
  const target = random.pick(targets)();
  const spoiled = random.pick([
    ...Array(10).fill([]),
    [prediction],
    [target],
    [prediction, target],
  ]);
  for (const image of spoiled)
    for (let i = 0; i < size; i++)
      if (random.integer(5) === 0) image[i] = random.pick([Infinity, -Infinity, -0]);
  return { shape, prediction, target };
}
