// The segmentations of planes that topographLoss and diuError compare: options, checks and fields.
import { fail, show } from './expect.js';
import { expectMemoryOfImages } from './free-memory.js';
import { checkReduction, type LossReduction, reductions } from './loss-options.js';
import {
  activationNumber,
  activationOf,
  checkBackground,
  checkFromLogits,
  checkIgnoreIndex,
  checkMaps,
  defaultIgnoreIndex,
  type FromLogits,
  hasClassIndices,
  usualOf,
} from './targets.js';
import type { Tensor } from './tensor.js';

export interface TopographImageOptions<R extends LossReduction = LossReduction> {
  /**
   * What makes probabilities of the prediction: `true`, softmax over the channels or, of a single one, a
   * sigmoid; 'softmax' (at least two channels) or 'sigmoid'. Default false: it holds probabilities.
   */
  fromLogits?: FromLogits | undefined;
  /** Of the foreground: 8 (default) or 4 neighbours; the background has the other. */
  connectivity?: 4 | 8 | undefined;
  /** Whether class 0 counts; default true. False takes at least two channels. */
  background?: boolean | undefined;
  /**
   * Class index whose pixels are right, whatever is predicted there, so that they are in no wrong
   * region; default -100.
   */
  ignoreIndex?: number | undefined;
  /** Default 'mean', over images and classes; 'none' gives [B, classes]. */
  reduction?: R | undefined;
}

export const topographImageOptions = [
  'fromLogits',
  'connectivity',
  'background',
  'ignoreIndex',
  'reduction',
] as const;

interface Images {
  prediction: Tensor;
  target: Tensor;
}

const imagesOf = ({ prediction, target }: Images) => ({ maps: prediction, target });

export function checkTopographImages(name: string, t: Images, o: TopographImageOptions): void {
  checkMaps(name, imagesOf(t), { shape: '[B, C, H, W]', axes: [2, 2] });
  checkFromLogits(name, o.fromLogits, t.prediction);
  const { connectivity = 8 } = o;
  if (connectivity !== 4 && connectivity !== 8) {
    const got = show(connectivity);
    fail(name, 'ERR_INVALID_VALUE', `expected connectivity to be 4 or 8, got ${got}`);
  }
  checkBackground(name, t.prediction, o.background);
  checkIgnoreIndex(name, o.ignoreIndex, hasClassIndices(imagesOf(t)));
  checkReduction(name, o.reduction);
  // Classes and slopes; runs, components and neighbours (native/ops/topograph/regions.h).
  const [batch, channels, height, width] = t.prediction.shape;
  const bytes = { each: 32 / channels, scratch: 48 };
  expectMemoryOfImages(name, batch * channels, (height + 2) * (width + 2), bytes);
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
      ignore: o.ignoreIndex ?? defaultIgnoreIndex,
      activation: activationNumber(activationOf(o.fromLogits, usualOf(t.prediction))),
      sphere: false,
      background: o.background ?? true,
      eight: (o.connectivity ?? 8) === 8,
      caller,
      reduction: reductions.indexOf(reduction),
    },
  };
}
