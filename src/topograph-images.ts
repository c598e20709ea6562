// The segmentations of planes that topographLoss and diuError compare: options, checks and fields.
import { checkBackground, checkClassImages, hasClassIndices } from './class-images.js';
import { expectBoolean, expectOneOf, fail, show } from './expect.js';
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

const imagesOf = ({ prediction, target }: Images) => ({
  maps: prediction,
  name: 'prediction',
  target,
});

export function checkTopographImages(name: string, t: Images, o: TopographImageOptions): void {
  checkClassImages(name, imagesOf(t), '[B, C, H, W]', 2, 2);
  for (const key of ['fromLogits', 'background'] as const)
    if (o[key] !== undefined) expectBoolean(name, key, o[key]);
  const { connectivity = 8, reduction = 'mean' } = o;
  if (connectivity !== 4 && connectivity !== 8) {
    const got = show(connectivity);
    fail(name, 'ERR_INVALID_VALUE', `expected connectivity to be 4 or 8, got ${got}`);
  }
  checkBackground(name, t.prediction, o.background);
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
      labels: hasClassIndices(imagesOf(t)),
      fromLogits: o.fromLogits ?? false,
      sphere: false,
      background: o.background ?? true,
      eight: (o.connectivity ?? 8) === 8,
      caller,
      reduction: reductions.indexOf(reduction),
    },
  };
}
