// The soft-clDice loss: see the doc comment below. Backward takes the prediction's skeleton again.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import {
  accumulatorOf,
  type DType,
  dtypeInfo,
  type FloatDType,
  type LossDType,
  type MaybeFloat,
} from '../dtype.js';
import { expectDType, expectNumber, expectOneOf, expectShape } from '../expect.js';
import { axesOf, expectIterations, expectSpatial, isTracked } from '../image-axes.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { throughSoftmax, wideSoftmax } from '../probabilities.js';
import type { Shape } from '../shape.js';
import {
  activationOf,
  checkBackground,
  checkFromLogits,
  checkMaps,
  type FromLogits,
  hasClassIndices,
} from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'clDice';
const sumKinds = ['batch', 'channel', 'image'] as const;
const slopesEach = 5;

/** Options of `clDice`. */
export interface ClDiceOptions<R extends LossReduction = LossReduction> {
  /** Erosions of the soft skeletons; default 10, as the official code has, whatever it is given. */
  iterations?: number | undefined;
  /** Added to both sides of every quotient; default 1. With 0 an empty quotient is 1. */
  smooth?: number | undefined;
  /** w of the loss (1 - w)·clDice + w·Dice; default 0. The official alpha is 1 - w, 0.5 there. */
  diceWeight?: number | undefined;
  /**
   * What makes probabilities of the prediction: 'sigmoid' (also `true`), 'softmax' over the channels
   * (at least two), or false (default): it holds probabilities. Logits taken for probabilities give
   * losses without meaning.
   */
  fromLogits?: FromLogits | undefined;
  /**
   * What has quotients of its own: the whole 'batch' (default, as the official code), each 'channel'
   * of the batch, or each channel of each 'image'.
   */
  sums?: 'batch' | 'channel' | 'image' | undefined;
  /** Whether channel 0 counts; default true. False takes at least two channels. */
  background?: boolean | undefined;
  /**
   * `softSkeleton` of the target's channels, of the prediction's shape, any float dtype, with the same
   * iterations: saves taking it at every step.
   */
  targetSkeleton?: Tensor | undefined;
  /** Default 'mean', over what has quotients; 'none' gives [], [C] or [B, C]. */
  reduction?: R | undefined;
}

type In = Inputs<'prediction' | 'target', 'targetSkeleton'>;

interface Saved {
  /** With the softmax in place of logits. */
  t: In;
  options: ClDiceOptions;
  slopes: Tensor;
  /** The target's skeleton, where it was not given. */
  kept?: Tensor;
  /** Of the logits that a softmax was taken of. */
  logits?: FloatDType;
}

const imagesIn = ({ prediction, target }: In) => ({ maps: prediction as Tensor, target });

/** Bytes a voxel of arrays of the images' size: probabilities, the kept skeleton, gradients. */
function imageBytes({ prediction, targetSkeleton }: In, { fromLogits }: ClDiceOptions): number {
  const { dtype } = prediction as Tensor<FloatDType>;
  const [own, wide] = [dtypeInfo[dtype].bytes, dtypeInfo[accumulatorOf(dtype)].bytes];
  const isSoftmax = activationOf(fromLogits) === 'softmax';
  const forward = isSoftmax ? (own === wide ? wide : 2 * wide) : 0;
  if (!isTracked(prediction)) return forward;
  const backward = isSoftmax ? 2 * wide + (own === wide ? 0 : own) : own;
  return forward + backward + (targetSkeleton ? 0 : wide);
}

function check(t: In, options: ClDiceOptions): void {
  const { prediction, targetSkeleton } = t;
  checkMaps(name, imagesIn(t));
  checkBackground(name, prediction, options.background);
  checkFromLogits(name, options.fromLogits, prediction);
  expectSpatial(name, 'prediction', prediction);
  if (targetSkeleton) {
    expectDType(name, 'targetSkeleton', targetSkeleton, [prediction.dtype, 'float32']);
    expectShape(name, 'targetSkeleton', targetSkeleton, prediction.shape, 'like prediction');
  }
  const { iterations = 10, smooth = 1, diceWeight = 0, sums = 'batch' } = options;
  expectIterations(name, iterations, prediction, imageBytes(t, options));
  expectNumber(name, 'smooth', smooth, { min: 0 });
  expectNumber(name, 'diceWeight', diceWeight, { min: 0, max: 1 });
  expectOneOf(name, 'sums', sums, sumKinds);
  checkReduction(name, options.reduction);
}

