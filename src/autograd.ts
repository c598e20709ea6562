// defineOp: how every operation, built in or the user's, is made and put on the tape.
// A node remembers what `forward` saved and where its inputs came from; src/backward.ts walks them.
// This file knows no operation and no device.

import { isFloat } from './dtype.js';
import { errorOf, expectOptions, fail, show } from './expect.js';
import { record, submit } from './native.js';
import type { Saver } from './storage.js';
import { expectTensor, type GradNode, graphTensors, type Hook, Tensor, viewOf } from './tensor.js';

/** Which gradients are wanted, by input name. */
export type Needs = Readonly<Record<string, boolean>>;
/** One tensor, or those of an input that is a list. */
export type TensorOrList = Tensor | readonly Tensor[];
/** The outputs of an operation: one tensor, or several by name or position. */
export type Outputs = Tensor | Readonly<Record<string, Tensor>> | readonly Tensor[];
type Gradient = Tensor | null | undefined;
/**
 * @internal In place of a gradient that a built-in has added to a tensor of its caller's: the leaf
 * gets nothing, and its hooks do not run.
 */
export const addedElsewhere: unique symbol = Symbol('addedElsewhere');
/** Gradients by input name; a list input takes an array. What is missing counts as zero. */
export type Gradients = Readonly<
  Record<string, Gradient | readonly Gradient[] | typeof addedElsewhere>
>;

export type ForwardResult = {
  /** What `backward` will need: tensors, arrays of tensors, plain values. */
  saved?: unknown;
} & ({ output: Tensor } | { outputs: Readonly<Record<string, Tensor>> | readonly Tensor[] });

/** Tensors by input name; numbers or lists where the definition allows them; absent options undefined. */
// biome-ignore lint/suspicious/noExplicitAny: which of these an input is, only the definition knows
export type Inputs<I extends string, T extends string> = Record<I | T, any>;

/** An operation: names, checks, kernels. */
export interface OpDefinition<I extends string, T extends string, O extends object> {
  /** The public name: it starts every error message. */
  name: string;
  /** Names of the positional tensors. */
  inputs: readonly I[];
  /** Names of options that are tensors (or absent). */
  optionTensors?: readonly T[];
  /** Names of all other options; when given, unknown ones are refused. */
  options?: readonly string[];
  /** Inputs that never get a gradient. */
  nondifferentiable?: readonly (I | T)[];
  /** Inputs that may be plain numbers (`add(x, 2)`). */
  numbers?: readonly I[];
  /** Inputs that are arrays of tensors (`concat([a, b])`). */
  lists?: readonly I[];
  /** Refuses bad arguments; runs before `forward`. */
  check?(t: Inputs<I, T>, options: O): void;
  /** Computes the output. `needs` says which gradients the tape will ask for. */
  forward(t: Inputs<I, T>, options: O, needs: Needs): ForwardResult;
  /**
   * Gradients by input name, only those in `needs` are used. `gradOutputs` has the form of the
   * outputs: one tensor, or several by name. Runs without recording.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the form of `saved` is the operation's own
  backward?(saved: any, gradOutputs: any, needs: Needs): Gradients;
  /**
   * @internal A built-in keeps the rule that lets buffers be reused: `backward` returns new tensors,
   * `gradOutputs` themselves or views of them, never a tensor that anybody else holds, and takes
   * undefined for outputs that got no gradient.
   */
  builtin?: boolean;
}

/** The kernels of an operation without the tape: for another framework's autograd. */
export interface RawOp {
  // biome-ignore lint/suspicious/noExplicitAny: keyed by the operation's own input names
  forward(t: Record<string, any>, options?: object, needs?: Needs): ForwardResult;
  // biome-ignore lint/suspicious/noExplicitAny: the form of `saved` is the operation's own
  backward(saved: any, gradOutputs: any, needs?: Needs): Gradients;
}

/** A function made by `defineOp`. */
// biome-ignore lint/suspicious/noExplicitAny: callers give a precise type to each built-in
export interface Op<F extends (...args: any[]) => any = (...args: any[]) => any> {
  (...args: Parameters<F>): ReturnType<F>;
  /** The same on a background thread. */
  async(...args: Parameters<F>): Promise<ReturnType<F>>;
  readonly raw: RawOp;
}

/** Every built-in operation's kernels by name: `raw.crossEntropy.forward({ logits, target })`. */
export const raw: Record<string, RawOp> = {};

let gradEnabled = true;
let nextId = 1;

/**
 * What a backward may do with what was saved: while `retained`, saved tensors will be needed again
 * and must not be written to or returned.
 */
export const tape = { retained: false };

export function isGradEnabled(): boolean {
  return gradEnabled;
}

