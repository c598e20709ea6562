// Region-wise maps against distances by looking at every voxel, and the loss against their mean.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { gradOf, read } from '../harness/tensors.js';
import { expectSameBits } from '../harness/threads.js';
import { distancesOf } from '../reference/warping.js';

// biome-ignore lint/suspicious/noExplicitAny: options that the types refuse
type Any = any;
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** The map of class c of one image. */
function mapOf(
  labels: readonly number[],
  shape: readonly number[],
  c: number,
  outside = 1,
  spacing?: number[],
): number[] {
  const mask = labels.map((y) => y === c);
  const distances = distancesOf({ shape, values: mask }, spacing);
  const most = Math.max(...distances);
  return mask.map((inside, i) => {
    if (!inside) return outside;
    return Number.isFinite(most) ? -distances[i] / most : -1;
  });
}

const cases: [number[], number[] | undefined, number | number[]][] = [
  [[17], undefined, 1],
  [[6, 9], undefined, [2, 0.5, 1]],
  [[6, 9], [1, 0.5], 1],
  [
    [4, 5, 6],
    [2, 1, 1.25],
    [0, 1, 3],
  ],
  [[1, 7], undefined, 1],
];

describe.each(cases)('%j, spacing %j, outside %j', (shape, spacing, outside) => {
  const random = new Random(sizeOf(shape));
  const size = sizeOf(shape);
  const labels = Array.from({ length: 2 * size }, () => random.integer(5) % 3);
  const maps = [0, 1].flatMap((b) =>
    [0, 1, 2].flatMap((c) =>
      mapOf(
        labels.slice(b * size, (b + 1) * size),
        shape,
        c,
        [outside].flat()[c] ?? outside,
        spacing,
      ),
    ),
  );
  const target = sp.tensor(labels, { shape: [2, ...shape], dtype: 'int64', device: 'cpu' });
  const values = random.fill(6 * size, () => random.uniform());
  const options = { spacing, outside };

  test('maps', () => {
    const map = sp.regionWiseMap(target, { classes: 3, ...options });
    expect(map.shape).toEqual([2, 3, ...shape]);
    expectWithin(read(map), maps, () => 1e-7, 'map');
    const masks = sp.stack(
      [0, 1, 2].map((c) => sp.eq(target, c)),
      { dim: 1 },
    );
    expect(read(sp.regionWiseMap(masks, options))).toEqual(read(map));
  });

  test('loss and gradient', () => {
    const p = sp.tensor(values, {
      shape: [2, 3, ...shape],
      dtype: 'float64',
      device: 'cpu',
      requiresGrad: true,
    });
    const each = sp.regionWiseLoss(p, target, { ...options, reduction: 'none' });
    const expected = Array.from({ length: 6 }, (_, k) => {
      const products = maps.slice(k * size, (k + 1) * size).map((z, i) => z * values[k * size + i]);
      return products.reduce((a, b) => a + b, 0) / size;
    });
    expectWithin(read(each), expected, () => 1e-13, 'loss');
    const total = expected.reduce((a, b) => a + b, 0);
    expect(sp.regionWiseLoss(p, target, { ...options, reduction: 'sum' }).item()).toBeCloseTo(
      total,
      12,
    );
    const mean = sp.regionWiseLoss(p, target, options);
    expect(mean.item()).toBeCloseTo(total / 6, 12);
    mean.backward();
    expectWithin(
      read(gradOf(p)),
      maps.map((z) => z / (6 * size)),
      () => 1e-15,
      'gradient',
    );
  });
});

