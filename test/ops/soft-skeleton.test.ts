// Soft skeletons against their definition and torch, with ties and without.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { sizeOf } from '../harness/arrays.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { floatDTypes } from '../harness/operation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, roundAll } from '../harness/rounding.js';
import { extentOf, fill, goldenCases, imagesIn, probabilities } from '../harness/skeletons.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import { softSkeleton } from '../reference/soft-skeleton.js';

const shapes = [
  [2, 1, 9, 37],
  [1, 2, 1, 19],
  [1, 1, 13, 1],
  [1, 1, 3, 3, 4],
  [1, 2, 1, 6, 5],
  [1, 1, 5, 4, 34],
];

/** Values and gradients of every image by the definition. */
function expected(image: Float64Array, upstream: ArrayLike<number>, shape: number[], k: number) {
  const gradients = imagesIn(upstream, shape);
  const each = imagesIn(image, shape).map((x, i) => {
    const { skeleton, backward } = softSkeleton(x, extentOf(shape), k);
    return { skeleton, gradient: backward(gradients[i]) };
  });
  return {
    values: each.flatMap(({ skeleton }) => [...skeleton]),
    gradient: each.flatMap(({ gradient }) => [...gradient]),
  };
}

describe.each(floatDTypes)('%s', (dtype) => {
  test.each([0, 1, 4])('%i iterations', (iterations) => {
    for (const shape of shapes) {
      for (const steps of [0, 3, 8]) {
        const n = sizeOf(shape);
        const image = roundAll(steps ? fill(shape, 1, steps) : probabilities(n), dtype);
        const upstream = roundAll(new Random(3).normals(n), 'bfloat16');
        const { values, gradient } = expected(image, upstream, shape, iterations);
        const x = floats(image, dtype, shape, true);
        const y = sp.softSkeleton(x as never, { iterations });
        expect([y.shape, y.dtype]).toEqual([shape, dtype]);
        y.backward(floats(upstream, dtype, shape) as never);
        const unit = 32 * epsilon(dtype === 'float64' ? 'float64' : 'float32');
        const near = (of: number[], scale: number) => (i: number) =>
          unit * scale +
          2 * epsilon(dtype) * Math.abs(of[i]) +
          (dtype === 'float16' ? 2 ** -25 : 0);
        expectWithin(read(y as never), values, near(values, 1), `${shape}`);
        expectWithin(read(gradOf(x)), gradient, near(gradient, 4), `d ${shape} / ${steps}`);
      }
    }
  });
});

test.each(goldenCases('skeleton'))('as torch: $shape, $iterations iterations', (one) => {
  const { shape, steps, iterations } = one;
  const x = floats(fill(shape, 1, steps), 'float64', shape, true);
  const y = sp.softSkeleton(x as never, { iterations });
  expectWithin(read(y as never), one.values, () => 1e-11, 'values');
  const upstream = fill(shape, 2, 8).map((v) => v - 0.5);
  y.backward(floats(upstream, 'float64', shape) as never);
  expectWithin(read(gradOf(x)), one.gradient, () => 1e-11, 'gradient');
});

test('finite differences', () => {
  for (const shape of [
    [1, 2, 5, 6],
    [1, 1, 3, 4, 3],
  ]) {
    const x = floats(probabilities(sizeOf(shape)), 'float64', shape, true);
    sp.gradcheck(((t: never) => sp.softSkeleton(t, { iterations: 2 })) as never, [x] as never);
  }
});

test('the same bits for any number of threads and in the background', async () => {
  for (const shape of [
    [1, 1, 200, 170],
    [3, 2, 20, 30],
    [1, 1, 12, 30, 40],
  ]) {
    const image = probabilities(sizeOf(shape));
    const upstream = floats(image, 'float32', shape);
    const before = sp.getThreads();
    const results = [1, 2, 3].map((threads) => {
      sp.setThreads(threads);
      const x = floats(image, 'float32', shape, true);
      const y = sp.softSkeleton(x as never);
      y.backward(upstream as never);
      return [bits(y as never), bits(gradOf(x))];
    });
    sp.setThreads(before);
    for (const other of results.slice(1))
      for (const k of [0, 1]) expectSameBits(other[k], results[0][k], `${shape} ${k}`);
    const later = await sp.softSkeleton.async(floats(image, 'float32', shape) as never);
    expectSameBits(bits(later as never), results[0][0], 'async');
  }
});

