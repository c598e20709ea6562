// Matrix products: shapes, broadcasting, transposes, gradients.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers, sample, sizeOf, toTensor, variable } from '../harness/arrays.js';
import { expectWithin } from '../harness/compare.js';
import { inTurn } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll } from '../harness/rounding.js';
import { bits, floats } from '../harness/tensors.js';
import * as reference from '../reference/arrays.js';

const shapes: [number[], number[]][] = [
  [
    [1, 1],
    [1, 1],
  ],
  [
    [3, 4],
    [4, 5],
  ],
  [
    [17, 33],
    [33, 9],
  ],
  [
    [2, 3, 4],
    [4, 5],
  ],
  [
    [3, 4],
    [2, 4, 5],
  ],
  [
    [2, 3, 4],
    [2, 4, 5],
  ],
  [
    [2, 1, 3, 4],
    [3, 4, 2],
  ],
  [
    [1, 3, 4],
    [5, 1, 4, 2],
  ],
  // Rows that start at multiples of 16 bytes.
  [
    [72, 136],
    [136, 88],
  ],
  [
    [16, 24, 64],
    [16, 64, 40],
  ],
  [
    [16, 8, 24],
    [24, 16],
  ],
  [
    [2, 0],
    [0, 3],
  ],
  [
    [0, 2],
    [2, 3],
  ],
  [
    [0, 2, 3],
    [3, 4],
  ],
];

/** A normal sample as it is after rounding to the dtype. */
function normal(shape: number[], dtype: FloatDType, seed: number): reference.Arr {
  const values = roundAll(new Random(seed).normals(sizeOf(shape)), dtype);
  return { shape, values: [...values] };
}

const ways = [
  [false, false],
  [true, true],
  [false, true],
  [true, false],
];

/** Compares the first `count` ways to transpose with float64. */
function check(s: number[], t: number[], dtype: FloatDType): void {
  const [a, b] = [normal(s, dtype, 1), normal(t, dtype, 2)];
  const expected = reference.matmul(a, b);
  const magnitude = reference.matmul(
    { ...a, values: a.values.map(Math.abs) },
    { ...b, values: b.values.map(Math.abs) },
  );
  // K products accumulated in float32 (or float64), and one rounding to the dtype.
  const unit = s.at(-1)! * epsilon(dtype === 'float64' ? dtype : 'float32');
  const allowed = (i: number) =>
    unit * magnitude.values[i] + 2 * epsilon(dtype) * Math.abs(expected.values[i]);
  for (const [transposeA, transposeB] of ways) {
    const left = transposeA ? reference.transpose(a) : a;
    const right = transposeB ? reference.transpose(b) : b;
    const out = sp.matmul(
      floats(left.values, dtype, left.shape),
      floats(right.values, dtype, right.shape),
      { transposeA, transposeB },
    );
    expect([out.dtype, out.shape]).toEqual([dtype, expected.shape]);
    expectWithin(numbers(out), expected.values, allowed, `[${s}] [${t}]`);
  }
}

describe('values', () => {
  for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const) {
    test(dtype, () => {
      for (const [s, t] of shapes) check(s, t, dtype);
    });
  }

  // On a device with 132 processors: sums over k in parts.
  test('long sums', () => {
    check([3, 4100], [4100, 5], 'float16');
    check([9, 4104], [4104, 8], 'bfloat16');
  });

  test('vectors', () => {
    const [v, m] = [
      sp.tensor([1, 2]),
      sp.tensor([
        [1, 2],
        [3, 4],
      ]),
    ];
    expect(v.matmul(v).item()).toBe(5);
    expect(v.matmul(m).toArray()).toEqual([7, 10]);
    expect(m.matmul(v).toArray()).toEqual([5, 11]);
    expect(v.matmul(m, { transposeB: true }).toArray()).toEqual([5, 11]);
    expect(sp.ones([3, 1, 2]).matmul(v).shape).toEqual([3, 1]);
    expect(v.matmul(sp.ones([3, 2, 4])).shape).toEqual([3, 4]);
  });

  test('on a background thread, the same bits; for any number of threads too', async () => {
    const a = sp.randn([70, 130]);
    const b = sp.randn([130, 90]);
    const once = bits(sp.matmul(a, b));
    expect(bits(await sp.matmul.async(a, b))).toEqual(once);
    const threads = sp.getThreads();
    for (const n of [1, 3]) {
      sp.setThreads(n);
      expect(bits(sp.matmul(a, b))).toEqual(once);
    }
    sp.setThreads(threads);
  });
});

