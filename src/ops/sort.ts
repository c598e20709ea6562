// Elements in order along an axis, and the first of them. Equal elements keep their order, -0
// equals 0, and a NaN is larger than every number.
import { defineOp, type Op } from '../autograd.js';
import { type DType, isFloat } from '../dtype.js';
import { expectBoolean, expectNumber, expectOnCpu, fail } from '../expect.js';
import { launch, native } from '../native.js';
import { positional } from '../positional.js';
import { around, axisOf, type Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

/** Elements in order and where they were along the axis. */
export interface Sorted<D extends DType = DType, S extends Shape = Shape> {
  /** In order. */
  values: Tensor<D, S>;
  /** Where along the axis each one was. */
  indices: Tensor<'int32', S>;
}

/** Options of `sort`. */
export interface SortOptions {
  /** The axis to sort along; negative ones count from the end. Default -1. */
  dim?: number | undefined;
  /** Largest first, NaN before all numbers. Default false. */
  descending?: boolean | undefined;
  /** Accepted for PyTorch's sake: equal elements always keep their order. */
  stable?: boolean | undefined;
}

/** Options of `topk`. */
export interface TopkOptions {
  /** How many elements, from 0 to the size of the axis; also the second argument. */
  k?: number | undefined;
  /** The axis to search; negative ones count from the end. Default -1. */
  dim?: number | undefined;
  /** The largest elements (NaN above all numbers), or the smallest. Default true. */
  largest?: boolean | undefined;
  /** Accepted for PyTorch's sake: the elements always come in order. */
  sorted?: boolean | undefined;
}

interface Saved {
  indices: Tensor;
  shape: Shape;
  axis: number;
}

function first(x: Tensor, axis: number, count: number | undefined, descending: boolean) {
  const { outer, size, inner } = around(x.shape, axis);
  const kept = count ?? size;
  const shape = x.shape.map((n, i) => (i === axis ? kept : n));
  const values = empty(shape, x.dtype);
  const indices = empty(shape, 'int32');
  launch(native.sort, {
    a: x.raw,
    values: values.raw,
    indices: indices.raw,
    outer,
    n: size,
    inner,
    count: kept,
    descending,
  });
  // An integer tensor has no gradient, and nothing to keep for one.
  const saved = isFloat(x.dtype) ? { indices, shape: x.shape, axis } : undefined;
  return { outputs: { values, indices }, saved };
}

/** Each gradient goes back to where its element came from. */
function backward({ indices, shape, axis }: Saved, { values }: { values?: Tensor }) {
  if (!values) return { x: null };
  const x = empty(shape, values.dtype, true);
  const whole = shape.length ? shape : [1];
  launch(native.scatterAdd, {
    src: values.raw,
    index: indices.raw,
    out: x.raw,
    shape: whole,
    indexShape: shape.length ? indices.shape : [1],
    dim: axis,
  });
  return { x };
}

function checkAxis(op: string, x: Tensor, dim: number): number {
  expectOnCpu(op, 'x', x);
  const axis = axisOf(op, 'dim', dim, x.rank);
  const { size } = around(x.shape, axis);
  if (size < 2 ** 31) return size;
  fail(op, 'ERR_SHAPE', `expected at most 2^31 - 1 elements along dim, got ${size}`);
}

/**
 * The elements in order along `dim` (default -1), and where they were.
 *
 * x [...] of any dtype -> { values [...], indices [...] int32 }. Stable: equal elements keep their
 * order, and -0 equals 0; NaN comes last, with `descending` first. Source: torch.sort.
 *
 * @throws ERR_OUT_OF_RANGE when x has no such axis.
 * @example const { values, indices } = sp.sort(x, { dim: 0, descending: true })
 */
export const sort: Op<
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options?: SortOptions) => Sorted<D, S>
> = defineOp({
  name: 'sort',
  builtin: true,
  inputs: ['x'],
  options: ['dim', 'descending', 'stable'],
  check({ x }, { dim = -1, descending = false, stable = true }: SortOptions) {
    checkAxis('sort', x, dim);
    expectBoolean('sort', 'descending', descending);
    expectBoolean('sort', 'stable', stable);
  },
  forward({ x }, { dim = -1, descending = false }: SortOptions) {
    return first(x, axisOf('sort', 'dim', dim, x.rank), undefined, descending);
  },
  backward,
});

/** The type of `topk`. */
export interface Topk {
  <D extends DType>(x: Tensor<D>, k: number, options?: TopkOptions): Sorted<D>;
  <D extends DType>(x: Tensor<D>, options: TopkOptions): Sorted<D>;
  async<D extends DType>(x: Tensor<D>, k: number, options?: TopkOptions): Promise<Sorted<D>>;
  async<D extends DType>(x: Tensor<D>, options: TopkOptions): Promise<Sorted<D>>;
  readonly raw: Op['raw'];
}

/**
 * The k largest elements along `dim` (default -1) in descending order, or with `largest: false` the
 * k smallest in ascending order, and where they were.
 *
 * x [..., n] of any dtype -> { values [..., k], indices [..., k] int32 }. Of equal elements the
 * first are taken; NaN counts as largest. Source: torch.topk.
 *
 * @throws ERR_INVALID_VALUE when k is not an integer in [0, n].
 * @example const { values, indices } = sp.topk(logits, 5)
 */
export const topk: Topk = positional(
  defineOp({
    name: 'topk',
    builtin: true,
    inputs: ['x'],
    options: ['k', 'dim', 'largest', 'sorted'],
    check({ x }, { k, dim = -1, largest = true, sorted = true }: TopkOptions) {
      const size = checkAxis('topk', x, dim);
      expectNumber('topk', 'k', k, { min: 0, max: x.rank ? size : 1, integer: true });
      expectBoolean('topk', 'largest', largest);
      expectBoolean('topk', 'sorted', sorted);
      if (x.rank === 0 && k === 0) {
        fail('topk', 'ERR_INVALID_VALUE', 'expected k to be 1 for a scalar, got 0');
      }
    },
    forward({ x }, { k, dim = -1, largest = true }: TopkOptions) {
      return first(x, axisOf('topk', 'dim', dim, x.rank), k, largest);
    },
    backward,
  }),
  1,
  'k',
);
