// The Betti matching loss: see the doc comment below. Forward computes, with each image's matching,
// the gradient of its loss, which is zero at all but the voxels of its pairs; backward scales it.
// On a device the images come to the host, and the places and values of the gradient go back.
import { defineOp, type Gradients, type Inputs, type Needs, noGrad, type Op } from '../autograd.js';
import { checkMatching, onHost, prepared } from '../betti-images.js';
import {
  type BettiOptions,
  bettiFields,
  bettiOptionNames,
  unlessAborted,
} from '../betti-options.js';
import { accumulatorOf, type DType, type FloatDType, floats, type LossDType } from '../dtype.js';
import { expectDType, expectOneOf } from '../expect.js';
import { type LossReduction, reductions } from '../loss-options.js';
import { launch, native, type RawArray } from '../native.js';
import { type Device, onDevice } from '../place.js';
import { type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { hostArray, written } from '../transfer.js';
import { to } from './cast.js';
import { mul } from './elementwise.js';
import { indexSelect, scatterAdd } from './indexing.js';
import { reshape } from './shape-ops.js';

const name = 'bettiMatchingLoss';

export interface BettiMatchingLossOptions<R extends LossReduction = LossReduction>
  extends BettiOptions {
  /** Default 'mean', over B·C; 'none' gives [B, C]. */
  reduction?: R;
}

type In = Inputs<'prediction' | 'target', never>;

/** What backward multiplies. */
interface Saved {
  dtype: FloatDType;
  shape: Shape;
  images: number;
  /** Of the mean: 1 / (B·C). */
  factor: number;
  /** For an upstream gradient of 1, on the CPU. */
  grad?: Tensor;
  /** The sigmoid of logits. */
  probability?: Tensor;
  /** On a device: where the gradient is not zero, of which image, and what it is there. */
  sparse?: { index: Tensor<'int32'>; image: Tensor<'int32'>; value: Tensor };
}

function check({ prediction, target }: In, options: BettiMatchingLossOptions): void {
  expectDType(name, 'prediction', prediction, floats);
  checkMatching(name, prediction, target, options, 2, true);
  const { reduction } = options;
  if (reduction !== undefined) expectOneOf(name, 'reduction', reduction, reductions);
}

/** Computes loss and gradient on the host, of images there. */
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
  launch(native.bettiMatchingLoss, {
    ...bettiFields(name, o, shape, shape.length - 2),
    prediction: prediction.raw,
    target: target.raw,
    weightMatched: matched,
    weightPrediction: unmatchedPrediction,
    weightTarget: unmatchedTarget,
    oneZero: o.pushUnmatchedTo === 'one-zero',
    reduction: ['none', 'mean', 'sum'].indexOf(o.reduction ?? 'mean'),
    loss: output.raw,
    grad: grad?.raw,
  });
  return { output, grad };
}

function forward({ prediction, target }: In, options: BettiMatchingLossOptions, needs: Needs) {
  const { shape, device } = prediction as Tensor;
  const images = shape[0] * shape[1];
  const mean = (options.reduction ?? 'mean') === 'mean';
  const { output, grad, probability } = onDevice('cpu', () => {
    const host = prepared(name, onHost(prediction), onHost(target), options);
    const made = compute(host, options, needs.prediction === true);
    return { ...made, probability: options.fromLogits ? host.prediction : undefined };
  });
  const saved: Saved = { dtype: prediction.dtype, shape, images, factor: mean ? 1 / images : 1 };
  if (device === 'cpu') {
    if (grad) Object.assign(saved, { grad, probability });
    return { output, saved };
  }
  if (grad) saved.sparse = sparseOn(device, grad, probability, images);
  const values = hostArray(output);
  const moved = written(output.shape, output.dtype, device, (raw) => raw.set(values as never));
  return { output: moved, saved };
}

