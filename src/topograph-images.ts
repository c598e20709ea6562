// The segmentations of planes that topographLoss and diuError compare: options, checks and fields.

import { floats } from './dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  expectOneOf,
  expectShape,
  fail,
  showShape,
} from './expect.js';
import { type LossReduction, reductions } from './loss-options.js';
import type { Tensor } from './tensor.js';

export interface TopographImageOptions<R extends LossReduction = LossReduction> {
  /** Applies softmax over the channels, or a sigmoid to the only one; default false. */
  fromLogits?: boolean;
  /** Of the foreground: 8 (default) or 4 neighbours; the background has the other. */
  connectivity?: 4 | 8;
  /** Whether class 0 counts; default true. False takes at least two channels. */
  background?: boolean;
  /** Default 'mean', over images and classes; 'none' gives [B, classes]. */
  reduction?: R;
}

export const topographImageOptions = [
  'fromLogits',
  'connectivity',
  'background',
  'reduction',
] as const;

interface Images {
  prediction: Tensor;
  target: Tensor;
}

const hasLabels = ({ prediction, target }: Images) => target.rank === prediction.rank - 1;

export function checkTopographImages(name: string, t: Images, o: TopographImageOptions): void {
  const { prediction, target } = t;
  expectOnCpu(name, 'prediction', prediction);
  expectDType(name, 'prediction', prediction, floats);
  const { shape, rank } = prediction;
  if (rank !== 4 || shape[1] === 0) {
    const wanted = '[B, C, H, W] with at least one channel';
    fail(name, 'ERR_SHAPE', `expected prediction to have shape ${wanted}, got ${showShape(shape)}`);
  }
  if (shape[2] * shape[3] > 2 ** 30) {
    fail(name, 'ERR_SHAPE', `expected at most 2^30 pixels an image, got ${shape[2] * shape[3]}`);
  }
  const [batch, , ...plane] = shape;
  const like = `prediction ${showShape(shape)}`;
  if (hasLabels(t)) {
    expectDType(name, 'target', target, ['int32', 'int64']);
    expectShape(name, 'target', target, [batch, ...plane], `class indices of ${like}`);
  } else {
    expectDType(name, 'target', target, [prediction.dtype, 'bool', 'uint8']);
    expectShape(name, 'target', target, shape, `like ${like}`);
  }
  for (const key of ['fromLogits', 'background'] as const)
    if (o[key] !== undefined) expectBoolean(name, key, o[key]);
  const { connectivity = 8, reduction = 'mean' } = o;
  expectNumber(name, 'connectivity', connectivity, { integer: true });
  if (connectivity !== 4 && connectivity !== 8)
    fail(name, 'ERR_INVALID_VALUE', `expected connectivity to be 4 or 8, got ${connectivity}`);
  if (o.background === false && shape[1] === 1) {
    const wanted = 'more than one channel where background is false';
    fail(name, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${like}`);
  }
  expectOneOf(name, 'reduction', reduction, reductions);
}

/** What native code takes of them, and the shape of its losses. */
export function topographFields(caller: 0 | 1, t: Images, o: TopographImageOptions) {
  const [batch, channels, height, width] = t.prediction.shape;
  const scored = channels - (o.background === false ? 1 : 0);
  const { reduction = 'mean' } = o;
  return {
    shape: reduction === 'none' ? [batch, scored] : [],
    fields: {
      prediction: t.prediction.raw,
      target: t.target.raw,
      batch,
      channels,
      height,
      width,
      labels: hasLabels(t),
      fromLogits: o.fromLogits ?? false,
      sphere: false,
      background: o.background ?? true,
      eight: (o.connectivity ?? 8) === 8,
      caller,
      reduction: reductions.indexOf(reduction),
    },
  };
}