describe('forms', () => {
  const shape = [2, 3, 4, 5];
  const random = new Random(6);
  const values = random.fill(120, () => 4 * random.uniform() - 2);
  const labels = Array.from({ length: 40 }, () => random.integer(3));
  const logits = sp.tensor(values, { shape, dtype: 'float64', device: 'cpu' });
  const target = sp.tensor(labels, { shape: [2, 4, 5], dtype: 'int32', device: 'cpu' });

  test('logits', () => {
    const options = { fromLogits: true } as const;
    expect(sp.regionWiseLoss(logits, target, options).item()).toBeCloseTo(
      sp.regionWiseLoss(sp.softmax(logits, { dim: 1 }), target).item(),
      12,
    );
    const loss = (x: sp.Tensor) => sp.regionWiseLoss(x as never, target, options);
    expect(sp.gradcheck(loss as never, [logits.clone().requiresGrad_()])).toBe(true);
    const one = sp.reshape(logits, [6, 1, 4, 5]);
    const masks = sp.gt(one, 0.5);
    expect(sp.regionWiseLoss(one, masks, options).item()).toBeCloseTo(
      sp.regionWiseLoss(sp.sigmoid(one), masks).item(),
      12,
    );
  });

  test('any dtype and any number of threads, asynchronous too', () =>
    expectSameBits(logits, (x) => sp.regionWiseLoss.async(x, target, { fromLogits: true })));

  test('regions that are everything or nothing; no images', () => {
    const zeros = sp.zeros([1, 3, 3], { dtype: 'int32' });
    const map = read(sp.regionWiseMap(zeros, { classes: 2 }));
    expect(Array.from(map)).toEqual([...Array(9).fill(-1), ...Array(9).fill(1)]);
    const none = sp.zeros([0, 2, 3, 3]);
    expect(sp.regionWiseLoss(none, sp.zeros([0, 3, 3], { dtype: 'int32' })).item()).toBeNaN();
    expect(sp.regionWiseMap(sp.zeros([1, 2, 0], { dtype: 'bool' })).shape).toEqual([1, 2, 0]);
  });
});

describe('errors', () => {
  const image = sp.zeros([1, 2, 4, 5]);
  const labels = sp.zeros([1, 4, 5], { dtype: 'int32' });
  const refuses = refuser('regionWiseLoss');
  const refusesMap = refuser('regionWiseMap');
  const loss =
    (...args: unknown[]) =>
    () =>
      (sp.regionWiseLoss as Any)(...args);
  const map =
    (...args: unknown[]) =>
    () =>
      (sp.regionWiseMap as Any)(...args);

  test('of the loss', () => {
    refuses(loss(sp.zeros([4, 5]), labels), 'ERR_SHAPE', /\[B, C/);
    refuses(loss(image, sp.zeros([1, 5, 4], { dtype: 'int32' })), 'ERR_SHAPE', 'target');
    refuses(loss(image, sp.zeros([1, 4, 5])), 'ERR_DTYPE', 'target');
    refuses(loss(image, labels, { spacing: 1 }), 'ERR_INVALID_TYPE', 'spacing');
    refuses(loss(image, labels, { spacing: [1] }), 'ERR_SHAPE', 'spacing', '2 entries');
    refuses(loss(image, labels, { spacing: [1, 0] }), 'ERR_INVALID_VALUE', 'spacing');
    refuses(loss(image, labels, { outside: [1] }), 'ERR_SHAPE', 'outside');
    refuses(loss(image, labels, { outside: 'far' }), 'ERR_INVALID_TYPE', 'outside');
    refuses(loss(image, labels, { fromLogits: 'yes' }), 'ERR_INVALID_VALUE', 'fromLogits');
    refuses(loss(image, labels, { reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
    const far = sp.full([1, 4, 5], 2, { dtype: 'int32' });
    refuses(loss(image, far), 'ERR_OUT_OF_RANGE', /\[0, 2\) or -100 \(ignoreIndex\), got 2/);
    const bad = sp.full([1, 2, 4, 5], NaN);
    refuses(loss(image, bad), 'ERR_INVALID_VALUE', 'target', 'NaN at element 0');
    refusesMap(map(bad), 'ERR_INVALID_VALUE', 'target', 'NaN at element 0');
  });

  test('of the map', () => {
    refusesMap(map(labels), 'ERR_INVALID_VALUE', 'classes');
    refusesMap(map(image, { classes: 2 }), 'ERR_INVALID_VALUE', 'classes');
    refusesMap(map(labels, { classes: 0 }), 'ERR_INVALID_VALUE', 'classes');
    refusesMap(map(sp.zeros([3], { dtype: 'int32' }), { classes: 2 }), 'ERR_SHAPE', '1 to 3');
    refusesMap(map(labels, { class: 2 }), 'ERR_UNKNOWN_OPTION', "'classes'");
    refusesMap(map(sp.full([1, 4], 9, { dtype: 'int64' }), { classes: 2 }), 'ERR_OUT_OF_RANGE');
  });
});
