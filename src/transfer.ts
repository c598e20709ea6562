// Values between the host and devices, and between devices. Reading on the CPU is copying; on a
// device it waits for the work before it, and errors that this work met are thrown there.
import { refuseInGraph } from './capture.js';
import { type DType, dtypeInfo } from './dtype.js';
import { fail } from './expect.js';
import {
  type DeviceMemory,
  flushRecorded,
  launch,
  launchNow,
  native,
  type Raw,
  type RawArray,
  translated,
} from './native.js';
import { type Device, onDevice } from './place.js';
import { runtime } from './runtime.js';
import { type Shape, sizeOf } from './shape.js';
import { Storage } from './storage.js';
import { empty, Tensor } from './tensor.js';

type Values = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array;

/** Whether the elements are an array of this process, not memory of a device. */
export function isOnHost(raw: Raw): raw is RawArray {
  return ArrayBuffer.isView(raw);
}

/** The array behind a CPU tensor. */
export function hostArray(t: Tensor): RawArray {
  const { raw } = t;
  if (!isOnHost(raw)) throw new Error(`internal: the tensor is on ${t.device}, not on the CPU`);
  return raw;
}

const writeOutside = 'make the tensor outside and write into it with copy_ before each step';
const readOutside = 'return the tensor and read it after the step';

function upload(to: DeviceMemory, from: RawArray): void {
  refuseInGraph('an upload of values', writeOutside);
  if (from.length === 0) return;
  try {
    runtime.deviceUpload(to, from, 0);
  } catch (error) {
    throw translated(error);
  }
}

/** Where the memory of a device tensor is. */
export function addressOf(t: Tensor): bigint {
  const { raw } = t;
  if (!isOnHost(raw)) return runtime.devicePointer(raw);
  fail('pointer', 'ERR_DEVICE', `expected a tensor on a CUDA device, got one on ${t.device}`);
}

/** A tensor over memory of a device. */
export function tensorOver<D extends DType, S extends Shape>(
  memory: DeviceMemory,
  shape: S,
  dtype: D,
  device: Device,
): Tensor<D, S> {
  const size = sizeOf(shape);
  const storage = new Storage(memory, device, size * dtypeInfo[dtype].bytes, null);
  return new Tensor(storage, [...shape] as unknown as S, dtype, size);
}

/** A tensor whose elements `fill` writes into an array of the host. */
export function written<D extends DType, S extends Shape>(
  shape: S,
  dtype: D,
  device: Device,
  fill: (raw: RawArray) => void,
): Tensor<D, S> {
  if (device === 'cpu') {
    const t = empty(shape, dtype, false, device);
    fill(hostArray(t));
    return t;
  }
  const values = new dtypeInfo[dtype].carrier(sizeOf(shape));
  fill(values);
  const t = empty(shape, dtype, false, device);
  upload(t.raw as DeviceMemory, values);
  return t;
}

/** Copies the elements of `from` into `to`, of the same dtype and size, wherever they are. */
export function copyValues(from: Tensor, to: Tensor): void {
  const [a, out] = [from.raw, to.raw];
  if (from.device === to.device) {
    launch(native.cast, { a, out });
    return;
  }
  flushRecorded();
  if (isOnHost(a)) upload(out as DeviceMemory, a);
  else if (isOnHost(out)) readInto(a, out);
  else runtime.deviceCopy(out, a);
}

function readInto(from: DeviceMemory, to: RawArray): void {
  refuseInGraph('a read of values', readOutside);
  if (to.length === 0) return;
  try {
    runtime.deviceReadSync(from, to);
  } catch (error) {
    throw translated(error);
  }
}

/** What `data()` gives for the array that carries a dtype. */
function asValues(raw: RawArray, bits: boolean): Values {
  if (raw instanceof Int16Array || raw instanceof Uint16Array) {
    if (bits) return new Uint16Array(raw.buffer as ArrayBuffer);
    const wide = new Float32Array(raw.length);
    launchNow(native.cast, { a: raw, out: wide });
    return wide;
  }
  return raw instanceof Int8Array ? new Uint8Array(raw.buffer as ArrayBuffer) : raw;
}

/** 16-bit floats become float32 on the device, where that costs nothing. */
function readable(t: Tensor, bits: boolean): Tensor {
  if (bits || (t.dtype !== 'float16' && t.dtype !== 'bfloat16')) return t;
  const wide = onDevice(t.device, () => empty(t.shape, 'float32'));
  launch(native.cast, { a: t.raw, out: wide.raw });
  return wide;
}

/** The elements, as an array that the caller owns. */
export function readData(t: Tensor, bits = false): Values {
  const { raw } = t;
  flushRecorded();
  if (isOnHost(raw)) {
    const is16 = raw instanceof Int16Array || raw instanceof Uint16Array;
    return asValues(is16 && !bits ? raw : raw.slice(), bits);
  }
  const source = readable(t, bits);
  const array = new dtypeInfo[source.dtype].carrier(t.size);
  try {
    readInto(source.raw as DeviceMemory, array);
  } finally {
    if (source !== t) source.dispose();
  }
  return asValues(array, bits);
}

/** The same without waiting: the values are those at the time of the call. */
export async function readDataAsync(t: Tensor, bits = false): Promise<Values> {
  if (isOnHost(t.raw) || t.size === 0) return readData(t, bits);
  flushRecorded();
  refuseInGraph('a read of values', readOutside);
  const source = readable(t, bits);
  const array = new dtypeInfo[source.dtype].carrier(t.size);
  const storage = source.storage!;
  // Not a pin: writing to the tensor meanwhile is allowed, and comes after the copy.
  storage.refs++;
  if (source !== t) source.dispose();
  try {
    await runtime.deviceRead(storage.raw as DeviceMemory, array);
  } catch (error) {
    throw translated(error);
  } finally {
    storage.drop();
  }
  return asValues(array, bits);
}
