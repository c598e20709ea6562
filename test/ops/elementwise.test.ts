// Elementwise operations and activations against float64 definitions: values in every dtype, sizes,
// broadcasting, gradients, special numbers, integers, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import {
  binaryCases,
  broadcasts,
  comparisons,
  parallelSize,
  sizes,
  special,
  unaryCases,
} from '../cases/elementwise.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll, ulp } from '../harness/rounding.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import { broadcastIndex, broadcastShape, comparison } from '../reference/elementwise.js';

const dtypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

/**
 * float32 functions promise 2 ulp. On CUDA 4, which is what NVIDIA states for erfc (gelu's) and pow:
 * an erfc of our own would have to carry the exponential's lower half. A 16-bit result is one
 * rounding of the float32 value: 1 ulp covers a tie that falls the other way. In float64 both sides use libm: a few ulp each.
 */
function allowed(dtype: FloatDType, expected: ArrayLike<number>, ulps64 = 8) {
  const ulps = { float32: isOnCpu ? 2 : 4, float64: ulps64, float16: 1, bfloat16: 1 }[dtype];
  return (i: number) => ulps * ulp(expected[i], dtype);
}

/** What float64 gives, as far as the dtype can hold it (a value beyond its range is infinite). */
const storable = (values: ArrayLike<number>, dtype: FloatDType) =>
  Float64Array.from(values, (v) => {
    const [rounded] = roundAll([v], dtype);
    return Number.isFinite(rounded) ? v : rounded;
  });

function expectValues(
  t: sp.Tensor,
  dtype: FloatDType,
  values: ArrayLike<number>,
  what: string,
  ulps64?: number,
) {
  expect(t.dtype, what).toBe(dtype);
  const expected = storable(values, dtype);
  expectWithin(read(t as never), expected, allowed(dtype, expected, ulps64), what);
}

describe.each(unaryCases)('$name', ({ name, run, f, draw, smooth = draw, ulps64 }) => {
  test.each(dtypes)('values, %s', (dtype) => {
    const random = new Random(1);
    for (const size of dtype === 'float32' ? [...sizes, parallelSize] : sizes) {
      const x = roundAll(
        random.fill(size, () => draw(random)),
        dtype,
      );
      expectValues(run(floats(x, dtype, [size])), dtype, x.map(f), `${name} of ${size}`, ulps64);
    }
  });

  test('gradient', () => {
    const random = new Random(2);
    const values = random.fill(13, () => smooth(random));
    const x = sp.tensor(values, { requiresGrad: true });
    // A zero gradient (sign) has nothing to compare.
    expect(sp.gradcheck((x: sp.Tensor) => run(x).add(x.mul(0.5)), [x])).toBe(true);
  });

  test.each(['float32', 'float16', 'bfloat16'] as const)('gradient, %s beside float64', (dtype) => {
    const random = new Random(3);
    const values = roundAll(
      random.fill(515, () => smooth(random)),
      dtype,
    );
    const upstream = roundAll(random.normals(515), dtype);
    const gradients = ([dtype, 'float64'] as const).map((d) => {
      const x = floats(values, d, [515], true);
      run(x).backward(floats(upstream, d, [515]));
      return read(gradOf(x));
    });
    // y enters some formulas: its rounding is amplified by at most the slope's own condition.
    const scale = { float32: 2e-6, float16: 4e-3, bfloat16: 3e-2 }[dtype];
    const [actual, expected] = gradients;
    expectWithin(actual, expected, (i) => scale * (Math.abs(expected[i]) + 1), name);
  });

  test('special numbers', () => {
    for (const dtype of ['float32', 'float64'] as const) {
      const x = roundAll(special, dtype);
      const y = read(run(floats(x, dtype, [x.length])) as never);
      const expected = storable(x.map(f), dtype);
      expectWithin(y, expected, allowed(dtype, expected), `${name} in ${dtype}`);
    }
  });

  test('a result does not depend on its place or on the threads', () => {
    const random = new Random(4);
    const x = roundAll(
      random.fill(parallelSize, () => draw(random)),
      'float32',
    );
    for (let i = 0; i < special.length; i++) x[i * 61] = special[i];
    const whole = run(floats(x, 'float32', [parallelSize]));
    const before = sp.getThreads();
    sp.setThreads(3);
    expectSameBits(
      bits(run(floats(x, 'float32', [parallelSize])) as never),
      bits(whole as never),
      name,
    );
    sp.setThreads(before);
    const part = run(floats(x.subarray(5, 1005), 'float32', [1000]));
    expectSameBits(part.dataSync(), whole.dataSync().slice(5, 1005), name);
  });
});

