// The tensor: contiguous, row-major, of one dtype, on one device. Operations are attached by
// src/methods.ts, gradients by src/autograd.ts; values come and go through src/transfer.ts.

import { clearGradient, keepGradient } from './capture.js';
import { type DataOf, type DType, type ItemOf, isFloat } from './dtype.js';
import {
  errorOf,
  expectBoolean,
  expectDevice,
  expectFunction,
  expectOptions,
  expectSameDType,
  expectShape,
  fail,
  show,
  showShape,
} from './expect.js';
import type { Raw } from './native.js';
import { ambient, type Device } from './place.js';
import { innermost, keep } from './scope.js';
import { type Shape, sizeOf } from './shape.js';
import { allocate, type Storage } from './storage.js';
import { inspectTensor, nestedArray } from './text.js';
import { addressOf, copyValues, readData, readDataAsync } from './transfer.js';

/** The place of a tensor in a graph: what made it, and which of the outputs it is. */
export interface GradNode {
  readonly name: string;
  released: boolean;
  addHook(output: number, hook: Hook): () => void;
}

export type Hook = (grad: Tensor) => Tensor | undefined | void;
export type PostHook = (tensor: Tensor) => void;

/** Stops a hook. */
export interface HookHandle {
  /** Takes the hook off; it is not called again. */
  remove(): void;
}

export interface LeafHooks {
  grad: Hook[];
  post: PostHook[];
}

const brand: unique symbol = Symbol.for('surprisal.tensor');
const inspect: unique symbol = Symbol.for('nodejs.util.inspect.custom');

/**
 * An n-dimensional array of one element type. Sizes that are known as literals are part of the type.
 *
 * Memory is freed by garbage collection; `dispose()`, `using` and `scope()` free it at once and let
 * it be reused. Using a disposed tensor is an error.
 */
export class Tensor<out D extends DType = DType, out S extends Shape = Shape> {
  /** @internal */ storage: Storage | null;
  /** @internal */ node: GradNode | null = null;
  /** @internal */ outputIndex = 0;
  /** @internal */ hooks: LeafHooks | null = null;
  /** @internal the gradient, read without marking it as seen */ gradient: Tensor<D, S> | null =
    null;
  /** @internal holders of this tensor inside a running backward */ claims = 0;
  /** @internal a user has or may have a reference to this gradient */ seen = false;
  /** @internal */ wantsGrad = false;
  /** Sizes, the slowest axis first; literal where they are known. */
  readonly shape: S;
  /** The type of the elements. */
  readonly dtype: D;
  /** The number of elements. */
  readonly size: number;
  /** Where the elements are: 'cpu', 'cuda:0', ... */
  readonly device: Device;

