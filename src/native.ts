// Types the functions of the addon. Every native function takes its fields by name, returns
// nothing and writes into arrays that the caller allocated. `launch` is how operations call one:
// while an asynchronous form is being prepared, launches are recorded instead of run.

import { buildCommand, load, missingError } from './loader.js';

export type RawArray =
  | Float32Array
  | Float64Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Int8Array;

declare const opaque: unique symbol;
/** Memory of a device, as native code hands it out: only native code can look inside. */
export interface DeviceMemory {
  readonly [opaque]: true;
}

/** The elements of a tensor, wherever they are. */
export type Raw = RawArray | DeviceMemory;

export type Field = Raw | readonly Raw[] | readonly number[] | number | boolean | null | undefined;

interface Entry {
  call(...fields: Field[]): void;
  callAsync(...fields: Field[]): Promise<void>;
  fields: readonly string[];
}

/** A native function: `run` by field names, `call` by position in the order of `fields`. */
export interface Kernel {
  readonly name: string;
  readonly fields: readonly string[];
  /** Where each field stands in `fields`. */
  readonly places: ReadonlyMap<string, number>;
  readonly call: (...fields: Field[]) => void;
  readonly callAsync: (...fields: Field[]) => Promise<void>;
}

interface Addon {
  [name: string]: Entry | string | (() => void) | (() => number);
}

function loadedAddon(): Addon {
  const { addon, attempts } = load();
  if (!addon) throw missingError(attempts);
  return addon as Addon;
}

/** @internal The loaded addon. */
export const addon = loadedAddon();

function kernel(name: string): Kernel {
  const entry = addon[name] as Entry | undefined;
  if (!entry?.fields) {
    throw Object.assign(
      new Error(
        `surprisal: the native addon has no function '${name}'; it is older than the TypeScript: run ${buildCommand()}`,
      ),
      { code: 'ERR_NATIVE_MISSING' },
    );
  }
  const { fields, call, callAsync } = entry;
  const places = new Map(fields.map((field, place) => [field, place]));
  return { name, fields, places, call, callAsync };
}

const kernels = new Map<string, Kernel>();

/** The native functions by name, looked up on first use: `native.accumulate`. */
export const native: Readonly<Record<string, Kernel>> = new Proxy(
  {},
  {
    get(_, name: string) {
      const known = kernels.get(name);
      if (known) return known;
      const found = kernel(name);
      kernels.set(name, found);
      return found;
    },
  },
);

/** A recorded call, its fields in the kernel's order. */
export interface Launch {
  kernel: Kernel;
  fields: Field[];
}

let recorded: Launch[] | null = null;

/** Whether launches are being recorded: then memory they use must not be handed back yet. */
export function isRecording(): boolean {
  return recorded !== null;
}

/** Thrown when memory runs out; the process goes on. Sizes in bytes, -1 where not known. */
export class OutOfMemoryError extends Error {
  /** Always 'ERR_OUT_OF_MEMORY'. */
  readonly code = 'ERR_OUT_OF_MEMORY';
  constructor(
    message: string,
    /** Bytes that were asked for. */
    readonly requested = -1,
    /** Bytes that were free. */
    readonly free = -1,
    /** Bytes that there are. */
    readonly total = -1,
  ) {
    super(message);
    this.name = 'OutOfMemoryError';
  }
}

/** Whether memory ran out, as native code says it. */
export function isOutOfMemory(error: unknown): boolean {
  return (error as { code?: string }).code === 'ERR_OUT_OF_MEMORY';
}

/** An error of native code as JavaScript's: running out of memory has a class of its own. */
export function translated(error: unknown): unknown {
  if (!isOutOfMemory(error) || error instanceof OutOfMemoryError) return error;
  const { message, requested, free, total } = error as OutOfMemoryError;
  return new OutOfMemoryError(message, requested, free, total);
}

type Reclaim = (device: number) => boolean;
let reclaim: Reclaim = () => false;

/** How memory of a device is won back: true where there may be more now. */
export function setReclaim(how: Reclaim): void {
  reclaim = how;
}

