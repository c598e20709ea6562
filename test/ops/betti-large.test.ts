// Images large enough for what small ones never reach: sorts by digits, rows of several vectors, the
// stages of one image as tasks of their own. Against plain union-finds and counts of cells.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { imagesOf, listsOf, rows } from '../harness/betti.js';
import { Random } from '../harness/random.js';
import { lossOf, type Matching } from '../reference/betti-matching.js';
import { components, euler, graphMatching } from '../reference/betti-union-find.js';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const shapes = [[5000], [3, 200], [70, 140], [17, 16, 16]];

const draws: Record<string, (random: Random) => number> = {
  ties: (random) => random.integer(6) / 4 - 0.5,
  noise: (random) => random.uniform(-1, 1),
};

/** Rows that rise: each vertex hangs on the one before, and every second column closes a loop. */
const slope = (shape: number[], step: number) =>
  Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
    const [x, y] = [Math.floor(i / shape[1]), i % shape[1]];
    return 4 * y + x + (x === 1 && y % step === 1 ? 9 : 0);
  });

function pairOf(shape: number[], kind: string, seed = 1) {
  if (kind === 'slope') return { shape, prediction: slope(shape, 2), target: slope(shape, 3) };
  const random = new Random(seed);
  const image = () =>
    random.fill(sizeOf(shape), () => Math.fround(draws[kind](random))) as Float64Array;
  return { shape, prediction: image(), target: image() };
}

const everything = [
  ...shapes.flatMap((shape) => Object.keys(draws).map((kind) => ({ shape, kind }))),
  { shape: [3, 1200], kind: 'slope' },
];

/** Where values tie every way, else one comparison of each filtration. */
const ways = (kind: string) =>
  (['sublevel', 'superlevel'] as const).flatMap((filtration) =>
    (['union', 'intersection'] as const)
      .filter((way) => kind === 'ties' || (filtration === 'sublevel') === (way === 'union'))
      .map((comparison) => ({ filtration, comparison })),
  );

const threadsBefore = sp.getThreads();
afterEach(() => sp.setThreads(threadsBefore));

const inOrder = ({ matched, unmatched }: Matching) => {
  const sorted = (list: number[][], width: number) => rows(Int32Array.from(list.flat()), width);
  return { matched: sorted(matched, 4), unmatched: unmatched.map((list) => sorted(list, 2)) };
};

describe('as plain union-finds', () => {
  test.each(everything)('$shape $kind', ({ shape, kind }) => {
    const pair = pairOf(shape, kind);
    const { prediction, target } = imagesOf(pair, 'float32');
    for (const { filtration, comparison } of ways(kind)) {
      const sign = filtration === 'sublevel' ? 1 : -1;
      const [f, g] = [pair.prediction, pair.target].map((list) => list.map((x) => sign * x));
      const expected = graphMatching(f, g, shape, comparison === 'intersection');
      const dims = [...expected.keys()];
      for (const threads of [1, 4]) {
        sp.setThreads(threads);
        const options = { filtration, comparison, dims };
        const found = sp.bettiMatching(prediction, target, options).dims;
        for (const [k, matching] of expected) {
          const { matched, unmatchedPrediction, unmatchedTarget } = found[k]!;
          const unmatched = [rows(unmatchedPrediction, 2), rows(unmatchedTarget, 2)];
          expect({ matched: rows(matched, 4), unmatched }).toEqual(inOrder(matching));
        }
        const batch = [prediction, target].map((t) => sp.reshape(t, [1, 1, ...shape]));
        const loss = sp.bettiMatchingLoss(batch[0], batch[1], options).item();
        const sum = lossOf([...expected.values()], f, g);
        // Rounded once; terms are summed as float64.
        expect(Math.abs(loss - sum)).toBeLessThan(2 ** -22 * sum);
      }
    }
  });
});