describe.each(binaryCases)('$name', ({ name, run, f, drawA, drawB, smoothA = drawA }) => {
  test.each(dtypes)('values, sizes, broadcasting, %s', (dtype) => {
    const random = new Random(5);
    const shapes: [readonly number[], readonly number[]][] = [
      ...broadcasts,
      ...sizes.map((n): [number[], number[]] => [[n], [n]]),
    ];
    if (dtype === 'float32') shapes.push([[parallelSize], [1]]);
    for (const [shapeA, shapeB] of shapes) {
      const shape = broadcastShape(shapeA, shapeB);
      const count = (s: readonly number[]) => s.reduce((a, b) => a * b, 1);
      const a = roundAll(
        random.fill(count(shapeA), () => drawA(random)),
        dtype,
      );
      const b = roundAll(
        random.fill(count(shapeB), () => drawB(random)),
        dtype,
      );
      const [indexA, indexB] = [broadcastIndex(shapeA, shape), broadcastIndex(shapeB, shape)];
      const expected = indexA.map((i, k) => f(a[i], b[indexB[k]]));
      const y = run(floats(a, dtype, shapeA), floats(b, dtype, shapeB));
      expect(y.shape).toEqual(shape);
      expectValues(y, dtype, expected, `${name} of [${shapeA}] and [${shapeB}]`);
    }
  });

  test.each(dtypes)('numbers on either side, %s', (dtype) => {
    const random = new Random(6);
    const a = roundAll(
      random.fill(9, () => drawA(random)),
      dtype,
    );
    for (const n of [2, 0.5, 3, -1, 0]) {
      const right = a.map((v) => f(v, n));
      expectValues(run(floats(a, dtype, [3, 3]), n), dtype, right, `${name} with ${n}`);
      if (n > 0) {
        const left = a.map((v) => f(n, v));
        expectValues(run(n, floats(a, dtype, [3, 3])), dtype, left, `${name} of ${n}`);
      }
    }
  });

  test('gradient', () => {
    const random = new Random(7);
    for (const [shapeA, shapeB] of broadcasts) {
      const count = (s: readonly number[]) => s.reduce((a, b) => a * b, 1);
      if (count(shapeA) * count(shapeB) > 400) continue;
      const make = (shape: readonly number[], draw: typeof drawA) =>
        sp.tensor(
          random.fill(count(shape), () => draw(random)),
          { shape, requiresGrad: true },
        );
      const a = make(shapeA, smoothA);
      const b = make(shapeB, drawB);
      expect(sp.gradcheck(run, [a, b])).toBe(true);
      expect(sp.gradcheck((a: sp.Tensor) => run(a, 3), [a])).toBe(true);
      expect(sp.gradcheck((b: sp.Tensor) => run(2, b), [b])).toBe(true);
    }
  });

  test('special numbers', () => {
    for (const dtype of ['float32', 'float64'] as const) {
      const x = roundAll(special, dtype);
      const n = x.length;
      const pairs = Array.from({ length: n * n }, (_, i) => [x[Math.floor(i / n)], x[i % n]]);
      const y = read(run(floats(x, dtype, [n, 1]), floats(x, dtype, [n])) as never);
      const expected = storable(
        pairs.map(([a, b]) => f(a, b)),
        dtype,
      );
      expectWithin(y, expected, allowed(dtype, expected), `${name} in ${dtype}`);
    }
  });
});

