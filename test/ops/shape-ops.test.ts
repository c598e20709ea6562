// reshape, squeeze, unsqueeze, permute, transpose, expand.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { dtypes, expectSame, numbers, sample, toTensor, variable } from '../harness/arrays.js';
import { refuser } from '../harness/refusal.js';
import * as reference from '../reference/arrays.js';

const permutations: [number[], number[]][] = [
  [[], []],
  [[5], [0]],
  [
    [2, 3],
    [1, 0],
  ],
  [
    [33, 70],
    [1, 0],
  ],
  [
    [2, 0, 3],
    [2, 0, 1],
  ],
  [
    [3, 1, 5],
    [2, 1, 0],
  ],
  [
    [2, 7, 3, 9],
    [0, 2, 1, 3],
  ],
  [
    [2, 3, 4, 35],
    [0, 3, 1, 2],
  ],
  [
    [2, 3, 2, 2, 3],
    [4, 2, 0, 3, 1],
  ],
];

describe('permute', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shape, dims] of permutations) {
        const a = sample(shape, dtype);
        expectSame(toTensor(a, dtype).permute(dims), reference.permute(a, dims), dtype);
      }
    });
  }

  test('negative dims, gradient', () => {
    const x = variable([2, 3, 4]);
    expect(x.permute([-1, 0, -2]).shape).toEqual([4, 2, 3]);
    sp.gradcheck((t: typeof x) => t.permute([2, 0, 1]), [x]);
  });

  test('is the same for any number of threads', () => {
    const x = toTensor(sample([64, 90, 40], 'float32'), 'float32');
    const threads = sp.getThreads();
    const runs = [1, 3].map((n) => {
      sp.setThreads(n);
      return numbers(x.permute([1, 2, 0]));
    });
    sp.setThreads(threads);
    expect(runs[0]).toEqual(runs[1]);
  });

  test('errors', () => {
    const refused = refuser('permute');
    const x = sp.zeros([2, 3]);
    refused(() => x.permute([0]), 'ERR_INVALID_VALUE', /each of the 2 axes of \[2, 3\], got \[0\]/);
    refused(() => x.permute([0, 0]), 'ERR_INVALID_VALUE', /each axis once, got \[0, 0\]/);
    refused(() => x.permute([0, 2]), 'ERR_OUT_OF_RANGE', /\[-2, 2\) .* got 2/);
  });
});

describe('transpose', () => {
  test('the last two axes, or those named', () => {
    const a = sample([2, 3, 4], 'int32');
    expectSame(toTensor(a, 'int32').transpose(), reference.permute(a, [0, 2, 1]), 'int32');
    expectSame(toTensor(a, 'int32').transpose(0, -1), reference.permute(a, [2, 1, 0]), 'int32');
    sp.gradcheck((t: sp.Tensor) => sp.transpose(t, 0, 2), [variable([2, 3, 4])]);
    refuser('transpose')(() => sp.ones([3]).transpose(), 'ERR_OUT_OF_RANGE', /got -2/);
  });
});

describe('reshape', () => {
  test('shares memory, infers one size', () => {
    const x = sp.zeros([3, 4]);
    expect(x.reshape([2, -1]).shape).toEqual([2, 6]);
    expect(x.reshape([-1]).shape).toEqual([12]);
    expect(sp.zeros([0, 4]).reshape([2, 0]).shape).toEqual([2, 0]);
    expect(sp.zeros([1]).reshape([]).item()).toBe(0);
    const view = x.reshape([12]);
    x.copy_(sp.ones([3, 4]));
    expect(numbers(view)).toEqual(new Array(12).fill(1));
  });

  test('the type knows the sizes', () => {
    const y: sp.Tensor<'float32', readonly [2, number]> = sp.zeros([12]).reshape([2, -1]);
    expect(y.rank).toBe(2);
  });

  test('gradient; a leaf reached through a view gets memory of its own', () => {
    sp.gradcheck((t: sp.Tensor) => sp.reshape(t, [3, -1]).mul(2), [variable([2, 6])]);
    const x = sp.ones([4], { requiresGrad: true });
    x.reshape([2, 2]).backward(sp.ones([2, 2]));
    expect(numbers(x.grad!)).toEqual([1, 1, 1, 1]);
  });

  test('errors', () => {
    const refused = refuser('reshape');
    const x = sp.zeros([3, 4]);
    refused(
      () => x.reshape([5, 2]),
      'ERR_SHAPE',
      /^reshape: expected shape with 12 elements \(tensor \[3, 4\]\), got \[5, 2\]$/,
    );
    refused(() => x.reshape([-1, 5]), 'ERR_SHAPE', /12 elements .* got \[-1, 5\]/);
    refused(() => x.reshape([-1, -1]), 'ERR_SHAPE', /integers >= 0, got \[-1\]/);
    refused(() => sp.zeros([0]).reshape([0, -1]), 'ERR_SHAPE', /got \[0, -1\]/);
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.reshape(x, 12 as any), 'ERR_SHAPE', /an array of sizes, got 12/);
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    refused(() => sp.reshape([1] as any, [1]), 'ERR_INVALID_TYPE', /x to be a Tensor/);
  });
});

