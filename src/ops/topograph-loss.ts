// Topograph loss and its metric: see the doc comments below. Forward saves, for each wrong pixel, how
// the losses of its two classes change with the probability of the one that was predicted.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, type LossDType, type MaybeFloat } from '../dtype.js';
import { expectBoolean, expectOneOf } from '../expect.js';
import type { LossReduction } from '../loss-options.js';
import { launch, native } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import {
  checkTopographImages,
  type TopographImageOptions,
  topographFields,
  topographImageOptions,
} from '../topograph-images.js';

const name = 'topographLoss';
const aggregations = ['mean', 'sum', 'rms', 'max', 'min'] as const;

/** Options of `topographLoss`. */
export interface TopographLossOptions<R extends LossReduction = LossReduction>
  extends TopographImageOptions<R> {
  /** Of the probabilities of a critical region; default 'mean'. 'rms' is the root of the mean square. */
  aggregation?: (typeof aggregations)[number] | undefined;
  /** Puts one pixel of class 0 all round, so that what leaves the image is joined; default false. */
  sphere?: boolean | undefined;
}

/** Options of `diuError`. */
export type DiuErrorOptions<R extends LossReduction = LossReduction> = TopographImageOptions<R>;

type In = Inputs<'prediction' | 'target', never>;

interface Saved {
  t: In;
  options: TopographLossOptions;
  classes: Tensor;
  slopes: Tensor;
}

function check(t: In, options: TopographLossOptions): void {
  checkTopographImages(name, t, options);
  const { aggregation, sphere } = options;
  if (aggregation !== undefined) expectOneOf(name, 'aggregation', aggregation, aggregations);
  if (sphere !== undefined) expectBoolean(name, 'sphere', sphere);
}

function forward(t: In, options: TopographLossOptions, needs: Needs) {
  const { shape, fields } = topographFields(0, t, options);
  const { batch, height, width } = fields;
  const dtype = accumulatorOf(t.prediction.dtype);
  const output = empty(shape, dtype);
  const classes = empty([batch, 2, height, width], 'int32');
  const slopes = needs.prediction ? empty([batch, 2, height, width], dtype) : undefined;
  launch(
    native.topographForward,
    {
      sphere: options.sphere ?? false,
      aggregation: aggregations.indexOf(options.aggregation ?? 'mean'),
      loss: output.raw,
      classes: classes.raw,
      slopes: slopes?.raw,
    },
    fields,
  );
  return { output, saved: slopes && ({ t, options, classes, slopes } satisfies Saved) };
}

function backward({ t, options, classes, slopes }: Saved, upstream: Tensor): Gradients {
  const prediction = empty(t.prediction.shape, t.prediction.dtype);
  launch(
    native.topographBackward,
    {
      classes: classes.raw,
      slopes: slopes.raw,
      upstream: upstream.raw,
      grad: prediction.raw,
    },
    topographFields(0, t, options).fields,
  );
  return { prediction };
}

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  target: Tensor,
  options?: TopographLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The Topograph loss of segmentations of planes: the regions of error whose removal would change the
 * topology, and only those.
 *
 * prediction [B, C, H, W] of any float dtype, probabilities (or logits with `fromLogits`), of which
 * each pixel's class is the largest, of a single channel whether it reaches 0.5; target class
 * indices [B, H, W] (int32, int64), or masks [B, C, H, W] of the prediction's dtype, bool or uint8
 * -> [] for 'mean' (over images and classes) and 'sum', [B, classes] for 'none'; float32, or float64
 * for float64.
 *
 * One class against the rest: a region is a connected set of pixels of one predicted and one true
 * class. A wrong region is regular if it has exactly one neighbouring region that is rightly
 * background and exactly one neighbouring foreground (connected in the mask the region is not in);
 * the others are critical:
 *
 *   loss = Σ critical regions  mean over the region of p of the class predicted there
 *
 * With one channel the background's p is 1 - p and only the foreground counts. Differentiable in
 * prediction, classes held constant. Equal bits in every run, for any number of threads.
 *
 * Lux, Berger et al., "Topograph", ICLR 2025, section 4; options as in its code. Two regions that
 * touch in one place fully and in another only within one mask are joined here, and an image that is
 * all wrong is one critical region; `sphere` looks up classes where they are.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE for values that are not finite; ERR_OUT_OF_RANGE for a class index.
 * @example const loss = sp.topographLoss(logits, labels, { fromLogits: true }).add(dice)
 */
export const topographLoss = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  options: [...topographImageOptions, 'aggregation', 'sphere'],
  nondifferentiable: ['target'],
  check,
  forward,
  backward,
}) as unknown as Op<Signature>;

type MetricSignature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  target: Tensor,
  options?: DiuErrorOptions<R>,
) => Tensor<'float32', R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The metric DIU of segmentations of planes, the discrepancy between intersection and union: for each
 * class, with the masks P and T of prediction and target,
 *
 *   Σ over k of  dim ker + dim coker of  H_k(P ∩ T) -> H_k(P ∪ T),
 *
 * the number of components and loops that do not correspond in space. Inputs as of `topographLoss`
 * -> [] for 'mean' (over images and classes) and 'sum', [B, classes] for 'none'; float32. The plane
 * around the image is background. Not differentiable.
 *
 * Lux, Berger et al., "Topograph", ICLR 2025, section 5.
 *
 * @throws as `topographLoss`.
 * @example const error = sp.diuError(probabilities, labels).item()
 */
export const diuError = defineOp({
  name: 'diuError',
  builtin: true,
  inputs: ['prediction', 'target'],
  options: [...topographImageOptions],
  nondifferentiable: ['prediction', 'target'],
  check: (t: In, options: DiuErrorOptions) => checkTopographImages('diuError', t, options),
  forward(t: In, options: DiuErrorOptions) {
    const { shape, fields } = topographFields(1, t, options);
    const output = empty(shape, 'float32');
    launch(native.diuError, { error: output.raw }, fields);
    return { output };
  },
}) as unknown as Op<MetricSignature>;