test('gradients of equal operands are split', () => {
  const a = sp.tensor([1, 2, 3], { requiresGrad: true });
  const b = sp.tensor([1, 3, 2], { requiresGrad: true });
  sp.maximum(a, b).sum().backward();
  expect([gradOf(a as never).toArray(), gradOf(b as never).toArray()]).toEqual([
    [0.5, 0, 1],
    [0.5, 1, 0],
  ]);
});

test('pow: gradients at the edges of its domain', () => {
  const a = sp.tensor([0, 0, 2, -2], { requiresGrad: true });
  const b = sp.tensor([0, 2, 0, 3], { requiresGrad: true });
  sp.pow(a, b).sum().backward();
  expect(gradOf(a as never).toArray()).toEqual([0, 0, 0, 12]);
  expect(gradOf(b as never).toArray()).toEqual([0, 0, expect.closeTo(Math.log(2)), NaN]);
});

describe.each(Object.keys(comparisons))('%s', (name) => {
  const run = comparisons[name];
  const f = comparison[name];
  test('every pair of special numbers', () => {
    const n = special.length;
    for (const dtype of dtypes) {
      const x = roundAll(special, dtype);
      const y = run(floats(x, dtype, [n, 1]), floats(x, dtype, [n]));
      expect(y.dtype).toBe('bool');
      expect(y.requiresGrad).toBe(false);
      const expected = Array.from({ length: n * n }, (_, i) => f(x[Math.floor(i / n)], x[i % n]));
      expect(Array.from(y.dataSync() as Uint8Array, Boolean)).toEqual(expected);
    }
  });
  test('integers, numbers and bool', () => {
    const x = [3, -4, 0, 7, 7];
    const expected = x.map((v) => f(v, 7));
    for (const dtype of ['int32', 'int64'] as const) {
      expect(run(sp.tensor(x, { dtype }), 7).toArray()).toEqual(expected);
    }
    const a = sp.tensor([1, 0, 1, 0], { dtype: 'bool' });
    const b = sp.tensor([1, 1, 0, 0], { dtype: 'bool' });
    expect(run(a, b).toArray()).toEqual([f(1, 1), f(0, 1), f(1, 0), f(0, 0)]);
  });
});

test('logicalNot and isNaN', () => {
  const x = sp.tensor([0, -0, 1, NaN, Infinity]);
  expect(sp.logicalNot(x).toArray()).toEqual([true, true, false, false, false]);
  expect(x.isNaN().toArray()).toEqual([false, false, false, true, false]);
  expect(sp.isNaN(sp.tensor([1, 2], { dtype: 'int64' })).toArray()).toEqual([false, false]);
});

describe('integers', () => {
  test.each(['int32', 'int64', 'uint8'] as const)('%s arithmetic', (dtype) => {
    const a = sp.tensor([7, 3, 200], { dtype });
    const b = sp.tensor([2, 5, 100], { dtype });
    const values = (t: sp.Tensor) => Array.from(t.dataSync() as ArrayLike<number>, Number);
    const wrap = (v: number) => (dtype === 'uint8' ? v & 255 : v);
    expect(values(a.add(b))).toEqual([9, 8, 300].map(wrap));
    expect(values(a.sub(b))).toEqual([5, -2, 100].map(wrap));
    expect(values(a.mul(b))).toEqual([14, 15, 20000].map(wrap));
    expect(values(sp.maximum(a, b))).toEqual([7, 5, 200]);
    expect(values(sp.minimum(a, 5))).toEqual([5, 3, 5]);
    expect(values(a.clamp({ min: 4 }))).toEqual([7, 4, 200]);
    expect(values(a.clamp({ max: 4 }))).toEqual([4, 3, 4]);
    expect(a.add(b).dtype).toBe(dtype);
  });
  test('int32 wraps, int64 is exact beyond 2^53', () => {
    const big = sp.tensor(BigInt64Array.of(2n ** 60n + 1n));
    expect(big.add(1).item()).toBe(2n ** 60n + 2n);
    expect(big.neg().abs().item()).toBe(2n ** 60n + 1n);
    expect(
      sp
        .tensor([2 ** 31 - 1], { dtype: 'int32' })
        .add(1)
        .item(),
    ).toBe(-(2 ** 31));
    expect(big.gt(big.sub(1)).item()).toBe(true);
  });
});

