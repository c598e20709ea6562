// What all optimisers share: parameter groups, the learning rate, per-parameter state and its
// saving. A subclass names its state tensors and updates one parameter in one native call.
import { tensor } from '../create.js';
import { type DType, isFloat } from '../dtype.js';
import {
  expectNumber,
  expectOptions,
  expectSameDType,
  expectShape,
  fail,
  show,
} from '../expect.js';
import { launch, native } from '../native.js';
import { keep } from '../scope.js';
import type { Shape } from '../shape.js';
import { empty, expectTensor, Tensor } from '../tensor.js';
import { readData } from '../transfer.js';

/** A number, or a function of the number of steps done so far (0 for the first step). */
export type LearningRate = number | ((step: number) => number);

/** Parameters with options of their own: `{ params, weightDecay: 0 }`. */
export type ParamGroup<Options> = { params: readonly Tensor[] } & Partial<Options>;

/** The state of one parameter: how often it was updated, and tensors by name. */
export interface Slot {
  step: number;
  tensors: Record<string, Tensor>;
  /** The parameter's version after the last update: another one means that somebody wrote to it. */
  version: number;
}

interface Entry<Options> {
  param: Tensor;
  options: Options;
  /** The rate of its group, if that has one of its own. */
  lr: LearningRate | undefined;
  slot: Slot | null;
}

export abstract class Optimizer<Options extends { lr: LearningRate }> {
  /** The learning rate of groups that have none of their own: assign to it at any time. */
  lr: LearningRate;
  /** Calls of `step()` so far. */
  steps = 0;
  private readonly entries: Entry<Options>[] = [];

  protected constructor(
    readonly name: string,
    params: readonly Tensor[] | readonly ParamGroup<Options>[],
    defaults: Options,
    given: Partial<Options>,
  ) {
    expectOptions(name, given, Object.keys(defaults));
    const options = this.checked({ ...defaults, ...defined(given) });
    this.lr = options.lr;
    this.checkRate(this.lr);
    if (!Array.isArray(params) || params.length === 0) {
      fail(
        name,
        'ERR_INVALID_TYPE',
        `expected params to be an array of tensors or of groups { params, ...options }, got ${show(params)}`,
      );
    }
    if (params[0] instanceof Tensor) {
      this.add('params', params as readonly Tensor[], options, undefined);
      return;
    }
    for (const [i, group] of (params as readonly ParamGroup<Options>[]).entries()) {
      if (group === null || typeof group !== 'object') {
        fail(
          name,
          'ERR_INVALID_TYPE',
          `expected params[${i}] to be a tensor or a group { params, ...options }, got ${show(group)}`,
        );
      }
      expectOptions(name, group, ['params', ...Object.keys(defaults)]);
      const { params: members, ...own } = group;
      if (!Array.isArray(members)) {
        fail(name, 'ERR_INVALID_TYPE', `expected params[${i}].params to be an array of tensors`);
      }
      const full = this.checked({ ...options, ...defined(own) });
      if (group.lr !== undefined) this.checkRate(group.lr);
      this.add(`params[${i}].params`, members, full, group.lr);
    }
  }

  private add(
    name: string,
    params: readonly Tensor[],
    options: Options,
    lr: LearningRate | undefined,
  ): void {
    for (const [i, param] of params.entries()) {
      expectTensor(this.name, `${name}[${i}]`, param);
      if (!isFloat(param.dtype)) {
        fail(
          this.name,
          'ERR_DTYPE',
          `expected ${name}[${i}] to be a float tensor, got ${param.dtype}`,
        );
      }
      if (!param.isLeaf) {
        fail(
          this.name,
          'ERR_GRAPH',
          `expected ${name}[${i}] to be a leaf, got the result of ${param.node!.name}`,
        );
      }
      if (this.entries.some((e) => e.param === param)) {
        fail(
          this.name,
          'ERR_INVALID_VALUE',
          `expected each parameter once, got ${name}[${i}] twice`,
        );
      }
      this.entries.push({ param, options, lr, slot: null });
    }
  }

  /** Refuses option values out of range. */
  protected abstract checked(options: Options): Options;
  /** Names of the state tensors beside the master copy. */
  protected abstract stateNames(options: Options): readonly string[];
  /** Updates one parameter; `slot.step` counts from 1. */
  protected abstract update(
    param: Tensor,
    grad: Tensor,
    slot: Slot,
    options: Options,
    lr: number,
  ): void;

