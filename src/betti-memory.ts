// What barcodes and Betti matchings take of the memory, estimated before anything is allocated.
import type { BettiOptions } from './betti-options.js';
import { getThreads } from './device.js';
import { type DType, dtypeInfo } from './dtype.js';
import { fail, showShape } from './expect.js';
import { expectFreeMemory } from './free-memory.js';
import { type Shape, sizeOf } from './shape.js';

/** Positions of a padded image are 32-bit numbers with room for four cells each, in two states. */
const mostPositions = 2 ** 28;

/**
 * Bytes of scratch memory a position, measured on noise and checkerboards, rounded up
 * (bench/notes/betti.md): what an item holds, what each task at work on it takes besides, and how many
 * tasks at once.
 */
const ofMatching = {
  plane: { held: 52, task: 20, tasks: 3 },
  volume: { held: 54, task: 29, tasks: 5 },
};
const ofBarcode = {
  plane: { held: 30, task: 20, tasks: 1 },
  volume: { held: 26, task: 24, tasks: 1 },
};

/** Of larger volumes lists have grown by doubling, and columns are longer: measured up to 1.25 times. */
const large = { positions: 2 ** 18, factor: 1.3 };

/** Bytes a voxel of the bars that an item leaves. */
const keptBytes = 10;

/** What native code does with each image of a call (native/ops/betti_matching/items.h). */
export interface BettiWork {
  /** Whether two images are matched; else a barcode is taken of each. */
  matches: boolean;
  /** Matchings or barcodes for each image of the batch: of it and its mask, of it and its target. */
  items: number;
  /** Whether bars are kept until all are known: losses of barcodes. */
  keeps?: boolean;
  /** How images are padded; axes of length 1 count where they are. */
  padding?: BettiOptions['padding'];
}

/** Axes of an image as native code lays it out, and its positions: a line has rows above and below. */
function gridOf(spatial: Shape, { padding = 'none' }: BettiWork) {
  const long = padding === 'none' ? spatial.filter((size) => size > 1) : spatial;
  const beside = [9, 3, 1, 1][long.length];
  return { axes: long.length, positions: long.reduce((n, size) => n * (size + 4), beside) };
}

/** Of all images that are worked on at once: one a thread, or the tasks of fewer side by side. */
export function scratchBytes(shape: Shape, axes: number, work: BettiWork): number {
  const spatial = shape.slice(shape.length - axes);
  const items = sizeOf(shape.slice(0, shape.length - axes)) * work.items;
  const grid = gridOf(spatial, work);
  const isVolume = grid.axes === 3;
  const bytes = (work.matches ? ofMatching : ofBarcode)[isVolume ? 'volume' : 'plane'];
  const threads = getThreads();
  const held = Math.min(items, threads);
  const tasks = items >= threads ? held : Math.min(threads, items * bytes.tasks);
  const kept = work.keeps ? items * keptBytes : 0;
  const factor = isVolume && grid.positions > large.positions ? large.factor : 1;
  return grid.positions * (factor * (held * bytes.held + tasks * bytes.task) + kept);
}

/**
 * Bytes a voxel of images as they are compared, `values` of them, and of lists, as native
 * code writes them and as they are cut; cycles take most.
 */
export const listBytes = ({ cycles }: BettiOptions, dtype: DType, values: number) =>
  values * dtypeInfo[dtype].bytes + 12 + (cycles ? 130 : 0);

/** Refuses images that would not fit the memory of the machine before anything is allocated. */
export function checkBettiMemory(
  op: string,
  shape: Shape,
  axes: number,
  work: BettiWork,
  outputBytes: number,
): void {
  const spatial = shape.slice(shape.length - axes);
  const { positions } = gridOf(spatial, work);
  if (positions > mostPositions) {
    const got = `${positions} of ${showShape(spatial)}`;
    fail(op, 'ERR_SHAPE', `expected at most ${mostPositions} positions an image, got ${got}`);
  }
  expectFreeMemory(op, scratchBytes(shape, axes, work) + outputBytes);
}
