// Reductions over one, several or all axes. Sums are blocked: float32 within a block of 512, then
// float64; the same bits for any number of threads.
import { defineOp, type RawOp } from '../autograd.js';
import { accumulatorOf, type DType, type FloatDType, floats, isFloat } from '../dtype.js';
import { expectBoolean, expectDType, expectNumber, fail, show, showShape } from '../expect.js';
import { binary, fn, release, ternary, unary } from '../pointwise.js';
import {
  type Axes,
  axesFrom,
  kind,
  type ReduceOptions,
  type Reduction,
  reduced,
  type WholeReduction,
} from '../reduction.js';
import { empty, type Tensor } from '../tensor.js';

const ordered: readonly DType[] = [...floats, 'int32', 'int64', 'uint8'];

/** The axes of a call, its options checked. */
function axesFor(op: string, x: Tensor, { dim, keepDim }: ReduceOptions): Axes {
  if (keepDim !== undefined) expectBoolean(op, 'keepDim', keepDim);
  return axesFrom(op, x.shape, dim, keepDim);
}

/** Refuses to choose among no elements. */
function expectSome(op: string, x: Tensor, axes: Axes): void {
  if (axes.count > 0) return;
  fail(op, 'ERR_SHAPE', `expected at least one element to reduce, got shape ${showShape(x.shape)}`);
}

/** g (of the reduced shape) times `factor`, spread over the axes that were reduced. */
function spread(
  g: Tensor,
  factor: number,
  like: { shape: readonly number[]; kept: readonly number[] },
): Tensor {
  return binary(fn.mul, g, factor, like.shape, g.dtype, like.kept);
}

/**
 * The sum; 0 for no elements. Integers and bool are summed in int64.
 *
 * x of any dtype -> [], or over `dim` its shape without those axes (of size 1 with keepDim).
 *
 * @throws ERR_OUT_OF_RANGE for an axis that x has not, ERR_INVALID_VALUE for one named twice.
 * @example x.sum({ dim: [0, 1], keepDim: true })
 */
export const sum: {
  <D extends DType>(x: Tensor<D>): Tensor<D extends FloatDType ? D : 'int64', readonly []>;
  <D extends DType>(
    x: Tensor<D>,
    options?: ReduceOptions,
  ): Tensor<D extends FloatDType ? D : 'int64'>;
  async<D extends DType>(
    x: Tensor<D>,
    options?: ReduceOptions,
  ): Promise<Tensor<D extends FloatDType ? D : 'int64'>>;
  readonly raw: RawOp;
} = defineOp({
  name: 'sum',
  builtin: true,
  inputs: ['x'],
  options: ['dim', 'keepDim'],
  forward({ x }, options: ReduceOptions) {
    const axes = axesFor('sum', x, options);
    const dtype = isFloat(x.dtype) ? x.dtype : 'int64';
    const output = reduced(kind.sum, x, axes, dtype);
    return { output, saved: { shape: x.shape, kept: axes.kept } };
  },
  backward: (like, g) => ({ x: spread(g, 1, like) }),
  // biome-ignore lint/suspicious/noExplicitAny: a generic signature that Op cannot carry
}) as any;

/**
 * The arithmetic mean; NaN for no elements. x of a float dtype -> [], or over `dim` its shape
 * without those axes (of size 1 with keepDim).
 * @throws ERR_DTYPE for other dtypes, ERR_OUT_OF_RANGE for an axis that x has not.
 */
export const mean: WholeReduction = defineOp({
  name: 'mean',
  builtin: true,
  inputs: ['x'],
  options: ['dim', 'keepDim'],
  check: ({ x }) => expectDType('mean', 'x', x, floats),
  forward({ x }, options: ReduceOptions) {
    const axes = axesFor('mean', x, options);
    const factor = 1 / axes.count;
    const output = reduced(kind.sum, x, axes, x.dtype, factor);
    return { output, saved: { shape: x.shape, kept: axes.kept, factor } };
  },
  backward: (saved, g) => ({ x: spread(g, saved.factor, saved) }),
}) as unknown as WholeReduction;

