// Copies between tensors along chosen strides, shared by the operations that only move elements.
import { launch, native } from './native.js';
import { type Shape, stridesOf } from './shape.js';
import { empty, type Tensor } from './tensor.js';

/** @internal Copies elements between two tensors along the axes of `shape`, each with its own strides. */
export function move(
  a: Tensor,
  aStrides: readonly number[],
  aOffset: number,
  out: Tensor,
  outStrides: readonly number[],
  outOffset: number,
  shape: Shape,
): void {
  launch(native.stridedCopy, {
    a: a.raw,
    out: out.raw,
    shape,
    aStrides,
    outStrides,
    aOffset,
    outOffset,
  });
}

/** @internal A contiguous copy of what the strides select from `a`. */
export function gathered(a: Tensor, shape: Shape, strides: readonly number[], offset = 0): Tensor {
  const out = empty(shape, a.dtype);
  move(a, strides, offset, out, stridesOf(shape), 0, shape);
  return out;
}

/** @internal Copies `part` into `whole` (or back) where it begins at `start` along `axis`. */
export function place(
  part: Tensor,
  whole: Tensor,
  axis: number,
  start: number,
  back = false,
): void {
  const strides = stridesOf(whole.shape);
  const own = stridesOf(part.shape);
  if (back) move(whole, strides, start * strides[axis], part, own, 0, part.shape);
  else move(part, own, 0, whole, strides, start * strides[axis], part.shape);
}

/**
 * @internal The sum of `t` over the axes along which a tensor of `shape` was repeated to give it:
 * the gradient of broadcasting. The result is given `outShape`.
 */
export function sumTo(t: Tensor, shape: Shape, outShape = shape): Tensor {
  const lead = t.rank - shape.length;
  let axes = 0;
  for (let i = 0; i < t.rank; i++) if (i < lead || shape[i - lead] !== t.shape[i]) axes |= 1 << i;
  const out = empty(outShape, t.dtype);
  const kind = 0; // Kind::sum of native/ops/reduce/op.h
  launch(native.reduce, { kind, a: t.raw, out: out.raw, p: 1, shape: t.shape, axes });
  return out;
}