/** Runs `fn` (synchronous) without recording operations. */
export function noGrad<R>(fn: () => R): R {
  const before = gradEnabled;
  gradEnabled = false;
  try {
    const result = fn();
    if (result instanceof Promise) {
      result.catch(() => {});
      fail(
        'noGrad',
        'ERR_INVALID_TYPE',
        'expected a synchronous function, got one that returns a promise',
      );
    }
    return result;
  } finally {
    gradEnabled = before;
  }
}

/** Runs a backward with `tape.retained` set, without recording. */
export function retaining<R>(retained: boolean, work: () => R): R {
  const before = tape.retained;
  tape.retained = retained;
  try {
    return noGrad(work);
  } finally {
    tape.retained = before;
  }
}

/** Tensors of one tape that hang together; dies with it, which frees what it saved for `copy_`. */
class Graph {
  pending = 0;
  private saver: Saver | null = null;
  asSaver(): Saver {
    if (!this.saver) {
      const weak = new WeakRef(this);
      this.saver = { isPending: () => (weak.deref()?.pending ?? 0) > 0 };
    }
    return this.saver;
  }
}

/** Where one gradient of a node goes. */
export interface Edge {
  key: string;
  /** Position in a list input, or -1. */
  position: number;
  /** The leaf that accumulates, or null. */
  leaf: Tensor | null;
  /** The node that goes on, and which of its outputs this is. */
  node: Node | null;
  outputIndex: number;
  shape: readonly number[];
  dtype: Tensor['dtype'];
}

interface OutputInfo {
  key: string;
  shape: readonly number[];
  dtype: Tensor['dtype'];
}

/** One recorded operation. */
export class Node implements GradNode {
  readonly id = nextId++;
  released = false;
  running = false;
  /** Number of the backward run that visited it last. */
  visit = 0;
  useful = false;
  edges: Edge[] = [];
  outputs: OutputInfo[] = [];
  saved: unknown;
  savedTensors: Tensor[] = [];
  savedVersions: number[] = [];
  hooks: Hook[][] | null = null;
  graph: Graph | null = null;

  constructor(
    // biome-ignore lint/suspicious/noExplicitAny: nodes of all operations share one type
    readonly op: OpDefinition<any, any, any>,
    readonly needs: Needs,
  ) {}

  get name(): string {
    return this.op.name;
  }

  addHook(output: number, hook: Hook): () => void {
    this.hooks ??= [];
    this.hooks[output] ??= [];
    const list = this.hooks[output];
    list.push(hook);
    return () => {
      const at = list.indexOf(hook);
      if (at >= 0) list.splice(at, 1);
    };
  }

  /** Refuses saved tensors that were disposed or written to since. */
  checkSaved(): void {
    for (let i = 0; i < this.savedTensors.length; i++) {
      const t = this.savedTensors[i];
      if (!t.storage) {
        throw errorOf(
          'ERR_DISPOSED',
          `backward: a tensor of shape [${t.shape.join(', ')}] that ${this.name} saved has been disposed`,
        );
      }
      if (t.storage.version !== this.savedVersions[i]) {
        throw errorOf(
          'ERR_GRAPH',
          `backward: a tensor of shape [${t.shape.join(', ')}] that ${this.name} saved has been overwritten since`,
        );
      }
    }
  }

  /** Forgets what was saved; `keepAlive` are saved tensors that have become somebody's gradient. */
  release(keepAlive: ReadonlySet<Tensor> | null): void {
    if (this.released) return;
    this.released = true;
    if (this.graph && this.savedTensors.length) this.graph.pending--;
    if (this.op.builtin) {
      for (const t of this.savedTensors) {
        if (t.claims === privateMark && !keepAlive?.has(t)) t.dispose();
      }
    }
    this.saved = undefined;
    this.savedTensors = [];
    this.savedVersions = [];
  }
}

/** Marks saved tensors that only their node holds (neither an input nor an output). */
export const privateMark = -1;

function eachTensor(value: unknown, visit: (t: Tensor) => void): void {
  if (value instanceof Tensor) visit(value);
  else if (Array.isArray(value)) for (const v of value) eachTensor(v, visit);
  else if (
    value !== null &&
    typeof value === 'object' &&
    Object.getPrototypeOf(value) === Object.prototype
  ) {
    for (const key in value) eachTensor((value as Record<string, unknown>)[key], visit);
  }
}

graphTensors.of = (root, found) => {
  const stack: (Node | null)[] = [root.node as Node | null];
  const visited = new Set<Node>();
  while (stack.length) {
    const node = stack.pop();
    if (!node || visited.has(node)) continue;
    visited.add(node);
    for (const t of node.savedTensors) found.add(t);
    for (const edge of node.edges) {
      if (edge.leaf) found.add(edge.leaf);
      stack.push(edge.node);
    }
  }
};

function wantsGrad(value: unknown): boolean {
  if (value instanceof Tensor) return value.wantsGrad;
  return Array.isArray(value) && value.some((v) => v instanceof Tensor && v.wantsGrad);
}

