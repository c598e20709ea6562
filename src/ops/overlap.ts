// Losses of the overlap of regions, which topology losses are added to: see the doc comments below.
// One kernel for all: sums over the voxels of each channel, then the gradient by reading them again.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, type LossDType, type MaybeFloat } from '../dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import { axesOf, expectSpatial, expectThinningMemory, imagesOf } from '../image-axes.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Shape, sizeOf } from '../shape.js';
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
} from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

/** What the losses of overlap share. */
export interface OverlapOptions<R extends LossReduction = LossReduction> {
  /**
   * What makes probabilities of the prediction: 'sigmoid' (also `true`), 'softmax' over the channels
   * (at least two), or false (default): it holds probabilities. Logits taken for probabilities give
   * losses that are negative or do not fall.
   */
  fromLogits?: FromLogits | undefined;
  /** Added to both sides of the quotient; default 1. With 0 two empty regions have loss 0. */
  smooth?: number | undefined;
  /** Sums over the whole batch rather than over each image; default false. */
  overBatch?: boolean | undefined;
  /** Whether channel 0 counts; default true. False takes at least two channels. */
  background?: boolean | undefined;
  /**
   * Weights of voxels, [B, ...spatial], of the prediction's dtype or float32; a voxel of weight 0 adds
   * nothing, whatever it holds.
   */
  voxelWeight?: Tensor | undefined;
  /** Class index whose voxels are left out; default -100. */
  ignoreIndex?: number | undefined;
  /** Default 'mean', over images and channels; 'none' gives [B, C] ([C] with overBatch). */
  reduction?: R | undefined;
}

/** Options of `diceLoss` and `jaccardLoss`. */
export interface DiceOptions<R extends LossReduction = LossReduction> extends OverlapOptions<R> {
  /** Sums of p² and t² below the line, as V-Net has them; default false. */
  squared?: boolean | undefined;
}

/** Options of `tverskyLoss`. */
export interface TverskyOptions<R extends LossReduction = LossReduction> extends OverlapOptions<R> {
  /** What a false positive weighs; default 0.5. */
  alpha?: number | undefined;
  /** What a false negative weighs; default 0.5. */
  beta?: number | undefined;
  /** Exponent of (1 - index); default 1. Focal Tversky loss: 0.75. */
  exponent?: number | undefined;
}

/** Options of `skeletonRecallLoss`. */
export interface SkeletonRecallOptions<R extends LossReduction = LossReduction>
  extends OverlapOptions<R> {
  /** Default: only where there is no other channel. */
  background?: boolean | undefined;
  /** The target is a tubed skeleton already (`tubedSkeleton`); default false. */
  tubed?: boolean | undefined;
  /** The tube's, see `tubedSkeleton`; default 2. Not with `tubed`, nor is `perClass`. */
  radius?: number | undefined;
  /** Each class is thinned apart; default false: all together, as the official code does. */
  perClass?: boolean | undefined;
}

type Options = DiceOptions & TverskyOptions & SkeletonRecallOptions;
type In = Inputs<'prediction' | 'target', 'voxelWeight'>;

/** The quotient (kI + s)/(uI + aP + bT + s), and what it is taken from: 1 if not named. */
type Quotient = {
  k: number;
  u: number;
  a: number;
  b: number;
  from?: number;
};

const names = ['diceLoss', 'jaccardLoss', 'tverskyLoss', 'skeletonRecallLoss'] as const;
type Name = (typeof names)[number];

const imagesIn = ({ prediction, target }: In) => ({ maps: prediction as Tensor, target });

function check(name: Name, t: In, options: Options): void {
  const { prediction, voxelWeight } = t;
  checkMaps(name, imagesIn(t));
  checkBackground(name, prediction, options.background);
  const [batch, , ...spatial] = prediction.shape;
  if (voxelWeight) {
    expectDType(name, 'voxelWeight', voxelWeight, [prediction.dtype, 'float32']);
    expectShape(
      name,
      'voxelWeight',
      voxelWeight,
      [batch, ...spatial],
      `one a voxel of prediction ${showShape(prediction.shape)}`,
    );
  }
  checkFromLogits(name, options.fromLogits, prediction);
  const { overBatch = false, squared = false, exponent = 1 } = options;
  const { smooth = 1, alpha = 0.5, beta = 0.5 } = options;
  for (const [key, value] of Object.entries({ overBatch, squared }))
    expectBoolean(name, key, value);
  for (const [key, value] of Object.entries({ smooth, alpha, beta }))
    expectNumber(name, key, value, { min: 0 });
  expectNumber(name, 'exponent', exponent, { above: 0 });
  checkIgnoreIndex(name, options.ignoreIndex, hasClassIndices(imagesIn(t)));
  checkReduction(name, options.reduction);
}

