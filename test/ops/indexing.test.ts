// indexSelect, embedding, gather, scatterAdd, maskedFill, oneHot.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import {
  dtypes,
  expectSame,
  numbers,
  sample,
  sizeOf,
  toTensor,
  variable,
} from '../harness/arrays.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, indices } from '../harness/tensors.js';
import * as reference from '../reference/arrays.js';

function randomIndex(shape: number[], limit: number, seed = 4): reference.Arr {
  const random = new Random(seed);
  return { shape, values: Array.from({ length: sizeOf(shape) }, () => random.integer(limit)) };
}
type Index = sp.Tensor<'int32' | 'int64'>;
const asIndex = (a: reference.Arr, dtype: 'int32' | 'int64' = 'int32') =>
  indices(a.values, a.shape, dtype) as unknown as Index;

/** Runs `work` with 1 and with 3 threads and expects the same bits. */
function sameForAnyThreads(work: () => AnyTensor): void {
  const threads = sp.getThreads();
  const runs = [1, 3].map((n) => {
    sp.setThreads(n);
    return bits(work());
  });
  sp.setThreads(threads);
  expect(runs[0]).toEqual(runs[1]);
}

describe('indexSelect', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shape, dim] of [
        [[5], 0],
        [[4, 3], 0],
        [[4, 7], 1],
        [[2, 5, 3], 1],
        [[3, 2, 0], 0],
      ] as [number[], number][]) {
        const a = sample(shape, dtype);
        const index = randomIndex([6], shape[dim]);
        const expected = reference.indexSelect(a, dim, index.values);
        for (const kind of ['int32', 'int64'] as const) {
          expectSame(toTensor(a, dtype).indexSelect(dim, asIndex(index, kind)), expected, dtype);
        }
      }
      const none = toTensor(sample([4, 3], dtype), dtype).indexSelect(
        0,
        asIndex(randomIndex([0], 1)),
      );
      expect(none.shape).toEqual([0, 3]);
    });
  }

  test('gradient', () => {
    const index = asIndex({ shape: [4], values: [2, 0, 2, 2] });
    for (const dim of [0, 1, 2]) {
      sp.gradcheck((x: sp.Tensor) => sp.indexSelect(x, dim, index), [variable([3, 4, 3])]);
    }
  });
});

describe('rows that several blocks share', () => {
  // In units of 16 bytes and of one element: more than the 1024 units that a block moves.
  for (const width of [4400, 1100 + 3]) {
    test(`${width} elements`, () => {
      const a = sample([4, width], 'float32');
      const x = toTensor(a, 'float32');
      const index = randomIndex([3], 4);
      const rows = reference.indexSelect(a, 0, index.values);
      expectSame(x.indexSelect(0, asIndex(index)), rows, 'float32');
      const mask = sample([4, width], 'bool', 5);
      const t = toTensor(mask, 'bool') as unknown as sp.Tensor<'bool'>;
      expectSame(x.maskedFill(t, 1), reference.maskedFill(a, mask, 1), 'float32');
      const at = randomIndex([2, width], 4);
      expectSame(x.gather(0, asIndex(at)), reference.gather(a, 0, at), 'float32');
      const src = sample([2, width], 'float32', 2);
      const sums = reference.scatterAdd(a, 0, at, src);
      expectSame(x.scatterAdd(0, asIndex(at), toTensor(src, 'float32')), sums, 'float32');
      const w = toTensor(a, 'float32', true);
      w.indexSelect(0, asIndex(index)).backward(toTensor(rows, 'float32'));
      const own = [0, 1, 2, 3].map((row) => index.values.filter((i) => i === row).length);
      const grads = a.values.map((v, i) => v * own[Math.floor(i / width)]);
      expect(numbers(w.grad as AnyTensor)).toEqual(grads);
    });
  }
});

