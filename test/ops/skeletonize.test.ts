// Skeletons by thinning against the definition, their topology, tubes, and the skeleton recall loss.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { sizeOf } from '../harness/arrays.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { extentOf, fill, goldenCases, imagesIn } from '../harness/skeletons.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { skeleton } from '../reference/skeletonize.js';

/** Blobs of a random field, as masks of 0 and 1. */
function blobs(shape: readonly number[], density = 0, seed = 1): number[] {
  const [, , ...spatial] = shape;
  const random = new Random(seed + sizeOf(shape));
  const field = random.normals(sizeOf(shape));
  const columns = spatial[spatial.length - 1];
  return Array.from(field, (v, i) =>
    v + (field[i - 1] ?? 0) + (field[i - columns] ?? 0) + (field[i + columns] ?? 0) > density
      ? 1
      : 0,
  );
}
const masks = (values: number[], shape: readonly number[]) =>
  sp.tensor(
    values.map((v) => v === 1),
    { shape: [...shape] },
  );

const shapes = [
  [2, 2, 14, 17],
  [1, 1, 1, 9],
  [1, 1, 5, 6, 7],
  [1, 2, 1, 6, 5],
];

test('as the definition', () => {
  for (const shape of shapes) {
    for (const density of [-2, -1, 0, 1]) {
      const values = blobs(shape, density);
      const { size, volume } = extentOf(shape);
      const expected = imagesIn(values, shape).flatMap((one) => skeleton(one, size, volume));
      const found = sp.skeletonize(masks(values, shape));
      expect([...found.dataSync()].map(Number), `${shape} ${density}`).toEqual(expected);
    }
  }
});

/** Betti numbers of where a mask is 0, of which corners do not join: those of the mask by duality. */
function sameTopology(mask: number[], other: number[], spatial: readonly number[]): boolean {
  const wide = spatial.map((n) => n + 2);
  const outside = (values: number[]) => {
    const padded = new Float32Array(sizeOf(wide)).fill(1);
    for (let i = 0; i < values.length; i++) {
      let [rest, at, stride] = [i, 0, 1];
      for (let axis = spatial.length - 1; axis >= 0; axis--) {
        at += ((rest % spatial[axis]) + 1) * stride;
        rest = Math.floor(rest / spatial[axis]);
        stride *= wide[axis];
      }
      padded[at] = 1 - values[i];
    }
    return sp.tensor(padded, { shape: wide });
  };
  return sp.bettiMatching(outside(mask), outside(other)).bettiNumberError === 0;
}

test('no component, hole or cavity appears or goes', () => {
  for (const shape of [
    [1, 1, 40, 45],
    [1, 1, 11, 12, 13],
  ]) {
    for (const density of [-1.5, 0, 1]) {
      const values = blobs(shape, density, 7);
      const thin = [...sp.skeletonize(masks(values, shape)).dataSync()].map(Number);
      expect(sameTopology(values, thin, shape.slice(2)), `${shape} ${density}`).toBe(true);
      expect(thin.every((v, i) => v <= values[i])).toBe(true);
      const again = sp.skeletonize(masks(thin, shape));
      expect([...again.dataSync()].map(Number)).toEqual(thin);
    }
  }
});

