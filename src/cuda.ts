// What is particular to CUDA: whether it is there, waiting for it, its memory, graphs, and the raw
// pointers and streams of other libraries.
import { refuseInGraph } from './capture.js';
import { type CudaStatus, cudaIndex, status } from './device.js';
import { trim, usedDevices } from './device-memory.js';
import { type DType, dtypeInfo, dtypes } from './dtype.js';
import { expectFunction, expectOneOf, expectOptions, fail, refusePromise, show } from './expect.js';
import { graph } from './graph.js';
import { translated } from './native.js';
import { type Device, deviceName } from './place.js';
import { type NativeMemory, runtime } from './runtime.js';
import { checkedSize, type Shape } from './shape.js';
import type { Tensor } from './tensor.js';
import { tensorOver } from './transfer.js';

/** Bytes in use on one device. */
export type CudaMemory = NativeMemory;

/** Options of `cuda.fromPointer`. */
export interface PointerOptions<D extends DType = DType, S extends Shape = Shape> {
  /** Of the memory, row-major and without gaps. */
  shape: S;
  /** Of its elements. */
  dtype: D;
  /** Where the memory is (default as for cuda.graph). */
  device?: Device | undefined;
  /** Kept alive as long as the tensor uses the memory. */
  owner?: unknown | undefined;
}

const readAfter = 'wait after the step';

function checkedPointer(op: string, pointer: unknown): bigint {
  if (typeof pointer === 'bigint' && pointer >= 0n && pointer < 2n ** 64n) return pointer;
  fail(op, 'ERR_INVALID_TYPE', `expected pointer to be a bigint of 64 bits, got ${show(pointer)}`);
}

/** Calls native code, whose errors become JavaScript's. */
function native<R>(work: () => R): R {
  try {
    return work();
  } catch (error) {
    throw translated(error);
  }
}