function addEdge(node: Node, key: string, position: number, t: Tensor): void {
  const from = t.node as Node | null;
  node.edges.push({
    key,
    position,
    leaf: from ? null : t,
    node: from,
    outputIndex: t.outputIndex,
    shape: t.shape,
    dtype: t.dtype,
  });
  if (from && !node.graph) node.graph = from.graph;
}

function outputList(result: ForwardResult): [string, Tensor][] {
  if ('output' in result) return [['output', result.output]];
  return Object.entries(result.outputs as Record<string, Tensor>);
}

// biome-ignore lint/suspicious/noExplicitAny: definitions of all operations share one type
type AnyDefinition = OpDefinition<any, any, any>;
// biome-ignore lint/suspicious/noExplicitAny: tensors, numbers or lists by input name
type Named = Record<any, any>;

/** Sorts the arguments of a call by name and refuses what is not a tensor. */
function named(op: AnyDefinition, args: unknown[]): { t: Named; options: Named } {
  const { inputs, optionTensors } = op;
  if (args.length > inputs.length + 1) {
    fail(
      op.name,
      'ERR_INVALID_TYPE',
      `expected ${inputs.join(', ')} and options, got ${args.length} arguments`,
    );
  }
  const t: Named = {};
  for (let i = 0; i < inputs.length; i++) {
    const name = inputs[i];
    const value = args[i];
    if (!(value instanceof Tensor) || op.lists) checkOther(op, name, value);
    t[name] = value;
  }
  const options = (args[inputs.length] ?? {}) as Named;
  if (op.options) {
    expectOptions(op.name, options, optionTensors ? [...op.options, ...optionTensors] : op.options);
  } else if (args[inputs.length] !== undefined) {
    if (options === null || typeof options !== 'object' || options instanceof Tensor) {
      fail(op.name, 'ERR_INVALID_TYPE', `expected options to be an object, got ${show(options)}`);
    }
  }
  if (optionTensors) {
    for (const name of optionTensors) {
      const value = options[name];
      if (value === undefined || value === null) continue;
      expectTensor(op.name, name, value);
      t[name] = value;
    }
  }
  return { t, options };
}

function checkOther(op: AnyDefinition, name: string, value: unknown): void {
  if (op.numbers?.includes(name) && typeof value === 'number') return;
  if (op.lists?.includes(name)) {
    if (!Array.isArray(value)) {
      fail(
        op.name,
        'ERR_INVALID_TYPE',
        `expected ${name} to be an array of tensors, got ${show(value)}`,
      );
    }
    for (const [i, item] of value.entries()) expectTensor(op.name, `${name}[${i}]`, item);
    return;
  }
  expectTensor(op.name, name, value);
}

const noNeeds: Needs = Object.freeze({});

function needsOf(op: AnyDefinition, t: Named): Needs {
  if (!gradEnabled || !op.backward) return noNeeds;
  let needs: Record<string, boolean> | null = null;
  for (const name in t) {
    if (!wantsGrad(t[name]) || op.nondifferentiable?.includes(name)) continue;
    needs ??= {};
    needs[name] = true;
  }
  return needs ?? noNeeds;
}

/** Puts the outputs of one call on the tape. */
function attach(op: AnyDefinition, t: Named, needs: Needs, result: ForwardResult): void {
  const node = new Node(op, needs);
  for (const key in needs) {
    const value = t[key];
    if (value instanceof Tensor) addEdge(node, key, -1, value);
    else for (const [i, item] of value.entries()) if (item.wantsGrad) addEdge(node, key, i, item);
  }
  node.saved = result.saved;
  const outputs = outputList(result);
  for (const [key, output] of outputs) {
    node.outputs.push({ key, shape: output.shape, dtype: output.dtype });
    if (!isFloat(output.dtype)) continue;
    output.node = node;
    output.outputIndex = node.outputs.length - 1;
    output.wantsGrad = true;
  }
  if (result.saved === undefined) return;
  node.graph ??= new Graph();
  const graph = node.graph;
  graph.pending++;
  eachTensor(result.saved, (saved) => {
    node.savedTensors.push(saved);
    const storage = saved.storage;
    node.savedVersions.push(storage ? storage.version : -1);
    if (!storage) return;
    if (isPrivate(saved, t, outputs)) saved.claims = privateMark;
    else if (!saved.node) storage.savedBy(graph.asSaver());
  });
  if (node.savedTensors.length === 0) graph.pending--;
}

function isPrivate(saved: Tensor, t: Named, outputs: [string, Tensor][]): boolean {
  for (const key in t) {
    const value = t[key];
    if (value === saved || (Array.isArray(value) && value.includes(saved))) return false;
  }
  for (const [, output] of outputs) if (output === saved) return false;
  return true;
}

