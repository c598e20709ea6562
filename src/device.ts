// Devices: which there are, why one is missing, the default one, threads.
import { errorOf, fail, show } from './expect.js';
import { cpuTarget, launchAt, native } from './native.js';

export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

export interface CudaStatus {
  available: boolean;
  /** Why CUDA cannot be used; empty when it can. */
  reason: string;
  devices: readonly string[];
}

const withoutCuda: CudaStatus = {
  available: false,
  reason: 'this build of surprisal has no CUDA code',
  devices: [],
};

/** CUDA on this machine. */
export const cuda = {
  /** True when tensors can be made on 'cuda'. */
  isAvailable(): boolean {
    return withoutCuda.available;
  },
  /** What was found, and what is missing. */
  status(): CudaStatus {
    return withoutCuda;
  },
  /** Waits for everything enqueued; device errors throw here. */
  synchronize(): void {},
};

/** Every device that tensors can be made on. */
export function devices(): Device[] {
  return ['cpu'];
}

/** A device that can be used, or an error with the reason. */
export function checkedDevice(op: string, device: unknown): Device {
  if (device === undefined) return 'cpu';
  if (device === 'cpu') return device;
  if (typeof device === 'string' && /^cuda(:\d+)?$/.test(device)) {
    throw errorOf('ERR_NO_CUDA', `${op}: '${device}' cannot be used: ${cuda.status().reason}`);
  }
  fail(
    op,
    'ERR_DEVICE',
    `expected device to be 'cpu', 'cuda' or 'cuda:<index>', got ${show(device)}`,
  );
}

/** The device of tensors made without one ('cpu' until this is called). */
export function setDefaultDevice(device: Device): void {
  checkedDevice('setDefaultDevice', device ?? null);
}

/** Threads that CPU kernels use, the calling one included; results do not depend on it. */
export function setThreads(threads: number): void {
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    fail(
      'setThreads',
      'ERR_INVALID_VALUE',
      `expected threads to be an integer in [1, 256], got ${show(threads)}`,
    );
  }
  launchAt(native.systemSetThreads, [threads]);
}

/** Threads in use now. */
export function getThreads(): number {
  const out = new Float64Array(5);
  launchAt(native.systemQuery, [out, false]);
  return out[0];
}

/** The instruction set that CPU kernels run on; SURPRISAL_CPU forces one. */
export function instructionSet(): string {
  return cpuTarget;
}
