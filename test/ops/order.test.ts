// cumsum, sort, topk against their definitions: every dtype, every axis, ties, NaN, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { dtypes, expectSame, sample, sizeOf, toTensor, variable } from '../harness/arrays.js';
import { type OperationCase, testOperation } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, floats, gradOf, read } from '../harness/tensors.js';
import * as reference from '../reference/order.js';

const shapes: [number[], number][] = [
  [[1], 0],
  [[7], 0],
  [[3, 5], 0],
  [[3, 5], -1],
  [[2, 3, 4], 1],
  [[4, 1, 3], 1],
  [[300, 3], 0],
  [[3, 700], 1],
];
const axis = (shape: number[], dim: number) => (dim < 0 ? dim + shape.length : dim);

describe('cumsum', () => {
  testOperation(
    shapes.map(
      ([shape, dim]): OperationCase => ({
        name: `cumsum of [${shape}] along ${dim}`,
        inputs: { x: shape },
        run: ({ x }) => sp.cumsum(x, { dim }) as AnyTensor,
        runAsync: ({ x }) => sp.cumsum.async(x, { dim }) as Promise<AnyTensor>,
        reference: ({ x }) => reference.cumsum(x, axis(shape, dim)),
        large: sizeOf(shape) > 100,
      }),
    ),
  );

  test('integers and bool are summed in int64', () => {
    for (const dtype of dtypes.slice(4)) {
      const a = sample([3, 4], dtype);
      expectSame(toTensor(a, dtype).cumsum(0) as never, reference.cumsum(a, 0), 'int64');
    }
    const large = sp.tensor(new BigInt64Array([2n ** 63n - 1n, 1n]));
    expect(large.cumsum().toArray()).toEqual([2n ** 63n - 1n, -(2n ** 63n)]);
  });

  test('the last axis by default; scalars; nothing', () => {
    expect(sp.ones([2, 2]).cumsum().toArray()).toEqual([[1, 2], [1, 2]]); // biome-ignore format: a picture
    expect(sp.tensor(3).cumsum().item()).toBe(3);
    expect(sp.ones([2, 0]).cumsum().shape).toEqual([2, 0]);
    expect(sp.ones([0, 2]).cumsum({ dim: 0 }).shape).toEqual([0, 2]);
    const x = sp.tensor(3, { requiresGrad: true });
    x.cumsum().backward();
    expect(x.grad!.item()).toBe(1);
  });

  test('a NaN goes on, the sums before it stay', () => {
    expect(sp.tensor([1, NaN, 2]).cumsum().toArray()).toEqual([1, NaN, NaN]);
    expect(sp.tensor([1, Infinity, -Infinity]).cumsum().toArray()).toEqual([1, Infinity, NaN]);
  });
});

const special = [3, NaN, -0, 0, -Infinity, 1, NaN, Infinity, 3, -2, 0, -0, 3];

