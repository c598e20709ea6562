// What the losses of barcodes share: images on the CPU, one kernel that computes losses and, for an
// upstream gradient of 1, their gradient, and its scaling in backward.
import type { Gradients, Needs, Op } from './autograd.js';
import { type BettiOptions, bettiFields, unlessAborted } from './betti-options.js';
import { accumulatorOf, type FloatDType } from './dtype.js';
import { type LossReduction, reductions } from './loss-options.js';
import { launch, native } from './native.js';
import { type ByPrediction, byLogits } from './probabilities.js';
import type { Shape } from './shape.js';
import { activationOf } from './targets.js';
import { empty, type Tensor } from './tensor.js';

export type BarcodeLossOptions = BettiOptions & { reduction?: LossReduction | undefined };

/** What backward multiplies. */
export interface SavedBars extends ByPrediction {
  shape: Shape;
  images: number;
  factor: number;
  grad: Tensor;
}

/** Losses and gradient of prepared images; `own` are the fields of one kind of loss. */
export function barcodeForward(
  name: string,
  given: Tensor,
  images: { prediction: Tensor; target?: Tensor },
  o: BarcodeLossOptions,
  needs: Needs,
  own: { kind: number; perfect?: number; exponent?: number; numbers?: Int32Array },
) {
  const { prediction, target } = images;
  const { shape } = prediction;
  const { reduction = 'mean', weights = {} } = o;
  const dtype = accumulatorOf(prediction.dtype);
  const output = empty(reduction === 'none' ? shape.slice(0, 2) : [], dtype);
  const grad = needs.prediction ? empty(shape, dtype) : undefined;
  const fields = {
    weightMatched: weights.matched ?? 1,
    weightPrediction: weights.unmatchedPrediction ?? 1,
    weightTarget: weights.unmatchedTarget ?? 1,
    reduction: reductions.indexOf(reduction),
    loss: output.raw,
    grad: grad?.raw,
    kind: own.kind,
    perfect: own.perfect ?? 0,
    exponent: own.exponent ?? 1,
    numbers: own.numbers,
  };
  launch(native.barcodeLoss, fields, bettiFields(name, o, shape.length - 2, prediction, target));
  const count = shape[0] * shape[1];
  const activation = activationOf(o.fromLogits);
  const saved = grad && {
    dtype: given.dtype as FloatDType,
    activation,
    probability: activation === 'none' ? undefined : prediction,
    shape,
    images: count,
    factor: reduction === 'mean' ? 1 / count : 1,
    grad,
  };
  return { output, saved };
}

export function barcodeBackward(saved: SavedBars, upstream: Tensor): Gradients {
  return { prediction: byLogits(saved, (dtype, p) => scaled(saved, upstream, dtype, p)) };
}

/** The gradient for an upstream one, times p (1 - p) where p is given. */
export function scaled(
  { shape, grad, images, factor }: Omit<SavedBars, keyof ByPrediction>,
  upstream: Tensor,
  dtype: FloatDType,
  p: Tensor | undefined,
): Tensor {
  const out = empty(shape, dtype);
  launch(native.bettiMatchingScale, {
    grad: grad.raw,
    upstream: upstream.raw,
    probability: p?.raw,
    out: out.raw,
    images,
    factor,
  });
  return out;
}

/** The operation with an asynchronous form that its `signal` stops. */
export function stoppable<S extends (...args: never[]) => unknown>(op: Op<S>, options: number) {
  const opAsync = op.async as (...args: unknown[]) => Promise<unknown>;
  const signalIn = (args: unknown[]) => (args[options] as BettiOptions | undefined)?.signal;
  return Object.assign(op, {
    async: async (...args: unknown[]) => unlessAborted(signalIn(args), opAsync(...args)),
  });
}
