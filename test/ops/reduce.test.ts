// Reductions against float64 definitions: layouts, dtypes, gradients, ties, empty and special
// input, accuracy of long sums, independence of threads.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import {
  type AxesCase,
  axesCases,
  dimsOf,
  emptyCases,
  longCases,
  sizeOf,
} from '../cases/reduce.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll, ulp } from '../harness/rounding.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import * as reference from '../reference/reduce.js';

const dtypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

// biome-ignore lint/suspicious/noExplicitAny: reductions with different options
type Run = (x: sp.Tensor, options: any) => sp.Tensor;

interface Case {
  name: string;
  run: Run;
  f: (x: number[]) => number;
  /** What a relative error of the terms is relative to. */
  scale?: (x: number[]) => number;
}

const magnitude = (x: number[]) => reference.norm(x, 1);
const withOptions =
  (fn: Run, more: object): Run =>
  (x, options) =>
    fn(x, { ...options, ...more });

const cases: readonly Case[] = [
  { name: 'sum', run: sp.sum as Run, f: reference.sum, scale: magnitude },
  {
    name: 'mean',
    run: sp.mean as Run,
    f: reference.mean,
    scale: (x) => magnitude(x) / Math.max(1, x.length),
  },
  { name: 'var', run: sp.var as Run, f: (x) => reference.variance(x) },
  {
    name: 'var, correction 0',
    run: withOptions(sp.var as Run, { correction: 0 }),
    f: (x) => reference.variance(x, 0),
  },
  { name: 'std', run: sp.std as Run, f: (x) => Math.sqrt(reference.variance(x)) },
  { name: 'max', run: sp.max as Run, f: reference.largest },
  { name: 'min', run: sp.min as Run, f: reference.smallest },
  {
    name: 'logsumexp',
    run: sp.logsumexp as Run,
    f: reference.logsumexp,
    scale: (x) => Math.abs(reference.logsumexp(x)) + 1,
  },
  { name: 'norm', run: sp.norm as Run, f: (x) => reference.norm(x, 2) },
  ...[1, 3, 1.5, Infinity].map((p) => ({
    name: `norm of order ${p}`,
    run: withOptions(sp.norm as Run, { p }),
    f: (x: number[]) => reference.norm(x, p),
  })),
];

const optionsOf = ({ shape, dim }: AxesCase) => ({ dim: dim ?? shape.map((_, d) => d) });
const what = (name: string, { shape, dim }: AxesCase) => `${name} of [${shape}] over ${dim}`;

describe.each(cases)('$name', ({ name, run, f, scale = (x) => Math.abs(f(x)) }) => {
  test.each(dtypes)('values, %s', (dtype) => {
    const random = new Random(1);
    const list = [...axesCases, ...emptyCases, ...(dtype === 'float32' ? longCases : [])];
    for (const c of list) {
      const x = roundAll(random.normals(sizeOf(c.shape), 3), dtype);
      const groups = reference.groups(x, c.shape, dimsOf(c));
      if (/max|min/.test(name) && groups.some((g) => g.length === 0)) continue;
      const y = run(floats(x, dtype, c.shape), optionsOf(c));
      expect(y.dtype).toBe(dtype);
      expect(y.shape).toEqual(c.shape.filter((_, d) => !dimsOf(c).includes(d)));
      // A few roundings of the terms (squares, powers, exponentials) and one of the result.
      const unit = 8 * epsilon(dtype === 'float64' ? 'float64' : 'float32');
      const expected = groups.map(f);
      const stored = roundAll(expected, dtype);
      const error = (i: number) =>
        unit * scale(groups[i]) + (dtype.endsWith('16') ? ulp(stored[i], dtype) : 0);
      expectWithin(read(y as never), expected, error, what(name, c));
      const kept = run(floats(x, dtype, c.shape), { ...optionsOf(c), keepDim: true });
      expect(kept.shape).toEqual(c.shape.map((n, d) => (dimsOf(c).includes(d) ? 1 : n)));
      expectSameBits(bits(kept as never), bits(y as never), what(name, c));
    }
  });

  test('gradient', () => {
    const random = new Random(2);
    for (const c of axesCases) {
      // Differences of sums of many terms lose digits, and take as many calls.
      if (sizeOf(c.shape) > 300) continue;
      // A single element has no variance.
      if (/var|std/.test(name) && dimsOf(c).every((d) => c.shape[d] === 1)) continue;
      const x = sp.tensor(random.normals(sizeOf(c.shape)), {
        shape: c.shape,
        requiresGrad: true,
      });
      for (const keepDim of [false, true]) {
        const fn = (x: sp.Tensor) => run(x, { ...optionsOf(c), keepDim });
        expect(sp.gradcheck(fn, [x])).toBe(true);
      }
    }
  });

  test.each(['float32', 'float16', 'bfloat16'] as const)('gradient, %s beside float64', (dtype) => {
    const random = new Random(3);
    for (const [shape, dim] of [
      [[5, 33], 1],
      [[33, 9], 0],
    ] as const) {
      const values = roundAll(random.normals(sizeOf(shape)), dtype);
      const [actual, expected] = ([dtype, 'float64'] as const).map((d) => {
        const x = floats(values, d, shape, true);
        run(x, { dim }).sum().backward();
        return read(gradOf(x));
      });
      const unit = 32 * epsilon(dtype);
      expectWithin(actual, expected, (i) => unit * (Math.abs(expected[i]) + 1), name);
    }
  });

  test('the same bits for any number of threads', () => {
    const random = new Random(4);
    const before = sp.getThreads();
    for (const c of longCases) {
      const x = floats(random.normals(sizeOf(c.shape)), 'float32', c.shape);
      sp.setThreads(1);
      const one = run(x, optionsOf(c));
      sp.setThreads(3);
      expectSameBits(bits(run(x, optionsOf(c)) as never), bits(one as never), what(name, c));
    }
    sp.setThreads(before);
  });

  test('NaN and infinities', () => {
    for (const row of [
      [1, NaN, 2],
      [1, Infinity, 2],
      [1, -Infinity, 2],
      [-Infinity, -Infinity, -Infinity],
      [Infinity, -Infinity, NaN],
    ]) {
      for (const dtype of ['float32', 'float64'] as const) {
        for (const [shape, dim] of [
          [[3], 0],
          [[3, 1], 0],
        ] as const) {
          const y = run(floats(row, dtype, shape), { dim });
          expectWithin(read(y as never), [f(row)], () => 1e-5, `${name} of ${row}`);
        }
        const columns = run(floats([...row.flatMap((v) => [v, v, v])], dtype, [3, 3]), { dim: 0 });
        const expected = [f(row), f(row), f(row)];
        expectWithin(read(columns as never), expected, () => 1e-5, `columns of ${row}`);
      }
    }
  });
});

