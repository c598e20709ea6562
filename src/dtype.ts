// Element types: names, sizes, and the typed array that carries each one inside the library. The
// carriers are one to one with the dtypes (raw bits of float16 in an Int16Array, of bfloat16 in a
// Uint16Array, bool in an Int8Array), so a native view knows its dtype from its array.
import type { RawArray } from './native.js';

/** Those that have gradients. */
export type FloatDType = 'float32' | 'float64' | 'float16' | 'bfloat16';
/** Those of indices and labels. */
export type IndexDType = 'int32' | 'int64';
/** The types of elements. 16-bit floats compute in float32. */
export type DType = FloatDType | IndexDType | 'uint8' | 'bool';

/** What `data()` gives for a dtype. */
export type DataOf<D extends DType> = D extends 'float64'
  ? Float64Array
  : D extends 'int32'
    ? Int32Array
    : D extends 'int64'
      ? BigInt64Array
      : D extends 'uint8' | 'bool'
        ? Uint8Array
        : D extends 'float32' | 'float16' | 'bfloat16'
          ? Float32Array
          : never;

/**
 * What `item()` gives: bigint for int64, boolean for bool, number for the rest; `any`
 * where the compiler does not know the dtype.
 */
export type ItemOf<D extends DType> = DType extends D
  ? // biome-ignore lint/suspicious/noExplicitAny: number in practice, and a tensor stays assignable
    any
  : D extends 'int64'
    ? bigint
    : D extends 'bool'
      ? boolean
      : number;

export const dtypes = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int32',
  'int64',
  'uint8',
  'bool',
] as const satisfies readonly DType[];

interface Info {
  readonly bytes: number;
  readonly isFloat: boolean;
  /** Makes a zeroed carrier, or one over part of a buffer. */
  readonly carrier: {
    new (length: number): RawArray;
    new (buffer: ArrayBuffer, byteOffset: number, length: number): RawArray;
  };
}

export const dtypeInfo: Readonly<Record<DType, Info>> = {
  float32: { bytes: 4, isFloat: true, carrier: Float32Array },
  float64: { bytes: 8, isFloat: true, carrier: Float64Array },
  float16: { bytes: 2, isFloat: true, carrier: Int16Array },
  bfloat16: { bytes: 2, isFloat: true, carrier: Uint16Array },
  int32: { bytes: 4, isFloat: false, carrier: Int32Array },
  int64: { bytes: 8, isFloat: false, carrier: BigInt64Array },
  uint8: { bytes: 1, isFloat: false, carrier: Uint8Array },
  bool: { bytes: 1, isFloat: false, carrier: Int8Array },
};

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtypeInfo[dtype].isFloat;
}

/** float64 for float64, float32 for every other float: what losses and statistics are stored in. */
export function accumulatorOf(dtype: DType): 'float32' | 'float64' {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** `unknown` where a tensor of dtype D may be of floats: it is, or D is not known. */
export type MaybeFloat<D extends DType, Name extends string = 'prediction'> = DType extends D
  ? unknown
  : D extends FloatDType
    ? unknown
    : { readonly __error: `${Name} must be of a float dtype, not ${D}` };

/** `unknown` where tensors of dtypes D and E may be of one: they are, or one is not known. */
export type MaybeSame<D extends DType, E extends DType> = [DType] extends [E]
  ? unknown
  : [D & E] extends [never]
    ? { readonly __error: `mixed dtypes: ${D} and ${E}; cast one with .to()` }
    : unknown;

/** What losses of inputs of a dtype are in. */
export type LossDType<D extends DType> = D extends 'float64' ? 'float64' : 'float32';

export const floats: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];