/** The places where a gradient is not zero, and its values there, on a device. */
function sparseOn(device: Device, grad: Tensor, probability: Tensor | undefined, images: number) {
  const values = hostArray(grad) as Float32Array | Float64Array;
  const p = probability && (hostArray(probability) as Float32Array | Float64Array);
  const each = values.length / images;
  const index: number[] = [];
  for (let i = 0; i < values.length; i++) if (values[i] !== 0) index.push(i);
  const slopes = index.map((i) => (p ? values[i] * p[i] * (1 - p[i]) : values[i]));
  const shape = [index.length];
  const put = <D extends DType>(list: readonly number[], dtype: D): Tensor<D> =>
    written(shape, dtype, device, (raw: RawArray) => (raw as Float64Array).set(list)) as Tensor<D>;
  return {
    index: put(index, 'int32'),
    image: put(
      index.map((i) => Math.floor(i / each)),
      'int32',
    ),
    value: put(slopes, grad.dtype),
  };
}

function backward(saved: Saved, upstream: Tensor): Gradients {
  const { dtype, shape, grad, sparse, images, factor, probability } = saved;
  if (sparse) return { prediction: noGrad(() => spread(saved, sparse, upstream)) };
  const out = empty(shape, dtype);
  launch(native.bettiMatchingScale, {
    grad: grad!.raw,
    upstream: upstream.raw,
    probability: probability?.raw,
    out: out.raw,
    images,
    factor,
  });
  return { prediction: out };
}

/** The dense gradient from its places and values, on their device. */
function spread(
  { dtype, shape, factor }: Saved,
  sparse: NonNullable<Saved['sparse']>,
  upstream: Tensor,
) {
  const { index, image, value } = sparse;
  const zeros = empty([sizeOf(shape)], value.dtype, true);
  if (index.size === 0) return to(reshape(zeros, shape), dtype);
  const flat = reshape(upstream, [upstream.size]);
  const each = upstream.size === 1 ? upstream : indexSelect(flat, 0, image);
  const values = mul(mul(value, reshape(each, each.size === 1 ? [] : [each.size])), factor);
  return to(reshape(scatterAdd(zeros, 0, index, values), shape), dtype);
}

const op = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  options: [...bettiOptionNames, 'reduction'],
  nondifferentiable: ['target'],
  check,
  forward,
  backward,
});

const opAsync = op.async;

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D>,
  target: Tensor,
  options?: BettiMatchingLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The Betti matching loss between predictions and targets: how far the topological features of each
 * image are from those that correspond to them in space.
 *
 * prediction [B, C, ...spatial] of any float dtype, 1 to 3 spatial axes; target the same shape (of
 * the same float dtype, or a mask of an integer dtype), or class indices [B, ...spatial], each class
 * against the rest -> [] for 'mean' (over B·C) and 'sum', [B, C] for 'none'; float32, or float64 for
 * float64. The mean over no images is NaN.
 *
 *   L = Σ over dims of  Σ matched 2[(b - b')² + (d - d')²]  +  Σ unmatched (b - d)²
 *
 * where b and d are the values at which a feature appears and disappears, in the prediction or
 * (primed) in the target. Differentiable in prediction, indices held constant: the gradient is zero
 * but at the voxels of its pairs. Equal bits in every run, for any number of threads. The
 * prediction should hold probabilities: pass logits with `fromLogits`, or every birth and death will
 * be compared with those of a 0/1 mask. Tensors on a device are matched on the host.
 *
 * Stucki et al., ICML 2023, eq. 5; variants and weights as in topolosses.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE naming the first NaN; OutOfMemoryError for images beyond the free memory.
 * @example
 * const loss = dice(p, mask).add(sp.bettiMatchingLoss(p, mask).mul(0.5))
 * loss.backward()
 */
export const bettiMatchingLoss = Object.assign(op, {
  async: (...args: Parameters<Signature>) => unlessAborted(args[2]?.signal, opAsync(...args)),
  raw: op.raw,
}) as unknown as Op<Signature>;
