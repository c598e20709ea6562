// slice, pad, tril, triu.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { dtypes, expectSame, numbers, sample, toTensor, variable } from '../harness/arrays.js';
import { refuser } from '../harness/refusal.js';
import * as reference from '../reference/arrays.js';

describe('slice', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      const a = sample([5, 4, 7], dtype);
      const x = toTensor(a, dtype);
      expectSame(x.slice(0, 1, 4), reference.slice(a, 0, 1, 3), dtype);
      expectSame(x.slice(-1, 1, -1, 2), reference.slice(a, 2, 1, 3, 2), dtype);
      expectSame(x.slice(1, -3), reference.slice(a, 1, 1, 3), dtype);
      expectSame(x.slice(1, 3, 2), reference.slice(a, 1, 0, 0), dtype);
      expectSame(x.slice(0, 0, 100, 3), reference.slice(a, 0, 0, 2, 3), dtype);
      expectSame(x.slice(0, -100, undefined), a, dtype);
      expectSame(x.slice(1, 50), reference.slice(a, 1, 0, 0), dtype);
    });
  }

  test('gradient and errors', () => {
    sp.gradcheck((t: sp.Tensor) => sp.slice(t, 1, 1, 6, 2), [variable([2, 7, 3])]);
    sp.gradcheck((t: sp.Tensor) => [sp.slice(t, 0, 2), sp.slice(t, 0, 0, 3)], [variable([4])]);
    const refused = refuser('slice');
    const x = sp.zeros([3]);
    refused(() => x.slice(0, 0, 3, 0), 'ERR_INVALID_VALUE', /step to be an integer >= 1, got 0/);
    refused(() => x.slice(0, 0.5), 'ERR_INVALID_VALUE', /start to be an integer, got 0\.5/);
    refused(() => x.slice(1), 'ERR_OUT_OF_RANGE', /got 1/);
    refused(() => sp.tensor(1).slice(0), 'ERR_SHAPE', /at least 1 axis/);
  });
});

describe('pad', () => {
  const cases: [number[], number[], number[][]][] = [
    [[3], [1, 2], [[1, 2]]],
    [
      [2, 3],
      [0, 1],
      [
        [0, 0],
        [0, 1],
      ],
    ],
    [
      [2, 3],
      [2, 0, 1, 1],
      [
        [1, 1],
        [2, 0],
      ],
    ],
    [
      [4, 5],
      [-1, 2, 3, -2],
      [
        [3, -2],
        [-1, 2],
      ],
    ],
    [
      [2, 3],
      [-4, 6],
      [
        [0, 0],
        [-4, 6],
      ],
    ],
    [
      [2, 3],
      [6, -5],
      [
        [0, 0],
        [6, -5],
      ],
    ],
    [
      [0, 2],
      [1, 1, 1, 0],
      [
        [1, 0],
        [1, 1],
      ],
    ],
    [
      [2, 2],
      [],
      [
        [0, 0],
        [0, 0],
      ],
    ],
  ];
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const [shape, padding, amounts] of cases) {
        const a = sample(shape, dtype);
        const x = toTensor(a, dtype);
        expectSame(x.pad(padding), reference.pad(a, amounts, 0), dtype);
        expectSame(x.pad(padding, { value: 1 }), reference.pad(a, amounts, 1), dtype);
      }
    });
  }

  test('gradient, infinities, errors', () => {
    for (const [shape, padding] of cases) {
      if (shape.includes(0)) continue;
      sp.gradcheck((t: sp.Tensor) => sp.pad(t, padding, { value: 3 }), [variable(shape)]);
    }
    expect(numbers(sp.ones([1]).pad([1, 0], 'constant', -Infinity))).toEqual([-Infinity, 1]);
    const refused = refuser('pad');
    const x = sp.zeros([2, 3]);
    refused(() => x.pad([1]), 'ERR_SHAPE', /\[before, after\] for at most 2 axes, got \[1\]/);
    refused(() => x.pad([1, 1, 1, 1, 1, 1]), 'ERR_SHAPE', /at most 2 axes/);
    refused(() => x.pad([-2, -2]), 'ERR_SHAPE', /integers >= 0, got \[2, -1\]/);
    refused(() => x.pad([0.5, 0]), 'ERR_INVALID_VALUE', /padding\[0\] to be an integer/);
    const mode = 'reflect' as 'constant';
    refused(() => x.pad([1, 1], mode), 'ERR_INVALID_VALUE', /'constant', got 'reflect'/);
    const bytes = sp.zeros([2], { dtype: 'uint8' });
    refused(() => bytes.pad([1, 1], { value: 256 }), 'ERR_INVALID_VALUE', /<= 255, got 256/);
  });
});

describe('tril and triu', () => {
  for (const dtype of dtypes) {
    test(dtype, () => {
      for (const shape of [
        [3, 3],
        [2, 4, 3],
        [3, 5],
        [2, 0, 3],
        [1, 1],
      ]) {
        const a = sample(shape, dtype);
        const x = toTensor(a, dtype);
        for (const diagonal of [0, 1, -1, 10, -10]) {
          expectSame(x.tril(diagonal), reference.triangle(a, diagonal, true), dtype);
          expectSame(x.triu(diagonal), reference.triangle(a, diagonal, false), dtype);
        }
      }
    });
  }

  test('of many blocks, in packs and by elements', () => {
    for (const [rows, columns] of [
      [130, 160],
      [75, 37],
    ]) {
      for (const dtype of ['float32', 'bfloat16', 'uint8'] as const) {
        const a = sample([rows, columns], dtype);
        const x = toTensor(a, dtype);
        expectSame(x.tril(3), reference.triangle(a, 3, true), dtype);
        expectSame(x.triu(-2), reference.triangle(a, -2, false), dtype);
      }
    }
  });

  test('NaN outside the triangle is gone; gradient; errors', () => {
    expect(numbers(sp.full([2, 2], Number.NaN).tril(-1))).toEqual([0, 0, Number.NaN, 0]);
    sp.gradcheck((t: sp.Tensor) => sp.tril(t, 1), [variable([2, 3, 4])]);
    sp.gradcheck((t: sp.Tensor) => sp.triu(t, -1), [variable([4, 3])]);
    refuser('tril')(() => sp.zeros([3]).tril(), 'ERR_SHAPE', /at least 2 axes, got \[3\]/);
    refuser('triu')(() => sp.zeros([3, 3]).triu(0.5), 'ERR_INVALID_VALUE', /an integer, got 0\.5/);
  });
});
