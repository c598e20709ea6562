// cuda.graph: a step of fixed shapes, recorded once and launched as one thing from then on. The
// first call runs the function as it is (which makes optimiser states, and memory that operations
// keep), the second one records it, and each call is exactly one step. Results go to the tensors
// that the first call returned. Native code keeps the memory of a graph as long as the graph lives.
import { type Capture, capture, capturing, Kept } from './capture.js';
import { cudaIndex } from './device.js';
import {
  errorOf,
  expectDevice,
  expectFunction,
  expectOptions,
  fail,
  refusePromise,
  show,
  showShape,
} from './expect.js';
import { isAlike } from './gradient.js';
import { translated } from './native.js';
import { type Device, deviceName } from './place.js';
import { type NativeGraph, runtime } from './runtime.js';
import { keep, scope } from './scope.js';
import { eachTensor } from './tape.js';
import { expectTensor, Tensor, viewOf } from './tensor.js';
import { copyValues } from './transfer.js';

/** Runs the step once more and gives the tensors that hold its results, the same ones each time. */
export interface GraphStep<R> {
  (): R;
  /** Gives back the graph and the memory that only it uses. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Options of `cuda.graph`. */
export interface GraphOptions {
  /** Where the step runs (default: the default device if that is a CUDA one, else 'cuda'). */
  device?: Device | undefined;
}

class Graph<R> {
  private native: NativeGraph | null = null;
  private results: Kept[] | null = null;
  private form: R | undefined;
  private hasFailed = false;
  private isDisposed = false;
  private readonly recorded: Capture;

  constructor(
    private readonly fn: () => R,
    private readonly device: number,
  ) {
    this.recorded = {
      device,
      recording: false,
      written: new Set(),
      cleared: new Set(),
      gradients: new Map(),
      replays: [],
    };
  }

  step(): R {
    if (this.isDisposed) throw errorOf('ERR_DISPOSED', 'the graph has been disposed');
    if (capture) fail('cuda.graph', 'ERR_GRAPH', 'expected no graph inside a graph');
    if (this.hasFailed)
      fail('cuda.graph', 'ERR_GRAPH', 'the graph could not be recorded; make it anew');
    if (!this.results) return this.rehearse();
    if (!this.native) this.record(this.results);
    this.replay();
    return this.form!;
  }

  /** Runs `fn`, and `take` on its results; everything else that it makes is disposed. */
  private run(take: (result: R) => void): void {
    scope(() => {
      const result = capturing(this.recorded, this.fn);
      refusePromise('cuda.graph', result);
      take(result);
    });
  }

  private rehearse(): R {
    const results: Kept[] = [];
    this.run((result) => {
      this.form = mapped(result, (t) => {
        const place = deviceName(this.device);
        expectDevice('cuda.graph', 'every result of fn', t, place, 'like the graph');
        const kept = new Kept(keep(viewOf(t, t.shape)));
        results.push(kept);
        return kept.shown;
      });
    });
    this.results = results;
    return this.form!;
  }

  private record(results: readonly Kept[]): void {
    this.recorded.recording = true;
    runtime.graphBegin(this.device);
    try {
      this.run((result) => {
        const made: Tensor[] = [];
        eachTensor(result, (t) => void made.push(t));
        if (made.length !== results.length || made.some((t, i) => !isAlike(t, results[i].own))) {
          fail('cuda.graph', 'ERR_SHAPE', 'expected fn to return the same shapes in every step');
        }
        for (const [i, t] of made.entries()) {
          const { own } = results[i];
          if (t.storage === own.storage) continue;
          this.recorded.written.add(own.storage!);
          copyValues(t, own);
        }
      });
      this.takeGradients();
    } catch (error) {
      this.hasFailed = true;
      endQuietly(this.device);
      throw error;
    }
    try {
      this.native = runtime.graphEnd(this.device);
    } catch (error) {
      this.hasFailed = true;
      throw translated(error);
    }
  }

