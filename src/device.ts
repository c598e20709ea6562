// Which devices there are, why one is missing, the default one; threads of the CPU.
import { growthOf } from './device-memory.js';
import { errorOf, fail, show } from './expect.js';
import { buildCommand, isClone } from './loader.js';
import { cpuTarget, launchAt, native } from './native.js';
import { type Device, deviceName, indexOf } from './place.js';
import { type NativeStatus, runtime } from './runtime.js';

export type { Device } from './place.js';

/** One device that CUDA has found. */
export interface CudaDevice {
  /** Its name here: 'cuda:0', ... */
  device: `cuda:${number}`;
  /** The product's name. */
  name: string;
  /** Compute capability: '9.0' for an H100. */
  capability: string;
  /** Streaming multiprocessors. */
  processors: number;
  /** Bytes. */
  memory: number;
}

/** What was found, and what is missing. */
export interface CudaStatus {
  /** Whether tensors can be made on 'cuda'. */
  available: boolean;
  /** Why not, and what to do about it; empty when they can. */
  reason: string;
  /** Whether this build has CUDA code. */
  built: boolean;
  /** Whether the devices are emulated on the CPU, for tests of kernels. */
  emulated: boolean;
  /** The newest CUDA that the driver can run ('13.0'), and the one built against; null for none. */
  driver: string | null;
  /** The CUDA that the addon was built with; null for none. */
  runtime: string | null;
  /** Those that can be used. */
  devices: readonly CudaDevice[];
}

const withoutCuda: NativeStatus = {
  built: false,
  emulated: false,
  driver: 0,
  runtime: 0,
  error: 0,
  reason: 'this build of surprisal has no CUDA code',
  devices: [],
};

/** 13000 -> '13.0' */
function version(number: number): string | null {
  return number > 0 ? `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}` : null;
}

function remedy({ built, driver, runtime: needed, devices: listed }: NativeStatus): string {
  if (!built) return `build it on a machine with nvcc: ${buildCommand({ installed: '--cuda' })}`;
  if (listed.length > 0) {
    const command = buildCommand({ clone: '--release', installed: '--cuda --arch native' });
    return `${command} makes code for ${isClone ? '7.5 and newer' : 'this device'}`;
  }
  if (driver === 0) return 'install the NVIDIA driver (`nvidia-smi` must list the device)';
  if (driver < needed) return `install a driver for CUDA ${version(needed)} or newer`;
  return 'see what `nvidia-smi` lists, and the variable CUDA_VISIBLE_DEVICES';
}

let found: CudaStatus | null = null;
/** Why devices that are there cannot be used, by their number. */
const refused = new Map<number, string>();

function listed(from: NativeStatus): CudaDevice[] {
  const usable: CudaDevice[] = [];
  for (const [index, { name, arch, processors, memory, reason }] of from.devices.entries()) {
    if (reason) {
      refused.set(index, `${reason}; ${remedy(from)}`);
      continue;
    }
    const capability = `${Math.floor(arch / 10)}.${arch % 10}`;
    usable.push({ device: deviceName(index), name, capability, processors, memory });
  }
  return usable;
}

/** What CUDA finds on this machine; asked once, unless there was no device. */
export function status(): CudaStatus {
  if (found?.available) return found;
  const from = runtime.deviceStatus?.() ?? withoutCuda;
  const devices = listed(from);
  const available = devices.length > 0;
  const why = refused.get(0) ?? `${from.reason || 'CUDA finds no device'}; ${remedy(from)}`;
  found = {
    available,
    reason: available ? '' : why,
    built: from.built,
    emulated: from.emulated,
    driver: version(from.driver),
    runtime: version(from.runtime),
    devices,
  };
  return found;
}

/** Every device that tensors can be made on. */
export function devices(): Device[] {
  return ['cpu', ...status().devices.map(({ device }) => device)];
}

let standard: Device = 'cpu';

/** A device that can be used, under its full name ('cuda:0'), or an error with the reason. */
export function checkedDevice(op: string, device: unknown): Device {
  if (device === undefined) return standard;
  if (device === 'cpu') return device;
  if (typeof device !== 'string' || !/^cuda(:\d+)?$/.test(device)) {
    fail(
      op,
      'ERR_DEVICE',
      `expected device to be 'cpu', 'cuda' or 'cuda:<index>', got ${show(device)}`,
    );
  }
  const { available, reason, devices: all } = status();
  const index = indexOf(device as Device);
  if (all.some((d) => indexOf(d.device) === index)) {
    growthOf(index);
    return deviceName(index);
  }
  const others = available ? `there is ${all.map((d) => d.device).join(', ')}` : reason;
  const why = refused.get(index) ?? others;
  throw errorOf('ERR_NO_CUDA', `${op}: '${device}' cannot be used: ${why}`);
}

/** The number of a CUDA device that can be used; default that of the default device, or 0. */
export function cudaIndex(op: string, device: unknown): number {
  const named = checkedDevice(op, device ?? (standard === 'cpu' ? 'cuda' : standard));
  if (named === 'cpu') fail(op, 'ERR_DEVICE', `expected a CUDA device, got 'cpu'`);
  return indexOf(named);
}

/** The device of tensors made without one ('cpu' until this is called). */
export function setDefaultDevice(device: Device): void {
  standard = checkedDevice('setDefaultDevice', device ?? null);
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