describe('laws', () => {
  const picture = (rows: string[]) =>
    sp.tensor(
      rows.flatMap((row) => [...row].map(Number)),
      { shape: [1, rows.length, rows[0].length], dtype: 'int32' },
    );

  test('a bar becomes its middle line, values are kept', () => {
    const bar = picture(['0000000', '0555550', '0555550', '0555550', '0000000']);
    const line = picture(['0000000', '0000000', '0555550', '0000000', '0000000']);
    expect(sp.skeletonize(bar).toArray()).toEqual(line.toArray());
  });

  test('classes that touch are one object, or each its own', () => {
    const both = picture(['11111', '11111', '11111', '22222', '22222', '22222']);
    const lines = (t: sp.Tensor) => [...t.dataSync()].map(Number);
    const together = lines(sp.skeletonize(both));
    const apart = lines(sp.skeletonize(both, { perClass: true }));
    expect(apart.filter((v) => v === 1).length).toBe(5);
    expect(apart.filter((v) => v === 2).length).toBe(5);
    expect(together).not.toEqual(apart);
    expect(together.some((v) => v > 0)).toBe(true);
  });

  test('values that lie among each other are thinned as if each were alone', () => {
    for (const shape of [
      [2, 13, 19],
      [1, 6, 7, 8],
    ]) {
      const random = new Random(sizeOf(shape));
      const many = [...random.fill(sizeOf(shape), () => Math.max(0, random.integer(12) - 3))];
      const solid = blobs([1, ...shape], -2, 3).map((v, i) => v * (1 + (Math.floor(i / 50) % 3)));
      for (const values of [many, solid]) {
        for (const radius of [0, 2]) {
          const thin = (of: number[]) => {
            const t = sp.tensor(of, { shape, dtype: 'int32' });
            const perClass = of === values;
            const result = radius
              ? sp.tubedSkeleton(t, { perClass, radius })
              : sp.skeletonize(t, { perClass });
            return [...result.dataSync()].map(Number);
          };
          const alone = [...new Set(values)]
            .filter((v) => v > 0)
            .map((v) => thin(values.map((x) => (x === v ? v : 0))));
          const expected = values.map((_, i) => Math.max(...alone.map((one) => one[i])));
          expect(thin(values), `${shape} ${radius}`).toEqual(expected);
        }
      }
    }
  });

  test('every dtype, and the same for any number of threads', () => {
    const shape = [3, 2, 14, 15];
    const values = blobs(shape, 0);
    const expected = [...sp.skeletonize(masks(values, shape)).dataSync()].map(Number);
    for (const dtype of ['float32', 'float64', 'float16', 'bfloat16', 'uint8'] as const) {
      const t = sp.tensor(values, { shape, dtype });
      const result = sp.skeletonize(t);
      expect([result.dtype, [...result.dataSync()].map(Number)]).toEqual([dtype, expected]);
    }
    for (const dtype of ['int32', 'int64'] as const) {
      const t = sp.tensor(values, { shape: [6, 14, 15], dtype });
      expect([...sp.skeletonize(t).dataSync()].map(Number)).toEqual(expected);
    }
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      return bits(sp.tubedSkeleton(masks(values, shape)) as never);
    });
    sp.setThreads(before);
    expectSameBits(results[0], results[1], 'threads');
  });

  test('a tube is the skeleton, dilated by the cross, where the mask is', async () => {
    const square = sp.ones([1, 1, 9, 9], { dtype: 'uint8' });
    const line = [...sp.skeletonize(square).dataSync()].map(Number);
    const on = line.flatMap((v, i) => (v ? [i] : []));
    expect(on.length).toBeLessThan(6);
    const tube = await sp.tubedSkeleton.async(square, { radius: 3 });
    const apart = (i: number, j: number) =>
      Math.abs((i % 9) - (j % 9)) + Math.abs(Math.floor(i / 9) - Math.floor(j / 9));
    const isNear = line.map((_, i) => (on.some((j) => apart(i, j) <= 3) ? 1 : 0));
    expect([...tube.dataSync()]).toEqual(isNear);
  });

  test('no images, no voxels', () => {
    for (const shape of [
      [0, 1, 3, 3],
      [1, 1, 0, 3],
    ]) {
      expect(sp.skeletonize(sp.zeros(shape)).shape).toEqual(shape);
    }
  });
});

