// layerNorm and rmsNorm against float64 definitions: values, gradients, dtypes, threads, refusals.
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
const shapes = [[1], [7], [3, 33], [2, 3, 64], [130, 5], [2, 1030]] as const;

interface Variant {
  name: 'layerNorm' | 'rmsNorm';
  weight: boolean;
  bias: boolean;
}

const variants: readonly Variant[] = [
  { name: 'layerNorm', weight: false, bias: false },
  { name: 'layerNorm', weight: true, bias: false },
  { name: 'layerNorm', weight: true, bias: true },
  { name: 'layerNorm', weight: false, bias: true },
  { name: 'rmsNorm', weight: false, bias: false },
  { name: 'rmsNorm', weight: true, bias: false },
];

function run({ name }: Variant, x: sp.Tensor, weight?: sp.Tensor, bias?: sp.Tensor): sp.Tensor {
  return name === 'layerNorm'
    ? sp.layerNorm(x, { weight, bias, eps: 1e-5 })
    : sp.rmsNorm(x, { weight, eps: 1e-5 });
}

describe.each(variants)('$name, weight: $weight, bias: $bias', (variant) => {
  const { name } = variant;
  const draw = (random: Random, shape: readonly number[], dtype: FloatDType) => {
    const width = shape[shape.length - 1];
    return {
      x: roundAll(random.normals(sizeOf(shape), 3), dtype),
      w: variant.weight ? roundAll(random.normals(width), dtype) : new Float64Array(width).fill(1),
      b: variant.bias ? roundAll(random.normals(width), dtype) : new Float64Array(width),
    };
  };

  test.each(dtypes)('values, %s', (dtype) => {
    const random = new Random(1);
    for (const shape of shapes) {
      const width = shape[shape.length - 1];
      const { x, w, b } = draw(random, shape, dtype);
      const weight = variant.weight ? floats(w, dtype, [width]) : undefined;
      const bias = variant.bias ? floats(b, dtype, [width]) : undefined;
      const y = run(variant, floats(x, dtype, shape), weight, bias);
      expect([y.dtype, y.shape]).toEqual([dtype, shape]);
      const rows = Array.from({ length: x.length / width }, (_, i) => [
        ...x.subarray(i * width, (i + 1) * width),
      ]);
      const expected = rows.flatMap((row) =>
        name === 'layerNorm'
          ? reference.layerNorm(row, [...w], [...b], 1e-5)
          : reference.rmsNorm(row, [...w], 1e-5),
      );
      // |h| is at most √D; the mean, the deviation and three products are rounded.
      const unit = (dtype === 'float64' ? 1e-15 : 5e-7) * Math.sqrt(width);
      const error = (i: number) =>
        unit * (Math.abs(w[i % width]) + Math.abs(b[i % width])) +
        (dtype.endsWith('16') ? ulp(expected[i], dtype) : 0);
      expectWithin(read(y as never), expected, error, `${name} of [${shape}]`);
    }
  });

  test('gradient', () => {
    const random = new Random(2);
    for (const shape of [[1], [7], [5, 3], [2, 3, 9], [70, 2]]) {
      const { x, w, b } = draw(random, shape, 'float64');
      const inputs = [sp.tensor(x, { shape, requiresGrad: true })];
      if (variant.weight) inputs.push(sp.tensor(w, { requiresGrad: true }) as never);
      if (variant.bias) inputs.push(sp.tensor(b, { requiresGrad: true }) as never);
      const fn = (x: sp.Tensor, ...rest: sp.Tensor[]) => {
        const weight = variant.weight ? rest.shift() : undefined;
        return run(variant, x, weight, rest.shift());
      };
      expect(sp.gradcheck(fn, inputs)).toBe(true);
    }
  });

  test.each(
    (['float32', 'float16', 'bfloat16'] as const).flatMap((dtype) =>
      [33, 512].map((width) => [dtype, width] as const),
    ),
  )('gradient, %s beside float64, width %i', (dtype, width) => {
    const random = new Random(3);
    const shape = [130, width];
    const { x, w, b } = draw(random, shape, dtype);
    const upstream = roundAll(random.normals(x.length), dtype);
    const gradients = ([dtype, 'float64'] as const).map((d) => {
      const t = floats(x, d, shape, true);
      const weight = variant.weight ? floats(w, d, [width], true) : undefined;
      const bias = variant.bias ? floats(b, d, [width], true) : undefined;
      run(variant, t, weight, bias).backward(floats(upstream, d, shape));
      return [t, weight, bias].map((t) => (t ? read(gradOf(t)) : new Float64Array(0)));
    });
    const [actual, expected] = gradients;
    for (const k of [0, 1, 2]) {
      // Weight gradients add 130 rows; what is stored is rounded once.
      const error = (i: number) =>
        (k ? 5e-5 : 5e-6) + (dtype.endsWith('16') ? ulp(expected[k][i], dtype) : 0);
      expectWithin(actual[k], expected[k], error, ['x', 'weight', 'bias'][k]);
    }
  });

  test('the same bits for any number of threads', () => {
    const random = new Random(4);
    const { x, w, b } = draw(random, [900, 70], 'float32');
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const t = floats(x, 'float32', [900, 70], true);
      const weight = variant.weight ? floats(w, 'float32', [70], true) : undefined;
      const bias = variant.bias ? floats(b, 'float32', [70], true) : undefined;
      const y = run(variant, t, weight, bias);
      y.mul(y).sum().backward();
      return [y, gradOf(t), ...[weight, bias].map((p) => p && gradOf(p))];
    });
    sp.setThreads(before);
    for (const [k, t] of results[0].entries()) {
      if (t) expectSameBits(bits(t as never), bits(results[1][k] as never), `result ${k}`);
    }
  });
});

