// Cross-entropy on logits: see the doc comment below. Where the upstream gradient is one number,
// forward computes the gradient for an upstream of 1 while each row is in the cache, and backward
// scales it; for 'none', float16 (whose gradients vanish before loss scaling) and gradients of
// other inputs, backward reads the logits again.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import {
  accumulatorOf,
  type DType,
  floats,
  type IndexDType,
  isFloat,
  type LossDType,
  type MaybeFloat,
} from '../dtype.js';
import { expectDType, expectShape, fail, showShape } from '../expect.js';
import { madeInForward, reuse, scalable, scaled } from '../gradient.js';
import {
  checkLossOptions,
  type LossOptions,
  type LossReduction,
  lossFields,
  lossOptionNames,
  lossOptionTensors,
} from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Last, type Leading, type SameSize, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `crossEntropy`. */
export type CrossEntropyOptions<R extends LossReduction = LossReduction> = LossOptions<R>;

const name = 'crossEntropy';

type Names = 'logits' | 'target';
type In = Inputs<Names, (typeof lossOptionTensors)[number]>;

const isSoft = (target: Tensor) => isFloat(target.dtype);
const leading = (logits: Tensor): Shape => logits.shape.slice(0, -1);

function checkTensors({ logits, target, classWeight, tokenWeight }: In): void {
  expectDType(name, 'logits', logits, floats);
  if (logits.rank === 0) fail(name, 'ERR_SHAPE', 'expected logits to have shape [..., V], got []');
  const classes = logits.shape[logits.rank - 1];
  if (classes === 0) {
    fail(
      name,
      'ERR_SHAPE',
      `expected logits to have at least one class, got ${showShape(logits.shape)}`,
    );
  }
  const logitsShape = `logits ${showShape(logits.shape)}`;
  expectDType(name, 'target', target, ['int64', 'int32', ...floats]);
  if (isSoft(target)) {
    expectShape(name, 'target', target, logits.shape, `probabilities like ${logitsShape}`);
  } else {
    expectShape(name, 'target', target, leading(logits), `one per row of ${logitsShape}`);
  }
  if (classWeight) {
    expectDType(name, 'classWeight', classWeight, floats);
    expectShape(name, 'classWeight', classWeight, [classes], `one per class of ${logitsShape}`);
  }
  if (tokenWeight) {
    expectDType(name, 'tokenWeight', tokenWeight, floats);
    const perRow = `one per row of ${logitsShape}`;
    expectShape(name, 'tokenWeight', tokenWeight, leading(logits), perRow);
  }
}

/** What native code needs in both directions. */
function fields({ logits, target, classWeight, tokenWeight }: In, options: CrossEntropyOptions) {
  const own = {
    logits: logits.raw,
    target: target.raw,
    classWeight: classWeight?.raw,
    tokenWeight: tokenWeight?.raw,
    rows: sizeOf(leading(logits)),
    classes: logits.shape[logits.rank - 1],
  };
  return Object.assign(lossFields(options), own);
}

interface Saved {
  /** For an upstream gradient of 1. */
  gradLogits: Tensor | undefined;
  /** What backward reads to compute gradients, if it has to. */
  again: { t: In; options: CrossEntropyOptions; rowStats: Tensor } | undefined;
}

function forward(t: In, options: CrossEntropyOptions, needs: Needs) {
  const { logits } = t;
  const reduced = options.reduction !== 'none';
  const output = empty(reduced ? [] : leading(logits), accumulatorOf(logits.dtype));
  const fused = needs.logits && reduced && madeInForward(logits.dtype);
  const gradLogits = fused ? empty(logits.shape, logits.dtype) : undefined;
  const others = needs.target || needs.tokenWeight;
  const reads = others || (needs.logits && !(fused && scalable(logits.dtype)));
  const rowStats = reads ? empty([sizeOf(leading(logits)), 4], 'float64') : undefined;
  const own = { loss: output.raw, rowStats: rowStats?.raw, gradLogits: gradLogits?.raw };
  launch(native.crossEntropyForward, own, fields(t, options));
  const again = rowStats && { t, options, rowStats };
  return { output, saved: { gradLogits, again } satisfies Saved };
}