describe('gradients', () => {
  const sides = [
    [false, false],
    [true, false],
    [true, true],
    [false, true],
  ] as const;
  const transposed = (shape: number[]) => [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!];
  for (const [s, t] of shapes) {
    if (sizeOf(s) === 0 || s[0] > 10) continue;
    test(`[${s}] [${t}]`, () => {
      for (const [transposeA, transposeB] of inTurn(sides, s.length % 2, 2)) {
        sp.gradcheck(
          (a: sp.Tensor, b: sp.Tensor) => sp.matmul(a, b, { transposeA, transposeB }),
          [variable(transposeA ? transposed(s) : s), variable(transposeB ? transposed(t) : t, 5)],
        );
      }
    });
  }

  test('of vectors, and of one tensor on both sides', () => {
    const dot = (a: sp.Tensor, b: sp.Tensor) => sp.matmul(a, b);
    sp.gradcheck(dot, [variable([4]), variable([4], 1)]);
    sp.gradcheck(dot, [variable([4]), variable([2, 4, 3])]);
    sp.gradcheck(dot, [variable([2, 3, 4]), variable([4])]);
    sp.gradcheck((a: sp.Tensor) => sp.matmul(a, a), [variable([3, 3])]);
  });

  test('sums over nothing are zeros', () => {
    const a = sp.ones([2, 0], { requiresGrad: true });
    const b = sp.ones([0, 3], { requiresGrad: true });
    const out = a.matmul(b);
    expect(numbers(out)).toEqual([0, 0, 0, 0, 0, 0]);
    out.sum().backward();
    expect([a.grad!.shape, b.grad!.shape]).toEqual([
      [2, 0],
      [0, 3],
    ]);
    const c = sp.ones([0, 2], { requiresGrad: true });
    const w = sp.ones([2, 3], { requiresGrad: true });
    c.matmul(w).sum().backward();
    expect(numbers(w.grad!)).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

test('errors', () => {
  const refused = refuser('matmul');
  const x = sp.zeros([2, 3]);
  refused(
    () => x.matmul(x),
    'ERR_SHAPE',
    /^matmul: expected b to have 3 rows \(the columns of a \[2, 3\]\), got \[2, 3\]$/,
  );
  refused(
    () => x.matmul(sp.zeros([3, 2]), { transposeB: true }),
    'ERR_SHAPE',
    /\[3, 2\] transposed/,
  );
  refused(() => x.matmul(sp.tensor(1)), 'ERR_SHAPE', /b to have at least 1 axis, got \[\]/);
  refused(() => sp.zeros([3]).matmul(x, { transposeA: true }), 'ERR_SHAPE', /at least 2 axes/);
  refused(
    () => sp.zeros([2, 2, 3]).matmul(sp.zeros([3, 3, 2])),
    'ERR_SHAPE',
    /shapes that broadcast .* got \[2\] and \[3\]/,
  );
  refused(
    () => x.matmul(sp.zeros([3, 2], { dtype: 'float64' }) as sp.Tensor),
    'ERR_DTYPE',
    /a and b to share a dtype/,
  );
  const whole = toTensor(sample([2, 2], 'int32'), 'int32');
  refused(() => whole.matmul(whole), 'ERR_DTYPE', /a to be float32 .* got int32/);
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const misspelt = { transposeb: true } as any;
  refused(() => x.matmul(x, misspelt), 'ERR_UNKNOWN_OPTION', /did you mean 'transposeB'/);
});