/** Options of `var` and `std`. */
export interface VarOptions extends ReduceOptions {
  /** The divisor is max(0, count - correction). Default 1; 0 gives the population variance. */
  correction?: number | undefined;
}

interface SavedVar {
  x: Tensor;
  y: Tensor | null;
  center: Tensor;
  kept: readonly number[];
  factor: number;
}

function varianceOp(name: 'var' | 'std'): WholeReduction<VarOptions> {
  const isStd = name === 'std';
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['dim', 'keepDim', 'correction'],
    check({ x }, { correction = 1 }: VarOptions) {
      expectDType(name, 'x', x, floats);
      expectNumber(name, 'correction', correction);
    },
    forward({ x }, options: VarOptions) {
      const { correction = 1 } = options;
      const axes = axesFor(name, x, options);
      const center = empty(axes.kept, accumulatorOf(x.dtype));
      const output = reduced(kind[name], x, axes, x.dtype, correction, center);
      const factor = 1 / Math.max(0, axes.count - correction);
      return { output, saved: { x, y: isStd ? output : null, center, kept: axes.kept, factor } };
    },
    // d var = 2 (x - mean) / divisor, d std = d var / (2 std), 0 where std = 0
    backward({ x, y, center, kept, factor }: SavedVar, g: Tensor) {
      const { dtype } = center;
      const slope = y ? ternary(fn.normGradient, g, 1, y, g.shape, dtype) : g;
      const scaled = binary(fn.mul, slope, y ? factor : 2 * factor, g.shape, dtype);
      if (slope !== g) release(slope);
      const dx = ternary(
        fn.scaledDifference,
        scaled,
        x,
        center,
        x.shape,
        x.dtype,
        kept,
        x.shape,
        kept,
      );
      release(scaled);
      return { x: dx };
    },
  }) as unknown as WholeReduction<VarOptions>;
}

/**
 * The variance, by default the unbiased one (divisor count - 1), as in PyTorch. x -> as `mean`.
 * @throws as `mean`.
 */
const variance = varianceOp('var');

export { variance as var };
/** The standard deviation, √var [...]. Its gradient is 0 where it is 0. @throws as `var`. */
export const std = varianceOp('std');

interface SavedExtreme {
  x: Tensor;
  y: Tensor;
  axes: Axes;
}

/** g shared evenly among the elements of x that equal y. */
function sharedAmongTies(g: Tensor, { x, y, axes }: SavedExtreme): Tensor {
  const dtype = accumulatorOf(x.dtype);
  const ties = reduced(kind.countEqual, x, axes, dtype, 1, y);
  const share = binary(fn.div, g, ties, g.shape, dtype);
  const dx = ternary(fn.selectEqual, share, x, y, x.shape, x.dtype, axes.kept, x.shape, axes.kept);
  release(ties);
  release(share);
  return dx;
}

function extremeOp(name: 'max' | 'min'): WholeReduction {
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['dim', 'keepDim'],
    check: ({ x }) => expectDType(name, 'x', x, ordered),
    forward({ x }, options: ReduceOptions) {
      const axes = axesFor(name, x, options);
      expectSome(name, x, axes);
      const output = reduced(kind[name], x, axes, x.dtype);
      return { output, saved: { x, y: output, axes } };
    },
    backward: (saved: SavedExtreme, g: Tensor) => ({ x: sharedAmongTies(g, saved) }),
  }) as unknown as WholeReduction;
}

/**
 * The largest element; NaN if any is. Equal ones share the gradient evenly. x of any dtype but bool
 * -> [], or over `dim` its shape without those axes (of size 1 with keepDim).
 * @throws ERR_DTYPE for other dtypes, ERR_OUT_OF_RANGE for an axis that x has not, ERR_SHAPE for no
 *   elements.
 */
export const max = extremeOp('max');
/** The smallest element, as `max` the largest [...]. @throws as `max`. */
export const min = extremeOp('min');