/** The device of this thread's last operation if that has not changed anything; else -1. */
function repeatable(): number {
  return (addon.deviceRepeatable as (() => number) | undefined)?.() ?? -1;
}

/**
 * Whether an operation that found no scratch memory on its device can be called again: it had not
 * begun, and what JavaScript had dropped there has been freed.
 */
function canRepeat(error: unknown, device: number): boolean {
  if (!isOutOfMemory(error) || (error as OutOfMemoryError).requested === undefined) return false;
  return device >= 0 && reclaim(device);
}

export type Fields = Readonly<Record<string, Field>>;

/**
 * Fields in the kernel's order; those that it does not have are left out. Of objects that have the
 * same one, the first is heard. Objects are not spread into one literal: V8 takes 1 to 2 us for each
 * name that follows a spread, Object.assign 30 ns.
 */
export function inOrder({ fields, places }: Kernel, ...parts: readonly Fields[]): Field[] {
  const values: Field[] = new Array(fields.length).fill(undefined);
  for (let i = parts.length - 1; i >= 0; i--) {
    const part = parts[i];
    for (const name in part) {
      const place = places.get(name);
      if (place !== undefined) values[place] = part[name];
    }
  }
  return values;
}

/** Calls a kernel with fields by name, or records the call when an asynchronous form asks for it. */
export function launch(kernel: Kernel, ...parts: readonly Fields[]): void {
  launchAt(kernel, inOrder(kernel, ...parts));
}

/** As `launch`, with the fields already in the kernel's order: for small operations. */
export function launchAt(kernel: Kernel, values: Field[]): void {
  if (recorded) {
    recorded.push({ kernel, fields: values });
    return;
  }
  try {
    callTwice(kernel, values);
  } catch (error) {
    throw translated(error);
  }
}

function callTwice(kernel: Kernel, values: Field[]): void {
  try {
    kernel.call(...values);
  } catch (error) {
    if (!canRepeat(error, repeatable())) throw error;
    kernel.call(...values);
  }
}

/** Calls a kernel at once, recorded or not: for values of the host that nothing else writes. */
export function launchNow(kernel: Kernel, ...parts: readonly Fields[]): void {
  launchAtNow(kernel, inOrder(kernel, ...parts));
}

/** The same with the fields in order. */
export function launchAtNow(kernel: Kernel, values: Field[]): void {
  const outer = recorded;
  recorded = null;
  try {
    launchAt(kernel, values);
  } finally {
    recorded = outer;
  }
}

/** Runs `prepare` and returns its result with the launches it would have made. */
export function record<T>(prepare: () => T): { result: T; launches: Launch[] } {
  const outer = recorded;
  const launches: Launch[] = [];
  recorded = launches;
  try {
    return { result: prepare(), launches };
  } finally {
    recorded = outer;
  }
}

/** Runs what has been recorded so far, because somebody is about to read a value. */
export function flushRecorded(): void {
  if (!recorded || recorded.length === 0) return;
  const launches = recorded.splice(0);
  const outer = recorded;
  recorded = null;
  try {
    for (const { kernel, fields } of launches) launchAt(kernel, fields);
  } finally {
    recorded = outer;
  }
}

/** Runs recorded launches in order on a background thread. */
export async function submit(launches: readonly Launch[]): Promise<void> {
  for (const { kernel, fields } of launches) {
    // On a device it has been enqueued, or has failed, when the promise is there.
    const promise = kernel.callAsync(...fields);
    const device = repeatable();
    try {
      await promise;
    } catch (error) {
      if (!canRepeat(error, device)) throw translated(error);
      launchAt(kernel, fields);
    }
  }
}

/** Makes V8 collect garbage now, on this thread. */
export const collectGarbage = addon.collectGarbage as () => void;
/** The instruction set of the CPU kernels: 'base', 'avx2', 'avx512' or 'neon'. */
export const cpuTarget = addon.cpuTarget as string;
/** Every instruction set this machine can run. */
export const cpuTargets: readonly string[] = (addon.cpuTargets as string).split(' ');
