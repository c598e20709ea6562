// The addon's functions for devices, typed. A build without CUDA has only `deviceStatus`, an older
// one not even that; src/device.ts asks before anything else is called.
import { addon, type DeviceMemory, type Raw, type RawArray } from './native.js';

export interface NativeDevice {
  name: string;
  /** Why it cannot be used: no code for it. Empty where it can; an older addon does not say. */
  reason?: string;
  /** 10 major + minor: 90 for an H100. */
  arch: number;
  /** Streaming multiprocessors. */
  processors: number;
  /** Bytes. */
  memory: number;
}

export interface NativeStatus {
  /** Whether the addon holds CUDA code. */
  built: boolean;
  /** Whether devices are the kernel emulator's. */
  emulated: boolean;
  /** Versions as CUDA numbers them (13000 for 13.0), 0 where there is none. */
  driver: number;
  runtime: number;
  /** The CUDA error that detection ended with, 0 for none. */
  error: number;
  /** Why there are no devices; empty when some are listed. */
  reason: string;
  devices: readonly NativeDevice[];
}

export interface NativeMemory {
  live: number;
  peak: number;
  reserved: number;
  recycled: number;
  scratch: number;
  scratchPeak: number;
  free: number;
  total: number;
}

/** A captured graph. */
export interface NativeGraph {
  readonly [graph]: true;
}
declare const graph: unique symbol;

export interface Runtime {
  deviceStatus?(): NativeStatus;
  deviceAllocate(device: number, dtype: string, size: number): DeviceMemory;
  deviceFree(memory: DeviceMemory): void;
  /** Frees memory that JavaScript has dropped and garbage collection has found. */
  deviceSweep(): void;
  deviceUpload(to: DeviceMemory, from: RawArray, elementOffset: number): void;
  deviceReadSync(from: DeviceMemory, to: RawArray): void;
  deviceRead(from: DeviceMemory, to: RawArray): Promise<void>;
  deviceCopy(to: DeviceMemory, from: DeviceMemory): void;
  deviceSynchronize(device?: number): void;
  deviceSynchronizeAsync(device?: number): Promise<void>;
  deviceMemory(device: number, resetPeak: boolean): NativeMemory;
  deviceTrim(device: number): void;
  /** Bytes kept for the next tensors, at most. */
  deviceLimitRecycled(device: number, bytes: number): void;
  deviceFromPointer(
    device: number,
    pointer: bigint,
    dtype: string,
    size: number,
    keepAlive: unknown,
  ): DeviceMemory;
  devicePointer(memory: DeviceMemory): bigint;
  /** (memory or array, shape, versioned): the address of a managed tensor. Also without CUDA. */
  deviceToDLPack?(
    raw: Raw,
    shape: readonly number[],
    versioned: boolean,
    readOnly: boolean,
  ): bigint;
  /** `device` is -1 on the host, where `raw` is a copy. */
  deviceFromDLPack?(
    address: bigint,
    versioned: boolean,
  ): { raw: Raw; shape: number[]; dtype: string; device: number; readOnly: boolean };
  /** The architecture that plans count on (90 for an H100 with code for sm_90a). */
  deviceCode(device: number): number;
  /** The same as it should be, for a compute capability and a build (default: this one). */
  deviceCodeFor(capability: number, architectures?: string): number;
  deviceStream(device: number): bigint;
  deviceSetStream(device: number, stream: bigint | undefined): void;
  graphBegin(device: number): void;
  graphEnd(device: number): NativeGraph;
  graphLaunch(graph: NativeGraph): void;
  graphFree(graph: NativeGraph): void;
}

export const runtime = addon as unknown as Runtime;