  /** @internal Use `tensor`, `zeros` and the other creation functions. */
  constructor(storage: Storage, shape: S, dtype: D, size: number = sizeOf(shape)) {
    this.storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.size = size;
    this.device = storage.device;
    if (innermost) innermost.add(this);
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Whether operations on this tensor are recorded for `backward`. */
  get requiresGrad(): boolean {
    return this.wantsGrad;
  }

  /** True for tensors that no recorded operation made; only these get a `grad`. */
  get isLeaf(): boolean {
    return this.node === null;
  }

  /** Whether its memory has been handed back; it cannot be used any more. */
  get isDisposed(): boolean {
    return this.storage === null;
  }

  /** The accumulated gradient of a leaf, or null. */
  get grad(): Tensor<D, S> | null {
    if (this.gradient) this.gradient.seen = true;
    return this.gradient;
  }

  set grad(value: Tensor<D, S> | null) {
    if (value !== null) {
      expectTensor('grad', 'grad', value);
      expectSameDType('grad', 'grad', value, 'the tensor', this);
      expectShape('grad', 'grad', value, this.shape);
      expectDevice('grad', 'grad', value, this.device, 'like the tensor');
      value.seen = true;
      keep(value);
    }
    clearGradient(this);
    this.gradient = value;
    if (value) keepGradient(this);
  }

  /** The elements as native code takes them: an array on the CPU, else opaque memory. */
  get raw(): Raw {
    const raw = this.storage?.raw;
    if (!raw) throw disposedError(this);
    return raw;
  }

  /** The address of a device tensor's memory (for other libraries), which lives as long as that. */
  get pointer(): bigint {
    return addressOf(this);
  }

  /** @internal A gradient of a single output answers to `output`, so that backward may destructure it. */
  get output(): this {
    return this;
  }

  /**
   * The elements as a typed array that the caller owns. float16 and bfloat16 come as Float32Array,
   * or as their bits (Uint16Array) with `{ raw: true }`; bool comes as 0 and 1 in a Uint8Array.
   */
  data(): Promise<DataOf<D>>;
  data(options: { raw?: false | undefined }): Promise<DataOf<D>>;
  data(options: { raw: true }): Promise<D extends 'float16' | 'bfloat16' ? Uint16Array : DataOf<D>>;
  async data(options: { raw?: boolean | undefined } = {}): Promise<unknown> {
    return readDataAsync(this, wantsBits('data', options));
  }

  /** As `data()`, at once; on a device it blocks the event loop until the value is there. */
  dataSync(): DataOf<D>;
  dataSync(options: { raw?: false | undefined }): DataOf<D>;
  dataSync(options: { raw: true }): D extends 'float16' | 'bfloat16' ? Uint16Array : DataOf<D>;
  dataSync(options: { raw?: boolean | undefined } = {}): unknown {
    return readData(this, wantsBits('dataSync', options));
  }

  /** The only element: a bigint for int64, a boolean for bool, else a number. */
  item(): ItemOf<D> {
    if (!this.storage) throw disposedError(this);
    if (this.size !== 1) {
      fail(
        'item',
        'ERR_SHAPE',
        `expected a tensor of 1 element, got shape ${showShape(this.shape)}`,
      );
    }
    const value = readData(this)[0];
    return (this.dtype === 'bool' ? value !== 0 : value) as ItemOf<D>;
  }

  /** The elements as nested arrays (a plain value for a scalar). */
  // biome-ignore lint/suspicious/noExplicitAny: the depth is the rank, which is a run-time number
  toArray(): any {
    return nestedArray(readData(this), this.shape, this.dtype);
  }

  /** The same elements without their history: not differentiable, memory shared. */
  detach(): Tensor<D, S> {
    return viewOf(this, this.shape);
  }

  /**
   * Copies `src` (same shape and dtype, any device) into this tensor: the one write in place.
   * Refused on a tensor that a pending backward needs (`ERR_IN_USE`).
   */
  copy_(src: Tensor): this {
    expectTensor('copy_', 'src', src);
    expectSameDType('copy_', 'src', src, 'the tensor', this);
    expectShape('copy_', 'src', src, this.shape);
    if (!src.storage) throw disposedError(src);
    if (!this.storage) throw disposedError(this);
    if (this.node && !this.node.released) {
      fail(
        'copy_',
        'ERR_IN_USE',
        `the tensor is the result of ${this.node.name} in a pending graph; detach() or clone() it first`,
      );
    }
    if (this.storage.isSaved()) {
      fail(
        'copy_',
        'ERR_IN_USE',
        'a pending backward needs this tensor; call backward() first, or let go of the loss (its graph ends when it is garbage-collected)',
      );
    }
    if (this.storage.pins > 0) {
      fail('copy_', 'ERR_IN_USE', 'an asynchronous operation is using this tensor; await it first');
    }
    refuseReadOnly('copy_', 'the tensor', this);
    this.storage.beforeWrite();
    this.storage.touch();
    copyValues(src, this);
    return this;
  }

  /** Records operations on this tensor from now on (or no longer). Leaves of a float dtype only. */
  requiresGrad_(value = true): this {
    expectBoolean('requiresGrad_', 'value', value);
    if (value && !isFloat(this.dtype)) {
      fail('requiresGrad_', 'ERR_DTYPE', `expected a float tensor, got ${this.dtype}`);
    }
    if (this.node) {
      fail(
        'requiresGrad_',
        'ERR_GRAPH',
        `expected a leaf, got the result of ${this.node.name}; use detach()`,
      );
    }
    this.wantsGrad = value;
    return this;
  }

  /** Drops the gradient: `grad` is null afterwards. */
  zeroGrad(): void {
    clearGradient(this);
    const gradient = this.gradient;
    this.gradient = null;
    if (gradient && !gradient.seen) gradient.dispose();
  }

  /**
   * Calls `hook` with the complete gradient of this tensor during each backward; a tensor that it
   * returns replaces the gradient.
   */
  registerHook(hook: (grad: Tensor<D, S>) => Tensor | undefined | void): HookHandle {
    expectFunction('registerHook', 'hook', hook);
    if (!this.wantsGrad) {
      fail('registerHook', 'ERR_GRAPH', 'expected a tensor that requires a gradient');
    }
    if (this.node) return { remove: this.node.addHook(this.outputIndex, hook as Hook) };
    return addTo(leafHooks(this).grad, hook as Hook);
  }

  /** Calls `hook` with this leaf after its `grad` has been updated. */
  registerPostAccumulateGradHook(hook: (tensor: this) => void): HookHandle {
    expectFunction('registerPostAccumulateGradHook', 'hook', hook);
    if (!this.wantsGrad || this.node) {
      fail(
        'registerPostAccumulateGradHook',
        'ERR_GRAPH',
        'expected a leaf that requires a gradient',
      );
    }
    return addTo(leafHooks(this).post, hook as PostHook);
  }

  /** Frees the memory now (shared memory when its last tensor goes). Harmless when repeated. */
  dispose(): void {
    const storage = this.storage;
    if (!storage) return;
    this.storage = null;
    innermost?.delete(this);
    storage.drop();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get [brand](): true {
    return true;
  }

  get [Symbol.toStringTag](): string {
    return 'Tensor';
  }

  /** Its dtype, shape and first elements. */
  toString(): string {
    return inspectTensor(this);
  }

  [inspect](): string {
    return inspectTensor(this);
  }
}

function leafHooks(t: Tensor): LeafHooks {
  t.hooks ??= { grad: [], post: [] };
  return t.hooks;
}

/** @internal Appends `item`; the handle takes out this one, not an equal one, and once. */
export function addTo<T>(list: T[], item: T): HookHandle {
  list.push(item);
  let isIn = true;
  return {
    remove() {
      if (isIn) list.splice(list.indexOf(item), 1);
      isIn = false;
    },
  };
}

/** @internal */
export function disposedError(t: Tensor): Error {
  return errorOf(
    'ERR_DISPOSED',
    `the ${t.dtype} tensor of shape ${showShape(t.shape)} has been disposed and cannot be used`,
  );
}

function wantsBits(op: string, options: { raw?: boolean | undefined }): boolean {
  expectOptions(op, options, ['raw']);
  if (options.raw !== undefined) expectBoolean(op, 'raw', options.raw);
  return options.raw === true;
}

/** @internal A tensor over the same memory, of another shape with as many elements. */
export function viewOf<D extends DType, S extends Shape>(t: Tensor<D>, shape: S): Tensor<D, S> {
  const storage = t.storage;
  if (!storage) throw disposedError(t);
  storage.refs++;
  return new Tensor(storage, shape, t.dtype, t.size);
}

/**
 * @internal A tensor whose elements are yet to be written (or zeros): on the device of the operation
 * that runs, if no other is named.
 */
export function empty<D extends DType, S extends Shape>(
  shape: S,
  dtype: D,
  zeroed = false,
  device: Device = ambient,
): Tensor<D, S> {
  const size = sizeOf(shape);
  return new Tensor(allocate(dtype, size, zeroed, device), shape, dtype, size);
}

/** Refuses to write to memory that another library has lent for reading. */
export function refuseReadOnly(op: string, name: string, t: Tensor): void {
  if (!t.storage?.readOnly) return;
  const why = 'another library has lent its memory for reading only; clone() it first';
  fail(op, 'ERR_INVALID_VALUE', `expected ${name} to be writable: ${why}`);
}

/** Refuses what is not a tensor, with a word about tensors of another copy of the library. */
export function expectTensor(op: string, name: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  const foreign = value !== null && typeof value === 'object' && brand in value;
  const got = foreign ? 'a Tensor of another copy of surprisal' : show(value);
  fail(op, 'ERR_INVALID_TYPE', `expected ${name} to be a Tensor, got ${got}`);
}