describe('clamp', () => {
  test('values, NaN, gradient', () => {
    const x = sp.tensor([-2, -1, 0.5, 3, NaN], { dtype: 'float64', requiresGrad: true });
    expect(x.clamp({ min: -1, max: 2 }).toArray()).toEqual([-1, -1, 0.5, 2, NaN]);
    expect(x.clamp({ min: 1, max: 0 }).toArray()).toEqual([0, 0, 0, 0, NaN]);
    const near = sp.tensor([-1.25, -0.75, 1.75, 2.25]);
    expect(near.clamp({ min: -1, max: 2 }).toArray()).toEqual([-1, -0.75, 1.75, 2]);
    x.clamp({ min: -1, max: 2 }).sum().backward();
    expect(gradOf(x as never).toArray()).toEqual([0, 1, 1, 0, 0]);
  });
});

describe('where', () => {
  const condition = sp.tensor([1, 0, 1], { dtype: 'bool' });
  test('tensors, numbers, every dtype', () => {
    for (const dtype of [...dtypes, 'int32', 'int64', 'uint8', 'bool'] as const) {
      const a = sp.tensor([1, 1, 0], { dtype });
      const b = sp.tensor([0, 0, 1], { dtype });
      const values = Array.from(sp.where(condition, a, b).dataSync() as ArrayLike<number>, Number);
      expect(values).toEqual([1, 0, 0]);
    }
    expect(sp.where(condition, 1, -Infinity).toArray()).toEqual([1, -Infinity, 1]);
    const wide = sp.where(condition, 2, sp.ones([2, 1]));
    expect(wide.toArray()).toEqual([
      [2, 1, 2],
      [2, 1, 2],
    ]);
  });
  test('gradient, broadcast', () => {
    const a = sp.tensor([[1], [2]], { dtype: 'float64', requiresGrad: true });
    const b = sp.tensor([3, 4, 5], { dtype: 'float64', requiresGrad: true });
    const run = (a: sp.Tensor, b: sp.Tensor) => sp.where(condition, a, b);
    expect(sp.gradcheck(run, [a, b])).toBe(true);
  });
  test('the operand that was not taken gets 0, not NaN', () => {
    const a = sp.tensor([1, NaN, 1], { requiresGrad: true });
    sp.where(condition, a, 0).sum().backward();
    expect(gradOf(a as never).toArray()).toEqual([1, 0, 1]);
  });
});

describe('refusals', () => {
  const x = sp.ones([2, 3]);
  const integers = sp.ones([3], { dtype: 'int32' });
  test('shapes, dtypes, numbers', () => {
    refuser('add')(() => x.add(sp.ones([2])), 'ERR_SHAPE', '[2, 3] and [2]');
    refuser('add')(() => x.add(integers as sp.Tensor), 'ERR_DTYPE', 'float32 and int32');
    refuser('mul')(() => integers.mul(1.5), 'ERR_INVALID_VALUE', 'an integer', '1.5');
    refuser('div')(() => integers.div(integers), 'ERR_DTYPE', 'int32');
    refuser('exp')(() => integers.exp(), 'ERR_DTYPE', 'int32');
    refuser('sub')(() => sp.sub(1, 2 as never), 'ERR_INVALID_TYPE', 'a or b to be a Tensor');
    refuser('add')(() => x.add('1' as never), 'ERR_INVALID_TYPE', 'b', "'1'");
    refuser('where')(() => sp.where(x as never, x, x), 'ERR_DTYPE', 'condition', 'bool');
    refuser('clamp')(() => x.clamp({}), 'ERR_INVALID_VALUE', 'neither');
    refuser('clamp')(() => x.clamp({ mim: 0 } as never), 'ERR_UNKNOWN_OPTION', "'min'");
    refuser('gelu')(() => x.gelu({ approximate: 'tan' as never }), 'ERR_INVALID_VALUE', "'tanh'");
    refuser('silu')(() => sp.silu(integers), 'ERR_DTYPE', 'int32');
  });
});
