// The runtime's native functions, on the emulated device.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import type { DeviceMemory, RawArray } from '../../src/native.js';
import type { Runtime } from '../../src/runtime.js';

export const path = resolve('build/emulator/surprisal.node');
/** For `describe.skipIf`: the emulator's addon needs CMake. */
export const isMissing = !existsSync(path);

interface Operation {
  call(...fields: unknown[]): void;
  callAsync(...fields: unknown[]): Promise<void>;
}

export interface Emulated extends Required<Runtime> {
  deviceCalls(): number;
  /** What is enqueued and has not run. */
  devicePending(): number;
  /** By what the driver says of two probes: PTX, machine code, threads. */
  deviceCodeFrom(features: Int32Array, arch: Int32Array): number;
  /** As another library copies on a stream, and ends what it has taken over by DLPack. */
  deviceForeignCopy(stream: bigint, to: bigint, from: bigint, bytes: number): void;
  deviceForeignEnd(address: bigint, versioned: boolean): void;
  deviceRepeatable(): number;
  deviceStream(device: number): bigint;
  deviceMakeStream(device?: number): bigint;
  deviceInject(what: {
    capacity?: number;
    /** Bytes of page-locked memory that there are from now on. */
    hostRoom?: number;
    failNext?: string;
    seed?: number;
    endStream?: bigint;
  }): void;
  deviceToDLPack(
    value: DeviceMemory | RawArray,
    shape: number[],
    versioned: boolean,
    readOnly?: boolean,
  ): bigint;
  deviceFromDLPack(
    address: bigint,
    versioned: boolean,
  ): { raw: never; shape: number[]; dtype: string; device: number; readOnly: boolean };
  collectGarbage(): void;
  readonly cast: Operation;
  readonly oneHot: Operation;
  readonly indexSelectAdd: Operation;
}

export const emulated: Emulated = isMissing
  ? (null as unknown as Emulated)
  : createRequire(import.meta.url)(path);

/** Device memory that holds a copy of the array. */
export function uploaded(array: RawArray, dtype = 'float32'): DeviceMemory {
  const memory = emulated.deviceAllocate(0, dtype, array.length);
  emulated.deviceUpload(memory, array, 0);
  return memory;
}

export function downloaded(memory: DeviceMemory, size: number): Float32Array {
  const out = new Float32Array(size);
  emulated.deviceReadSync(memory, out);
  return out;
}

/** 0, 1, 2, ... */
export function counting(size: number, start = 0): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => start + i);
}

/** Equality of bits; vitest's own takes a minute for a few million elements. */
export function isSame(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

/** For what ends a process's device: runs a program, with the addon as `a`, and gives its output. */
export function child(program: string, env: Record<string, string> = {}): string {
  const whole = `const a = require(${JSON.stringify(path)});\n${program}`;
  const result = spawnSync(process.execPath, ['-e', whole], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (result.status !== 0 || result.stderr !== '') {
    throw new Error(`child ended with ${result.status ?? result.signal}: ${result.stderr}`);
  }
  return result.stdout.trim();
}
