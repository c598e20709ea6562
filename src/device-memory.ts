// Memory of devices. What is disposed, or ended by a scope, is freed at once, in the order of the
// stream. Memory that JavaScript only drops is freed by a sweep of native code's weak table, because
// finalizers do not run in a loop that never yields: a sweep comes after garbage collection when
// much has been allocated since the last one, and when memory has run out.
import { capture } from './capture.js';
import type { DType } from './dtype.js';
import {
  collectGarbage,
  type DeviceMemory,
  isOutOfMemory,
  setReclaim,
  translated,
} from './native.js';
import { runtime } from './runtime.js';

/** Bytes allocated and not freed since the last sweep, and how many bring the next one. */
interface Growth {
  bytes: number;
  mark: number;
}

/** Of the device's memory, the share that may be allocated between two sweeps, at least. */
const leastShare = 1 / 16;
const growths: Growth[] = [];

/** Devices that this thread has used. */
export const usedDevices: number[] = [];

export function growthOf(device: number): Growth {
  let growth = growths[device];
  if (!growth) {
    growth = { bytes: 0, mark: runtime.deviceMemory(device, false).total * leastShare };
    growths[device] = growth;
    usedDevices.push(device);
  }
  return growth;
}

/** Frees what JavaScript has dropped. */
export function sweep(device: number): void {
  collectGarbage();
  runtime.deviceSweep();
  const { live, total } = runtime.deviceMemory(device, false);
  growths[device] = { bytes: 0, mark: Math.max(live, total * leastShare) };
}

/** Memory for `size` elements of `bytes` each, with whatever is in it. */
export function allocateOn(
  device: number,
  dtype: DType,
  size: number,
  width: number,
): DeviceMemory {
  const bytes = size * width;
  const growth = growthOf(device);
  if (growth.bytes + bytes > growth.mark && !capture?.recording) sweep(device);
  let memory: DeviceMemory;
  try {
    memory = runtime.deviceAllocate(device, dtype, size);
  } catch (error) {
    if (!isOutOfMemory(error)) throw translated(error);
    memory = allocateAgain(device, dtype, size);
  }
  growths[device].bytes += bytes;
  return memory;
}

/** Frees what can be freed, but for a capture, whose memory is recorded. */
function reclaim(device: number): boolean {
  if (capture?.recording) return false;
  trim(device);
  return true;
}
setReclaim(reclaim);

/** Frees what JavaScript has dropped, and gives the driver what is kept for the next tensors. */
export function trim(device: number): void {
  sweep(device);
  runtime.deviceTrim(device);
}

function allocateAgain(device: number, dtype: DType, size: number): DeviceMemory {
  reclaim(device);
  try {
    return runtime.deviceAllocate(device, dtype, size);
  } catch (error) {
    throw translated(error);
  }
}

/**
 * Frees memory of `bytes` bytes. It is used again after the work that has been enqueued, and after
 * the last graph that was captured with it.
 */
export function freeOn(device: number, memory: DeviceMemory, bytes: number): void {
  const growth = growths[device];
  if (growth) growth.bytes = Math.max(0, growth.bytes - bytes);
  runtime.deviceFree(memory);
}