function fields(name: Name, t: In, options: Options) {
  const { prediction, target, voxelWeight } = t;
  const [batch, channels, ...spatial] = prediction.shape;
  return {
    image: prediction.raw,
    target: target.raw,
    weight: voxelWeight?.raw,
    batch,
    channels,
    voxels: sizeOf(spatial),
    labels: hasClassIndices(imagesIn(t)),
    ignore: options.ignoreIndex ?? defaultIgnoreIndex,
    how: activationNumber(activationOf(options.fromLogits)),
    squared: options.squared ?? false,
    caller: names.indexOf(name),
    overBatch: options.overBatch ?? false,
    firstChannel: options.background === false ? 1 : 0,
    reduction: reductions.indexOf(options.reduction ?? 'mean'),
  };
}

/** What else a loss has: options, their defaults, and what takes the place of its target. */
interface Own {
  options: readonly string[];
  defaults?: (t: In, options: Options) => Options;
  check?: (t: In, options: Options) => void;
  targetOf?: (t: In, options: Options) => Tensor;
}

interface Saved {
  t: In;
  options: Options;
  slopes: Tensor;
}

function define(name: Name, own: Own, quotientOf: (options: Options) => Quotient) {
  const { defaults = (_: In, options: Options) => options, targetOf = ({ target }: In) => target } =
    own;
  return defineOp({
    name,
    builtin: true,
    inputs: ['prediction', 'target'],
    optionTensors: ['voxelWeight'],
    options: [
      'fromLogits',
      'smooth',
      'overBatch',
      'background',
      'ignoreIndex',
      'reduction',
      ...own.options,
    ],
    nondifferentiable: ['target', 'voxelWeight'],
    check(t: In, options: Options) {
      check(name, t, defaults(t, options));
      own.check?.(t, options);
    },
    forward(inputs: In, chosen: Options, needs: Needs) {
      const options = defaults(inputs, chosen);
      const t = Object.assign({}, inputs, { target: targetOf(inputs, options) });
      const given = fields(name, t, options);
      const scored = given.channels - given.firstChannel;
      const each = given.overBatch ? [scored] : [given.batch, scored];
      const isReduced = options.reduction !== 'none';
      const output = empty(isReduced ? [] : each, accumulatorOf(t.prediction.dtype));
      const size = [given.batch, given.channels, 2];
      const slopes = needs.prediction ? empty(size, 'float64') : undefined;
      const { smooth = 1, exponent = 1 } = options;
      launch(
        native.overlapForward,
        { smooth, exponent, loss: output.raw, slopes: slopes?.raw },
        quotientOf(options),
        { from: 1 },
        given,
      );
      return { output, saved: slopes && ({ t, options, slopes } satisfies Saved) };
    },
    backward({ t, options, slopes }: Saved, upstream: Tensor): Gradients {
      const grad = empty(t.prediction.shape, t.prediction.dtype);
      launch(
        native.overlapBackward,
        {
          slopes: slopes.raw,
          upstream: upstream.raw,
          grad: grad.raw,
        },
        fields(name, t, options),
      );
      return { prediction: grad };
    },
  });
}

type OverlapLoss<Own> = Op<
  <D extends DType, R extends LossReduction = 'mean'>(
    prediction: Tensor<D> & MaybeFloat<D>,
    target: Tensor,
    options?: Own & { reduction?: R | undefined },
  ) => Tensor<LossDType<D>, R extends 'none' ? Shape : readonly []>
>;

/**
 * Dice loss of regions, the base that topology losses are added to:
 *
 *   loss = 1 - (2I + s)/(P + T + s),  I = sum p t, P = sum p (or p²), T = sum t (or t²)
 *
 * over the voxels of each channel of each image (or of the batch), s = smooth.
 *
 * prediction [B, C, ...spatial], any float dtype, probabilities or, with `fromLogits`, logits;
 * target of the same shape (the same dtype, bool or uint8), or class indices [B, ...spatial] (int32,
 * int64; a single channel is class 1) -> [] for 'mean' and 'sum', [B, C] for 'none'; float32, or
 * float64 for float64 predictions.
 *
 * Differentiable in prediction. Same input, same bits for any number of threads. Holds nothing of
 * the images' size but the gradient.
 *
 * Milletari et al. 2016 ("V-Net", with `squared`); Drozdzal et al. 2016.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments,
 *   voxelWeight that is negative or not finite; ERR_OUT_OF_RANGE for a class index.
 * @example const loss = sp.diceLoss(logits, mask, { fromLogits: 'sigmoid' }).add(topology)
 */
export const diceLoss = define('diceLoss', { options: ['squared'] }, () => ({
  k: 2,
  u: 0,
  a: 1,
  b: 1,
})) as unknown as OverlapLoss<DiceOptions>;

