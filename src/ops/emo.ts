// The earth mover loss on logits: see the doc comment below. As in ops/uld-loss.ts forward computes
// the gradient for an upstream of 1 where that is one number and of 32 bits or more.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType } from '../dtype.js';
import { checkEmoRules, type EmoRules, emoRuleFields, emoRuleNames } from '../emo-options.js';
import { expectDType, expectSameDType, expectShape, fail, showShape } from '../expect.js';
import { reuse, scalable } from '../gradient.js';
import type { LossReduction } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Leading, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { weightGradient } from '../token-weights.js';

const name = 'emo';

/** Options of `emo`. */
export interface EmoOptions<R extends LossReduction = LossReduction> extends EmoRules<R> {
  /** [V, H], of the logits' dtype: what is near to what. A constant; this or `cosines`. */
  embedding?: Tensor | undefined;
  /** [V, V], any float dtype: the cosines of an embedding that stays, made once. */
  cosines?: Tensor | undefined;
}

type In = Inputs<'logits' | 'target', 'embedding' | 'cosines' | 'tokenWeight'>;

const leading = (x: Tensor): Shape => x.shape.slice(0, -1);

function check({ logits, target, embedding, cosines }: In, options: EmoOptions): void {
  expectDType(name, 'logits', logits, floats);
  const { shape, rank } = logits as Tensor;
  if (rank === 0 || shape[rank - 1] === 0) {
    const wanted = '[..., V] with at least one class';
    fail(name, 'ERR_SHAPE', `expected logits to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const classes = shape[rank - 1];
  expectDType(name, 'target', target, ['int64', 'int32']);
  const perRow = `one per row of logits ${showShape(shape)}`;
  expectShape(name, 'target', target, leading(logits), perRow);
  if (!embedding === !cosines) {
    const got = embedding ? 'both' : 'neither';
    fail(name, 'ERR_INVALID_VALUE', `expected either embedding or cosines, got ${got}`);
  }
  const perClass = `of the classes of logits ${showShape(shape)}`;
  if (cosines) {
    expectDType(name, 'cosines', cosines, floats);
    expectShape(name, 'cosines', cosines, [classes, classes], perClass);
  }
  if (embedding) {
    expectSameDType(name, 'embedding', embedding, 'logits', logits);
    const width = embedding.rank === 2 ? embedding.shape[1] : 1;
    expectShape(name, 'embedding', embedding, [classes, Math.max(1, width)], perClass);
  }
  checkEmoRules(name, options, target);
}

function fields(t: In, options: EmoOptions, rowLoss: Tensor) {
  const { logits, embedding } = t;
  const own = {
    logits: logits.raw,
    target: t.target.raw,
    embedding: embedding?.raw,
    cosines: t.cosines?.raw,
    tokenWeight: t.tokenWeight?.raw,
    rows: sizeOf(leading(logits)),
    classes: logits.shape[logits.rank - 1],
    width: embedding?.shape[1] ?? 0,
    rowLoss: rowLoss.raw,
  };
  return Object.assign(emoRuleFields(options), own);
}

interface Saved {
  t: In;
  options: EmoOptions;
  rowLoss: Tensor;
  /** For an upstream gradient of 1. */
  gradient: Tensor | undefined;
}

function forward(t: In, options: EmoOptions, needs: Needs) {
  const { shape, dtype } = t.logits as Tensor;
  const isReduced = options.reduction !== 'none';
  const output = empty(isReduced ? [] : shape.slice(0, -1), accumulatorOf(dtype));
  const rowLoss = empty(leading(t.logits), 'float64');
  const gradient = needs.logits && isReduced && scalable(dtype) ? empty(shape, dtype) : undefined;
  const own = { loss: output.raw, gradLogits: gradient?.raw };
  launch(native.emoForward, own, fields(t, options, rowLoss));
  return { output, saved: { t, options, rowLoss, gradient } satisfies Saved };
}

function backward(saved: Saved, upstream: Tensor, needs: Needs): Gradients {
  const { t, options, rowLoss, gradient } = saved;
  const logits = reuse(gradient, t.logits, upstream, needs.logits);
  const weight = needs.tokenWeight ? t.tokenWeight : undefined;
  const shared = fields(t, options, rowLoss);
  const tokenWeight = weightGradient(weight, native.emoForward, shared, rowLoss, t.logits);
  if (logits.own || tokenWeight) {
    const own = {
      upstream: upstream.raw,
      gradLogits: logits.own?.raw,
      gradTokenWeight: tokenWeight?.raw,
    };
    launch(native.emoBackward, own, shared);
  }
  return { logits: logits.gradient, tokenWeight };
}

/**
 * Earth mover distance optimisation: the mass that a row puts on other classes costs the more, the
 * less like the label they are; combined with the cross-entropy as in the official code.
 *
 * logits [..., V], target [...] int32 or int64 -> [] for 'mean' and 'sum', [...] for 'none';
 * float32, or float64 for float64 logits.
 *
 *   q = softmax(logits), mle = -log q_y
 *   emo = 1 - sum over v of (q_v - [v = y] sg(q_y)) cos(E_v, E_y)
 *
 * sg() holds constant: the label's own probability is not in the distance, but the gradient is that
 * of the sum over all v, with it (and with `plain` so is the value).
 *
 * Differentiable in logits and tokenWeight; E is constant, and so are the ratios that weigh the two
 * losses. Cosines of an embedding that does not change are better made once:
 *
 *   const e = sp.normalize(embedding, { dim: 1 })
 *   const cosines = sp.matmul(e, e, { transposeB: true }).to('bfloat16')
 *
 * Computed in float32 (float64 for float64) whatever the dtype. With `embedding` cosines are made
 * for 64 rows at a time, 64·V numbers.
 *
 * Ren et al. 2024, "EMO: Earth Mover Distance Optimization for Auto-Regressive Language Modeling".
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a target outside [0, V), naming row and value.
 * @example const loss = sp.emo(logits, target, { embedding: head.detach(), combination: 'emo2' })
 */
export const emo: Op<
  <D extends DType, S extends Shape, R extends LossReduction = 'mean'>(
    logits: Tensor<D, S>,
    target: Tensor,
    options: EmoOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Leading<S> : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['logits', 'target'],
  optionTensors: ['embedding', 'cosines', 'tokenWeight'],
  options: [...emoRuleNames],
  nondifferentiable: ['target', 'embedding', 'cosines'],
  check,
  forward,
  backward,
});
