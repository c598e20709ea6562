// softmax and log-softmax against float64 definitions, and the laws they obey.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { sizeOf } from '../cases/reduce.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll, ulp } from '../harness/rounding.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import * as reference from '../reference/reduce.js';

const dtypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

const shapes: readonly (readonly [readonly number[], number])[] = [
  [[], -1],
  [[1], 0],
  [[7], 0],
  [[3, 33], -1],
  [[3, 33], 0],
  [[2, 5, 17], 1],
  [[2, 40, 3], 1],
  [[4, 1, 3], 1],
  [[2, 1000], -1],
  [[0, 3], 1],
  [[3, 0], 1],
  [[3, 0], 0],
];

/** The definition along one axis, put back in place. */
function along(
  x: Float64Array,
  shape: readonly number[],
  dim: number,
  f: (x: number[]) => number[],
) {
  const rank = shape.length;
  const axis = rank ? (dim + rank) % rank : 0;
  const places = reference.groups(
    x.map((_, i) => i),
    shape,
    [axis],
  );
  const out = new Float64Array(x.length);
  for (const place of places) {
    const y = f(place.map((i) => x[i]));
    for (const [k, i] of place.entries()) out[i] = y[k];
  }
  return out;
}

describe.each([
  ['softmax', sp.softmax, reference.softmax],
  ['logSoftmax', sp.logSoftmax, reference.logSoftmax],
] as const)('%s', (name, run, f) => {
  test.each(dtypes)('values, %s', (dtype) => {
    const random = new Random(1);
    for (const [shape, dim] of shapes) {
      const x = roundAll(random.normals(sizeOf(shape), 5), dtype);
      const y = run(floats(x, dtype, shape), { dim });
      expect([y.dtype, y.shape]).toEqual([dtype, shape]);
      const expected = along(x, shape, dim, f);
      // x - max is rounded once, and exp makes that error relative; then exp, sum and division.
      const unit = dtype === 'float64' ? 1e-14 : 3e-6;
      const stored = dtype.endsWith('16') ? dtype : undefined;
      const error = (i: number) =>
        unit * Math.max(Math.abs(expected[i]), name === 'softmax' ? 0 : 1) +
        (stored ? ulp(expected[i], stored as FloatDType) : 1e-45);
      expectWithin(read(y as never), expected, error, `${name} of [${shape}]`);
    }
  });

  test('gradient', () => {
    const random = new Random(2);
    for (const [shape, dim] of shapes) {
      if (sizeOf(shape) > 250) continue;
      const x = sp.tensor(random.normals(sizeOf(shape)), { shape, requiresGrad: true });
      expect(sp.gradcheck((x: sp.Tensor) => run(x, { dim }), [x])).toBe(true);
    }
  });

  test.each(['float32', 'float16', 'bfloat16'] as const)('gradient, %s beside float64', (dtype) => {
    const random = new Random(3);
    for (const dim of [0, 1]) {
      const values = roundAll(random.normals(40 * 33, 2), dtype);
      const upstream = roundAll(random.normals(40 * 33), dtype);
      const [actual, expected] = ([dtype, 'float64'] as const).map((d) => {
        const x = floats(values, d, [40, 33], true);
        run(x, { dim }).backward(floats(upstream, d, [40, 33]));
        return read(gradOf(x));
      });
      // The saved y is rounded to the dtype, and enters the sum of a row.
      const unit = { float32: 1e-5, float16: 1e-2, bfloat16: 1e-1 }[dtype];
      expectWithin(actual, expected, () => unit, name);
    }
  });

  test('shifted rows, far rows, infinite and NaN elements', () => {
    const x = new Random(4).normals(50);
    const y = run(sp.tensor(x));
    const shifted = run(sp.tensor(x.map((v) => v + 1000)));
    expectWithin(shifted.dataSync() as never, y.dataSync() as never, () => 1e-12, 'shifted');
    const rows = [
      [1e30, 0, 0],
      [-1e30, 0, -Infinity],
      [-Infinity, -Infinity, -Infinity],
      [Infinity, 0, 0],
      [NaN, 0, 0],
    ];
    for (const dtype of ['float32', 'float64'] as const) {
      for (const dim of [1, 0]) {
        const flat = dim === 1 ? rows.flat() : [0, 1, 2].flatMap((k) => rows.map((r) => r[k]));
        const t = run(floats(flat, dtype, dim === 1 ? [5, 3] : [3, 5]), { dim });
        const expected = along(Float64Array.from(flat), t.shape, dim, f);
        const error = (i: number) => 1e-6 * Math.max(1, Math.abs(expected[i]));
        expectWithin(read(t as never), expected, error, `${dtype} along ${dim}`);
      }
    }
  });

  test('a row does not depend on its neighbours or on the threads', () => {
    const random = new Random(5);
    const x = random.normals(200 * 700, 3);
    const before = sp.getThreads();
    sp.setThreads(1);
    const one = run(floats(x, 'float32', [200, 700]));
    sp.setThreads(3);
    expectSameBits(bits(run(floats(x, 'float32', [200, 700])) as never), bits(one as never), name);
    sp.setThreads(before);
    const row = run(floats(x.subarray(700 * 9, 700 * 10), 'float32', [700]));
    expectSameBits(row.dataSync(), one.dataSync().slice(700 * 9, 700 * 10), name);
  });

  test('refusals', () => {
    const x = sp.ones([2, 3]);
    refuser(name)(() => run(x, { dim: 2 }), 'ERR_OUT_OF_RANGE', '[-2, 2)');
    refuser(name)(() => run(x.to('int32')), 'ERR_DTYPE', 'int32');
    refuser(name)(() => run(x, { axis: 1 } as never), 'ERR_UNKNOWN_OPTION', "'axis'");
  });
});
