// The earth mover loss without logits: see the doc comment below. Forward computes the gradients for
// an upstream of 1 where that is one number and they have 32 bits or more.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, type LossDType } from '../dtype.js';
import { checkEmoRules, type EmoRules, emoRuleFields, emoRuleNames } from '../emo-options.js';
import { expectSameDType, expectShape } from '../expect.js';
import { reuse, scalable } from '../gradient.js';
import { checkLinear, checkTarget, checkWorkspace, defaultWorkspace } from '../linear-logits.js';
import type { LossReduction } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Leading, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { weightGradient } from '../token-weights.js';

const name = 'linearEmo';

/** Options of `linearEmo`. */
export interface LinearEmoOptions<R extends LossReduction = LossReduction> extends EmoRules<R> {
  /**
   * [V, D], of weight's dtype and shape: what is near to what, a constant ('fixed': a frozen copy of
   * the head). Default: weight itself as it is now, without a gradient ('adaptive').
   */
  embedding?: Tensor | undefined;
  /** Upper bound on scratch memory, forward and backward; default 32 MiB, on CUDA 256 MiB. */
  workspaceBytes?: number | undefined;
}

type In = Inputs<'x' | 'weight' | 'target', 'embedding' | 'tokenWeight'>;

function check({ x, weight, target, embedding }: In, options: LinearEmoOptions): void {
  checkLinear(name, x, weight, undefined);
  checkTarget(name, 'target', target, x);
  if (embedding) {
    expectSameDType(name, 'embedding', embedding, 'weight', weight);
    expectShape(name, 'embedding', embedding, weight.shape, 'like weight');
  }
  checkEmoRules(name, options, target);
  checkWorkspace(name, options);
}

function fields(t: In, options: LinearEmoOptions, rowLoss: Tensor) {
  const own = {
    x: t.x.raw,
    weight: t.weight.raw,
    embedding: t.embedding?.raw,
    target: t.target.raw,
    tokenWeight: t.tokenWeight?.raw,
    rows: sizeOf(t.target.shape),
    classes: t.weight.shape[0],
    width: t.weight.shape[1],
    workspaceBytes: options.workspaceBytes ?? defaultWorkspace(t.x),
    rowLoss: rowLoss.raw,
  };
  return Object.assign(emoRuleFields(options), own);
}

interface Saved {
  t: In;
  options: LinearEmoOptions;
  rowLoss: Tensor;
  /** For an upstream gradient of 1. */
  unit: { x?: Tensor; weight?: Tensor } | undefined;
}

const like = (x: Tensor, need: boolean) => (need ? empty(x.shape, x.dtype) : undefined);

function forward(t: In, options: LinearEmoOptions, needs: Needs) {
  const { dtype } = t.x as Tensor;
  const isReduced = options.reduction !== 'none';
  const output = empty(isReduced ? [] : t.target.shape, accumulatorOf(dtype));
  const rowLoss = empty(t.target.shape, 'float64');
  const isFused = isReduced && scalable(dtype);
  const gradients = () => ({ x: like(t.x, needs.x), weight: like(t.weight, needs.weight) });
  const unit = isFused ? gradients() : undefined;
  const own = {
    loss: output.raw,
    gradX: unit?.x?.raw,
    gradWeight: unit?.weight?.raw,
    laterX: needs.x,
    laterWeight: needs.weight,
  };
  launch(native.linearEmoForward, own, fields(t, options, rowLoss));
  return { output, saved: { t, options, rowLoss, unit } satisfies Saved };
}

function backward({ t, options, rowLoss, unit }: Saved, upstream: Tensor, needs: Needs): Gradients {
  const x = reuse(unit?.x, t.x, upstream, needs.x);
  const weight = reuse(unit?.weight, t.weight, upstream, needs.weight);
  const shared = fields(t, options, rowLoss);
  const weights = needs.tokenWeight ? t.tokenWeight : undefined;
  const tokenWeight = weightGradient(weights, native.linearEmoForward, shared, rowLoss, t.x);
  if (x.own || weight.own || tokenWeight) {
    const own = {
      upstream: upstream.raw,
      gradX: x.own?.raw,
      gradWeight: weight.own?.raw,
      gradTokenWeight: tokenWeight?.raw,
    };
    launch(native.linearEmoBackward, own, shared);
  }
  return { x: x.gradient, weight: weight.gradient, tokenWeight };
}

/**
 * `emo` of the logits x·weightᵀ, without them: neither the logits nor the cosines to the labels nor
 * their gradients are ever in memory. Scratch memory is bounded by `workspaceBytes`.
 *
 * x [..., D], weight [V, D], target [...] int32 or int64 -> [] for 'mean' and 'sum', [...] for
 * 'none'; float32, or float64 for float64 input.
 *
 *   z = x·weightᵀ, q = softmax(z)
 *   emo = 1 - sum over v of (q_v - [v = y] sg(q_y)) cos(E_v, E_y),  sg(): held constant
 *
 * E is `weight`, held constant, or `embedding`. Differentiable in x, weight and tokenWeight. The
 * bits do not depend on the number of threads, on a device not on `workspaceBytes` either; there
 * gradients of 16 bits are sums of slopes that are rounded to 16 bits.
 *
 * Ren et al. 2024; Wijmans et al. 2024 for the streaming.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a target outside [0, V), naming row and value.
 * @example const loss = sp.linearEmo(hidden, head, tokens, { combination: 'emo1' })
 */
export const linearEmo: Op<
  <D extends DType, X extends Shape, R extends LossReduction = 'mean'>(
    x: Tensor<D, X>,
    weight: Tensor<D>,
    target: Tensor,
    options?: LinearEmoOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Leading<X> : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'weight', 'target'],
  optionTensors: ['embedding', 'tokenWeight'],
  options: [...emoRuleNames, 'workspaceBytes'],
  nondifferentiable: ['target', 'embedding'],
  check,
  forward,
  backward,
});