describe('embedding', () => {
  test('rows by id, of any shape of ids', () => {
    const weight = sample([7, 5], 'float32');
    const ids = randomIndex([2, 3], 7);
    const rows = reference.indexSelect(weight, 0, ids.values);
    const out = sp.embedding(toTensor(weight, 'float32'), asIndex(ids, 'int64'));
    expectSame(out, { shape: [2, 3, 5], values: rows.values }, 'float32');
    expect(sp.embedding(sp.ones([3, 2]), asIndex({ shape: [], values: [1] })).shape).toEqual([2]);
  });

  test('gradient, without the row of paddingIdx', () => {
    const ids = asIndex({ shape: [2, 3], values: [1, 0, 1, 3, 3, 1] });
    sp.gradcheck((w: sp.Tensor) => sp.embedding(w, ids), [variable([4, 3])]);
    for (const paddingIdx of [3, -1]) {
      const w = sp.ones([4, 2], { requiresGrad: true });
      sp.embedding(w, ids, { paddingIdx }).sum().backward();
      expect(numbers(w.grad as AnyTensor)).toEqual([1, 1, 3, 3, 0, 0, 0, 0]);
    }
  });

  for (const dtype of ['float32', 'float64', 'bfloat16', 'float16'] as const) {
    test(`${dtype}: the gradient is summed in order, by any number of threads`, () => {
      const random = new Random(8);
      const ids = randomIndex([3000], 50);
      const upstream = floats(random.normals(3000 * 33), dtype, [3000, 33]);
      const run = () => {
        const w = floats(random.normals(70 * 33), dtype, [70, 33], true);
        sp.embedding(w, asIndex(ids)).backward(upstream);
        return gradOf(w);
      };
      sameForAnyThreads(run);
      // 60 terms of size 1 or so in float32, then one rounding to the dtype.
      const unit = { float64: 1e-13, float32: 1e-5, bfloat16: 0.1, float16: 0.02 }[dtype];
      const sums = new Float64Array(70 * 33);
      const terms = numbers(upstream);
      for (const [i, g] of terms.entries())
        sums[ids.values[Math.floor(i / 33)] * 33 + (i % 33)] += g;
      for (const [i, g] of numbers(run()).entries())
        expect(Math.abs(g - sums[i])).toBeLessThan(unit);
    });
  }

  test('the gradient of a long table', () => {
    // Enough rows that a block of a device sorts the ids of 2048 of them.
    const size = 2 * 132 * 2048 + 5;
    const ids = Array.from({ length: 60 }, (_, i) => (i * 9973 * 9973) % size);
    const w = sp.zeros([size], { requiresGrad: true });
    w.indexSelect(0, asIndex({ shape: [60], values: ids }))
      .sum()
      .backward();
    const grad = w.grad!.dataSync() as Float32Array;
    expect(grad.reduce((a, b) => a + b, 0)).toBe(60);
    for (const id of ids) expect(grad[id]).toBe(1);
  });

  test('errors', () => {
    const refused = refuser('embedding');
    const w = sp.zeros([10, 2]);
    const ids = asIndex({ shape: [2, 2], values: [0, 9, 10, -1] });
    refused(
      () => sp.embedding(w, ids),
      'ERR_OUT_OF_RANGE',
      /^embedding: expected ids to be in \[0, 10\), got 10 at position 2$/,
    );
    expect(() => sp.embedding(w, ids).dataSync()).toThrow(RangeError);
    refused(
      () => sp.embedding(sp.zeros([3]), ids),
      'ERR_SHAPE',
      /weight to be \[V, D\], got \[3\]/,
    );
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.embedding(w, w as any), 'ERR_DTYPE', /ids to be int32 or int64, got float32/);
    refused(() => sp.embedding(w, ids, { paddingIdx: 10 }), 'ERR_INVALID_VALUE', /< 10, got 10/);
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    const misspelt = { paddingIndex: 1 } as any;
    refused(
      () => sp.embedding(w, ids, misspelt),
      'ERR_UNKNOWN_OPTION',
      /did you mean 'paddingIdx'/,
    );
  });
});

