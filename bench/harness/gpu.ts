// Timing on a CUDA device, and the device's name and clocks. A sample is of replays of a graph that
// holds several calls, so that neither JavaScript nor launches are in it; inputs rotate within the
// graph, to be out of the cache when they return.
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import * as sp from '../../src/index.js';
import type { Contender } from './timing.js';

export interface Gpu {
  name: string;
  capability: string;
  processors: number;
  memoryBytes: number;
  emulated: boolean;
  /** Of the driver, from nvidia-smi; null where it is not there. */
  driver: string | null;
  /** CUDA versions: the newest that the driver can run, and the one built with. */
  cuda: string | null;
  runtime: string | null;
}

function smi(fields: string): string[] | null {
  try {
    const args = [`--query-gpu=${fields}`, '--format=csv,noheader,nounits', '--id=0'];
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    return execFileSync('nvidia-smi', args, { encoding: 'utf8', stdio }).trim().split(', ');
  } catch {
    return null;
  }
}

export function gpu(): Gpu {
  const { devices, emulated, driver, runtime } = sp.cuda.status();
  const { name, capability, processors, memory } = devices[0];
  return {
    name,
    capability,
    processors,
    memoryBytes: memory,
    emulated,
    driver: smi('driver_version')?.[0] ?? null,
    cuda: driver,
    runtime,
  };
}

/** MHz of the multiprocessors and of memory now, watts and °C; nothing without nvidia-smi. */
export function clocks(): Record<string, number> {
  const found = smi('clocks.sm,clocks.mem,power.draw,temperature.gpu');
  if (!found) return {};
  const [smMHz, memoryMHz, watts, celsius] = found.map(Number);
  return { smMHz, memoryMHz, watts, celsius };
}

/** Long enough that one wait for the device, some 10 µs, is nothing. */
const leastMs = 20;

function timed(work: () => void, times: number): number {
  sp.cuda.synchronize();
  const start = performance.now();
  for (let i = 0; i < times; i++) work();
  sp.cuda.synchronize();
  return performance.now() - start;
}

/** A contender whose runs give the milliseconds of one call. */
export function deviceContender(
  name: string,
  sets: number,
  call: (set: number) => sp.Tensor[],
): Contender & { dispose(): void } {
  const calls = Math.max(sets, sets * Math.ceil(4 / sets));
  const graph = sp.cuda.graph(() => {
    // What a call makes is freed within the step, and its memory used by the next call.
    for (let i = 0; i < calls; i++) for (const t of call(i % sets)) t.dispose();
    return [];
  });
  graph();
  graph();
  const once = Math.max(timed(graph, 2) / 2, 1e-3);
  const times = Math.max(1, Math.ceil(leastMs / once));
  return {
    name,
    run: async () => timed(graph, times) / times / calls,
    dispose: () => graph.dispose(),
  };
}

/** Microseconds that a call holds the JavaScript thread, without waiting for the device. */
export function launchMicroseconds(call: () => sp.Tensor[], times: number): number {
  const one = () => {
    for (const t of call()) t.dispose();
  };
  timed(one, times);
  sp.cuda.synchronize();
  const start = performance.now();
  for (let i = 0; i < times; i++) one();
  const elapsed = performance.now() - start;
  sp.cuda.synchronize();
  return (elapsed * 1000) / times;
}