/** Options of `argmax` and `argmin`. */
export interface ArgOptions {
  /** Axis to search. Default: all, and the result is a position in the flattened tensor. */
  dim?: number | undefined;
  /** Keep the reduced axis with size 1. Default false. */
  keepDim?: boolean | undefined;
}

function positionOp(name: 'argmax' | 'argmin'): Reduction<'int32', ArgOptions> {
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['dim', 'keepDim'],
    check({ x }, { dim }: ArgOptions) {
      expectDType(name, 'x', x, ordered);
      if (dim !== undefined && typeof dim !== 'number') {
        fail(name, 'ERR_INVALID_TYPE', `expected dim to be one axis, got ${show(dim)}`);
      }
    },
    forward({ x }, options: ArgOptions) {
      const axes = axesFor(name, x, options);
      expectSome(name, x, axes);
      return { output: reduced(kind[name], x, axes, 'int32') };
    },
  }) as unknown as Reduction<'int32', ArgOptions>;
}

/**
 * Where the largest element is (int32), the first of equals; a NaN counts as largest. x -> as `max`.
 * @throws as `max`.
 */
export const argmax = positionOp('argmax');
/** Where the smallest element is, as `argmax` the largest [...]. @throws as `argmax`. */
export const argmin = positionOp('argmin');

/** Options of `logsumexp`. */
export interface RowOptions {
  /** Axis or axes to reduce. Default -1. */
  dim?: number | readonly number[] | undefined;
  /** Keep the reduced axes with size 1. Default false. */
  keepDim?: boolean | undefined;
}

/**
 * log Σ eˣ over `dim` (default -1), without overflow; -Infinity for no elements. x -> as `mean`.
 * @throws as `mean`.
 */
export const logsumexp: Reduction<'same', RowOptions> = defineOp({
  name: 'logsumexp',
  builtin: true,
  inputs: ['x'],
  options: ['dim', 'keepDim'],
  check: ({ x }) => expectDType('logsumexp', 'x', x, floats),
  forward({ x }, { dim = -1, keepDim }: RowOptions) {
    const axes = axesFor('logsumexp', x, { dim, keepDim });
    const output = reduced(kind.logsumexp, x, axes, x.dtype);
    return { output, saved: { x, y: output, kept: axes.kept } };
  },
  backward: ({ x, y, kept }, g) => ({
    x: ternary(fn.expDifference, g, x, y, x.shape, x.dtype, kept, x.shape, kept),
  }),
}) as unknown as Reduction<'same', RowOptions>;

/** Options of `norm`. */
export interface NormOptions extends ReduceOptions {
  /** The order: a number > 0, or Infinity for the largest magnitude. Default 2. */
  p?: number | undefined;
}

interface SavedNorm extends SavedExtreme {
  p: number;
}

function checkOrder(op: string, x: Tensor, p: number): void {
  expectDType(op, 'x', x, floats);
  if (p !== Infinity) expectNumber(op, 'p', p, { above: 0 });
}

/** Below p = 1 the slope at 0 is infinite; it is taken as 0, as in PyTorch. Takes over `t`. */
function zeroWhereZero(t: Tensor, x: Tensor): Tensor {
  const isOpen = binary(fn.ne, x, 0, x.shape, 'bool');
  const result = ternary(fn.where, isOpen, t, 0, x.shape, t.dtype);
  release(isOpen);
  release(t);
  return result;
}

/** g times d norm / dx, which is taken as 0 where the norm is 0. */
function normGradient(g: Tensor, { x, y, axes, p }: SavedNorm): Tensor {
  const { kept } = axes;
  const { shape, dtype } = x;
  if (p === 2) return ternary(fn.normGradient, g, x, y, shape, dtype, kept, shape, kept);
  if (p === 1) return binary(fn.absGradient, g, x, shape, dtype, kept);
  const magnitude = unary(fn.abs, x);
  let size: Tensor;
  if (p === Infinity) {
    size = sharedAmongTies(g, { x: magnitude, y, axes });
  } else {
    // g (|x|/y)^(p-1)
    const ratio = ternary(fn.normGradient, magnitude, 1, y, shape, dtype, shape, [], kept);
    const power = binary(fn.pow, ratio, p - 1, shape, dtype);
    size = binary(fn.mul, g, power, shape, dtype, kept);
    release(ratio);
    release(power);
    if (p < 1) size = zeroWhereZero(size, x);
  }
  const dx = binary(fn.absGradient, size, x, shape, dtype);
  release(magnitude);
  release(size);
  return dx;
}

