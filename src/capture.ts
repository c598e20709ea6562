// What the rest needs to know of a graph that is being made (`cuda.graph`, src/graph.ts). A graph
// repeats launches with the same addresses and numbers: whatever JavaScript computes or reads
// between them would be frozen.
import { fail } from './expect.js';
import { keep } from './scope.js';
import type { Storage } from './storage.js';
import { type Tensor, viewOf } from './tensor.js';

/** A tensor that each step fills: the graph's own handle, and the one that the user has. */
export class Kept {
  readonly own: Tensor;
  constructor(readonly shown: Tensor) {
    this.own = keep(viewOf(shown, shown.shape));
  }

  /** The user's handle; one that was disposed since the last step holds its values again. */
  filled(): Tensor {
    if (this.shown.storage === null) {
      this.shown.storage = this.own.storage!;
      this.own.storage!.refs++;
    }
    return this.shown;
  }
}

export interface Capture {
  readonly device: number;
  /** False in the first step, which runs as it is and only refuses what cannot be recorded. */
  recording: boolean;
  /** Storages that recorded launches write in place. */
  readonly written: Set<Storage>;
  /** Leaves whose gradient from before the recorded step drops. */
  readonly cleared: Set<Tensor>;
  /** Gradients that recorded steps gave to leaves. */
  readonly gradients: Map<Tensor, Kept>;
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

/** Notes that a recorded step drops the gradient that a leaf has from before. */
export function clearGradient(leaf: Tensor): void {
  if (capture?.recording && !capture.gradients.has(leaf)) capture.cleared.add(leaf);
}

/** Notes that a recorded step leaves this gradient to a leaf: each replay gives it again. */
export function keepGradient(leaf: Tensor): void {
  if (!capture?.recording) return;
  capture.gradients.get(leaf)?.own.dispose();
  capture.gradients.set(leaf, new Kept(leaf.gradient!));
}

/** A graph would add to the gradient of its second step again and again. */
export function refuseOuterGradient(leaf: Tensor): void {
  if (!capture?.recording || !leaf.gradient) return;
  if (capture.gradients.get(leaf)?.shown === leaf.gradient) return;
  refuseInGraph('a gradient from before', 'begin with zeroGrad(), so that every step is alike');
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