/** `forward` without recording; outputs that are an input itself become views of it. */
function runForward(op: AnyDefinition, t: Named, options: Named, needs: Needs): ForwardResult {
  const before = gradEnabled;
  gradEnabled = false;
  try {
    const result = op.forward(t, options, needs);
    if (op.builtin) return result;
    return checkedResult(op, t, result);
  } finally {
    gradEnabled = before;
  }
}

function checkedResult(op: AnyDefinition, t: Named, result: ForwardResult): ForwardResult {
  const valid = result && typeof result === 'object' && ('output' in result || 'outputs' in result);
  if (!valid) {
    fail(
      op.name,
      'ERR_INVALID_TYPE',
      `expected forward to return { output, saved } or { outputs, saved }, got ${show(result)}`,
    );
  }
  const fresh = (key: string, output: unknown) => {
    expectTensor(op.name, `forward's ${key}`, output);
    const isInput = Object.values(t).some(
      (v) => v === output || (Array.isArray(v) && v.includes(output)),
    );
    return isInput ? viewOf(output, output.shape) : output;
  };
  if ('output' in result) return { output: fresh('output', result.output), saved: result.saved };
  const entries = Object.entries(result.outputs).map(([k, v]) => [k, fresh(k, v)] as const);
  const outputs = Array.isArray(result.outputs)
    ? entries.map(([, v]) => v)
    : Object.fromEntries(entries);
  return { outputs, saved: result.saved };
}

/**
 * Makes a differentiable operation from its kernels.
 *
 * @example
 * const square = defineOp({
 *   name: 'square',
 *   inputs: ['x'],
 *   forward: ({ x }) => ({ output: x.mul(x), saved: { x } }),
 *   backward: ({ x }, grad) => ({ x: grad.mul(x).mul(2) }),
 * })
 */
export function defineOp<
  // biome-ignore lint/suspicious/noExplicitAny: the caller may name the public signature
  F extends (...args: any[]) => any = (...args: any[]) => any,
  I extends string = string,
  T extends string = never,
  // biome-ignore lint/suspicious/noExplicitAny: options are the operation's own
  O extends object = any,
>(op: OpDefinition<I, T, O>): Op<F> {
  if (
    !op ||
    typeof op.name !== 'string' ||
    !Array.isArray(op.inputs) ||
    typeof op.forward !== 'function'
  ) {
    fail(
      'defineOp',
      'ERR_INVALID_TYPE',
      'expected { name, inputs: [...names], forward, backward }',
    );
  }
  const finish = (t: Named, needs: Needs, result: ForwardResult) => {
    if (needs !== noNeeds) attach(op, t, needs, result);
    return 'output' in result ? result.output : result.outputs;
  };
  const call = (...args: unknown[]) => {
    const { t, options } = named(op, args);
    op.check?.(t as Inputs<I, T>, options as O);
    const needs = needsOf(op, t);
    return finish(t, needs, runForward(op, t, options, needs));
  };
  const async = async (...args: unknown[]) => {
    const { t, options } = named(op, args);
    op.check?.(t as Inputs<I, T>, options as O);
    const needs = needsOf(op, t);
    const { result, launches } = record(() => runForward(op, t, options, needs));
    const pinned = pin([t, result]);
    try {
      await submit(launches);
    } finally {
      for (const storage of pinned) storage.unpin();
    }
    return finish(t, needs, result);
  };
  const rawOp: RawOp = {
    forward(t, options = {}, needs = noNeeds) {
      op.check?.(t as Inputs<I, T>, options as O);
      return noGrad(() => op.forward(t as Inputs<I, T>, options as O, needs));
    },
    backward(saved, gradOutputs, needs) {
      if (!op.backward) fail(op.name, 'ERR_GRAPH', 'this operation has no gradient');
      const all = Object.fromEntries(
        [...op.inputs, ...(op.optionTensors ?? [])].map((k) => [k, true]),
      );
      return retaining(true, () => op.backward!(saved, gradOutputs, needs ?? all));
    },
  };
  if (op.builtin) raw[op.name] = rawOp;
  Object.defineProperty(call, 'name', { value: op.name });
  return Object.assign(call, { async, raw: rawOp }) as unknown as Op<F>;
}

function pin(values: unknown): NonNullable<Tensor['storage']>[] {
  const pinned: NonNullable<Tensor['storage']>[] = [];
  eachTensor(values, (t) => {
    if (!t.storage) return;
    t.storage.pin();
    pinned.push(t.storage);
  });
  return pinned;
}

/** Pins the tensors in `values` while `work` runs. */
export async function whilePinned(values: unknown, work: () => Promise<void>): Promise<void> {
  const pinned = pin(values);
  try {
    await work();
  } finally {
    for (const storage of pinned) storage.unpin();
  }
}