describe('laws of large images', () => {
  /** Bars that are alive at a level of a sublevel filtration, by degree. */
  const alive = ({ dims }: sp.PersistenceBarcode, level: number) =>
    dims.map((bars) => {
      const { birth, death } = bars!;
      return Array.from(birth).reduce((n, b, i) => n + (b <= level && level < death[i] ? 1 : 0), 0);
    });

  test.each(everything)('bars at a level count cells and components: $shape $kind', (one) => {
    const { shape, prediction } = pairOf(one.shape, one.kind, 2);
    const image = sp.tensor(prediction, { shape });
    const bars = sp.persistenceBarcode(image, { filtration: 'sublevel', essential: true });
    const wide = shape.map((n) => n + 2);
    const inside = (position: number) => {
      let [rest, voxel, step] = [position, 0, 1];
      for (let a = shape.length - 1; a >= 0; a--) {
        const c = (rest % wide[a]) - 1;
        if (c < 0 || c >= shape[a]) return -1;
        rest = Math.floor(rest / wide[a]);
        voxel += c * step;
        step *= shape[a];
      }
      return voxel;
    };
    const voxelAt = Array.from({ length: sizeOf(wide) }, (_, i) => inside(i));
    for (const level of [-0.5, 0, 0.25]) {
      const numbers = alive(bars, level);
      const signed = numbers.reduce((sum, n, k) => sum + (k % 2 ? -n : n), 0);
      expect(signed).toBe(euler(prediction, shape, level));
      expect(numbers[0]).toBe(components(shape, (v) => prediction[v] <= level, false));
      if (shape.length === 1) continue;
      // What is not the foreground, with what is around the image, by corners: one more than holes.
      const isBackground = (i: number) => voxelAt[i] < 0 || prediction[voxelAt[i]] > level;
      expect(numbers.at(-1)).toBe(components(wide, isBackground, true) - 1);
    }
  });

  test('bars of a volume whose edges take a tree of words', () => {
    const shape = [24, 25, 23];
    for (const kind of Object.keys(draws)) {
      const { prediction } = pairOf(shape, kind, 5);
      const image = sp.tensor(prediction, { shape, dtype: 'float32' });
      const bars = sp.persistenceBarcode(image, { filtration: 'sublevel', essential: true });
      const [all, loops, cavities] = alive(bars, 0.25);
      expect(all - loops + cavities).toBe(euler(prediction, shape, 0.25));
    }
  });

  test.each(everything)('a negated image turns the filtration: $shape $kind', (one) => {
    const pair = pairOf(one.shape, one.kind, 3);
    const negated = {
      shape: pair.shape,
      prediction: pair.prediction.map((x) => -x),
      target: pair.target.map((x) => -x),
    };
    const [up, down] = [pair, negated].map((images) => imagesOf(images, 'float32'));
    const turned = { filtration: 'sublevel' } as const;
    const found = listsOf(sp.bettiMatching(down.prediction, down.target, turned));
    expect(listsOf(sp.bettiMatching(up.prediction, up.target))).toEqual(found);
    const bars = sp.persistenceBarcode(up.prediction).dims;
    for (const [k, own] of sp.persistenceBarcode(down.prediction, turned).dims.entries()) {
      expect(own!.birthIndex).toEqual(bars[k]!.birthIndex);
      expect(own!.deathIndex).toEqual(bars[k]!.deathIndex);
      expect(own!.birth.map((x) => -x)).toEqual(bars[k]!.birth);
    }
  });

  test.each(everything)('an image matches itself: $shape $kind', ({ shape, kind }) => {
    const pair = pairOf(shape, kind, 4);
    const { prediction } = imagesOf(pair, 'float32');
    const bars = sp.persistenceBarcode(prediction).dims;
    for (const comparison of ['union', 'intersection'] as const) {
      const match = sp.bettiMatching(prediction, prediction, { comparison });
      expect([match.matchingError, match.bettiNumberError]).toEqual([0, 0]);
      for (const [k, { matched, unmatched }] of listsOf(match).entries()) {
        expect(unmatched).toEqual([[], []]);
        expect(matched).toHaveLength(bars[k]!.birth.length);
        for (const [b, d, c, e] of matched) expect([c, e]).toEqual([b, d]);
      }
    }
  });
});
