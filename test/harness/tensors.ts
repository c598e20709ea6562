// Tensors from float64 test data, and back. The stored bits are made here, not by the library's
// own casts, so a wrong cast cannot hide in both sides of a comparison.
import * as sp from '../../src/index.js';
import type { FloatDType } from './rounding.js';
import { halfBits } from './rounding.js';

export type AnyTensor = ReturnType<typeof sp.tensor>;
export type Numbers = ArrayLike<number>;

export function floats(
  values: Numbers,
  dtype: FloatDType,
  shape: readonly number[],
  requiresGrad = false,
): AnyTensor {
  return sp.tensor(stored(values, dtype), { dtype, shape: [...shape], requiresGrad });
}

function stored(values: Numbers, dtype: FloatDType): Float32Array | Float64Array | Uint16Array {
  if (dtype === 'float64') return new Float64Array(values);
  if (dtype === 'float32') return new Float32Array(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = halfBits(values[i], dtype);
  return out;
}

export function indices(
  values: Numbers,
  shape: readonly number[],
  dtype: 'int32' | 'int64' = 'int32',
): AnyTensor {
  const options = { dtype, shape: [...shape] };
  if (dtype === 'int32') return sp.tensor(Int32Array.from(values), options);
  return sp.tensor(BigInt64Array.from(Array.from(values, BigInt)), options);
}

/** The values of a float tensor. */
export function read(t: AnyTensor): Float64Array {
  return Float64Array.from(t.dataSync() as Float32Array);
}

/** The stored bits of a float tensor. */
export function bits(t: AnyTensor): ArrayBufferView {
  return t.dataSync({ raw: true }) as ArrayBufferView;
}

/** The gradient of a tensor that must have one, of its own shape and dtype. */
export function gradOf(t: AnyTensor): AnyTensor {
  const { grad } = t;
  if (!grad) throw new Error('expected a gradient, got none');
  if (grad.dtype !== t.dtype || grad.shape.join() !== t.shape.join()) {
    throw new Error(`gradient is ${grad.dtype} [${grad.shape}] of ${t.dtype} [${t.shape}]`);
  }
  return grad as AnyTensor;
}
