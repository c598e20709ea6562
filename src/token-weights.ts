// What a gradient of tokenWeight needs beyond the loss itself.
import { accumulatorOf } from './dtype.js';
import { reductions } from './loss-options.js';
import { type Field, type Kernel, launch } from './native.js';
import { empty, type Tensor } from './tensor.js';

/**
 * Where a gradient of tokenWeight goes, with the losses of all rows in `rowLoss`: the forward kernel
 * leaves out those of weight 0, whose losses change nothing but the gradient of their own weight.
 */
export function weightGradient(
  tokenWeight: Tensor | undefined,
  forward: Kernel,
  fields: Readonly<Record<string, Field>>,
  rowLoss: Tensor,
  input: Tensor,
): Tensor | undefined {
  if (!tokenWeight) return undefined;
  const loss = empty(rowLoss.shape, accumulatorOf(input.dtype));
  const reduction = reductions.indexOf('none');
  launch(forward, { tokenWeight: undefined, reduction, loss: loss.raw }, fields);
  return empty(tokenWeight.shape, tokenWeight.dtype);
}
