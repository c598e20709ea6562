// defineOp: how every operation, built in or the user's, is made and put on the tape (src/tape.ts).
// This file knows no operation; of devices only that all tensors of a call lie on one.

import { isFloat } from './dtype.js';
import { expectDevice, expectOptions, fail, refusePromise, show } from './expect.js';
import { record, submit } from './native.js';
import { type Device, enter } from './place.js';
import {
  eachTensor,
  type ForwardResult,
  Graph,
  type Inputs,
  isGradEnabled,
  type Needs,
  Node,
  type OpDefinition,
  privateMark,
  type RawOp,
  type RawOps,
  retaining,
  running,
  setGradEnabled,
} from './tape.js';
import { expectTensor, Tensor, viewOf } from './tensor.js';

export type {
  ForwardResult,
  Gradients,
  Inputs,
  Needs,
  OpDefinition,
  RawOp,
  RawOps,
} from './tape.js';
export { addedElsewhere, isGradEnabled, noGrad, tape } from './tape.js';

/** A function made by `defineOp`: the public signature, generic where that is, and two members. */
// biome-ignore lint/suspicious/noExplicitAny: callers give a precise type to each built-in
export type Op<F extends (...args: any[]) => any = (...args: any[]) => any> = F & {
  /** The same on a background thread. */
  async(...args: Parameters<F>): Promise<ReturnType<F>>;
  readonly raw: RawOp;
};

/** Every built-in operation's kernels by name: `raw.crossEntropy.forward({ logits, target })`. */
export const raw = {} as RawOps;

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
    device: t.device,
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

/** The arguments of a call: tensors by name, options, and the device on which all tensors lie. */
interface Call {
  t: Named;
  options: Named;
  device: Device;
}

/** Sorts the arguments of a call by name and refuses what is not a tensor. */
function named(op: AnyDefinition, args: unknown[]): Call {
  const { inputs, optionTensors } = op;
  if (args.length > inputs.length + 1) {
    fail(
      op.name,
      'ERR_INVALID_TYPE',
      `expected ${inputs.join(', ')} and options, got ${args.length} arguments`,
    );
  }
  const t: Named = {};
  let device: Device | undefined;
  let isMixed = op.lists !== undefined;
  for (let i = 0; i < inputs.length; i++) {
    const name = inputs[i];
    const value = args[i];
    t[name] = value;
    if (!(value instanceof Tensor) || op.lists) checkOther(op, name, value);
    else if (device === undefined) device = value.device;
    else if (value.device !== device) isMixed = true;
  }
  let options = (args[inputs.length] ?? {}) as Named;
  if (op.options) {
    const known = optionTensors ? [...op.options, ...optionTensors] : op.options;
    expectOptions(op.name, options, known);
    if (args[inputs.length]) options = snapshot(options, known);
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
      if (value.device !== device) isMixed = true;
    }
  }
  if (isMixed) device = commonDevice(op.name, t);
  return { t, options, device: device ?? 'cpu' };
}

/** The device on which all tensors lie: an operation does not move them. */
function commonDevice(op: string, t: Named): Device {
  let first = '';
  let device: Device | undefined;
  const check = (name: string, value: unknown) => {
    if (!(value instanceof Tensor)) return;
    if (device !== undefined) expectDevice(op, name, value, device, `like ${first}`);
    else [first, device] = [name, value.device];
  };
  for (const name in t) {
    const value = t[name];
    if (Array.isArray(value)) for (const [i, item] of value.entries()) check(`${name}[${i}]`, item);
    else check(name, value);
  }
  return device ?? 'cpu';
}

/** Options as they are now: backward reads them again, and their owner may have changed them. */
function snapshot(options: Named, known: readonly string[]): Named {
  const own: Named = {};
  for (const name of known) {
    const value = options[name];
    if (value === undefined) continue;
    own[name] = Array.isArray(value)
      ? [...value]
      : value?.constructor === Object
        ? { ...value }
        : value;
  }
  return own;
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
  if (!isGradEnabled() || !op.backward) return noNeeds;
  let needs: Record<string, boolean> | null = null;
  for (const name in t) {
    if (!wantsGrad(t[name]) || op.nondifferentiable?.includes(name)) continue;
    needs ??= {};
    needs[name] = true;
  }
  return needs ?? noNeeds;
}