describe('squeeze and unsqueeze', () => {
  test('shapes', () => {
    const x = sp.zeros([1, 3, 1, 2]);
    expect(x.squeeze().shape).toEqual([3, 2]);
    expect(x.squeeze(0).shape).toEqual([3, 1, 2]);
    expect(x.squeeze([0, -2]).shape).toEqual([3, 2]);
    expect(x.squeeze(1).shape).toEqual([1, 3, 1, 2]);
    expect(x.unsqueeze(0).shape).toEqual([1, 1, 3, 1, 2]);
    expect(x.unsqueeze(-1).shape).toEqual([1, 3, 1, 2, 1]);
    expect(sp.tensor(1).unsqueeze(0).shape).toEqual([1]);
  });

  test('gradients and errors', () => {
    sp.gradcheck((t: sp.Tensor) => sp.squeeze(t).mul(3), [variable([1, 2, 1])]);
    sp.gradcheck((t: sp.Tensor) => sp.unsqueeze(t, 1).mul(3), [variable([2, 2])]);
    refuser('squeeze')(
      () => sp.zeros([1]).squeeze(1),
      'ERR_OUT_OF_RANGE',
      /dim to be in \[-1, 1\)/,
    );
    refuser('unsqueeze')(() => sp.zeros([1]).unsqueeze(3), 'ERR_OUT_OF_RANGE', /got 3/);
    const full = sp.zeros([1, 1, 1, 1, 1, 1, 1, 1]);
    refuser('unsqueeze')(() => full.unsqueeze(0), 'ERR_SHAPE', /at most 8 axes, got 9/);
  });
});

describe('expand', () => {
  const shapes: [number[], number[]][] = [
    [[], [2, 3]],
    [[3], [4, 3]],
    [
      [3, 1],
      [3, 5],
    ],
    [
      [1, 3, 1, 2],
      [2, 4, 3, 3, 2],
    ],
    [
      [1, 0],
      [3, 0],
    ],
    [[1], [0]],
  ];
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [from, to] of shapes) {
        const a = sample(from, dtype);
        expectSame(toTensor(a, dtype).expand(to), reference.expand(a, to), dtype);
      }
    });
  }

  test('-1 keeps a size; gradient', () => {
    expect(sp.zeros([3, 1]).expand([2, -1, 4]).shape).toEqual([2, 3, 4]);
    sp.gradcheck((t: sp.Tensor) => sp.expand(t, [2, 3, 4]), [variable([3, 1])]);
    sp.gradcheck((t: sp.Tensor) => sp.expand(t, [2, 2]), [variable([])]);
  });

  test('errors', () => {
    const refused = refuser('expand');
    const x = sp.zeros([3, 1]);
    refused(() => x.expand([2, 4]), 'ERR_SHAPE', /axes of size 1 of \[3, 1\], got \[2, 4\]/);
    refused(() => x.expand([3]), 'ERR_SHAPE', /got \[3\]/);
    refused(() => x.expand([-1, 3, 4]), 'ERR_SHAPE', /integers >= 0/);
  });
});
