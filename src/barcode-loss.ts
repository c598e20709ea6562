// What the losses of barcodes share: images on the CPU, one kernel that computes losses and, for an
// upstream gradient of 1, their gradient, and its scaling in backward.
import type { Gradients, Needs, Op } from './autograd.js';
import { type BettiOptions, bettiFields, unlessAborted } from './betti-options.js';
import { accumulatorOf, type FloatDType } from './dtype.js';
import type { LossReduction } from './loss-options.js';
import { type Field, launch, native } from './native.js';
import type { Shape } from './shape.js';
import { empty, type Tensor } from './tensor.js';

export type BarcodeLossOptions = BettiOptions & { reduction?: LossReduction };

/** What backward multiplies. */
export interface SavedBars {
  dtype: FloatDType;
  shape: Shape;
  images: number;
  factor: number;
  grad: Tensor;
  probability?: Tensor;
}

/** Losses and gradient of prepared images; `own` are the fields of one kind of loss. */
export function barcodeForward(
  name: string,
  given: Tensor,
  images: { prediction: Tensor; target?: Tensor },
  o: BarcodeLossOptions,
  needs: Needs,
  own: Record<string, Field>,
) {
  const { prediction, target } = images;
  const { shape } = prediction;
  const { reduction = 'mean', weights = {} } = o;
  const dtype = accumulatorOf(prediction.dtype);
  const output = empty(reduction === 'none' ? shape.slice(0, 2) : [], dtype);
  const grad = needs.prediction ? empty(shape, dtype) : undefined;
  launch(native.barcodeLoss, {
    perfect: 0,
    exponent: 1,
    numbers: undefined,
    ...bettiFields(name, o, prediction, shape.length - 2),
    prediction: prediction.raw,
    target: target?.raw,
    weightMatched: weights.matched ?? 1,
    weightPrediction: weights.unmatchedPrediction ?? 1,
    weightTarget: weights.unmatchedTarget ?? 1,
    reduction: ['none', 'mean', 'sum'].indexOf(reduction),
    loss: output.raw,
    grad: grad?.raw,
    ...own,
  });
  const count = shape[0] * shape[1];
  const saved = grad && {
    dtype: given.dtype as FloatDType,
    shape,
    images: count,
    factor: reduction === 'mean' ? 1 / count : 1,
    grad,
    probability: o.fromLogits ? prediction : undefined,
  };
  return { output, saved };
}

export function barcodeBackward(saved: SavedBars, upstream: Tensor): Gradients {
  const { dtype, shape, grad, probability, images, factor } = saved;
  const out = empty(shape, dtype);
  launch(native.bettiMatchingScale, {
    grad: grad.raw,
    upstream: upstream.raw,
    probability: probability?.raw,
    out: out.raw,
    images,
    factor,
  });
  return { prediction: out };
}

/** The operation with an asynchronous form that its `signal` stops. */
export function stoppable<S extends (...args: never[]) => unknown>(op: Op<S>, options: number) {
  const opAsync = op.async as (...args: unknown[]) => Promise<unknown>;
  const signalIn = (args: unknown[]) => (args[options] as BettiOptions | undefined)?.signal;
  return Object.assign(op, {
    async: async (...args: unknown[]) => unlessAborted(signalIn(args), opAsync(...args)),
  });
}
