// concat, stack, split.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { dtypes, expectSame, numbers, sample, toTensor, variable } from '../harness/arrays.js';
import { refuser } from '../harness/refusal.js';
import * as reference from '../reference/arrays.js';

describe('concat', () => {
  const cases: [number[][], number][] = [
    [[[3], [1], [0]], 0],
    [
      [
        [2, 3],
        [4, 3],
      ],
      0,
    ],
    [
      [
        [2, 3],
        [2, 1],
        [2, 70],
      ],
      1,
    ],
    [
      [
        [2, 3, 2],
        [2, 1, 2],
      ],
      1,
    ],
    [
      [
        [0, 3],
        [0, 2],
      ],
      1,
    ],
    [[[2, 2]], 0],
  ];
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shapes, dim] of cases) {
        const parts = shapes.map((shape, i) => sample(shape, dtype, i));
        const list = parts.map((a) => toTensor(a, dtype));
        expectSame(sp.concat(list, { dim }), reference.concat(parts, dim), dtype);
        expectSame(
          sp.concat(list, { dim: dim - shapes[0].length }),
          reference.concat(parts, dim),
          dtype,
        );
      }
    });
  }

  test('gradient, also where a tensor comes twice or needs none', () => {
    const [a, b] = [variable([2, 1]), variable([2, 3])];
    sp.gradcheck((x: sp.Tensor, y: sp.Tensor) => sp.concat([x, y, x], { dim: 1 }), [a, b]);
    sp.gradcheck((x: sp.Tensor) => sp.concat([x, b.detach()], { dim: 1 }), [a]);
  });

  test('on a background thread', async () => {
    const list = [sp.ones([2]), sp.zeros([1])];
    expect(numbers(await sp.concat.async(list))).toEqual([1, 1, 0]);
  });

  test('errors', () => {
    const refused = refuser('concat');
    const x = sp.zeros([2, 3]);
    refused(() => sp.concat([]), 'ERR_INVALID_VALUE', /at least one tensor/);
    refused(
      () => sp.concat([x, sp.zeros([3, 3])], { dim: 1 }),
      'ERR_SHAPE',
      /list\[1\] to match list\[0\] \[2, 3\] on every axis but 1, got \[3, 3\]/,
    );
    refused(() => sp.concat([x, sp.zeros([3])]), 'ERR_SHAPE', /got \[3\]/);
    refused(() => sp.concat([sp.tensor(1)]), 'ERR_SHAPE', /use stack/);
    refused(
      () => sp.concat<sp.DType>([x, sp.zeros([2, 3], { dtype: 'float64' })]),
      'ERR_DTYPE',
      /list\[0\] and list\[1\] to share a dtype, got float32 and float64/,
    );
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.concat(x as any), 'ERR_INVALID_TYPE', /list to be an array of tensors/);
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.concat([x, 5 as any]), 'ERR_INVALID_TYPE', /list\[1\] to be a Tensor, got 5/);
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.concat([x], { axis: 1 } as any), 'ERR_UNKNOWN_OPTION', /'axis'/);
    refused(() => sp.concat([x], { dim: 2 }), 'ERR_OUT_OF_RANGE', /got 2/);
  });
});

describe('stack', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const shape of [[], [3], [2, 0], [2, 3, 1]]) {
        const parts = [1, 2, 3].map((seed) => sample(shape, dtype, seed));
        const list = parts.map((a) => toTensor(a, dtype));
        for (let dim = 0; dim <= shape.length; dim++) {
          expectSame(sp.stack(list, { dim }), reference.stack(parts, dim), dtype);
        }
      }
    });
  }

  test('gradient and errors', () => {
    const two = [variable([2, 3]), variable([2, 3], 9)];
    for (const dim of [0, 1, -1]) {
      sp.gradcheck((x: sp.Tensor, y: sp.Tensor) => sp.stack([x, y, x], { dim }), two);
    }
    const refused = refuser('stack');
    refused(() => sp.stack([]), 'ERR_INVALID_VALUE', /at least one tensor/);
    refused(
      () => sp.stack([sp.zeros([2]), sp.zeros([3])]),
      'ERR_SHAPE',
      /list\[1\] to have shape \[2\] \(that of list\[0\]\), got \[3\]/,
    );
    refused(() => sp.stack([sp.zeros([2])], { dim: 2 }), 'ERR_OUT_OF_RANGE', /got 2/);
  });
});

describe('split', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      const a = sample([3, 7], dtype);
      const x = toTensor(a, dtype);
      const even = x.split(3, 1);
      expect(even.length).toBe(3);
      for (const [i, count] of [3, 3, 1].entries()) {
        expectSame(even[i], reference.slice(a, 1, i * 3, count), dtype);
      }
      const listed = x.split([2, 0, 5], -1);
      expectSame(listed[0], reference.slice(a, 1, 0, 2), dtype);
      expectSame(listed[1], reference.slice(a, 1, 0, 0), dtype);
      expectSame(listed[2], reference.slice(a, 1, 2, 5), dtype);
      expect(
        sp
          .zeros([0, 2])
          .split(4)
          .map((t) => t.shape),
      ).toEqual([[0, 2]]);
    });
  }

  test('gradient, also where some pieces are not used', () => {
    sp.gradcheck((x: sp.Tensor) => sp.split(x, [1, 3], 1), [variable([2, 4])]);
    sp.gradcheck((x: sp.Tensor) => sp.split(x, 1, 1)[2], [variable([2, 4])]);
    sp.gradcheck((x: sp.Tensor) => sp.split(x, 2)[0].mul(sp.split(x, 2)[1]), [variable([4])]);
  });

  test('pieces without a gradient get zeros, in memory that was used before too', () => {
    const x = sp.ones([2, 10_000], { requiresGrad: true });
    const [, second] = sp.split(x, 5000, 1);
    const loss = second.sum();
    sp.full([2, 10_000], Number.NaN).dispose();
    loss.backward();
    expect(x.grad!.sum().item()).toBe(10_000);
  });

  test('errors', () => {
    const refused = refuser('split');
    const x = sp.zeros([2, 4]);
    refused(
      () => x.split([1, 2], 1),
      'ERR_SHAPE',
      /sizes to sum to 4 \(axis 1 of \[2, 4\]\), got \[1, 2\]/,
    );
    refused(() => x.split(0), 'ERR_INVALID_VALUE', /sizes to be an integer >= 1, got 0/);
    refused(() => x.split([-1, 5], 1), 'ERR_INVALID_VALUE', /sizes\[0\] to be an integer >= 0/);
    refused(() => sp.tensor(1).split(1), 'ERR_SHAPE', /at least 1 axis/);
  });
});