describe('positions', () => {
  test.each([
    ['argmax', sp.argmax],
    ['argmin', sp.argmin],
  ] as const)('%s', (name, run) => {
    const random = new Random(5);
    for (const c of [...axesCases, ...longCases]) {
      const { shape, dim } = c;
      if (Array.isArray(dim)) continue;
      for (const dtype of ['float32', 'float64', 'bfloat16', 'int32', 'int64'] as const) {
        // Few distinct values, so that there are ties; the first counts.
        const x = random.fill(sizeOf(shape), () => random.integer(50) - 20);
        const t = sp.tensor([...x], { shape, dtype });
        const y = run(t, { dim: dim as number });
        expect(y.dtype).toBe('int32');
        const value = name === 'argmax' ? reference.largest : reference.smallest;
        const expected = reference
          .groups(x, shape, dimsOf(c))
          .map((g) => reference.position(g, value(g)));
        expect(Array.from(y.dataSync()), `${name} of ${dtype} [${shape}]`).toEqual(expected);
      }
    }
  });
  test('NaN wins, and infinities are found', () => {
    const x = sp.tensor([
      [1, NaN, 3],
      [-Infinity, -Infinity, -Infinity],
    ]);
    expect(x.argmax({ dim: 1 }).toArray()).toEqual([1, 0]);
    expect(x.argmin({ dim: 1, keepDim: true }).toArray()).toEqual([[1], [0]]);
    expect(x.argmax().item()).toBe(1);
  });
});

describe('integers', () => {
  test.each(['int32', 'int64', 'uint8', 'bool'] as const)('sum of %s is int64', (dtype) => {
    const x = sp.ones([300, 5], { dtype });
    expect(x.sum().item()).toBe(1500n);
    expect(x.sum({ dim: 0 }).toArray()).toEqual([300n, 300n, 300n, 300n, 300n]);
    expect(x.sum().dtype).toBe('int64');
  });
  test('max and min keep the dtype', () => {
    const x = sp.tensor([[3, -7, 2]], { dtype: 'int32' });
    expect([x.max().item(), x.min().item(), x.max().dtype]).toEqual([3, -7, 'int32']);
    const big = sp.tensor(BigInt64Array.of(2n ** 60n + 1n, 2n ** 60n));
    expect(big.max().item()).toBe(2n ** 60n + 1n);
  });
});

test('ties share the gradient evenly', () => {
  const x = sp.tensor(
    [
      [1, 3, 3],
      [2, 2, 2],
    ],
    { requiresGrad: true },
  );
  x.max({ dim: 1 }).sum().backward();
  const third = Math.fround(1 / 3);
  expect(gradOf(x as never).toArray()).toEqual([
    [0, 0.5, 0.5],
    [third, third, third],
  ]);
});

test('gradients where the norm or the deviation is 0 are 0', () => {
  for (const p of [1, 2, 3, Infinity]) {
    const x = sp.zeros([3], { requiresGrad: true });
    x.norm({ p }).backward();
    expect(gradOf(x as never).toArray(), `order ${p}`).toEqual([0, 0, 0]);
  }
  const x = sp.ones([3], { requiresGrad: true });
  x.std().backward();
  expect(gradOf(x as never).toArray()).toEqual([0, 0, 0]);
});

