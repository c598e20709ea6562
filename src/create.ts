// Tensors from values: numbers, nested arrays, typed arrays. Values are checked and converted on the
// host; for a device they are uploaded then.
import { checkedDevice } from './device.js';
import { type DType, dtypes, isFloat } from './dtype.js';
import { expectBoolean, expectOneOf, expectOptions, fail, show, showShape } from './expect.js';
import { launchNow, native, type RawArray } from './native.js';
import type { Device } from './place.js';
import { checkedSize, maxRank, type Shape } from './shape.js';
import type { Tensor } from './tensor.js';
import { written } from './transfer.js';

/** Options of the functions that make tensors. */
export interface CreateOptions<D extends DType = DType> {
  /** Element type (default float32). */
  dtype?: D | undefined;
  /** Where it lives (default 'cpu', or what setDefaultDevice said). */
  device?: Device | undefined;
  /** Record operations on it (default false; float dtypes only). */
  requiresGrad?: boolean | undefined;
}

/** Options of `tensor`. */
export interface TensorOptions<D extends DType = DType, S extends Shape = Shape>
  extends CreateOptions<D> {
  /** Sizes; default: those of the nested arrays, or the length of a typed array. */
  shape?: S | undefined;
}

type Value = number | bigint | boolean;
/** Numbers or booleans, or arrays of them of one depth. */
export type NestedValues = Value | readonly NestedValues[];
type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

// The rank is at most 8; a type without a bound would not end.
type Leaf<A, Depth extends 0[] = []> = A extends readonly (infer E)[]
  ? Depth['length'] extends 8
    ? never
    : Leaf<E, [...Depth, 0]>
  : A;

/** What a tensor of these values has as dtype when none is asked for. */
export type DTypeOf<A> = A extends Float64Array
  ? 'float64'
  : A extends Int32Array
    ? 'int32'
    : A extends BigInt64Array
      ? 'int64'
      : A extends Uint8Array
        ? 'uint8'
        : Leaf<A> extends bigint
          ? 'int64'
          : Leaf<A> extends boolean
            ? 'bool'
            : 'float32';

const optionNames = ['dtype', 'device', 'requiresGrad', 'shape'];

/** Checks the options that every creation function has and gives the dtype. */
export function checkedOptions(op: string, options: CreateOptions, standard: DType): DType {
  expectOptions(op, options, op === 'tensor' ? optionNames : optionNames.slice(0, 3));
  const dtype = options.dtype ?? standard;
  expectOneOf(op, 'dtype', dtype, dtypes);
  checkedDevice(op, options.device);
  if (options.requiresGrad !== undefined) expectBoolean(op, 'requiresGrad', options.requiresGrad);
  if (options.requiresGrad && !isFloat(dtype)) {
    fail(op, 'ERR_DTYPE', `expected a float dtype with requiresGrad, got ${dtype}`);
  }
  return dtype;
}

/** Sets `requiresGrad` as asked. */
export function finished<T extends Tensor>(t: T, options: CreateOptions): T {
  t.wantsGrad = options.requiresGrad === true;
  return t;
}

/**
 * A tensor that holds a copy of `data`: a number, nested arrays, or a typed array (Float32Array ->
 * float32, Float64Array -> float64, Int32Array -> int32, BigInt64Array -> int64, Uint8Array ->
 * uint8; Uint16Array with dtype 'bfloat16' or 'float16' holds raw bits). Another `dtype` converts
 * the values. Plain numbers default to float32, bigints to int64, booleans to bool.
 *
 * @throws RangeError ERR_SHAPE when `shape` and the number of values differ or arrays are ragged;
 *   ERR_INVALID_VALUE when a value does not fit an integer dtype.
 * @example tensor([[1, 2], [3, 4]], { requiresGrad: true })
 */
export function tensor<
  A extends NestedValues | TypedArray,
  D extends DType = DTypeOf<A>,
  const S extends Shape = Shape,
>(data: A, options: TensorOptions<D, S> = {}): Tensor<NoInfer<D>, S> {
  const made = ArrayBuffer.isView(data)
    ? fromTyped(data as TypedArray, options)
    : fromNested(data, options);
  return finished(made, options) as unknown as Tensor<D, S>;
}

function withShape(size: number, given: Shape | undefined, natural: Shape): Shape {
  if (given === undefined) return natural;
  const wanted = checkedSize('tensor', given);
  if (wanted !== size) {
    fail(
      'tensor',
      'ERR_SHAPE',
      `expected data to hold ${wanted} values (shape ${showShape(given)}), got ${size}`,
    );
  }
  return [...given];
}

const ownDTypes = new Map<string, DType>([
  ['Float32Array', 'float32'],
  ['Float64Array', 'float64'],
  ['Float16Array', 'float16'],
  ['Int32Array', 'int32'],
  ['BigInt64Array', 'int64'],
  ['Uint8Array', 'uint8'],
  ['Buffer', 'uint8'],
  ['Uint8ClampedArray', 'uint8'],
]);

function refuseDetached(data: TypedArray): void {
  if (data.length > 0 || data.byteLength > 0) return;
  try {
    new Uint8Array(data.buffer as ArrayBuffer);
  } catch {
    fail(
      'tensor',
      'ERR_INVALID_VALUE',
      `expected data to have its memory, got a ${data.constructor.name} whose buffer was transferred away`,
    );
  }
}

