// Focal loss of independent logits: see the doc comment below. Nothing is stored for backward.
import { defineOp, type Gradients, type Inputs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType, type MaybeFloat } from '../dtype.js';
import { expectDType, expectNumber, expectOnCpu, expectShape, showShape } from '../expect.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import type { Shape } from '../shape.js';
import { maskDTypes } from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'focalLoss';

/** Options of `focalLoss`. */
export interface FocalLossOptions<R extends LossReduction = LossReduction> {
  /** How much what is right already is weighed down; default 2. 0 gives binary cross-entropy. */
  gamma?: number | undefined;
  /** Weight of positives, between 0 and 1, 1 - alpha that of negatives; default none: both 1. */
  alpha?: number | undefined;
  /** Default 'mean', over all elements. */
  reduction?: R | undefined;
}

type In = Inputs<'logits' | 'target', never>;

function check({ logits, target }: In, options: FocalLossOptions): void {
  expectOnCpu(name, 'logits', logits);
  expectDType(name, 'logits', logits, floats);
  expectDType(name, 'target', target, maskDTypes(logits.dtype));
  expectShape(name, 'target', target, logits.shape, `like logits ${showShape(logits.shape)}`);
  const { gamma = 2, alpha = 0.5 } = options;
  expectNumber(name, 'gamma', gamma, { min: 0 });
  expectNumber(name, 'alpha', alpha, { min: 0, max: 1 });
  checkReduction(name, options.reduction);
}

const fields = ({ logits, target }: In, { gamma = 2, alpha, reduction }: FocalLossOptions) => ({
  logits: logits.raw,
  target: target.raw,
  gamma,
  positive: alpha ?? 1,
  negative: alpha === undefined ? 1 : 1 - alpha,
  reduction: reductions.indexOf(reduction ?? 'mean'),
});

function forward(t: In, options: FocalLossOptions) {
  const shape = options.reduction === 'none' ? t.logits.shape : [];
  const output = empty(shape, accumulatorOf(t.logits.dtype));
  launch(native.focalForward, { loss: output.raw }, fields(t, options));
  return { output, saved: { t, options } };
}

function backward(
  { t, options }: { t: In; options: FocalLossOptions },
  upstream: Tensor,
): Gradients {
  const logits = empty(t.logits.shape, t.logits.dtype);
  const own = { upstream: upstream.raw, grad: logits.raw };
  launch(native.focalBackward, own, fields(t, options));
  return { logits };
}

/**
 * Focal loss of independent logits, as of masks with few positives: binary cross-entropy that what
 * is right already adds little to. With p = sigmoid(logits),
 *
 *   element = -alpha t (1-p)^gamma log p - (1-alpha) (1-t) p^gamma log(1-p)
 *
 * (both factors 1 without alpha). For classes that exclude each other take `crossEntropy` with the
 * epilogue `{ kind: 'focal', gamma }`.
 *
 * logits [...], any float dtype; target of the same shape, 0 to 1 (the same dtype, bool or uint8)
 * -> [] for 'mean' and 'sum', [...] for 'none'; float32, or float64 for float64 logits.
 *
 * Differentiable in logits. No digits are lost where p is near 0 or 1. Same input, same bits for any
 * number of threads. Lin et al. 2017 (eq. 5), who take gamma 2 and alpha 0.25.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments,
 *   a target outside [0, 1].
 * @example const loss = sp.focalLoss(logits, mask, { alpha: 0.25 })
 */
export const focalLoss: Op<
  <D extends DType, S extends Shape, R extends LossReduction = 'mean'>(
    logits: Tensor<D, S> & MaybeFloat<D, 'logits'>,
    target: Tensor,
    options?: FocalLossOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? S : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['logits', 'target'],
  options: ['gamma', 'alpha', 'reduction'],
  nondifferentiable: ['target'],
  check,
  forward,
  backward,
});
