// DLPack (dmlc.github.io/dlpack): tensors handed to other libraries of this process and taken from
// them without a copy on devices. A tensor travels as the address of a managed tensor, which is what
// a binding of the other library to JavaScript takes or gives.
import { refuseInGraph } from './capture.js';
import { checkedDevice, cudaIndex } from './device.js';
import type { DType } from './dtype.js';
import { expectBoolean, expectOptions, fail, show } from './expect.js';
import { buildCommand } from './loader.js';
import { flushRecorded, type RawArray, translated } from './native.js';
import { deviceName } from './place.js';
import { runtime } from './runtime.js';
import type { Shape } from './shape.js';
import { expectTensor, type Tensor } from './tensor.js';
import { tensorOver, written } from './transfer.js';

/** Options of `toDLPack` and `fromDLPack`. */
export interface DLPackOptions {
  /** The address is that of a DLManagedTensorVersioned (DLPack 1), not of the older DLManagedTensor. */
  versioned?: boolean | undefined;
}

function wantsVersion(op: string, options: DLPackOptions): boolean {
  expectOptions(op, options, ['versioned']);
  if (options.versioned !== undefined) expectBoolean(op, 'versioned', options.versioned);
  return options.versioned === true;
}

function expectNative(op: string): void {
  if (runtime.deviceToDLPack) return;
  fail(op, 'ERR_NO_CUDA', `expected an addon with DLPack; rebuild it: ${buildCommand()}`);
}

/**
 * The address of a managed tensor over the memory of `t`, for a library that takes it over: it must
 * call its deleter once, until then the memory lives. The stream of `t` is the device's own
 * (`cuda.stream()`): the other library waits for it, or `cuda.synchronize()` comes before. At its
 * end the other way round: after the deleter this library writes new values there, behind what is
 * then on the stream of the thread that calls it: that of `cuda.withStream` inside of one, else the
 * device's own, as for threads of others. So what another stream still does with the memory must be
 * done, or that stream waited for by this one, before the deleter is called.
 *
 * @throws ERR_INVALID_VALUE when the memory of `t` was lent read-only and `versioned` is not set:
 *   the older struct cannot say so.
 */
export function toDLPack(t: Tensor, options: DLPackOptions = {}): bigint {
  expectTensor('toDLPack', 't', t);
  const versioned = wantsVersion('toDLPack', options);
  expectNative('toDLPack');
  flushRecorded();
  const { raw } = t;
  const { readOnly } = t.storage!;
  if (readOnly && !versioned) {
    const what = 'expected t to be writable memory, as a DLManagedTensor is';
    fail('toDLPack', 'ERR_INVALID_VALUE', `${what}; got one lent read-only: set versioned`);
  }
  try {
    return runtime.deviceToDLPack!(raw, t.shape, versioned, readOnly);
  } catch (error) {
    throw translated(error);
  }
}

/**
 * A tensor over the memory that a managed tensor describes, which this takes over: its deleter is
 * called when the memory is no longer used. Contiguous and row-major; memory of the host is copied.
 * What is lent read-only is: `copy_` and optimisers refuse to write there.
 * Work that the other library has enqueued on the memory must be ordered before, by a stream that
 * both use (`cuda.withStream`) or by waiting. After an error the managed tensor is still the caller's.
 */
export function fromDLPack(address: bigint, options: DLPackOptions = {}): Tensor {
  if (typeof address !== 'bigint' || address <= 0n || address >= 2n ** 64n) {
    fail(
      'fromDLPack',
      'ERR_INVALID_TYPE',
      `expected address to be that of a managed tensor (a bigint), got ${show(address)}`,
    );
  }
  const versioned = wantsVersion('fromDLPack', options);
  expectNative('fromDLPack');
  refuseInGraph('memory of another library', 'take it over outside');
  try {
    const { raw, shape, dtype, device, readOnly } = runtime.deviceFromDLPack!(address, versioned);
    if (device >= 0) {
      cudaIndex('fromDLPack', deviceName(device));
      const t = tensorOver(raw as never, shape, dtype as DType, deviceName(device));
      t.storage!.readOnly = readOnly;
      return t;
    }
    const place = checkedDevice('fromDLPack', 'cpu');
    return written<DType, Shape>(shape, dtype as DType, place, (own) => {
      (own as Uint8Array).set(raw as RawArray as Uint8Array);
    });
  } catch (error) {
    throw translated(error);
  }
}