describe('skeletonRecallLoss', () => {
  test.each(goldenCases('recall'))('as torch: $shape, over batch: $overBatch', (one) => {
    const x = floats(fill(one.shape, 5, 16), 'float64', one.shape, true);
    const tube = fill(one.shape, 6, 4).map((v) => (v > 0.6 ? 1 : 0));
    const t = floats(tube, 'float64', one.shape);
    const { overBatch } = one;
    const loss = sp.skeletonRecallLoss(x as never, t as never, { overBatch, tubed: true });
    expectWithin(read(loss as never), one.values, () => 1e-11, 'loss');
    loss.backward();
    expectWithin(read(gradOf(x)), one.gradient, () => 1e-11, 'gradient');
  });

  const shape = [2, 3, 12, 13];
  const ids = blobs([1, 1, 24, 13]).map((v, i) => v * (1 + (Math.floor(i / 40) % 2)));
  const labels = sp.tensor(ids, { shape: [2, 12, 13], dtype: 'int32' });
  const image = fill(shape, 9, 64);

  test('thins the target itself; logits, gradients, weights', async () => {
    for (const perClass of [false, true]) {
      const tube = sp.tubedSkeleton(labels, { perClass });
      const make = (target: sp.Tensor, more: object) => {
        const x = floats(image, 'float32', shape, true);
        const options = { fromLogits: 'softmax', ...more } as const;
        const loss = sp.skeletonRecallLoss(x as never, target, options) as AnyTensor;
        loss.backward();
        return [bits(loss), bits(gradOf(x))];
      };
      const [a, b] = [make(labels, { perClass }), make(tube, { tubed: true })];
      for (const k of [0, 1]) expectSameBits(a[k], b[k], `${k}`);
    }
    const f = (x: never) => sp.skeletonRecallLoss(x, labels, { fromLogits: 'softmax' });
    sp.gradcheck(f as never, [floats(image, 'float64', shape, true)] as never);
    const x = floats(image, 'float32', shape);
    const later = await sp.skeletonRecallLoss.async(x as never, labels);
    expect(later.item()).toBe(sp.skeletonRecallLoss(x as never, labels).item());
  });

  test('the background does not count, but a lone channel does; a full prediction has -1', () => {
    const ones = sp.ones(shape);
    expect(sp.skeletonRecallLoss(ones, labels).item()).toBeCloseTo(-1, 6);
    const each = sp.skeletonRecallLoss(ones, labels, { reduction: 'none' });
    expect(each.shape).toEqual([2, 2]);
    const lone = sp.ones([2, 1, 12, 13]);
    const mask = sp.tensor(
      ids.map((v) => v > 0),
      { shape: [2, 1, 12, 13] },
    );
    expect(sp.skeletonRecallLoss(lone, mask, { reduction: 'none' }).shape).toEqual([2, 1]);
  });

  test('a class that is ignored is background', () => {
    const ignored = sp.tensor(
      ids.map((v) => (v === 2 ? 255 : v)),
      { shape: [2, 12, 13], dtype: 'int32' },
    );
    const without = sp.tensor(
      ids.map((v) => (v === 2 ? 0 : v)),
      { shape: [2, 12, 13], dtype: 'int32' },
    );
    const x = floats(image, 'float32', shape) as never;
    const loss = sp.skeletonRecallLoss(x, ignored, { ignoreIndex: 255 });
    expect(loss.item()).toBe(sp.skeletonRecallLoss(x, without).item());
  });

  test('refusals', () => {
    const refuses = refuser('skeletonRecallLoss');
    const x = sp.ones([2, 3, 4, 5]);
    refuses(() => sp.skeletonRecallLoss(sp.ones([2, 3, 4]), sp.ones([2, 3, 4])), 'ERR_SHAPE');
    refuses(() => sp.skeletonRecallLoss(x, sp.ones([2, 3, 4, 6])), 'ERR_SHAPE', 'target');
    const bad = sp.full([2, 4, 5], 3, { dtype: 'int32' });
    refuses(() => sp.skeletonRecallLoss(x, bad), 'ERR_OUT_OF_RANGE', '[0, 3)', '3 at voxel 0');
    refuses(() => sp.skeletonRecallLoss(x, x, { radius: -1 }), 'ERR_INVALID_VALUE', 'radius');
    refuses(() => sp.skeletonRecallLoss(x, x, { tubed: 1 as never }), 'ERR_INVALID_TYPE', 'tubed');
    for (const more of [{ radius: 2 }, { perClass: true }]) {
      const both = () => sp.skeletonRecallLoss(x, x, { tubed: true, ...more });
      refuses(both, 'ERR_INVALID_VALUE', Object.keys(more)[0], 'tubed already');
    }
    refuses(() => sp.skeletonRecallLoss(x, x, { alpha: 1 } as never), 'ERR_UNKNOWN_OPTION');
  });
});

test('refusals', () => {
  const mask = sp.ones([2, 3, 4]);
  refuser('skeletonize')(() => sp.skeletonize(mask), 'ERR_SHAPE', '[B, C, H, W]', 'float32');
  const ids = sp.zeros([4, 5], { dtype: 'int64' });
  refuser('tubedSkeleton')(() => sp.tubedSkeleton(ids), 'ERR_SHAPE', '[B, H, W]', 'int64');
  const image = sp.ones([1, 1, 2, 2]);
  const refuses = refuser('tubedSkeleton');
  refuses(() => sp.tubedSkeleton(image, { radius: 0.5 }), 'ERR_INVALID_VALUE', 'radius');
  refuses(() => sp.tubedSkeleton(image, { radii: 1 } as never), 'ERR_UNKNOWN_OPTION', 'radius');
});
