// Gradient clipping by the norm of all gradients together.
import { keepGradient } from '../capture.js';
import { expectDevice, expectNumber, fail, show } from '../expect.js';
import { launch, native } from '../native.js';
import { keep } from '../scope.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import { isOnHost } from '../transfer.js';

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
  const wide = owners.length > 0 && owners.every((p) => p.dtype === 'float64');
  const device = owners[0]?.device;
  for (const [i, p] of params.entries()) {
    if (p.gradient) expectDevice(op, `params[${i}]`, p, device, 'like the first with a gradient');
  }
  const norm = empty([], wide ? 'float64' : 'float32', false, device);
  const squareSum = empty([1], 'float64', false, device);
  const factor = empty([1], 'float64', false, device);
  launch(native.optimiserSquareSum, {
    a: owners.map((p) => p.gradient!.raw),
    out: squareSum.raw,
  });
  launch(native.optimiserClipFactor, {
    squareSum: squareSum.raw,
    norm: norm.raw,
    factor: factor.raw,
    maxNorm,
  });
  // On a device nobody waits to see the factor: the kernel leaves gradients alone at 1 and above.
  const passes = isOnHost(factor.raw) && (factor.raw[0] as number) >= 1;
  if (owners.length > 0 && !passes) scaleGradients(owners, factor);
  squareSum.dispose();
  factor.dispose();
  return norm;
}

/** In place where nobody else can see the gradient. */
function scaleGradients(owners: readonly Tensor[], factor: Tensor): void {
  const before = owners.map((p) => p.gradient!);
  const after = before.map((g) =>
    !g.seen && g.storage!.refs === 1 ? g : keep(empty(g.shape, g.dtype, false, g.device)),
  );
  launch(native.optimiserScale, {
    a: before.map((g) => g.raw),
    out: after.map((g) => g.raw),
    factor: factor.raw,
  });
  for (const [i, p] of owners.entries()) {
    p.gradient = after[i];
    keepGradient(p);
  }
}
