// The Betti matching loss: see the doc comment below. Forward computes, with each image's matching,
// the gradient of its loss, which is zero at all but the voxels of its pairs; backward scales it.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { scaled } from '../barcode-loss.js';
import {
  type HostLoss,
  hasKernel,
  onThreads,
  onThreadsAsync,
  returned,
  type SparseGradient,
  scattered,
} from '../betti-device.js';
import { checkMatching, prepared } from '../betti-images.js';
import {
  type BettiOptions,
  bettiFields,
  bettiOptionNames,
  unlessAborted,
} from '../betti-options.js';
import {
  accumulatorOf,
  type DType,
  type FloatDType,
  floats,
  type LossDType,
  type MaybeFloat,
} from '../dtype.js';
import { expectDType } from '../expect.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type ByPrediction, byLogits, wideSoftmax } from '../probabilities.js';
import type { Shape } from '../shape.js';
import { activationOf } from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'bettiMatchingLoss';

/** Options of `bettiMatchingLoss`. */
export interface BettiMatchingLossOptions<R extends LossReduction = LossReduction>
  extends Omit<BettiOptions, 'cycles'> {
  /** Default 'mean', over B·C; 'none' gives [B, C]. */
  reduction?: R | undefined;
}

type In = Inputs<'prediction' | 'target', never>;

/** What backward multiplies. */
interface Saved extends ByPrediction {
  shape: Shape;
  images: number;
  /** Of the mean: 1 / (B·C). */
  factor: number;
  /** For an upstream gradient of 1. */
  grad?: Tensor;
  /** Of images of a device that the host has matched; by logits, if a sigmoid was taken of them. */
  sparse?: SparseGradient;
}

function check({ prediction, target }: In, options: BettiMatchingLossOptions): void {
  expectDType(name, 'prediction', prediction, floats);
  checkMatching(name, prediction, target, options, 2, true);
  const { reduction } = options;
  checkReduction(name, reduction);
}

/** Loss and gradient of images on the CPU, or of crops on a device, there. */
function compute(
  images: { prediction: Tensor; target: Tensor },
  o: BettiMatchingLossOptions,
  withGrad: boolean,
) {
  const { prediction, target } = images;
  const { shape } = prediction;
  const dtype = accumulatorOf(prediction.dtype);
  const reduced = o.reduction !== 'none';
  const output = empty(reduced ? [] : shape.slice(0, 2), dtype);
  const grad = withGrad ? empty(shape, dtype) : undefined;
  const { matched = 1, unmatchedPrediction = 1, unmatchedTarget = 1 } = o.weights ?? {};
  const fields = {
    weightMatched: matched,
    weightPrediction: unmatchedPrediction,
    weightTarget: unmatchedTarget,
    oneZero: o.pushUnmatchedTo === 'one-zero',
    reduction: reductions.indexOf(o.reduction ?? 'mean'),
    loss: output.raw,
    grad: grad?.raw,
  };
  const shared = bettiFields(name, o, shape.length - 2, prediction, target);
  launch(native.bettiMatchingLoss, fields, shared);
  return { output, grad };
}

/** Where tensors of a device are matched: by its kernel, or by the host, which has done so. */
type Way = 'kernel' | HostLoss;

/** Images that the host matches for a device come to it and go back without anybody waiting. */
function ahead(t: In, options: BettiMatchingLossOptions, needs: Needs): Way | Promise<Way> {
  const { prediction, target } = t;
  if (hasKernel(prediction, options)) return 'kernel';
  return onThreadsAsync(name, prediction, target, options, needs.prediction === true, compute);
}

function forward(
  { prediction, target }: In,
  options: BettiMatchingLossOptions,
  needs: Needs,
  way?: Way,
) {
  const { shape, device } = prediction as Tensor;
  const images = shape[0] * shape[1];
  const mean = (options.reduction ?? 'mean') === 'mean';
  const activation = activationOf(options.fromLogits);
  const factor = mean ? 1 / images : 1;
  const saved: Saved = { dtype: prediction.dtype, activation, shape, images, factor };
  const withGrad = needs.prediction === true;
  if (device === 'cpu' || (way ? way === 'kernel' : hasKernel(prediction, options))) {
    const own = prepared(name, prediction, target, options);
    const { output, grad } = compute(own, options, withGrad);
    const probability = activation === 'none' ? undefined : own.prediction;
    if (grad) Object.assign(saved, { grad, probability });
    return { output, saved };
  }
  const host = (way as HostLoss) ?? onThreads(name, prediction, target, options, withGrad, compute);
  const { output, sparse } = returned(host, device);
  if (withGrad) saved.sparse = sparse;
  if (withGrad && activation === 'softmax') saved.probability = wideSoftmax(prediction);
  return { output, saved };
}

function backward(saved: Saved, upstream: Tensor): Gradients {
  const { shape, grad, sparse, images, factor } = saved;
  const make = (dtype: FloatDType, p?: Tensor) =>
    sparse
      ? scattered(sparse, upstream, shape, dtype, factor)
      : scaled({ shape, grad: grad!, images, factor }, upstream, dtype, p);
  return { prediction: byLogits(saved, make) };
}

const optionNames = [...bettiOptionNames, 'reduction'];

const op = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  options: optionNames,
  nondifferentiable: ['target'],
  check,
  forward,
  ahead,
  backward,
});

const opAsync = op.async;

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  target: Tensor,
  options?: BettiMatchingLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The Betti matching loss between predictions and targets: how far the topological features of each
 * image are from those that correspond to them in space.
 *
 * prediction [B, C, ...spatial] of any float dtype, 1 to 3 spatial axes; target the same shape (of
 * the same float dtype, or a mask of an integer dtype), or class indices [B, ...spatial], each class
 * against the rest (a single channel is class 1) -> [] for 'mean' (over B·C) and 'sum', [B, C] for
 * 'none'; float32, or float64 for float64. The mean over no images is NaN.
 *
 *   L = Σ over dims of  Σ matched 2[(b - b')² + (d - d')²]  +  Σ unmatched (b - d)²
 *
 * where b and d are the values at which a feature appears and disappears, in the prediction or
 * (primed) in the target. Differentiable in prediction, indices held constant: the gradient is zero
 * but at the voxels of its pairs. Equal bits in every run, for any number of threads. The
 * prediction should hold probabilities: pass logits with `fromLogits`, or every birth and death will
 * be compared with those of a 0/1 mask.
 *
 * On a device a kernel matches images of up to 64 x 64 voxels (any two axes, or one, of as many
 * positions), with the CPU's bits; a NaN or a bad class index there throws at the next read. Larger ones and volumes are
 * copied to the host, matched by its threads, and the loss and the places of its gradient copied
 * back: the call waits for that, `.async` does not, so that work enqueued meanwhile runs beside it.
 *
 * Stucki et al., ICML 2023, eq. 5; variants and weights as in topolosses.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE naming the first NaN; ERR_OUT_OF_RANGE for a class index; OutOfMemoryError for
 *   images beyond the free memory.
 * @example
 * const loss = dice(p, mask).add(sp.bettiMatchingLoss(p, mask).mul(0.5))
 * loss.backward()
 */
export const bettiMatchingLoss = Object.assign(op, {
  async: (...args: Parameters<Signature>) => unlessAborted(args[2]?.signal, opAsync(...args)),
  raw: op.raw,
}) as unknown as Op<Signature>;