/** CUDA on this machine. */
export const cuda = {
  /** True when tensors can be made on 'cuda'. */
  isAvailable(): boolean {
    return status().available;
  },

  /** What was found, what is missing, and what to do about it. */
  status(): CudaStatus {
    return status();
  },

  /**
   * Waits for everything enqueued on a device (default: on all); errors that it met are thrown
   * here. Without CUDA there is nothing to wait for.
   */
  synchronize(device?: Device): void {
    if (device === undefined && !status().available) return;
    refuseInGraph('a wait', readAfter);
    const index = device === undefined ? undefined : cudaIndex('cuda.synchronize', device);
    native(() => runtime.deviceSynchronize(index));
  },

  /** The same without blocking the event loop. */
  async synchronizeAsync(device?: Device): Promise<void> {
    if (device === undefined && !status().available) return;
    refuseInGraph('a wait', readAfter);
    const wanted =
      device === undefined ? usedDevices : [cudaIndex('cuda.synchronizeAsync', device)];
    try {
      for (const index of wanted) await runtime.deviceSynchronizeAsync(index);
    } catch (error) {
      throw translated(error);
    }
  },

  /** Bytes in use on a device; `resetPeak` starts the peaks anew after reading them. */
  memory(options: { device?: Device; resetPeak?: boolean } | Device = {}): CudaMemory {
    const { device, resetPeak } =
      typeof options === 'string' ? { device: options, resetPeak: false } : options;
    if (typeof options !== 'string') expectOptions('cuda.memory', options, ['device', 'resetPeak']);
    const index = cudaIndex('cuda.memory', device);
    return native(() => runtime.deviceMemory(index, resetPeak === true));
  },

  /**
   * Gives back the memory that is kept for the next tensors of a device (default: of all that this
   * thread uses), once work that uses it is done: to other processes and libraries, or for tensors
   * of other sizes. What JavaScript has dropped is collected first. The next step asks the driver
   * again, which takes time: not for every step.
   *
   * @throws ERR_GRAPH inside a graph.
   */
  trim(device?: Device): void {
    if (device === undefined && !status().available) return;
    refuseInGraph('a trim', 'trim after the step');
    const wanted = device === undefined ? usedDevices : [cudaIndex('cuda.trim', device)];
    for (const index of wanted) native(() => trim(index));
  },

  /**
   * Bytes that a device keeps for the next tensors at most (default Infinity): what is freed beyond
   * goes back to the driver, and at the next wait for the device to everybody else, so that steps
   * which need more than this ask the system anew after each value that is read. The driver is told
   * the same bound for all that it has of this process, as it would keep what it is given back
   * otherwise. What several threads set is the device's: the last one counts.
   *
   * @throws ERR_INVALID_VALUE for `bytes` that are negative or NaN.
   */
  limitRecycled(bytes: number, device?: Device): void {
    const op = 'cuda.limitRecycled';
    if (typeof bytes !== 'number' || !(bytes >= 0)) {
      const what = 'expected bytes to be a number that is not negative';
      fail(op, 'ERR_INVALID_VALUE', `${what}, got ${show(bytes)}`);
    }
    refuseInGraph('a limit', 'set it outside');
    const index = cudaIndex(op, device);
    const most = Math.floor(Math.min(bytes, Number.MAX_SAFE_INTEGER));
    native(() => runtime.deviceLimitRecycled(index, most));
  },

  graph,

  /**
   * Runs `fn` (synchronous) with the work that this thread enqueues on a device going to the
   * caller's stream, a cudaStream_t of that device. The caller keeps the stream alive until that
   * work is done. Work of other threads stays on their streams; on the device all of it is in the
   * order in which it was enqueued.
   *
   * @throws ERR_INVALID_VALUE when `stream` is none of the device.
   */
  withStream<R>(stream: bigint, fn: () => R, options: { device?: Device } = {}): R {
    expectFunction('cuda.withStream', 'fn', fn);
    expectOptions('cuda.withStream', options, ['device']);
    const pointer = checkedPointer('cuda.withStream', stream);
    const index = cudaIndex('cuda.withStream', options.device);
    const outer = native(() => runtime.deviceStream(index));
    native(() => runtime.deviceSetStream(index, pointer));
    try {
      const result = fn();
      refusePromise('cuda.withStream', result);
      return result;
    } finally {
      try {
        native(() => runtime.deviceSetStream(index, outer));
      } catch {
        // The outer stream was destroyed meanwhile: what comes goes to the device's own.
        native(() => runtime.deviceSetStream(index, undefined));
      }
    }
  },

  /** The stream that this thread's work of a device is enqueued on now, a cudaStream_t. */
  stream(device?: Device): bigint {
    const index = cudaIndex('cuda.stream', device);
    return native(() => runtime.deviceStream(index));
  },

  /**
   * A tensor over memory of a device that somebody else allocated: contiguous, row-major, not
   * copied and not freed. `owner` is kept alive meanwhile. It is the caller's to see to it that
   * work of other streams on this memory is ordered with that of this library.
   *
   * @example const t = cuda.fromPointer(pointer, { shape: [4, 8], dtype: 'float32', owner: buffer })
   */
  fromPointer<D extends DType, const S extends Shape>(
    pointer: bigint,
    options: PointerOptions<D, S>,
  ): Tensor<D, S> {
    const op = 'cuda.fromPointer';
    expectOptions(op, options ?? null, ['shape', 'dtype', 'device', 'owner']);
    const { shape, dtype, device, owner } = options;
    expectOneOf(op, 'dtype', dtype, dtypes);
    const size = checkedSize(op, shape);
    const address = checkedPointer(op, pointer);
    const index = cudaIndex(op, device);
    const { bytes } = dtypeInfo[dtype];
    if (size > 0 && address === 0n) {
      fail(op, 'ERR_INVALID_VALUE', 'expected pointer to be an address, got 0n');
    }
    if (address % BigInt(bytes) !== 0n) {
      fail(
        op,
        'ERR_INVALID_VALUE',
        `expected pointer to be a multiple of ${bytes} for ${dtype}, got ${address}n`,
      );
    }
    const memory = native(() => runtime.deviceFromPointer(index, address, dtype, size, owner));
    return tensorOver(memory, shape, dtype, deviceName(index));
  },
};
