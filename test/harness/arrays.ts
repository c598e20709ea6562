// Tensors of any dtype from reference arrays, and back.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import type { Arr } from '../reference/arrays.js';
import { Random } from './random.js';
import type { AnyTensor } from './tensors.js';

export const dtypes: readonly sp.DType[] = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int32',
  'int64',
  'uint8',
  'bool',
];

export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Small integers, which every dtype holds exactly (0 and 1 for bool). */
export function sample(shape: readonly number[], dtype: sp.DType, seed = 1): Arr {
  const random = new Random(seed + sizeOf(shape));
  const limit = dtype === 'bool' ? 2 : 100;
  return {
    shape: [...shape],
    values: Array.from({ length: sizeOf(shape) }, () => random.integer(limit)),
  };
}

export function toTensor(a: Arr, dtype: sp.DType, requiresGrad = false): AnyTensor {
  return sp.tensor(a.values, { dtype, shape: a.shape, requiresGrad }) as AnyTensor;
}

export function numbers(t: AnyTensor): number[] {
  return Array.from(t.dataSync() as ArrayLike<number | bigint>, Number);
}

/** The tensor holds exactly these numbers under this shape and dtype. */
export function expectSame(t: AnyTensor, expected: Arr, dtype: sp.DType): void {
  expect([t.dtype, t.shape]).toEqual([dtype, expected.shape]);
  expect(numbers(t)).toEqual(expected.values);
}

/** Normal float64 numbers that require a gradient. */
export function variable(shape: readonly number[], seed = 3): AnyTensor {
  const random = new Random(seed + sizeOf(shape));
  const values = random.normals(sizeOf(shape));
  return sp.tensor(values, { shape: [...shape], requiresGrad: true }) as AnyTensor;
}
