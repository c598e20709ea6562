// Laws of Betti matching that need no reference.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { drawPair, type ImagePair } from '../cases/betti-matching.js';
import { imagesOf, type Lists, listsOf } from '../harness/betti.js';
import { Random } from '../harness/random.js';
import { gradOf, read } from '../harness/tensors.js';

const pairs = Array.from({ length: 60 }, (_, seed) => {
  const pair = drawPair(new Random(1000 + seed), 1 + (seed % 3));
  const finite = (x: number) => (Number.isFinite(x) ? x : 0.5);
  return { ...pair, prediction: pair.prediction.map(finite), target: pair.target.map(finite) };
});

const find = (
  pair: ImagePair,
  options: sp.BettiMatchingOptions = {},
  dtype: sp.FloatDType = 'float64',
) => {
  const { prediction, target } = imagesOf(pair, dtype);
  return listsOf(sp.bettiMatching(prediction, target, options));
};

const count = (lists: Lists[]) => lists.map((d) => d.matched.length);

describe('laws', () => {
  test('swapping the images mirrors the matching', () => {
    for (const pair of pairs) {
      const swapped = find({ ...pair, prediction: pair.target, target: pair.prediction });
      for (const [k, d] of find(pair).entries()) {
        const mirrored = d.matched.map(([a, b, c, e]) => [c, e, a, b]);
        const order = (list: number[][]) => list.map(String).sort();
        expect(order(swapped[k].matched)).toEqual(order(mirrored));
        expect(swapped[k].unmatched).toEqual([d.unmatched[1], d.unmatched[0]]);
      }
    }
  });

  test('equal images match all, at no cost', () => {
    for (const pair of pairs) {
      const equal = { ...pair, target: pair.prediction };
      for (const d of find(equal)) {
        expect(d.unmatched).toEqual([[], []]);
        for (const [a, b, c, e] of d.matched) expect([a, b]).toEqual([c, e]);
      }
      const batched = sp.tensor(pair.prediction, { shape: [1, 1, ...pair.shape] });
      expect(sp.bettiMatchingLoss(batched, batched).item()).toBe(0);
    }
  });

  test('an increasing map of both keeps every index, a decreasing one turns the filtration', () => {
    for (const pair of pairs) {
      const mapped = (f: (x: number) => number) => ({
        ...pair,
        prediction: pair.prediction.map(f),
        target: pair.target.map(f),
      });
      const own = find(pair);
      expect(find(mapped((x) => 3 * x + x ** 3))).toEqual(own);
      expect(
        find(
          mapped((x) => -2 * x),
          { filtration: 'sublevel' },
        ),
      ).toEqual(own);
      expect(find(pair, {}, 'float32')).toEqual(find(mapped(Math.fround)));
    }
  });

  test('axes of length 1 change nothing but the number of degrees', () => {
    for (const pair of pairs) {
      if (pair.shape.length === 3) continue;
      const own = find(pair);
      for (let axis = 0; axis <= pair.shape.length; axis++) {
        const shape = [...pair.shape.slice(0, axis), 1, ...pair.shape.slice(axis)];
        const wider = find({ ...pair, shape });
        expect(wider.slice(0, -1)).toEqual(own);
        expect(wider.at(-1)).toEqual({ matched: [], unmatched: [[], []] });
      }
    }
  });

  test('every bar of an input is in one list', () => {
    for (const pair of pairs) {
      const { prediction, target } = imagesOf(pair, 'float32');
      const { dims } = sp.bettiMatching(prediction, target);
      const bars = [prediction, target].map((image) => sp.persistenceBarcode(image).dims);
      for (const [k, d] of dims.entries()) {
        const matched = d!.matched.length / 4;
        expect(bars[0][k]!.birth).toHaveLength(matched + d!.unmatchedPrediction.length / 2);
        expect(bars[1][k]!.birth).toHaveLength(matched + d!.unmatchedTarget.length / 2);
      }
    }
  });

  test('positive image bars are a part of all', () => {
    for (const pair of pairs) {
      const all = count(find(pair));
      for (const [k, n] of count(find(pair, { imageBars: 'positive' })).entries())
        expect(n).toBeLessThanOrEqual(all[k]);
    }
  });

  test('some degrees alone are those of all together', () => {
    for (const pair of pairs) {
      const all = find(pair);
      const { prediction, target } = imagesOf(pair, 'float64');
      for (const k of pair.shape.keys()) {
        const { dims } = sp.bettiMatching(prediction, target, { dims: [k] });
        expect(dims.map((d) => d === null)).toEqual(pair.shape.map((_, i) => i !== k));
        expect(dims[k]!.matched.length).toBe(4 * all[k].matched.length);
      }
    }
  });

  test('padding with the minimum of a sublevel is padding with that number', () => {
    for (const pair of pairs) {
      const low = Math.min(...pair.prediction, ...pair.target);
      const both = { ...pair, prediction: pair.prediction.slice(), target: pair.target.slice() };
      both.prediction[0] = low;
      both.target[0] = low;
      const options = { filtration: 'sublevel' } as const;
      expect(find(both, { ...options, padding: 'minmax' })).toEqual(
        find(both, { ...options, padding: low }),
      );
    }
  });

  test('padding is what padding the arrays gives', () => {
    for (const { shape, prediction, target } of pairs) {
      const wide = shape.map((n) => n + 2);
      const inside = (voxel: number) => {
        let [rest, index, stride] = [voxel, 0, 1];
        for (let a = shape.length - 1; a >= 0; a--) {
          const at = (rest % wide[a]) - 1;
          rest = Math.floor(rest / wide[a]);
          if (at < 0 || at >= shape[a]) return -1;
          index += at * stride;
          stride *= shape[a];
        }
        return index;
      };
      const size = wide.reduce((a, b) => a * b, 1);
      const padded = (values: Float64Array) =>
        Float64Array.from({ length: size }, (_, i) => (inside(i) < 0 ? 0.1 : values[inside(i)]));
      const outer = find({ shape: wide, prediction: padded(prediction), target: padded(target) });
      const own = find({ shape, prediction, target }, { padding: 0.1 });
      const moved = (list: number[][]) =>
        list.map((row) => String(row.map((v) => inside(v)))).sort();
      for (const [k, d] of own.entries()) {
        expect(d.matched.map(String).sort()).toEqual(moved(outer[k].matched));
        for (const i of [0, 1])
          expect(d.unmatched[i].map(String).sort()).toEqual(moved(outer[k].unmatched[i]));
      }
    }
  });
});

describe('determinism', () => {
  test.each([
    [[4, 3, 24, 31], 'float32'],
    [[1, 1, 90, 70], 'float64'],
    [[3, 1, 9, 10, 11], 'float32'],
    [[1, 1, 16, 12, 14], 'float32'],
  ] as const)('the same bits for any number of threads: %j', (shape, dtype) => {
    const random = new Random(5);
    const size = shape.reduce((a: number, b) => a * b, 1);
    const values = random.fill(size, () => random.integer(50) / 64);
    const target = random.fill(size, () => random.integer(2));
    const before = sp.getThreads();
    const run = (threads: number) => {
      sp.setThreads(threads);
      const p = sp.tensor(values, { shape, dtype, requiresGrad: true });
      const t = sp.tensor(target, { shape, dtype });
      const loss = sp.bettiMatchingLoss(p, t, { reduction: 'sum' });
      loss.backward();
      const matches = sp.bettiMatchingBatch(p.detach(), t);
      return { loss: read(loss), grad: read(gradOf(p)), lists: matches.map((m) => m.dims) };
    };
    try {
      const one = run(1);
      for (const threads of [2, 3, 8]) expect(run(threads)).toEqual(one);
    } finally {
      sp.setThreads(before);
    }
  });
});