/**
 * Soft Jaccard loss (intersection over union): loss = 1 - (I + s)/(P + T - I + s), and all else as
 * `diceLoss`. Rahman and Wang 2016.
 *
 * Shapes as of `diceLoss`: [B, C, ...spatial] -> [].
 *
 * @throws as `diceLoss`.
 * @example const loss = sp.jaccardLoss(probabilities, mask)
 */
export const jaccardLoss = define('jaccardLoss', { options: ['squared'] }, () => ({
  k: 1,
  u: -1,
  a: 1,
  b: 1,
})) as unknown as OverlapLoss<DiceOptions>;

/**
 * Tversky loss: false positives weigh alpha, false negatives beta,
 *
 *   loss = (1 - (I + s)/(I + alpha (P - I) + beta (T - I) + s))^exponent
 *
 * and all else as `diceLoss`, which alpha = beta = 1/2 is but for s; 1 and 1 give `jaccardLoss`. At a
 * perfect overlap an exponent below 1 would make the gradient infinite: it is 0 there.
 *
 * Salehi et al. 2017; Abraham and Khan 2019 (focal Tversky loss, whose 1/gamma is `exponent`).
 *
 * Shapes as of `diceLoss`: [B, C, ...spatial] -> [].
 *
 * @throws as `diceLoss`.
 * @example const loss = sp.tverskyLoss(probabilities, mask, { alpha: 0.3, beta: 0.7 })
 */
export const tverskyLoss = define(
  'tverskyLoss',
  { options: ['alpha', 'beta', 'exponent'] },
  ({ alpha = 0.5, beta = 0.5 }) => ({ k: 1, u: 1 - alpha - beta, a: alpha, b: beta }),
) as unknown as OverlapLoss<TverskyOptions>;

/** What is thinned and widened of the target. */
function tubeOf(t: In, options: Options): Tensor {
  const { prediction, target } = t;
  if (options.tubed) return target;
  const tube = empty(target.shape, target.dtype);
  const isLabels = hasClassIndices(imagesIn(t));
  const before = isLabels ? 1 : 2;
  const own = {
    mask: target.raw,
    result: tube.raw,
    images: imagesOf(target.shape, before),
    perValue: options.perClass ?? false,
    radius: options.radius ?? 2,
    classes: isLabels ? Math.max(2, prediction.shape[1]) : 0,
    ignored: isLabels ? (options.ignoreIndex ?? defaultIgnoreIndex) : -1,
  };
  launch(native.skeletonize, own, axesOf(target.shape, before));
  return tube;
}

/**
 * Skeleton recall loss: minus the share of the target's middle lines, a few voxels wide, that is
 * predicted. With t the target's skeleton, dilated by `radius` and cut to the target,
 *
 *   loss = -(Σ p t + s)/(Σ t + s),  s = smooth,
 *
 * over the voxels of each channel of each image (or of the batch), without the background; -1 is the
 * best. To be added to Dice or cross-entropy, whose gradient it does not replace.
 *
 * prediction [B, C, H, W] or [B, C, D, H, W] and target as `diceLoss` takes them; masks are thinned
 * channel by channel, class indices all together or, with `perClass`, each alone (voxels of
 * ignoreIndex are background to that, and add to no sum). A target from `tubedSkeleton` is passed with `tubed`.
 * -> as `diceLoss`. Differentiable in prediction.
 *
 * Kirchhoff et al., ECCV 2024 ("Skeleton Recall Loss", section 3), after their code.
 *
 * @throws as `diceLoss`.
 * @example const loss = sp.skeletonRecallLoss(logits, labels, { fromLogits: 'softmax' })
 */
export const skeletonRecallLoss = define(
  'skeletonRecallLoss',
  {
    options: ['tubed', 'radius', 'perClass'],
    defaults: ({ prediction }, options) => ({
      ...options,
      background: options.background ?? prediction.shape[1] === 1,
    }),
    check({ prediction, target }, options) {
      const { tubed = false, perClass = false, radius = 2 } = options;
      const name = 'skeletonRecallLoss';
      expectSpatial(name, 'prediction', prediction);
      expectBoolean(name, 'tubed', tubed);
      expectBoolean(name, 'perClass', perClass);
      expectNumber(name, 'radius', radius, { min: 0, max: 1000, integer: true });
      const before = hasClassIndices({ maps: prediction as Tensor, target }) ? 1 : 2;
      if (!tubed) expectThinningMemory(name, target.shape, before);
      for (const key of ['perClass', 'radius'] as const) {
        if (!tubed || options[key] === undefined) continue;
        const wanted = `${key} only of targets that are thinned, not tubed already`;
        fail(name, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${options[key]}`);
      }
    },
    targetOf: tubeOf,
  },
  () => ({ k: 1, u: 0, a: 0, b: 1, from: 0 }),
) as unknown as OverlapLoss<SkeletonRecallOptions>;