function backward({ gradLogits, again }: Saved, upstream: Tensor, needs: Needs): Gradients {
  if (!again) return { logits: gradLogits && scaled(gradLogits, upstream) };
  const { t, options, rowStats } = again;
  const like = (x: Tensor | undefined, need: boolean) =>
    need && x ? empty(x.shape, x.dtype) : undefined;
  const { gradient, own, ready } = reuse(gradLogits, t.logits, upstream, needs.logits);
  const target = like(t.target, needs.target);
  const tokenWeight = like(t.tokenWeight, needs.tokenWeight);
  if (own || target || tokenWeight) {
    const gradients = {
      rowStats: rowStats.raw,
      upstream: upstream.raw,
      gradLogits: own?.raw,
      gradLogitsReady: ready,
      gradTarget: target?.raw,
      gradTokenWeight: tokenWeight?.raw,
    };
    launch(native.crossEntropyBackward, gradients, fields(t, options));
  }
  return { logits: gradient, target, tokenWeight };
}

/** Class indices need one target per row, probabilities the shape of the logits. */
type TargetCheck<L extends Shape, TD, T extends Shape> = TD extends 'uint8' | 'bool'
  ? { readonly __error: `target must hold class indices or probabilities, not ${TD}` }
  : TD extends IndexDType
    ? SameSize<
        Last<T>,
        Last<Leading<L>>,
        `batch mismatch: logits have ${Last<Leading<L>>} rows, targets ${Last<T>}`
      >
    : SameSize<
        Last<T>,
        Last<L>,
        `class mismatch: logits have ${Last<L>} classes, targets ${Last<T>}`
      >;

/**
 * Cross-entropy between logits and class indices or probabilities, computed stably: no
 * probabilities in memory, and full relative accuracy as p_y nears 1 and for logits up to 2^24.
 * With a gradient to come, each row is read once and its gradient written in the same pass. The
 * bits do not depend on the number of threads, and per-row results and gradients neither on the
 * other rows nor on where in memory a row lies.
 *
 * logits [..., V]; target [...] int32 or int64, or [..., V] probabilities of any float dtype
 * -> [] for 'mean' and 'sum', [...] for 'none'; float32, or float64 for float64 logits.
 *
 *   z = logits;  L = lse(z) - z_y = log(1 + sum over c != y of e^(z_c - z_y));  dz = p - onehot(y)
 *
 * Differentiable in logits, probabilities and tokenWeight. A logit of -inf has probability 0 and
 * gradient 0; a row that holds NaN or +inf gives NaN in that row alone. Ignored rows give loss 0 and
 * gradient exactly 0, whatever they hold; without any other row the mean is NaN.
 *
 * Options, their defaults and meanings: `CrossEntropyOptions`. Formulas follow PyTorch's
 * `cross_entropy`.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a target outside [0, V), naming row and value.
 * @example
 * const loss = sp.crossEntropy(logits, labels, { labelSmoothing: 0.1 })
 * loss.backward()
 */
export const crossEntropy: Op<
  <
    D extends DType,
    L extends Shape,
    TD extends DType,
    T extends Shape,
    R extends LossReduction = 'mean',
  >(
    logits: Tensor<D, L> & MaybeFloat<D, 'logits'>,
    target: Tensor<TD, T> & TargetCheck<L, TD, T>,
    options?: CrossEntropyOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Leading<L> : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['logits', 'target'],
  optionTensors: [...lossOptionTensors],
  options: [...lossOptionNames],
  nondifferentiable: ['classWeight'],
  check(t: In, options: CrossEntropyOptions) {
    checkTensors(t);
    checkLossOptions(name, options);
    if (options.epilogue && isSoft(t.target)) {
      fail(
        name,
        'ERR_INVALID_VALUE',
        'expected no epilogue together with probability targets, got both',
      );
    }
  },
  forward,
  backward,
});
