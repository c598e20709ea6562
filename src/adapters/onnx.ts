// Tensors to and from ONNX Runtime, of whatever package (onnxruntime-node, -web, -common): the class
// of its tensors is handed over, so nothing of it is loaded here.
import { fail, show } from '../expect.js';
import * as sp from '../index.js';
import { expectTensor } from '../tensor.js';

/** What is used of a tensor of ONNX Runtime. */
export interface OrtTensor {
  /** The name of the type of its elements. */
  readonly type: string;
  /** Sizes. */
  readonly dims: readonly number[];
  /** Its elements. */
  readonly data: unknown;
  /** Where the data are; those of a device are asked for by its `getData()` first. */
  readonly location?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: overloads by element type there
type Values = any;

/** What is used of ONNX Runtime: the class of its tensors. */
export interface OrtLibrary<T> {
  /** The class of tensors. */
  readonly Tensor: new (
    type: Values,
    data: Values,
    dims: readonly number[],
  ) => T;
}

const same: Readonly<Record<string, sp.DType>> = {
  float32: 'float32',
  float64: 'float64',
  float16: 'float16',
  int32: 'int32',
  int64: 'int64',
  uint8: 'uint8',
  bool: 'bool',
};
// Small integers, which int32 holds exactly.
const widened: Readonly<Record<string, sp.DType>> = {
  int8: 'int32',
  int16: 'int32',
  uint16: 'int32',
};

/**
 * A copy of a tensor of ONNX Runtime: float32, float64, float16, int32, int64, uint8 and bool keep
 * their dtype; int8, int16 and uint16 become int32.
 *
 * @throws TypeError ERR_DTYPE for other element types (ONNX Runtime has no bfloat16 in JavaScript),
 *   Error ERR_DEVICE for data on a device.
 * @example const logits = fromOrt(results.logits, { requiresGrad: true })
 */
export function fromOrt(
  t: OrtTensor,
  options: { requiresGrad?: boolean | undefined; device?: sp.Device | undefined } = {},
): sp.Tensor {
  const op = 'fromOrt';
  if (t === null || typeof t !== 'object' || !Array.isArray(t.dims) || typeof t.type !== 'string') {
    fail(op, 'ERR_INVALID_TYPE', `expected t to be a tensor of ONNX Runtime, got ${show(t)}`);
  }
  if (t.location !== undefined && t.location !== 'cpu' && t.location !== 'cpu-pinned') {
    const place = show(t.location);
    fail(op, 'ERR_DEVICE', `expected data on the CPU, got ${place}; await its getData() first`);
  }
  const dtype = same[t.type] ?? widened[t.type];
  if (!dtype) {
    const known = [...Object.keys(same), ...Object.keys(widened)].join(', ');
    fail(op, 'ERR_DTYPE', `expected elements of type ${known}, got ${t.type}`);
  }
  const shape = [...t.dims];
  if (dtype !== 'float16') return sp.tensor(t.data as Float32Array, { ...options, dtype, shape });
  // Bits, in a Uint16Array or, where there is one, a Float16Array.
  const { buffer, byteOffset, length } = t.data as Uint16Array<ArrayBuffer>;
  return sp.tensor(new Uint16Array(buffer, byteOffset, length), { ...options, dtype, shape });
}

/**
 * A tensor of ONNX Runtime with a copy of the values, of the same element type; bfloat16 becomes
 * float32. Waits for a device.
 *
 * @example const feeds = { input: toOrt(ort, x) }
 */
export function toOrt<T>(ort: OrtLibrary<T>, t: sp.Tensor): T {
  const op = 'toOrt';
  if (typeof ort?.Tensor !== 'function') {
    fail(op, 'ERR_INVALID_TYPE', `expected ort to be ONNX Runtime, got ${show(ort)}`);
  }
  expectTensor(op, 't', t);
  const { dtype, shape } = t;
  if (dtype === 'bfloat16') return new ort.Tensor('float32', t.dataSync(), shape);
  return new ort.Tensor(dtype, t.dataSync({ raw: true }), shape);
}