  /** Updates every parameter that has a gradient. */
  step(): void {
    for (const entry of this.entries) {
      const { param, options } = entry;
      const grad = param.gradient;
      if (!grad) continue;
      const lr = this.rate(entry.lr ?? this.lr);
      const storage = param.storage;
      if (storage && storage.pins > 0) {
        fail(
          this.name,
          'ERR_IN_USE',
          'an asynchronous operation is using a parameter; await it first',
        );
      }
      entry.slot ??= this.newSlot(param, options);
      refreshMaster(param, entry.slot);
      entry.slot.step++;
      this.update(param, grad, entry.slot, options, lr);
      // A graph that saved the old values will say so instead of using the new ones.
      param.storage!.touch();
      entry.slot.version = param.storage!.version;
    }
    this.steps++;
  }

  private checkRate(lr: LearningRate): void {
    if (typeof lr !== 'function') this.rate(lr);
  }

  private rate(lr: LearningRate): number {
    const value = typeof lr === 'function' ? lr(this.steps) : lr;
    expectNumber(this.name, 'lr', value, { min: 0 });
    return value;
  }

  private newSlot(param: Tensor, options: Options): Slot {
    const dtype = stateDType(param.dtype);
    const tensors: Record<string, Tensor> = {};
    for (const name of this.stateNames(options))
      tensors[name] = keep(empty(param.shape, dtype, true, param.device));
    if (needsMaster(param.dtype)) {
      tensors.master = keep(empty(param.shape, dtype, false, param.device));
      launch(native.cast, { a: param.raw, out: tensors.master.raw });
    }
    return { step: 0, tensors, version: param.storage!.version };
  }

  /** Drops every parameter's gradient. */
  zeroGrad(): void {
    for (const { param } of this.entries) param.zeroGrad();
  }

  /**
   * The state by name, to be saved as safetensors: `steps` and, for parameter i, `i.step` (int64)
   * and its tensors. They are the optimiser's own: save or clone them before the next step.
   */
  state(): Record<string, Tensor> {
    const state: Record<string, Tensor> = { steps: count(this.steps) };
    for (const [i, { slot }] of this.entries.entries()) {
      if (!slot) continue;
      state[`${i}.step`] = count(slot.step);
      for (const [name, t] of Object.entries(slot.tensors)) state[`${i}.${name}`] = t.detach();
    }
    return state;
  }

  /** Copies in what `state()` gave for the same parameters in the same order. */
  loadState(state: Readonly<Record<string, Tensor>>): void {
    if (state === null || typeof state !== 'object' || state instanceof Tensor) {
      fail(
        this.name,
        'ERR_INVALID_TYPE',
        `expected state to be an object of tensors, got ${show(state)}`,
      );
    }
    const unread = new Set(Object.keys(state));
    const take = (key: string, shape: Shape, dtype: DType): Tensor => {
      const t = state[key];
      if (t === undefined) fail(this.name, 'ERR_INVALID_VALUE', `expected state to hold '${key}'`);
      expectTensor(this.name, `state['${key}']`, t);
      expectShape(this.name, `state['${key}']`, t, shape, `that of parameter ${key.split('.')[0]}`);
      expectSameDType(this.name, `state['${key}']`, t, 'what is expected', { shape, dtype });
      unread.delete(key);
      return t;
    };
    const read = (key: string) => Number(take(key, [], 'int64').item());
    const steps = read('steps');
    const slots = this.entries.map(({ param, options }, i) => {
      if (!(`${i}.step` in state)) return null;
      const slot = this.newSlot(param, options);
      slot.step = read(`${i}.step`);
      for (const [name, own] of Object.entries(slot.tensors)) {
        own.copy_(take(`${i}.${name}`, param.shape, own.dtype));
      }
      return slot;
    });
    for (const key of unread) {
      fail(this.name, 'ERR_INVALID_VALUE', `expected state of these parameters, got '${key}' too`);
    }
    this.steps = steps;
    for (const [i, slot] of slots.entries()) this.entries[i].slot = slot;
  }
}

const needsMaster = (dtype: DType) => dtype === 'bfloat16' || dtype === 'float16';
const stateDType = (dtype: DType) => (dtype === 'float64' ? 'float64' : 'float32');

/** Takes over values that were written to the parameter since its last update. */
function refreshMaster(param: Tensor, slot: Slot): void {
  const { master } = slot.tensors;
  if (!master || slot.version === param.storage!.version) return;
  const rounded = empty(param.shape, param.dtype, false, param.device);
  launch(native.cast, { a: master.raw, out: rounded.raw });
  // A checkpoint's weights loaded after its state are the master's, rounded: it keeps its bits.
  const isSame = Buffer.compare(bitsOf(rounded), bitsOf(param)) === 0;
  rounded.dispose();
  if (!isSame) launch(native.cast, { a: param.raw, out: master.raw });
}

const bitsOf = (t: Tensor) => new Uint8Array(readData(t, true).buffer);

/** Without the options that are undefined: they mean the default. */
function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as T;
}

function count(n: number): Tensor {
  return tensor(BigInt(n), { device: 'cpu' });
}
