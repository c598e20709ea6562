// What all optimisers share: parameter groups, the learning rate, per-parameter state and its
// saving. A subclass names its state tensors and updates a batch of parameters in one native call.
// In a graph what changes from step to step (the rate, Adam's corrections) lies on the device, and
// is written anew before each replay.
import { type Capture, capture, onReplay, refuseInGraph } from '../capture.js';
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
import { empty, expectTensor, refuseReadOnly, Tensor } from '../tensor.js';
import {
  alike,
  type Batch,
  batchOf,
  type Entry,
  forget,
  type LearningRate,
  type Pace,
  type Paced,
  refreshMaster,
  type Slot,
} from './batch.js';

/** Some of the options; what is absent or undefined has its default. */
export type SomeOf<Options> = { [K in keyof Options]?: Options[K] | undefined };

/** Parameters with options of their own: `{ params, weightDecay: 0 }`. */
export type ParamGroup<Options> = { params: readonly Tensor[] } & SomeOf<Options>;

/** The fields of `optimiserSetRates` beside its result. */
export type Numbers = Readonly<Record<string, number>>;

/** What all optimisers have. */
export abstract class Optimizer<Options extends { lr: LearningRate }> {
  /** The learning rate of groups that have none of their own: assign to it at any time. */
  lr: LearningRate;
  /** Calls of `step()` so far. */
  steps = 0;
  private readonly entries: Entry<Options>[] = [];
  private readonly graphRates = new WeakMap<Capture, Tensor[]>();

  protected constructor(
    /** 'SGD', 'Adam' or 'AdamW'. */
    readonly name: string,
    params: readonly Tensor[] | readonly ParamGroup<Options>[],
    defaults: Options,
    given: SomeOf<Options>,
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
      if (!('params' in group)) expectTensor(name, `params[${i}]`, group);
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
      refuseReadOnly(this.name, `${name}[${i}]`, param);
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
  /** Updates the parameters of a batch. */
  protected abstract update(batch: Batch<Options>): void;
  /** What the native rates of a step are made of. */
  protected abstract numbers(options: Options, pace: Pace): Numbers;

  /** Updates every parameter that has a gradient. */
  step(): void {
    const active = this.entries.filter((entry) => entry.param.gradient);
    for (const { param } of active) {
      if (param.storage && param.storage.pins > 0) {
        fail(
          this.name,
          'ERR_IN_USE',
          'an asynchronous operation is using a parameter; await it first',
        );
      }
    }
    if (capture?.recording) {
      this.record(active, capture);
      return;
    }
    for (const { param } of active) param.storage!.beforeWrite();
    for (const { entries, ...pace } of this.advance(active)) {
      // The first step of a graph makes what its replays will use.
      if (capture) this.ratesOf(capture).push(newRates(entries[0].param));
      this.update(batchOf(entries, pace));
    }
    for (const { param, slot } of active) {
      // A graph that saved the old values will say so instead of using the new ones.
      param.storage!.touch();
      slot!.version = param.storage!.version;
    }
    this.steps++;
  }

  /** Counts a step of each parameter and gives those that are updated together, as a graph expects. */
  private advance(active: readonly Entry<Options>[], expected?: number): Paced<Options>[] {
    for (const entry of active) {
      entry.slot ??= this.newSlot(entry.param, entry.options);
      refreshMaster(entry.param, entry.slot);
    }
    const batches = alike(active).map((entries) => ({
      entries,
      lr: this.rate(entries[0].lr ?? this.lr),
      step: entries[0].slot!.step + 1,
    }));
    if (expected !== undefined) this.expectRepeatable(batches, expected);
    for (const { slot } of active) slot!.step++;
    return batches;
  }

  /** Refuses what a graph's replay would not do as `step()` does; a loaded state may ask for it. */
  private expectRepeatable(batches: readonly Paced<Options>[], expected: number): void {
    if (batches.length !== expected) {
      fail(this.name, 'ERR_GRAPH', 'expected the parameters of a graph to be updated together');
    }
    for (const { entries, step } of batches) {
      if (step > 1 || !this.beginsApart(entries[0].options)) continue;
      fail(this.name, 'ERR_GRAPH', 'expected no first step in a graph of later ones; make it anew');
    }
  }

  /** Whether the first step of a parameter is other work than the following ones. */
  protected beginsApart(_options: Options): boolean {
    return false;
  }

  private ratesOf(graph: Capture): Tensor[] {
    const known = this.graphRates.get(graph) ?? [];
    this.graphRates.set(graph, known);
    return known;
  }

  /** Enqueues the updates of a graph's step; the step itself is its first replay. */
  private record(active: readonly Entry<Options>[], graph: Capture): void {
    const batches = alike(active);
    const rates = this.ratesOf(graph).splice(0, batches.length);
    if (rates.length < batches.length || active.some((entry) => !entry.slot)) {
      fail(this.name, 'ERR_GRAPH', 'expected the same parameters to have gradients in every step');
    }
    for (const [i, entries] of batches.entries()) {
      const next = { lr: 0, step: entries[0].slot!.step + 1 };
      this.update(batchOf(entries, next, rates[i]));
    }
    for (const { param, slot } of active) {
      const wasOwn = slot!.version === param.storage!.version;
      param.storage!.touch();
      if (wasOwn) slot!.version = param.storage!.version;
    }
    onReplay(() => {
      const paces = this.advance(active, batches.length);
      for (const [i, { entries, ...pace }] of paces.entries()) {
        const numbers = this.numbers(entries[0].options, pace);
        launch(native.optimiserSetRates, { out: rates[i].raw }, numbers);
      }
      // The replay that follows raises the version once.
      for (const { param, slot } of active) slot!.version = param.storage!.version + 1;
      this.steps++;
    });
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
      if (!slot || slot.step === 0) continue;
      state[`${i}.step`] = count(slot.step);
      for (const [name, t] of Object.entries(slot.tensors)) state[`${i}.${name}`] = t.detach();
    }
    return state;
  }

  /** Copies in what `state()` gave for the same parameters in the same order. */
  loadState(state: Readonly<Record<string, Tensor>>): void {
    refuseInGraph('the loading of a state', 'load it before or between the steps');
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
    // Everything is checked before anything is written.
    const loads = this.entries.map((entry, i) => {
      const { param, options } = entry;
      if (!(`${i}.step` in state)) {
        return () => {
          if (entry.slot) forget(param, entry.slot);
        };
      }
      const step = read(`${i}.step`);
      const names = [...this.stateNames(options), ...(needsMaster(param.dtype) ? ['master'] : [])];
      const values = names.map((n) => take(`${i}.${n}`, param.shape, stateDType(param.dtype)));
      return () => {
        // Into the tensors that a graph may know.
        entry.slot ??= this.newSlot(param, options);
        for (const [k, name] of names.entries()) entry.slot.tensors[name].copy_(values[k]);
        entry.slot.step = step;
        entry.slot.version = param.storage!.version;
      };
    });
    for (const key of unread) {
      fail(this.name, 'ERR_INVALID_VALUE', `expected state of these parameters, got '${key}' too`);
    }
    this.steps = steps;
    for (const load of loads) load();
  }
}

const newRates = (like: Tensor) => keep(empty([4], 'float64', false, like.device));

const needsMaster = (dtype: DType) => dtype === 'bfloat16' || dtype === 'float16';
const stateDType = (dtype: DType) => (dtype === 'float64' ? 'float64' : 'float32');

/** Without the options that are undefined: they mean the default. */
function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as T;
}

function count(n: number): Tensor {
  return tensor(BigInt(n), { device: 'cpu' });
}
