// The search for the pairs of images, at once or on a background thread. Native code does not know
// how many it will find: it counts them all and writes what fits; the rare image with more runs
// again with room for them.
import { whilePinned } from './autograd.js';
import { onHostAsync } from './betti-images.js';
import { type BettiOptions, bettiFields } from './betti-options.js';
import {
  flushRecorded,
  inOrder,
  type Launch,
  launchAtNow,
  native,
  OutOfMemoryError,
  record,
  submit,
} from './native.js';
import { keep } from './scope.js';
import { sizeOf } from './shape.js';
import { type Tensor, viewOf } from './tensor.js';
import { hostArray } from './transfer.js';

/** The lists of all images, still in one array. */
export interface Found {
  counts: Int32Array;
  /** Of a barcode all births, from the middle on all deaths, as `values`. */
  pairs: Int32Array;
  values?: Float32Array | Float64Array;
  metrics?: Float64Array;
  capacity: number;
  cycles?: Int32Array;
  cycleEnds?: Int32Array;
  cycleSizes?: Float64Array;
  cycleCapacity: number;
}

export interface Problem {
  op: string;
  prediction: Tensor;
  target?: Tensor;
  axes: number;
  options: BettiOptions;
}

/** Runs native code until every list fits; `call` runs one call. */
function* searches({ op, prediction, target, axes, options }: Problem): Generator<Launch, Found> {
  const images = sizeOf(prediction.shape.slice(0, prediction.rank - axes));
  const voxels = images === 0 ? 0 : prediction.size / images;
  let capacity = voxels + 64 + (voxels % 2);
  let cycleCapacity = options.cycles ? 16 * voxels + 64 : 0;
  const shared = bettiFields(op, options, axes, prediction, target);
  for (;;) {
    const found = allocated(
      op,
      (): Found => ({
        counts: new Int32Array(images * axes * 3),
        pairs: new Int32Array(images * capacity),
        values: target ? undefined : arrayLike(prediction, images * capacity),
        metrics: target && new Float64Array(images * 2),
        capacity,
        ...(options.cycles && {
          cycles: new Int32Array(images * cycleCapacity),
          cycleEnds: new Int32Array((images * capacity) / 2),
          cycleSizes: new Float64Array(images),
        }),
        cycleCapacity,
      }),
    );
    const kernel = native.bettiMatchingPairs;
    yield { kernel, fields: inOrder(kernel, { ...found }, shared) };
    const most = largest(found.counts, axes);
    const mostCells = found.cycleSizes?.reduce((a, b) => Math.max(a, b), 0) ?? 0;
    if (most <= capacity && mostCells <= cycleCapacity) return found;
    capacity = Math.max(capacity, most);
    cycleCapacity = Math.max(cycleCapacity, mostCells);
  }
}

/** What `make` allocates; the error of a process that gets no more memory is the library's. */
export function allocated<R>(op: string, make: () => R): R {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new OutOfMemoryError(`${op}: out of memory: ${error.message}`);
  }
}

/** The same for work in pieces. */
export function* allocating<R>(op: string, work: Pieces<R>): Pieces<R> {
  for (;;) {
    const step = allocated(op, () => work.next());
    if (step.done) return step.value;
    yield;
  }
}

function arrayLike(t: Tensor, length: number): Float32Array | Float64Array {
  return hostArray(t) instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}

/** The most integers that the lists of one image hold. */
function largest(counts: Int32Array, axes: number): number {
  let most = 0;
  for (let i = 0; i < counts.length; i += 3 * axes) {
    let total = 0;
    for (let k = i; k < i + 3 * axes; k += 3)
      total += 4 * counts[k] + 2 * (counts[k + 1] + counts[k + 2]);
    most = Math.max(most, total);
  }
  return most;
}

export function search(problem: Problem): Found {
  flushRecorded();
  const runs = searches(problem);
  for (;;) {
    const step = runs.next();
    if (step.done) return step.value;
    launchAtNow(step.value.kernel, step.value.fields);
  }
}

async function searchAsync(problem: Problem): Promise<Found> {
  const runs = searches(problem);
  for (;;) {
    const step = runs.next();
    if (step.done) return step.value;
    await submit([step.value]);
  }
}

/** Work that yields between pieces of it. */
export type Pieces<R> = Generator<void, R>;

/** Does it all at once. */
export function atOnce<R>(work: Pieces<R>): R {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** For so many milliseconds the event loop waits. */
const sliceLength = 4;

/** Lets the event loop turn now and then, where `signal` may end it. */
export async function inSlices<R>(work: Pieces<R>, signal: AbortSignal | undefined): Promise<R> {
  for (let since = performance.now(); ; ) {
    const step = work.next();
    if (step.done) return step.value;
    if (performance.now() - since < sliceLength) continue;
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    since = performance.now();
  }
}

/** Another name for the tensor, which no `dispose` or `scope` of the caller ends. */
const ownName = (t: Tensor) => keep(viewOf(t, t.shape));

/**
 * The same on a background thread, and `end` of what is found between turns of the event loop. Tensors
 * of the CPU are held from the call on, those of a device copied.
 */
export function searchHeld<R>(
  given: readonly Tensor[],
  problemOf: (host: readonly Tensor[]) => Problem,
  end: (problem: Problem, found: Found) => Pieces<R>,
): Promise<R> {
  const run = async (host: readonly Tensor[]) => {
    const { result, launches } = record(() => problemOf(host));
    const prediction = ownName(result.prediction);
    const target = result.target && ownName(result.target);
    const problem = { ...result, prediction, target };
    try {
      return await whilePinned([host, prediction, target], async () => {
        await submit(launches);
        const found = await searchAsync(problem);
        return inSlices(allocating(problem.op, end(problem, found)), problem.options.signal);
      });
    } finally {
      prediction.dispose();
      target?.dispose();
    }
  };
  if (given[0].device === 'cpu') return run(given);
  return Promise.all(given.map((t) => onHostAsync(t))).then(run);
}
