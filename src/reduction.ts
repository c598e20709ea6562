// The types of reductions, and calls of their kernel, shared by the operations that need it.
import type { RawOp } from './autograd.js';
import type { DType } from './dtype.js';
import { launchAt, native } from './native.js';
import { axesOf, type Shape } from './shape.js';
import { empty, type Tensor } from './tensor.js';

/** Options of `sum`, `mean`, `max` and `min`. */
export interface ReduceOptions {
  /** Axis or axes to reduce; negative ones count from the end. Default: all. */
  dim?: number | readonly number[] | undefined;
  /** Keep the reduced axes with size 1. Default false. */
  keepDim?: boolean | undefined;
}

/** A reduction that gives dtype R (that of x where R is `same`). */
export interface Reduction<R extends DType | 'same' = 'same', O extends object = ReduceOptions> {
  <D extends DType>(x: Tensor<D>, options?: O): Tensor<R extends DType ? R : D>;
  async<D extends DType>(x: Tensor<D>, options?: O): Promise<Tensor<R extends DType ? R : D>>;
  readonly raw: RawOp;
}

/** A reduction that without options is of all elements. */
export interface WholeReduction<O extends object = ReduceOptions> extends Reduction<'same', O> {
  <D extends DType>(x: Tensor<D>): Tensor<D, readonly []>;
}

/** The reductions of native/ops/reduce/op.h, with its numbers. */
export const kind = {
  sum: 0,
  var: 1,
  std: 2,
  max: 3,
  min: 4,
  argmax: 5,
  argmin: 6,
  logsumexp: 7,
  norm: 8,
  countEqual: 9,
} as const;

/** Which axes go, and the shapes that remain. */
export interface Axes {
  /** Bit d: axis d is reduced. */
  mask: number;
  /** Elements that go into each result. */
  count: number;
  /** The input's shape with 1 on the reduced axes: how results broadcast against the input. */
  kept: Shape;
  /** The shape of the result. */
  out: Shape;
}

/** No `dim`, or an empty list, means all axes. */
export function axesFrom(
  op: string,
  shape: Shape,
  dim: number | readonly number[] | undefined,
  keepDim: boolean | undefined,
): Axes {
  const rank = shape.length;
  let mask = 0;
  if (dim === undefined || (Array.isArray(dim) && dim.length === 0)) mask = 2 ** rank - 1;
  else for (const axis of axesOf(op, 'dim', dim, rank)) mask |= 1 << axis;
  let count = 1;
  const kept: number[] = [];
  const out: number[] = [];
  for (let d = 0; d < rank; d++) {
    const gone = ((mask >> d) & 1) === 1;
    if (gone) count *= shape[d];
    kept.push(gone ? 1 : shape[d]);
    if (!gone) out.push(shape[d]);
  }
  return { mask, count, kept, out: keepDim ? kept : out };
}

const kernel = native.reduce;

/** A new tensor of `out`'s shape; p and extra as the kind says. */
export function reduced(
  which: number,
  x: Tensor,
  axes: Axes,
  dtype: DType,
  p = 1,
  extra?: Tensor,
): Tensor {
  const out = empty(axes.out, dtype);
  const values = [which, x.raw, out.raw, p, x.shape, axes.mask];
  launchAt(kernel, extra ? [...values, extra.raw] : values);
  return out;
}