describe('sort', () => {
  test('every dtype along every axis, with ties', () => {
    for (const dtype of dtypes) {
      for (const [shape, dim] of shapes) {
        const a = sample(shape, dtype);
        const t = toTensor(a, dtype);
        for (const descending of [false, true]) {
          const expected = reference.sort(a, axis(shape, dim), descending);
          const { values, indices } = sp.sort(t, { dim, descending });
          expectSame(values, expected.values, dtype);
          expectSame(indices as never, expected.indices, 'int32');
        }
      }
    }
  });

  test('negative numbers, NaN last, zeros of both signs alike', () => {
    for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const) {
      // Long enough for the sort by digits, too.
      for (const repeats of [1, 40]) {
        const line = Array.from({ length: repeats }, () => special).flat();
        const a = { shape: [line.length], values: line };
        for (const descending of [false, true]) {
          const expected = reference.sort(a, 0, descending);
          const { values, indices } = sp.sort(floats(line, dtype, a.shape), { descending });
          expect(read(values as never)).toEqual(Float64Array.from(expected.values.values));
          expect([...indices.dataSync()]).toEqual(expected.indices.values);
        }
      }
    }
    const whole = sp.tensor(new BigInt64Array([5n, -(2n ** 63n), 2n ** 63n - 1n, -1n]));
    expect(whole.sort().values.toArray()).toEqual([-(2n ** 63n), -1n, 5n, 2n ** 63n - 1n]);
    expect(
      sp
        .tensor(new Int32Array([1, -5, 3]))
        .sort()
        .values.toArray(),
    ).toEqual([-5, 1, 3]);
  });

  test('gradients', async () => {
    for (const [shape, dim] of shapes.filter(([shape]) => sizeOf(shape) < 100)) {
      sp.gradcheck((x: sp.Tensor) => sp.sort(x, { dim }).values, [variable(shape)]);
    }
    const x = sp.tensor([3, 1, 2], { requiresGrad: true, dtype: 'bfloat16' });
    const { values } = await sp.sort.async(x);
    values
      .mul(sp.tensor([1, 2, 4], { dtype: 'bfloat16' }))
      .sum()
      .backward();
    expect(gradOf(x as never).toArray()).toEqual([4, 1, 2]);
    const s = sp.tensor(3, { requiresGrad: true });
    expect(s.sort().indices.item()).toBe(0);
    s.sort().values.backward();
    expect(s.grad!.item()).toBe(1);
  });

  test('the same for any number of threads', () => {
    const x = sp.randn([40, 300]);
    const before = sp.getThreads();
    const results = [1, 3].map((n) => {
      sp.setThreads(n);
      return [...sp.sort(x, { dim: 0 }).indices.dataSync(), ...sp.topk(x, 7).indices.dataSync()];
    });
    sp.setThreads(before);
    expect(results[0]).toEqual(results[1]);
  });

  test('nothing, and refusals', () => {
    expect(sp.sort(sp.ones([3, 0])).values.shape).toEqual([3, 0]);
    const refused = refuser('sort');
    refused(() => sp.sort(sp.ones([3]), { dim: 1 }), 'ERR_OUT_OF_RANGE', 'dim');
    refused(
      () => sp.sort(sp.ones([3]), { descending: 1 } as never),
      'ERR_INVALID_TYPE',
      'descending',
    );
    refused(
      () => sp.sort(sp.ones([3]), { ascending: true } as never),
      'ERR_UNKNOWN_OPTION',
      "'descending'",
    );
    refused(() => sp.sort([1] as never), 'ERR_INVALID_TYPE', 'x to be a Tensor');
    refuser('cumsum')(() => sp.cumsum(sp.ones([3]), { dim: 2 }), 'ERR_OUT_OF_RANGE', 'dim');
  });
});

describe('topk', () => {
  test('every dtype along every axis, with ties: the first of equals', () => {
    for (const dtype of dtypes) {
      for (const [shape, dim] of shapes) {
        const a = sample(shape, dtype, 2);
        const t = toTensor(a, dtype);
        const size = shape[axis(shape, dim)];
        for (const k of new Set([0, 1, Math.ceil(size / 2), size])) {
          for (const largest of [true, false]) {
            const expected = reference.sort(a, axis(shape, dim), largest, k);
            const { values, indices } = sp.topk(t, k, { dim, largest });
            expectSame(values, expected.values, dtype);
            expectSame(indices as never, expected.indices, 'int32');
          }
        }
      }
    }
  });

  test('NaN counts as largest', () => {
    expect(sp.topk(sp.tensor(special), 3).indices.toArray()).toEqual([1, 6, 7]);
    expect(sp.topk(sp.tensor(special), 3, { largest: false }).indices.toArray()).toEqual([4, 9, 2]);
  });

  test('gradients, methods, options by name', async () => {
    sp.gradcheck((x: sp.Tensor) => x.topk(2, { dim: 0 }).values, [variable([5, 3])]);
    sp.gradcheck((x: sp.Tensor) => x.topk({ k: 2, largest: false }).values, [variable([4, 5])]);
    const { values } = await sp.topk.async(sp.tensor([1, 5, 3]), 2);
    expect(values.toArray()).toEqual([5, 3]);
    expect(sp.tensor(4).topk(1).values.item()).toBe(4);
  });

  test('refusals', () => {
    const refused = refuser('topk');
    refused(
      () => sp.topk(sp.ones([3]), 4),
      'ERR_INVALID_VALUE',
      'k to be an integer >= 0 and <= 3',
    );
    refused(() => sp.topk(sp.ones([3]), 1.5), 'ERR_INVALID_VALUE', 'k');
    refused(() => sp.topk(sp.ones([3]), {}), 'ERR_INVALID_TYPE', 'k');
    refused(() => sp.topk(sp.ones([3]), 1, { dim: 3 }), 'ERR_OUT_OF_RANGE', 'dim');
    refused(() => sp.topk(sp.tensor(1), 0), 'ERR_INVALID_VALUE', 'scalar');
  });
});
