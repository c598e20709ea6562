// The tape: whether operations are recorded, and the nodes that remember them. A node knows what its
// operation saved and where its inputs came from; src/backward.ts walks from node to node.

import { errorOf, expectFunction, fail, nearest, refusePromise, show } from './expect.js';
import { type Device, enter } from './place.js';
import { graphTensors, itemsOf } from './scope.js';
import type { Saver } from './storage.js';
import { addTo, type GradNode, type Hook, Tensor } from './tensor.js';

/** Which gradients are wanted, by input name. */
export type Needs = Readonly<Record<string, boolean>>;
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

/** What the forward of an operation gives: its result or results, and what backward will need. */
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
  // biome-ignore lint/suspicious/noExplicitAny: what `ahead` makes is the operation's own
  forward(t: Inputs<I, T>, options: O, needs: Needs, ahead?: any): ForwardResult;
  /**
   * @internal What `.async` makes on a device before `forward`, which takes it: a promise is awaited.
   * Afterwards the tensors may have been disposed or written to.
   */
  ahead?(t: Inputs<I, T>, options: O, needs: Needs): unknown;
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
  /**
   * Outputs and what to save, from inputs by name; `needs` says which gradients will be asked for.
   */
  // biome-ignore lint/suspicious/noExplicitAny: keyed by the operation's own input names
  forward(t: Record<string, any>, options?: object, needs?: Needs): ForwardResult;
  /** Gradients by input name, from what `forward` saved and the gradients of the outputs. */
  // biome-ignore lint/suspicious/noExplicitAny: the form of `saved` is the operation's own
  backward(saved: any, gradOutputs: any, needs?: Needs): Gradients;
}

/** Operations add to this interface what their entry has besides. */
export interface RawOps {
  [name: string]: RawOp;
}

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

/** Turns recording on or off and gives what was before, which has to be set again. */
export function setGradEnabled(value: boolean): boolean {
  const before = gradEnabled;
  gradEnabled = value;
  return before;
}

/** Runs `fn` (synchronous) without recording operations. */
export function noGrad<R>(fn: () => R): R {
  expectFunction('noGrad', 'fn', fn);
  const before = gradEnabled;
  gradEnabled = false;
  try {
    const result = fn();
    refusePromise('noGrad', result);
    return result;
  } finally {
    gradEnabled = before;
  }
}

/** Runs kernels of an operation: without recording, with their results on `device`. */
export function running<R>(device: Device, work: () => R): R {
  const before = setGradEnabled(false);
  const outer = enter(device);
  try {
    return work();
  } finally {
    setGradEnabled(before);
    enter(outer);
  }
}

/** The same for a backward, with `tape.retained` set. */
export function retaining<R>(retained: boolean, device: Device, work: () => R): R {
  const outer = tape.retained;
  const before = setGradEnabled(false);
  const place = enter(device);
  tape.retained = retained;
  try {
    return work();
  } finally {
    tape.retained = outer;
    setGradEnabled(before);
    enter(place);
  }
}

/** Tensors of one tape that hang together; dies with it, which frees what it saved for `copy_`. */
export class Graph {
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
  device: Device;
}

interface OutputInfo {
  key: string;
  shape: readonly number[];
  dtype: Tensor['dtype'];
  device: Device;
}

/** Refuses for `op` tensors that `by` saved, and that were disposed or written to since. */
export function expectSaved(
  op: string,
  by: string,
  tensors: readonly Tensor[],
  versions: readonly number[],
): void {
  for (const [i, t] of tensors.entries()) {
    if (t.storage?.version === versions[i]) continue;
    const what = `${op}: a tensor of shape [${t.shape.join(', ')}] that ${by} saved has been`;
    throw t.storage
      ? errorOf('ERR_GRAPH', `${what} overwritten since`)
      : errorOf('ERR_DISPOSED', `${what} disposed`);
  }
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
    /** Where the operation ran. */
    readonly device: Device,
  ) {}

  get name(): string {
    return this.op.name;
  }

  addHook(output: number, hook: Hook): () => void {
    this.hooks ??= [];
    this.hooks[output] ??= [];
    const list = this.hooks[output];
    return addTo(list, hook).remove;
  }

  /** Refuses saved tensors that were disposed or written to since. */
  checkSaved(): void {
    expectSaved('backward', this.name, this.savedTensors, this.savedVersions);
  }

  /** Forgets what was saved; `keepAlive` are saved tensors that have become somebody's gradient. */
  release(keepAlive: readonly (Tensor | null)[] | null): void {
    if (this.released) return;
    this.released = true;
    if (this.graph && this.savedTensors.length) this.graph.pending--;
    if (this.op.builtin) {
      for (const t of this.savedTensors) {
        if (t.claims === privateMark && !keepAlive?.includes(t)) t.dispose();
      }
    }
    this.saved = undefined;
    this.savedTensors = [];
    this.savedVersions = [];
  }
}

/** Refuses what a user's backward gives if it is not gradients by input name: never silent zeros. */
// biome-ignore lint/suspicious/noExplicitAny: definitions of all operations share one type
export function checkGradients(op: OpDefinition<any, any, any>, result: unknown): void {
  const names = [...op.inputs, ...(op.optionTensors ?? [])];
  const form = `{ ${names.join(', ')} }`;
  if (
    result === null ||
    typeof result !== 'object' ||
    Array.isArray(result) ||
    result instanceof Tensor
  ) {
    fail(
      op.name,
      'ERR_INVALID_TYPE',
      `expected backward to return gradients by input name, ${form}, got ${show(result)}`,
    );
  }
  for (const [name, value] of Object.entries(result)) {
    if (names.includes(name) || value === null || value === undefined) continue;
    const meant = nearest(name, names);
    fail(
      op.name,
      'ERR_INVALID_VALUE',
      `expected backward to return gradients among ${form}, got '${name}'` +
        (meant ? ` (did you mean '${meant}'?)` : ''),
    );
  }
}

/** Marks saved tensors that only their node holds (neither an input nor an output). */
export const privateMark = -1;

/** Calls `visit` with every tensor inside objects, arrays, maps and sets. */
export function eachTensor(value: unknown, visit: (t: Tensor) => void): void {
  if (value instanceof Tensor) visit(value);
  else if (Array.isArray(value)) for (const v of value) eachTensor(v, visit);
  else if (value !== null && typeof value === 'object') {
    if (Object.getPrototypeOf(value) === Object.prototype) {
      for (const key in value) eachTensor((value as Record<string, unknown>)[key], visit);
    } else if (!ArrayBuffer.isView(value)) eachWithin(value, visit, new Set());
  }
}

/** The same inside objects of a class, which may refer to each other in circles. */
function eachWithin(value: unknown, visit: (t: Tensor) => void, seen: Set<unknown>): void {
  if (value instanceof Tensor) visit(value);
  else if (value !== null && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    if (seen.has(value)) return;
    seen.add(value);
    for (const item of itemsOf(value)) eachWithin(item, visit, seen);
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