const lines: [number[], number[], number][] = [
  [[5], [3], 0],
  [[5], [0], 0],
  [[4, 3], [6, 2], 0],
  [[4, 3], [2, 7], 1],
  [[2, 5, 3], [2, 4, 2], 1],
  [[3, 4, 5], [2, 4, 5], 0],
  [[3, 4, 5], [3, 1, 9], 2],
  [[3, 300], [5, 290], 0],
];

describe('gather', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shape, wanted, dim] of lines) {
        const a = sample(shape, dtype);
        const index = randomIndex(wanted, shape[dim]);
        const out = toTensor(a, dtype).gather(dim, asIndex(index, 'int64'));
        expectSame(out, reference.gather(a, dim, index), dtype);
      }
    });
  }

  test('gradient, the same for any number of threads', () => {
    for (const [shape, wanted, dim] of lines.slice(0, -1)) {
      const index = asIndex(randomIndex(wanted, shape[dim]));
      if (index.size === 0) continue;
      sp.gradcheck((x: sp.Tensor) => sp.gather(x, dim, index), [variable(shape)]);
    }
    for (const dim of [0, 1]) {
      const index = asIndex(randomIndex([300, 300], 20));
      sameForAnyThreads(() => {
        const x = sp.zeros([300, 300], { requiresGrad: true });
        x.gather(dim, index).mul(x).sum().backward();
        const upstream = floats(new Random(1).normals(90_000), 'float32', [300, 300]);
        const y = sp.zeros([300, 300], { requiresGrad: true });
        y.gather(dim, index).backward(upstream);
        return gradOf(y as AnyTensor);
      });
    }
  });

  test('errors', () => {
    const refused = refuser('gather');
    const x = sp.zeros([2, 3]);
    const far = asIndex({ shape: [2, 2], values: [0, 1, -1, 3] });
    refused(() => x.gather(1, far), 'ERR_OUT_OF_RANGE', /\[0, 3\), got -1 at position 2/);
    const long = asIndex({ shape: [3, 1], values: [0, 0, 0] });
    refused(() => x.gather(1, long), 'ERR_SHAPE', /axis 1 longer than .* \[2, 3\], got \[3, 1\]/);
    refused(() => x.gather(0, asIndex(randomIndex([2], 2))), 'ERR_SHAPE', /to have 2 axes.*\[2\]/);
    refused(() => x.gather(2, long), 'ERR_OUT_OF_RANGE', /dim/);
  });
});

describe('scatterAdd', () => {
  for (const dtype of dtypes) {
    if (dtype === 'bool') continue;
    test(dtype, () => {
      for (const [shape, wanted, dim] of lines) {
        const a = sample(shape, dtype);
        const src = sample(wanted, dtype, 2);
        // Distinct places where sums would not be exact in the dtype.
        const index = randomIndex(wanted, shape[dim]);
        const exact = dtype !== 'bfloat16' && dtype !== 'uint8';
        const small = exact ? src : { ...src, values: src.values.map((v) => v % 5) };
        const start = exact ? a : { ...a, values: a.values.map((v) => v % 50) };
        const out = toTensor(start, dtype).scatterAdd(dim, asIndex(index), toTensor(small, dtype));
        expectSame(out, reference.scatterAdd(start, dim, index, small), dtype);
      }
    });
  }

  test('integers wrap; the input is not written to', () => {
    const x = sp.tensor([250, 1], { dtype: 'uint8' });
    const index = asIndex({ shape: [2], values: [0, 0] });
    const out = x.scatterAdd(0, index, sp.tensor([4, 5], { dtype: 'uint8' }));
    expect([numbers(out), numbers(x)]).toEqual([
      [3, 1],
      [250, 1],
    ]);
    const big = sp.tensor([2 ** 31 - 1], { dtype: 'int32' });
    const one = sp.tensor([1], { dtype: 'int32' });
    expect(numbers(big.scatterAdd(0, asIndex({ shape: [1], values: [0] }), one))).toEqual([
      -(2 ** 31),
    ]);
  });

  test('gradient and errors', () => {
    const index = asIndex({ shape: [2, 2], values: [1, 1, 0, 2] });
    sp.gradcheck(
      (x: sp.Tensor, src: sp.Tensor) => sp.scatterAdd(x, 1, index, src),
      [variable([2, 3]), variable([2, 2])],
    );
    const refused = refuser('scatterAdd');
    const x = sp.zeros([2, 3]);
    refused(
      () => x.scatterAdd(1, index, sp.zeros([2, 3])),
      'ERR_SHAPE',
      /src to have shape \[2, 2\]/,
    );
    refused(
      () => x.scatterAdd(1, index, sp.zeros([2, 2], { dtype: 'float64' })),
      'ERR_DTYPE',
      /x and src to share a dtype/,
    );
    const far = asIndex({ shape: [1, 1], values: [3] });
    refused(
      () => x.scatterAdd(1, far, sp.zeros([1, 1])),
      'ERR_OUT_OF_RANGE',
      /got 3 at position 0/,
    );
    const flags = sp.zeros([2, 3], { dtype: 'bool' });
    refused(
      () => flags.scatterAdd(1, index, sp.zeros([2, 2], { dtype: 'bool' })),
      'ERR_DTYPE',
      /bool/,
    );
  });
});

