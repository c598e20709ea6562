// What the rest needs to know of a graph that is being made (`cuda.graph`, src/graph.ts). A graph
// repeats launches with the same addresses and numbers: whatever JavaScript computes or reads
// between them would be frozen.
import { fail } from './expect.js';
import type { Storage } from './storage.js';

export interface Capture {
  readonly device: number;
  /** False in the first step, which runs as it is and only refuses what cannot be recorded. */
  recording: boolean;
  /** Storages that recorded launches write in place. */
  readonly written: Set<Storage>;
  /** What JavaScript does before each replay. */
  readonly replays: (() => void)[];
}

/** The capture that is going on. */
export let capture: Capture | null = null;

/** Runs one step of a graph. */
export function capturing<R>(own: Capture, work: () => R): R {
  capture = own;
  try {
    return work();
  } finally {
    capture = null;
  }
}

/** For what a replay needs of JavaScript: runs `work` before each replay of the graph being made. */
export function onReplay(work: () => void): void {
  if (capture?.recording) capture.replays.push(work);
}

/** Refuses inside a graph what it could not repeat; `instead` says what to do. */
export function refuseInGraph(got: string, instead: string): void {
  if (!capture) return;
  fail('cuda.graph', 'ERR_GRAPH', `expected fn only to enqueue work, got ${got}; ${instead}`);
}