test('a constant row, an empty one, no rows', () => {
  expect(sp.layerNorm(sp.full([4], 3)).toArray()).toEqual([0, 0, 0, 0]);
  expect(sp.rmsNorm(sp.zeros([4])).toArray()).toEqual([0, 0, 0, 0]);
  expect(sp.rmsNorm(sp.zeros([3, 0])).shape).toEqual([3, 0]);
  const weight = sp.ones([4], { requiresGrad: true });
  const bias = sp.ones([4], { requiresGrad: true });
  sp.layerNorm(sp.zeros([0, 4]), { weight, bias })
    .sum()
    .backward();
  expect(gradOf(weight as never).toArray()).toEqual([0, 0, 0, 0]);
  expect(gradOf(bias as never).toArray()).toEqual([0, 0, 0, 0]);
});

test('a row with NaN or infinity is NaN in that row alone', () => {
  const x = sp.tensor([
    [1, NaN],
    [1, 2],
    [Infinity, 2],
  ]);
  const y = sp.layerNorm(x, { eps: 0 }).toArray();
  expect(y[0]).toEqual([NaN, NaN]);
  expect(y[1]).toEqual([-1, 1]);
  expect(y[2]).toEqual([NaN, NaN]);
});

test("rmsNorm's default eps is the dtype's machine epsilon", () => {
  const tiny = sp.full([4], 1e-5);
  const expected = 1e-5 / Math.sqrt(1e-10 + 2 ** -23);
  for (const v of sp.rmsNorm(tiny).toArray()) expect(v).toBeCloseTo(expected, 6);
});

test('refusals', () => {
  const x = sp.ones([2, 3]);
  const layer = refuser('layerNorm');
  layer(() => sp.layerNorm(x, { weight: sp.ones([2]) }), 'ERR_SHAPE', '[3]', 'the last axis of x');
  layer(
    () => sp.layerNorm(x, { bias: sp.ones([3], { dtype: 'float64' }) }),
    'ERR_DTYPE',
    'float32 and float64',
  );
  layer(() => sp.layerNorm(x, { eps: -1 }), 'ERR_INVALID_VALUE', 'eps');
  layer(() => sp.layerNorm(x, { wieght: sp.ones([3]) } as never), 'ERR_UNKNOWN_OPTION', "'weight'");
  layer(() => sp.layerNorm(x, { weight: 2 as never }), 'ERR_INVALID_TYPE', 'weight');
  refuser('rmsNorm')(() => sp.rmsNorm(sp.tensor(1)), 'ERR_SHAPE', 'a scalar');
  refuser('rmsNorm')(() => sp.rmsNorm(x.to('int32')), 'ERR_DTYPE', 'int32');
});