describe('maskedFill', () => {
  const shapes: [number[], number[]][] = [
    [[], []],
    [[5], [5]],
    [
      [3, 4],
      [3, 1],
    ],
    [
      [2, 3, 17],
      [3, 17],
    ],
    [
      [2, 3, 17],
      [2, 1, 17],
    ],
    [[2, 3], []],
    [
      [0, 3],
      [1, 3],
    ],
    [
      [4, 2, 3, 1],
      [4, 1, 3, 1],
    ],
  ];
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shape, maskShape] of shapes) {
        const a = sample(shape, dtype);
        const mask = sample(maskShape, 'bool', 5);
        const t = toTensor(mask, 'bool') as unknown as sp.Tensor<'bool'>;
        const out = toTensor(a, dtype).maskedFill(t, 1);
        expectSame(out, reference.maskedFill(a, mask, 1), dtype);
      }
    });
  }

  test('infinities; gradient; errors', () => {
    const mask = sp.tensor([true, false, true], { dtype: 'bool' });
    expect(numbers(sp.zeros([3]).maskedFill(mask, -Infinity))).toEqual([-Infinity, 0, -Infinity]);
    sp.gradcheck((x: sp.Tensor) => sp.maskedFill(x, mask, 7), [variable([2, 3])]);
    const refused = refuser('maskedFill');
    const x = sp.zeros([3], { dtype: 'int32' });
    refused(() => x.maskedFill(mask, 0.5), 'ERR_INVALID_VALUE', /value to be an integer.*got 0\.5/);
    refused(() => sp.zeros([2]).maskedFill(mask, 0), 'ERR_SHAPE', /broadcast/);
    refused(
      () => sp.zeros([1]).maskedFill(mask, 0),
      'ERR_SHAPE',
      /to the shape of x \[1\], got \[3\]/,
    );
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => x.maskedFill(x as any, 0), 'ERR_DTYPE', /mask to be bool, got int32/);
  });
});

describe('oneHot', () => {
  test('every dtype', () => {
    const index = asIndex({ shape: [2, 2], values: [0, 2, 1, 2] });
    const values = [1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    expectSame(sp.oneHot(index, 3), { shape: [2, 2, 3], values }, 'int64');
    for (const dtype of dtypes) {
      expectSame(sp.oneHot(index, 3, { dtype }), { shape: [2, 2, 3], values }, dtype);
    }
    expect(sp.oneHot(asIndex({ shape: [0], values: [] }), 0).shape).toEqual([0, 0]);
  });

  test('errors', () => {
    const refused = refuser('oneHot');
    const index = asIndex({ shape: [2], values: [0, 3] });
    refused(() => sp.oneHot(index, 3), 'ERR_OUT_OF_RANGE', /\[0, 3\), got 3 at position 1/);
    refused(() => sp.oneHot(index, -1), 'ERR_INVALID_VALUE', /classes to be an integer >= 0/);
  });
});