describe('laws', () => {
  const lines = (rows: string[]) =>
    sp.tensor(
      rows.flatMap((row) => [...row].map((c) => (c === '#' ? 1 : 0))),
      { shape: [1, 1, rows.length, rows[0].length] },
    );

  test('a thin line is its own skeleton, a bar has its middle line', () => {
    const line = lines(['.......', '.#####.', '.......']);
    expect(sp.softSkeleton(line).toArray()).toEqual(line.toArray());
    const bar = lines(['.......', '#######', '#######', '#######', '.......']);
    const middle = lines(['.......', '.......', '#######', '.......', '.......']);
    expect(sp.softSkeleton(bar).toArray()).toEqual(middle.toArray());
  });

  test('a constant image has none, and no gradient is lost or made up', () => {
    const x = sp.full([1, 1, 6, 7], 0.5, { requiresGrad: true });
    const y = sp.softSkeleton(x);
    expect(y.sum().item()).toBe(0);
    y.backward(sp.ones([1, 1, 6, 7]));
    expect([...read(gradOf(x as never))].every((g) => g === 0)).toBe(true);
  });

  test('a NaN stays where it is and goes no further than the windows', () => {
    const image = probabilities(2 * 15 * 15);
    image[7 * 15 + 7] = NaN;
    const y = read(
      sp.softSkeleton(floats(image, 'float32', [2, 1, 15, 15]) as never, {
        iterations: 1,
      }) as never,
    );
    expect(y[7 * 15 + 7]).toBeNaN();
    expect(y[7 * 15 + 12]).not.toBeNaN();
    expect([...y.slice(225)].some(Number.isNaN)).toBe(false);
  });

  test('no images, no pixels', () => {
    for (const shape of [
      [0, 2, 3, 4],
      [1, 1, 0, 4],
      [1, 1, 2, 0, 3],
    ]) {
      const x = sp.zeros(shape).requiresGrad_();
      const y = sp.softSkeleton(x);
      expect(y.shape).toEqual(shape);
      y.backward(sp.zeros(shape));
      expect(x.grad!.shape).toEqual(shape);
    }
  });
});

test('sweeps that would not fit the memory are refused before they begin', () => {
  const spy = vi.spyOn(process, 'availableMemory').mockReturnValue(1e8);
  try {
    const x = sp.zeros([1, 1, 300, 700]).requiresGrad_();
    const options = { iterations: 150 };
    expect(() => sp.softSkeleton(x, options)).toThrow(sp.OutOfMemoryError);
    const target = sp.zeros([1, 1, 300, 700]);
    expect(() => sp.clDice(x, target, options)).toThrow(/clDice: out of memory: this takes about/);
    // Without a gradient a level is three rows.
    expect(sp.noGrad(() => sp.softSkeleton(x, { iterations: 60 })).shape).toEqual(x.shape);
    expect(() => sp.softSkeleton(target, { iterations: 1001 })).toThrow(/iterations/);
  } finally {
    spy.mockRestore();
  }
});

test('refusals', () => {
  const refuses = refuser('softSkeleton');
  refuses(() => sp.softSkeleton(sp.ones([2, 3])), 'ERR_SHAPE', '[B, C, D, H, W]', '[2, 3]');
  const whole = sp.ones([1, 1, 2, 2], { dtype: 'uint8' });
  refuses(() => sp.softSkeleton(whole as never), 'ERR_DTYPE', 'image');
  const x = sp.ones([1, 1, 2, 2]);
  refuses(() => sp.softSkeleton(x, { iterations: -1 }), 'ERR_INVALID_VALUE', 'iterations');
  refuses(() => sp.softSkeleton(x, { iterations: 1.5 }), 'ERR_INVALID_VALUE', 'iterations');
  refuses(() => sp.softSkeleton(x, { iteration: 1 } as never), 'ERR_UNKNOWN_OPTION', 'iterations');
});