test('the deviation of equal values is next to 0, whatever their mean is rounded to', () => {
  for (const dtype of ['float32', 'float64'] as const) {
    for (const n of [3, 5, 6, 7, 11, 33, 100]) {
      for (const value of [0.1, 1 / 3, 0.7, 1e10 / 3]) {
        const std = sp.full([n], value, { dtype }).std().item();
        expect(std).toBeGreaterThanOrEqual(0);
        expect(std).toBeLessThanOrEqual(4 * epsilon(dtype) * value);
      }
    }
  }
});

test('a long float32 sum is as good as its input', () => {
  const n = 3_000_000;
  const x = new Float32Array(n).fill(0.1);
  const exact = Math.fround(0.1) * n;
  // Rounding 0.1 + 0.1 + ... errs the same way each time, in blocks of 512; one running float32 sum
  // would be off by 1e-3.
  expect(Math.abs(sp.tensor(x).sum().item() - exact)).toBeLessThan(exact * 4e-7);
  const columns = sp.tensor(x, { shape: [n / 10, 10] }).sum({ dim: 0 });
  for (const v of columns.toArray()) expect(Math.abs(v - exact / 10)).toBeLessThan(exact * 4e-8);
  // A large mean must not swamp the variance.
  const far = Float32Array.from({ length: 4096 }, (_, i) => 1e4 + (i % 2));
  expect(sp.tensor(far).var({ correction: 0 }).item()).toBeCloseTo(0.25, 6);
});

describe('normalize', () => {
  test.each([1, 2, 3, Infinity])('order %s', (p) => {
    const random = new Random(6);
    const x = random.normals(12);
    for (const [dim, dims] of [
      [-1, [1]],
      [0, [0]],
      [
        [0, 1],
        [0, 1],
      ],
    ] as const) {
      const y = sp.normalize(sp.tensor(x, { shape: [3, 4] }), { p, dim });
      const sizes = reference.groups(x, [3, 4], dims).map((g) => reference.norm(g, p));
      const lengths = reference.groups(y.dataSync() as never, [3, 4], dims);
      for (const g of lengths) expect(reference.norm(g, p)).toBeCloseTo(1, 12);
      expect(sizes.length).toBe(lengths.length);
      const t = sp.tensor(x, { shape: [3, 4], requiresGrad: true });
      expect(sp.gradcheck((t: sp.Tensor) => sp.normalize(t, { p, dim }), [t])).toBe(true);
      expect(sp.gradcheck((t: sp.Tensor) => sp.normalize(t, { p, dim, eps: 9 }), [t])).toBe(true);
    }
  });
  test('a zero vector stays zero', () => {
    const x = sp.zeros([2], { requiresGrad: true });
    const y = sp.normalize(x);
    expect(y.toArray()).toEqual([0, 0]);
    y.sum().backward();
    expect(gradOf(x as never).toArray()).toEqual([Math.fround(1e12), Math.fround(1e12)]);
  });
});

test('norm of order below 1: elements that are 0 get gradient 0', () => {
  const x = sp.tensor([0, 4, 0, 0], { shape: [2, 2], dtype: 'float64', requiresGrad: true });
  x.norm({ p: 0.5, dim: 1 }).sum().backward();
  expect(x.grad!.toArray()).toEqual([
    [0, 1],
    [0, 0],
  ]);
});

test('refusals', () => {
  const x = sp.ones([2, 3]);
  refuser('sum')(() => x.sum({ dim: 2 }), 'ERR_OUT_OF_RANGE', '[-2, 2)', '2');
  refuser('mean')(() => x.mean({ dim: [0, 0] }), 'ERR_INVALID_VALUE', 'each axis once');
  refuser('mean')(() => x.to('int32').mean(), 'ERR_DTYPE', 'int32');
  refuser('sum')(() => x.sum({ axis: 1 } as never), 'ERR_UNKNOWN_OPTION', "'axis'");
  refuser('sum')(() => x.sum({ keepDim: 1 } as never), 'ERR_INVALID_TYPE', 'keepDim');
  refuser('max')(() => sp.zeros([0, 2]).max(), 'ERR_SHAPE', '[0, 2]');
  refuser('argmin')(() => sp.zeros([3, 0]).argmin({ dim: 1 }), 'ERR_SHAPE', '[3, 0]');
  refuser('argmax')(() => x.argmax({ dim: [0] as never }), 'ERR_INVALID_TYPE', 'one axis');
  refuser('norm')(() => x.norm({ p: 0 }), 'ERR_INVALID_VALUE', 'p', '> 0');
  refuser('var')(() => x.var({ correction: '1' as never }), 'ERR_INVALID_TYPE', 'correction');
});