/**
 * (Σ |x|ᵖ)^(1/p), by default the Euclidean norm of all elements. Its gradient is 0 where it is 0. x
 * of a float dtype -> [], or over `dim` its shape without those axes (of size 1 with keepDim).
 * @throws ERR_DTYPE for other dtypes, ERR_OUT_OF_RANGE for an axis that x has not,
 *   ERR_INVALID_VALUE for p <= 0.
 */
export const norm: WholeReduction<NormOptions> = defineOp({
  name: 'norm',
  builtin: true,
  inputs: ['x'],
  options: ['dim', 'keepDim', 'p'],
  check: ({ x }, { p = 2 }: NormOptions) => checkOrder('norm', x, p),
  forward({ x }, options: NormOptions) {
    const { p = 2 } = options;
    const axes = axesFor('norm', x, options);
    const output = reduced(kind.norm, x, axes, x.dtype, p);
    return { output, saved: { x, y: output, axes, p } };
  },
  backward: (saved: SavedNorm, g: Tensor) => ({ x: normGradient(g, saved) }),
}) as unknown as WholeReduction<NormOptions>;

/** Options of `normalize`. */
export interface NormalizeOptions {
  /** The order of the norm: a number > 0, or Infinity. Default 2. */
  p?: number | undefined;
  /** Axis or axes over which the norm is taken. Default -1. */
  dim?: number | readonly number[] | undefined;
  /** The least divisor. Default 1e-12. */
  eps?: number | undefined;
}

/**
 * x / max(‖x‖, eps), with the norm over `dim` (default -1). x of any float dtype and shape -> the
 * same.
 * @throws ERR_DTYPE for integers and bool, ERR_OUT_OF_RANGE for an axis that x has not.
 */
export const normalize: Reduction<'same', NormalizeOptions> = defineOp({
  name: 'normalize',
  builtin: true,
  inputs: ['x'],
  options: ['p', 'dim', 'eps'],
  check({ x }, { p = 2, eps = 1e-12 }: NormalizeOptions) {
    checkOrder('normalize', x, p);
    expectNumber('normalize', 'eps', eps, { min: 0 });
  },
  forward({ x }, { p = 2, dim = -1, eps = 1e-12 }: NormalizeOptions) {
    const axes = axesFrom('normalize', x.shape, dim, true);
    const wide = accumulatorOf(x.dtype);
    const size = reduced(kind.norm, x, axes, wide, p);
    const divisor = binary(fn.maximum, size, eps, size.shape, wide);
    const output = binary(fn.div, x, divisor, x.shape, x.dtype);
    return { output, saved: { x, size, divisor, axes, p, eps } };
  },
  // y = x / d: dx = g/d + d‖x‖/dx · (-Σ g x / d²), without the second term where d = eps.
  backward({ x, size, divisor, axes, p, eps }, g: Tensor) {
    const wide = size.dtype;
    const direct = binary(fn.div, g, divisor, x.shape, wide);
    const pull = binary(fn.mul, direct, x, x.shape, wide);
    const total = reduced(kind.sum, pull, axes, wide, -1);
    const slope = binary(fn.div, total, divisor, total.shape, wide);
    const open = binary(
      fn.clampGradient,
      slope,
      size,
      slope.shape,
      wide,
      slope.shape,
      slope.shape,
      eps,
      Infinity,
    );
    const radial = normGradient(open, { x, y: size, axes, p });
    const dx = binary(fn.add, direct, radial, x.shape, x.dtype);
    for (const t of [direct, pull, total, slope, open, radial]) release(t);
    return { x: dx };
  },
}) as unknown as Reduction<'same', NormalizeOptions>;
