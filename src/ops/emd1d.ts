// Optimal transport between points of the line: see the doc comment below.
import { defineOp, type Op } from '../autograd.js';
import type { DType, LossDType } from '../dtype.js';
import { checkLines, type LineOptions, linesBackward, linesForward } from '../lines.js';
import type { Tensor } from '../tensor.js';

const name = 'emd1d';

/**
 * Exact optimal transport between points x and y of the line, of weights a and b: W_p^p, the least
 * sum of mass · |x-y|^p. Sorts and merges: O((N + M) log(N + M)).
 *
 * x [N] or [B, N], y [M] or [B, M] of one float dtype -> [] or [B]; float32, or float64 for float64
 * points. Weights must have equal masses; `p` ≥ 1 (default 2; no half, and no root: `.pow(1 / p)`).
 *
 *   W_p^p = ∫ |A⁻¹(t) - B⁻¹(t)|^p dt, A and B the cumulative weights
 *
 * Differentiable in x, y, a and b. Where it has a kink: |x-y| has slope 0 at 0; coincident points
 * share their gradient by weight; in a and b, where cumulative weights meet (with uniform weights
 * everywhere), the mean of both sides' slopes. Gradients in a and b have zero weighted mean.
 * Villani 2003 (thm 2.18).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments, points that
 *   are not finite, negative weights, masses that differ.
 * @example sp.emd1d(sp.tensor([0, 1, 3]), sp.tensor([5, 6, 8]), { p: 1 }) // 5
 */
export const emd1d: Op<
  <D extends DType>(
    x: Tensor<D>,
    y: Tensor<NoInfer<D>>,
    options?: LineOptions,
  ) => Tensor<LossDType<D>>
> = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'y'],
  optionTensors: ['a', 'b'],
  options: ['p'],
  check: (t, options: LineOptions) => checkLines(name, t, options, 0),
  forward: (t, { p = 2 }: LineOptions, needs) => linesForward({ t, p, features: 0 }, needs),
  backward: linesBackward,
});