  /** Takes the recorded gradients from their leaves, and forgets those that the step has dropped. */
  private takeGradients(): void {
    const { gradients } = this.recorded;
    for (const [leaf, kept] of gradients) {
      if (leaf.gradient === kept.shown) {
        leaf.gradient = null;
        continue;
      }
      kept.own.dispose();
      gradients.delete(leaf);
    }
  }

  /** A replay writes its gradients anew, where the function would add to what is there. */
  private refuseGradients(): void {
    const { cleared, gradients } = this.recorded;
    for (const leaf of gradients.keys()) {
      if (!leaf.gradient || cleared.has(leaf)) continue;
      const of = `the leaf of shape ${showShape(leaf.shape)}`;
      fail(
        'cuda.graph',
        'ERR_GRAPH',
        `expected ${of} to have no gradient before the step, as when it was recorded; zeroGrad() first`,
      );
    }
  }

  /** Launches the graph; what its JavaScript would have done to tensors from outside comes first. */
  private replay(): void {
    this.refuseGradients();
    const { written, cleared, gradients, replays } = this.recorded;
    for (const work of replays) work();
    for (const storage of written) storage.version++;
    for (const leaf of cleared) leaf.zeroGrad();
    for (const [leaf, kept] of gradients) {
      leaf.gradient = kept.filled();
      kept.own.storage!.version++;
    }
    for (const kept of this.results!) kept.filled();
    try {
      runtime.graphLaunch(this.native!);
    } catch (error) {
      throw translated(error);
    }
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    if (this.native) runtime.graphFree(this.native);
    this.native = null;
    const { written, cleared, gradients, replays } = this.recorded;
    for (const { own } of [...(this.results ?? []), ...gradients.values()]) own.dispose();
    written.clear();
    cleared.clear();
    gradients.clear();
    replays.length = 0;
  }
}

/** Ends a capture whose error is already on its way. */
function endQuietly(device: number): void {
  try {
    runtime.graphFree(runtime.graphEnd(device));
  } catch {
    // The first error says what happened.
  }
}

/** The same arrays and objects with each tensor replaced; other values stay as they are. */
function mapped<T>(value: T, change: (t: Tensor) => Tensor): T {
  if (value instanceof Tensor) return change(value) as T;
  if (Array.isArray(value)) return value.map((v) => mapped(v, change)) as T;
  if (value !== null && typeof value === 'object') {
    if (Object.getPrototypeOf(value) !== Object.prototype) {
      fail('cuda.graph', 'ERR_INVALID_TYPE', `expected fn to return tensors, got ${show(value)}`);
    }
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, mapped(v, change)])) as T;
  }
  if (value !== undefined) expectTensor('cuda.graph', "fn's result", value);
  return value;
}

/**
 * Makes a step of `fn`, which enqueues work of fixed shapes: forward, backward, an optimiser. Its
 * second call records the launches, and every further one repeats them without JavaScript. New
 * inputs are written with `copy_` into tensors from outside; results are the tensors, arrays or
 * objects of them that `fn` returns, without history, and always the same ones. Nothing else that
 * `fn` makes can be used afterwards, but gradients.
 *
 * @throws ERR_GRAPH when `fn` reads values, uploads, or draws random numbers: a graph would repeat
 *   the first ones. And when a leaf has a gradient to which `fn` would add: call `zeroGrad` in `fn`,
 *   or before each step.
 * @example
 * const step = cuda.graph(() => {
 *   optimizer.zeroGrad()
 *   const loss = crossEntropy(model(x), y)
 *   loss.backward()
 *   optimizer.step()
 *   return loss
 * })
 * for (const batch of batches) {
 *   x.copy_(batch.x)
 *   y.copy_(batch.y)
 *   step()
 * }
 */
export function graph<R>(fn: () => R, options: GraphOptions = {}): GraphStep<R> {
  expectFunction('cuda.graph', 'fn', fn);
  expectOptions('cuda.graph', options, ['device']);
  const own = new Graph(fn, cudaIndex('cuda.graph', options.device));
  const dispose = () => own.dispose();
  return Object.assign(() => own.step(), { dispose, [Symbol.dispose]: dispose });
}
