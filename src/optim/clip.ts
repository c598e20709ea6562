// Gradient clipping by the norm of all gradients together.
import { tensor } from '../create.js';
import { expectNumber, fail, show } from '../expect.js';
import { launch, native } from '../native.js';
import { keep } from '../scope.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';

/**
 * Scales the gradients of `params` by min(1, maxNorm / (norm + 1e-6)), norm being the Euclidean norm
 * of all of them as one vector, and returns that norm: float32, or float64 if every gradient is.
 * Parameters without a gradient are passed over. The sum is taken in float64.
 */
export function clipGradNorm(params: readonly Tensor[], maxNorm: number): Tensor {
  const op = 'clipGradNorm';
  if (!Array.isArray(params)) {
    fail(op, 'ERR_INVALID_TYPE', `expected params to be an array of tensors, got ${show(params)}`);
  }
  if (maxNorm !== Infinity) expectNumber(op, 'maxNorm', maxNorm, { min: 0 });
  for (const [i, p] of params.entries()) expectTensor(op, `params[${i}]`, p);
  const owners = params.filter((p) => p.gradient);
  const sums = new Float64Array(owners.length);
  for (const [i, p] of owners.entries()) {
    launch(native.optimiserSquareSum, { a: p.gradient!.raw, out: sums.subarray(i, i + 1) });
  }
  const norm = Math.sqrt(sums.reduce((a, b) => a + b, 0));
  const factor = maxNorm / (norm + 1e-6);
  // Not `factor < 1`: a NaN norm makes the gradients NaN, so that it is not overlooked.
  if (!(factor >= 1)) for (const p of owners) scaleGradient(p, factor);
  const wide = owners.length > 0 && owners.every((p) => p.dtype === 'float64');
  return tensor(norm, { dtype: wide ? 'float64' : 'float32', device: owners[0]?.device });
}

/** In place where nobody else can see the gradient. */
function scaleGradient(p: Tensor, factor: number): void {
  const before = p.gradient!;
  const own = !before.seen && before.storage!.refs === 1;
  const after = own ? before : keep(empty(before.shape, before.dtype, false, before.device));
  launch(native.optimiserScale, { a: before.raw, out: after.raw, factor });
  p.gradient = after;
}
