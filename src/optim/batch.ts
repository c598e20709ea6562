// Parameters that one native call updates together, and the state that each of them keeps.
import { launch, native, type Raw } from '../native.js';
import type { Tensor } from '../tensor.js';

/** A number, or a function of the number of steps done so far (0 for the first step). */
export type LearningRate = number | ((step: number) => number);

/** The state of one parameter: how often it was updated, and tensors by name. */
export interface Slot {
  step: number;
  tensors: Record<string, Tensor>;
  /** The parameter's version after the last update: another one means that somebody wrote to it. */
  version: number;
}

export interface Entry<Options> {
  param: Tensor;
  options: Options;
  /** The rate of its group, if that has one of its own. */
  lr: LearningRate | undefined;
  slot: Slot | null;
}

/** What changes from step to step; `step` counts from 1. */
export interface Pace {
  lr: number;
  step: number;
}

/** Parameters that are updated together, and how. */
export interface Paced<Options> extends Pace {
  entries: readonly Entry<Options>[];
}

/** Parameters of one group, dtype, device and step count: what one native call updates. */
export interface Batch<Options> extends Pace {
  params: readonly Tensor[];
  grads: readonly Tensor[];
  slots: readonly Slot[];
  options: Options;
  /** In a graph: where the pace of a replay is written, instead of `lr` and `step`. */
  rates: Tensor | undefined;
}

/** What a native call is given of parameters that it updates together. */
export function batchOf<Options>(
  entries: readonly Entry<Options>[],
  pace: Pace,
  rates?: Tensor,
): Batch<Options> {
  return {
    params: entries.map((e) => e.param),
    grads: entries.map((e) => e.param.gradient!),
    slots: entries.map((e) => e.slot!),
    options: entries[0].options,
    ...pace,
    rates,
  };
}

/** Parameters that one native call can update, together. */
export function alike<Options>(entries: readonly Entry<Options>[]): Entry<Options>[][] {
  const batches: Entry<Options>[][] = [];
  for (const entry of entries) {
    const { param, options, slot } = entry;
    const batch = batches.find(
      ([first]) =>
        first.options === options &&
        first.param.dtype === param.dtype &&
        first.param.device === param.device &&
        first.slot?.step === slot?.step,
    );
    if (batch) batch.push(entry);
    else batches.push([entry]);
  }
  return batches;
}

const raws = (tensors: readonly Tensor[]): Raw[] => tensors.map((t) => t.raw);

/** The fields that every update has. */
export function rawsOf(batch: { params: readonly Tensor[]; grads: readonly Tensor[] }) {
  return { param: raws(batch.params), grad: raws(batch.grads) };
}

/** The master copies, where the parameters have them. */
export function mastersOf(slots: readonly Slot[]): Raw[] | undefined {
  return slots[0].tensors.master && raws(slots.map((slot) => slot.tensors.master));
}

/**
 * Takes over values that were written to the parameter since its last update. A checkpoint's weights
 * loaded after its state are the master's, rounded: those keep their bits.
 */
export function refreshMaster(param: Tensor, slot: Slot): void {
  const { master } = slot.tensors;
  if (!master || slot.version === param.storage!.version) return;
  launch(native.optimiserRefresh, { param: param.raw, master: master.raw });
}

/** Makes a slot as new, in the tensors that a graph may know. */
export function forget(param: Tensor, slot: Slot): void {
  for (const [name, t] of Object.entries(slot.tensors)) {
    t.storage!.touch();
    if (name === 'master') launch(native.cast, { a: param.raw, out: t.raw });
    else launch(native.fill, { out: t.raw, value: 0 });
  }
  slot.step = 0;
  slot.version = param.storage!.version;
}