function fields(t: In, options: ClDiceOptions) {
  const { prediction, target, targetSkeleton } = t;
  const [batch, channels] = prediction.shape;
  const own = {
    prediction: prediction.raw,
    target: target.raw,
    skeleton: targetSkeleton?.raw,
    batch,
    channels,
    labels: hasClassIndices(imagesIn(t)),
    logits: activationOf(options.fromLogits) === 'sigmoid',
    firstChannel: options.background === false ? 1 : 0,
    iterations: options.iterations ?? 10,
    sums: sumKinds.indexOf(options.sums ?? 'batch'),
    reduction: reductions.indexOf(options.reduction ?? 'mean'),
  };
  return Object.assign(own, axesOf(prediction.shape, 2));
}

/** The shape of what has quotients of its own. */
function unitsOf({ prediction }: In, { sums = 'batch', background }: ClDiceOptions): number[] {
  const scored = prediction.shape[1] - (background === false ? 1 : 0);
  if (sums === 'batch') return [];
  return sums === 'channel' ? [scored] : [prediction.shape[0], scored];
}

function forward(given: In, options: ClDiceOptions, needs: Needs) {
  const isSoftmax = activationOf(options.fromLogits) === 'softmax';
  const t = isSoftmax ? { ...given, prediction: wideSoftmax(given.prediction) } : given;
  const logits = isSoftmax ? given.prediction.dtype : undefined;
  const units = unitsOf(t, options);
  const output = empty(
    options.reduction === 'none' ? units : [],
    accumulatorOf(t.prediction.dtype),
  );
  const slopes = needs.prediction ? empty([...units, slopesEach], 'float64') : undefined;
  const isKept = needs.prediction && !t.targetSkeleton;
  const kept = isKept ? empty(t.prediction.shape, output.dtype) : undefined;
  const { smooth = 1, diceWeight = 0 } = options;
  launch(
    native.clDiceForward,
    {
      smooth,
      diceWeight,
      loss: output.raw,
      slopes: slopes?.raw,
      kept: kept?.raw,
    },
    fields(t, options),
  );
  return { output, saved: slopes && ({ t, options, slopes, kept, logits } satisfies Saved) };
}

function backward({ t, options, slopes, kept, logits }: Saved, upstream: Tensor): Gradients {
  const prediction = empty(t.prediction.shape, t.prediction.dtype);
  launch(
    native.clDiceBackward,
    {
      slopes: slopes.raw,
      upstream: upstream.raw,
      grad: prediction.raw,
    },
    fields(kept ? { ...t, targetSkeleton: kept } : t, options),
  );
  return { prediction: logits ? throughSoftmax(t.prediction, prediction, logits) : prediction };
}

/**
 * The soft-clDice loss of tubes and networks, which asks that the middle lines of prediction and
 * target lie in each other: with S_p and S_y the soft skeletons (`softSkeleton`) of prediction p and
 * target y, sums over voxels, s = smooth and w = diceWeight,
 *
 *   a = (Σ S_p y + s)/(Σ S_p + s)   of the predicted line, how much is in the target
 *   b = (Σ S_y p + s)/(Σ S_y + s)   of the target's line, how much is predicted
 *   loss = (1 - w)(1 - 2ab/(a + b)) + w (1 - (2Σ p y + s)/(Σ p + Σ y + s))
 *
 * prediction [B, C, H, W] or [B, C, D, H, W], any float dtype, probabilities, or logits with
 * `fromLogits` ('softmax' for classes that exclude each other); target of the same
 * shape (the same dtype, bool or uint8), or class indices [B, ...spatial] (int32, int64; a single
 * channel is class 1) -> [] for 'mean' and 'sum', else one loss for each of what `sums` names; float32, or float64 for
 * float64 predictions.
 *
 * Differentiable in prediction, through its skeleton too; ties as `softSkeleton` says. Of the
 * images' size only the target's skeleton is kept for backward, where it was not given; the
 * prediction's is taken again, with scratch memory as `softSkeleton`'s. Same input, same bits for any
 * number of threads.
 *
 * Shit et al., CVPR 2021 ("clDice", algorithm 2, eq. 1 and 2); sums as the official code by default.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a class index; OutOfMemoryError.
 * @example const loss = sp.clDice(logits, mask, { fromLogits: true, diceWeight: 0.5 })
 */
export const clDice: Op<
  <D extends DType, R extends LossReduction = 'mean'>(
    prediction: Tensor<D> & MaybeFloat<D>,
    target: Tensor,
    options?: ClDiceOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Shape : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  optionTensors: ['targetSkeleton'],
  options: ['iterations', 'smooth', 'diceWeight', 'fromLogits', 'sums', 'background', 'reduction'],
  nondifferentiable: ['target', 'targetSkeleton'],
  check,
  forward,
  backward,
});