function fromTyped(data: TypedArray, options: TensorOptions): Tensor {
  if (data instanceof DataView)
    fail('tensor', 'ERR_INVALID_TYPE', 'expected data to be a typed array, got a DataView');
  refuseDetached(data);
  const kind = data.constructor.name;
  const own = ownDTypes.get(kind);
  if (!own && options.dtype === undefined) {
    const hint = kind === 'Uint16Array' ? " ('bfloat16' or 'float16' for raw bits)" : '';
    fail('tensor', 'ERR_DTYPE', `expected dtype with a ${kind}${hint}, got none`);
  }
  const dtype = checkedOptions('tensor', options, own ?? 'float32');
  const shape = withShape(data.length, options.shape, [data.length]);
  const bits =
    kind === 'Float16Array'
      ? own === dtype
      : kind === 'Uint16Array' && (dtype === 'bfloat16' || dtype === 'float16');
  return written(shape, dtype, checkedDevice('tensor', options.device), (raw) => {
    if (bits) {
      new Uint16Array(raw.buffer as ArrayBuffer, raw.byteOffset, raw.length).set(
        new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length),
      );
    } else if (own === dtype) {
      // biome-ignore lint/suspicious/noExplicitAny: both sides hold numbers, or both hold bigints
      raw.set(data as any);
    } else {
      fill('tensor', raw, dtype, data as ArrayLike<Value>);
    }
  });
}

function measure(data: NestedValues): Shape {
  const shape: number[] = [];
  // A depth beyond the limit is refused later; an array inside itself would not end.
  for (let level: NestedValues = data; Array.isArray(level); level = level[0]) {
    shape.push(level.length);
    if (level.length === 0 || shape.length > maxRank) break;
  }
  return shape;
}

function flatten(data: NestedValues, shape: Shape, axis: number, out: Value[]): void {
  if (axis === shape.length) {
    if (typeof data !== 'number' && typeof data !== 'bigint' && typeof data !== 'boolean') {
      fail(
        'tensor',
        Array.isArray(data) ? 'ERR_SHAPE' : 'ERR_INVALID_TYPE',
        `expected ${Array.isArray(data) ? 'arrays of equal depth' : 'numbers, nested arrays of numbers or a typed array'}, got ${show(data)}`,
      );
    }
    out.push(data);
    return;
  }
  if (!Array.isArray(data) || data.length !== shape[axis]) {
    fail(
      'tensor',
      'ERR_SHAPE',
      `expected arrays of equal length ${shape[axis]} along axis ${axis}, got ${Array.isArray(data) ? data.length : show(data)}`,
    );
  }
  for (const item of data) flatten(item, shape, axis + 1, out);
}

function fromNested(data: NestedValues, options: TensorOptions): Tensor {
  const natural = measure(data);
  checkedSize('tensor', natural);
  const values: Value[] = [];
  flatten(data, natural, 0, values);
  const dtype = checkedOptions('tensor', options, naturalDType(values));
  const shape = withShape(values.length, options.shape, natural);
  return written(shape, dtype, checkedDevice('tensor', options.device), (raw) =>
    fill('tensor', raw, dtype, values),
  );
}

/** As DTypeOf says: mixed values are numbers. */
function naturalDType(values: readonly Value[]): DType {
  const kind = typeof values[0];
  if (kind === 'undefined' || values.some((v) => typeof v !== kind)) return 'float32';
  return kind === 'bigint' ? 'int64' : kind === 'boolean' ? 'bool' : 'float32';
}

const integerBounds = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint8: [0, 255],
} as const;

/** Converts values into the elements of an array of the host. */
export function fill(op: string, raw: RawArray, dtype: DType, values: ArrayLike<Value>): void {
  if (dtype === 'bool') {
    for (let i = 0; i < values.length; i++) (raw as Int8Array)[i] = Number(values[i]) !== 0 ? 1 : 0;
  } else if (dtype === 'int64') {
    for (let i = 0; i < values.length; i++) (raw as BigInt64Array)[i] = asBigInt(op, values[i]);
  } else if (dtype === 'int32' || dtype === 'uint8') {
    const [low, high] = integerBounds[dtype];
    for (let i = 0; i < values.length; i++) {
      const v = Number(values[i]);
      if (!Number.isInteger(v) || v < low || v > high) {
        fail(
          op,
          'ERR_INVALID_VALUE',
          `expected ${dtype} values to be integers in [${low}, ${high}], got ${v}`,
        );
      }
      (raw as Int32Array)[i] = v;
    }
  } else if (dtype === 'float32' || dtype === 'float64') {
    for (let i = 0; i < values.length; i++) (raw as Float32Array)[i] = Number(values[i]);
  } else {
    // Not Float32Array.from, which lists the values as a JavaScript array first: gigabytes of heap.
    const wide = new Float32Array(values.length);
    for (let i = 0; i < values.length; i++) wide[i] = Number(values[i]);
    launchNow(native.cast, { a: wide, out: raw });
  }
}

function asBigInt(op: string, value: Value): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    fail(
      op,
      'ERR_INVALID_VALUE',
      `expected int64 values to be integers (bigint beyond 2^53), got ${value}`,
    );
  }
  const wide = BigInt(value);
  if (wide !== BigInt.asIntN(64, wide)) {
    fail(op, 'ERR_INVALID_VALUE', `expected int64 values to fit 64 bits, got ${wide}`);
  }
  return wide;
}