/** Puts the outputs of one call on the tape. */
function attach(op: AnyDefinition, { t, device }: Call, needs: Needs, result: ForwardResult): void {
  const node = new Node(op, needs, device);
  for (const key in needs) {
    const value = t[key];
    if (value instanceof Tensor) addEdge(node, key, -1, value);
    else for (const [i, item] of value.entries()) if (item.wantsGrad) addEdge(node, key, i, item);
  }
  node.saved = result.saved;
  const outputs = outputList(result);
  for (const [key, output] of outputs) {
    const { shape, dtype } = output;
    node.outputs.push({ key, shape, dtype, device: output.device });
    if (!isFloat(dtype)) continue;
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
    // The result of an operation refuses copy_ itself, unless another tensor shares its memory.
    else if (!saved.node || storage.refs > 1) storage.savedBy(graph.asSaver());
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
function runForward(
  op: AnyDefinition,
  { t, options, device }: Call,
  needs: Needs,
  ahead?: unknown,
): ForwardResult {
  // As `running`, without a closure for each operation.
  const before = setGradEnabled(false);
  const outer = enter(device);
  try {
    const result = op.forward(t, options, needs, ahead);
    return op.builtin ? result : checkedResult(op, t, result);
  } finally {
    setGradEnabled(before);
    enter(outer);
  }
}

function checkedResult(op: AnyDefinition, t: Named, result: ForwardResult): ForwardResult {
  const valid = result && typeof result === 'object' && ('output' in result || 'outputs' in result);
  if (!valid) {
    refusePromise(op.name, result);
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
  if (result.outputs === null || typeof result.outputs !== 'object') {
    fail(
      op.name,
      'ERR_INVALID_TYPE',
      `expected forward's outputs to be an object or an array of tensors, got ${show(result.outputs)}`,
    );
  }
  const entries = Object.entries(result.outputs).map(([k, v]) => [k, fresh(k, v)] as const);
  const outputs = Array.isArray(result.outputs)
    ? entries.map(([, v]) => v)
    : Object.fromEntries(entries);
  return { outputs, saved: result.saved };
}

function checkDefinition(op: AnyDefinition): void {
  const valid =
    op &&
    typeof op.name === 'string' &&
    Array.isArray(op.inputs) &&
    typeof op.forward === 'function' &&
    (op.backward === undefined || typeof op.backward === 'function');
  if (!valid) {
    fail(
      'defineOp',
      'ERR_INVALID_TYPE',
      'expected { name, inputs: [...names], forward, backward }',
    );
  }
  const names = [...op.inputs, ...(op.optionTensors ?? [])];
  if (new Set(names).size === names.length) return;
  fail('defineOp', 'ERR_INVALID_VALUE', `expected each name of ${op.name} once, got ${names}`);
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
  checkDefinition(op);
  const finish = (of: Call, needs: Needs, result: ForwardResult) => {
    if (needs !== noNeeds) attach(op, of, needs, result);
    return 'output' in result ? result.output : result.outputs;
  };
  const call = (...args: unknown[]) => {
    const own = named(op, args);
    op.check?.(own.t as Inputs<I, T>, own.options as O);
    const needs = needsOf(op, own.t);
    return finish(own, needs, runForward(op, own, needs));
  };
  const async = async (...args: unknown[]) => {
    const own = named(op, args);
    op.check?.(own.t as Inputs<I, T>, own.options as O);
    const needs = needsOf(op, own.t);
    if (own.device !== 'cpu') {
      // The call only enqueues, and does so at once, but for what the host makes of values.
      const ahead = op.ahead?.(own.t as Inputs<I, T>, own.options as O, needs);
      const made = ahead instanceof Promise ? await ahead : ahead;
      return finish(own, needs, runForward(op, own, needs, made));
    }
    const { result, launches } = record(() => runForward(op, own, needs));
    const pinned = pin([own.t, result]);
    try {
      await submit(launches);
    } finally {
      for (const storage of pinned) storage.unpin();
    }
    return finish(own, needs, result);
  };
  const rawOp: RawOp = {
    forward(t, options = {}, needs = noNeeds) {
      const device = commonDevice(op.name, t);
      op.check?.(t as Inputs<I, T>, options as O);
      return running(device, () => op.forward(t as Inputs<I, T>, options as O, needs));
    },
    backward(saved, gradOutputs, needs) {
      if (!op.backward) fail(op.name, 'ERR_GRAPH', 'this operation has no gradient');
      const all = Object.fromEntries(
        [...op.inputs, ...(op.optionTensors ?? [])].map((k) => [k, true]),
      );
      const grads = gradOutputs instanceof Tensor ? { grad: gradOutputs } : { ...gradOutputs };
      return retaining(true, commonDevice(op.name, grads), () =>
        op.backward!(saved, gradOutputs, needs ?? all),
      );
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
export async function whilePinned<R>(values: unknown, work: () => Promise<R>): Promise<R> {
  const pinned = pin(values);
  try {
    return await work();
  } finally {
    for (const storage of pinned) storage.unpin();
  }
}
