// Operations on shapes. reshape, squeeze and unsqueeze share memory with their input; permute,
// transpose and expand copy. Gradients are the same moves backwards.
import { defineOp } from '../autograd.js';
import type { DType } from '../dtype.js';
import { fail, show, showShape } from '../expect.js';
import { axesOf, axisOf, checkedSize, maxRank, type Shape, sizeOf, stridesOf } from '../shape.js';
import { gathered, sumTo } from '../strided.js';
import { expectTensor, type Tensor, viewOf } from '../tensor.js';

// A view is its own gradient, reshaped back.
const viewed = (name: string) =>
  defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['shape'],
    forward: ({ x }, { shape }: { shape: Shape }) => ({
      output: viewOf(x, shape),
      saved: { shape: x.shape },
    }),
    backward: ({ shape }, g) => ({ x: viewOf(g, shape) }),
  });

const reshapeOp = viewed('reshape');
const squeezeOp = viewed('squeeze');
const unsqueezeOp = viewed('unsqueeze');

/** Sizes of a reshape: those given, with the one that was inferred as a plain number. */
export type Inferred<S extends Shape> = { [I in keyof S]: S[I] extends -1 ? number : S[I] };

/**
 * The same elements in row-major order under another shape; one size may be -1 and is inferred.
 * Shares memory with `x`.
 *
 * x [...] -> `shape`.
 *
 * @throws ERR_SHAPE when the sizes do not hold exactly the elements of `x`.
 * @example x.reshape([-1, 4])
 */
export function reshape<D extends DType, const S extends Shape>(
  x: Tensor<D>,
  shape: S,
): Tensor<D, Inferred<S>> {
  expectTensor('reshape', 'x', x);
  return reshapeOp(x, { shape: inferredShape(x, shape) });
}

function inferredShape(x: Tensor, shape: Shape): Shape {
  const given = Array.isArray(shape) ? shape.indexOf(-1) : -1;
  if (given < 0) {
    if (checkedSize('reshape', shape) !== x.size) refuseReshape(x, shape);
    return [...shape];
  }
  const rest = shape.filter((_, i) => i !== given);
  const known = checkedSize('reshape', rest);
  // With a size of 0 among the others any number would do.
  if (known === 0 || x.size % known !== 0) refuseReshape(x, shape);
  return shape.map((n, i) => (i === given ? x.size / known : n));
}

function refuseReshape(x: Tensor, shape: Shape): never {
  fail(
    'reshape',
    'ERR_SHAPE',
    `expected shape with ${x.size} elements (tensor ${showShape(x.shape)}), got ${showShape(shape)}`,
  );
}

/**
 * `x` without its axes of size 1, or without those of `dim` that have size 1. Shares memory. x
 * [..., 1, ...] -> [...].
 * @throws ERR_OUT_OF_RANGE for an axis that x has not.
 */
export function squeeze<D extends DType>(
  x: Tensor<D>,
  dim?: number | readonly number[],
): Tensor<D> {
  expectTensor('squeeze', 'x', x);
  const dims = axesOf('squeeze', 'dim', dim, x.rank);
  return squeezeOp(x, { shape: x.shape.filter((n, i) => n !== 1 || !dims.includes(i)) });
}

/**
 * `x` with a new axis of size 1 before axis `dim`; -1 puts it last. Shares memory. x [...] -> [...,
 * 1, ...].
 * @throws ERR_OUT_OF_RANGE for an axis that the result has not.
 */
export function unsqueeze<D extends DType>(x: Tensor<D>, dim: number): Tensor<D> {
  expectTensor('unsqueeze', 'x', x);
  expectRank('unsqueeze', x.rank + 1);
  const axis = axisOf('unsqueeze', 'dim', dim, x.rank + 1);
  return unsqueezeOp(x, { shape: [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)] });
}

function expectRank(op: string, rank: number): void {
  if (rank > maxRank) fail(op, 'ERR_SHAPE', `expected at most ${maxRank} axes, got ${rank}`);
}

function permuted(x: Tensor, dims: readonly number[]): Tensor {
  const strides = stridesOf(x.shape);
  return gathered(
    x,
    dims.map((d) => x.shape[d]),
    dims.map((d) => strides[d]),
  );
}

const permuting = (name: string) =>
  defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['dims'],
    forward: ({ x }, { dims }: { dims: readonly number[] }) => ({
      output: permuted(x, dims),
      saved: { dims },
    }),
    backward({ dims }, g) {
      const inverse: number[] = new Array(dims.length);
      for (let i = 0; i < dims.length; i++) inverse[dims[i]] = i;
      return { x: permuted(g, inverse) };
    },
  });

const permuteOp = permuting('permute');
const transposeOp = permuting('transpose');

/**
 * Axes in another order: axis i of the result is axis `dims[i]` of `x`.
 *
 * @throws ERR_INVALID_VALUE where dims do not name each axis once.
 * @example x.permute([0, 2, 1, 3]) // [B, T, H, d] -> [B, H, T, d]
 */
export function permute<D extends DType>(x: Tensor<D>, dims: readonly number[]): Tensor<D> {
  expectTensor('permute', 'x', x);
  if (!Array.isArray(dims) || dims.length !== x.rank) {
    fail(
      'permute',
      'ERR_INVALID_VALUE',
      `expected dims to name each of the ${x.rank} axes of ${showShape(x.shape)}, got ${show(dims)}`,
    );
  }
  return permuteOp(x, { dims: axesOf('permute', 'dims', dims, x.rank) });
}

/**
 * Two axes exchanged; without dims the last two. x [..., n, m] -> [..., m, n].
 * @throws ERR_OUT_OF_RANGE for an axis that x has not.
 */
export function transpose<D extends DType>(x: Tensor<D>, dim0 = -2, dim1 = -1): Tensor<D> {
  expectTensor('transpose', 'x', x);
  const a = axisOf('transpose', 'dim0', dim0, x.rank);
  const b = axisOf('transpose', 'dim1', dim1, x.rank);
  const dims = x.shape.map((_, i) => (i === a ? b : i === b ? a : i));
  return transposeOp(x, { dims });
}

const expandOp = defineOp({
  name: 'expand',
  builtin: true,
  inputs: ['x'],
  options: ['shape'],
  forward({ x }, { shape }: { shape: Shape }) {
    const own = stridesOf(x.shape);
    const lead = shape.length - x.rank;
    const strides = shape.map((_, i) => (i < lead || x.shape[i - lead] === 1 ? 0 : own[i - lead]));
    return { output: gathered(x, shape, strides), saved: { shape: x.shape } };
  },
  backward: ({ shape }: { shape: Shape }, g: Tensor) => ({
    x: sizeOf(shape) === g.size ? viewOf(g, shape) : sumTo(g, shape),
  }),
});

/**
 * `x` repeated along its axes of size 1 and along new leading axes until it has `shape`; -1 keeps a
 * size. A copy: nothing here has strides.
 *
 * x [..., 1, ...] -> `shape`.
 *
 * @throws ERR_SHAPE for a size that is neither that of x nor over one of 1.
 */
export function expand<D extends DType, const S extends Shape>(
  x: Tensor<D>,
  shape: S,
): Tensor<D, Inferred<S>> {
  expectTensor('expand', 'x', x);
  const lead = Array.isArray(shape) ? shape.length - x.rank : 0;
  const full = Array.isArray(shape)
    ? shape.map((n, i) => (n === -1 && i >= lead ? x.shape[i - lead] : n))
    : shape;
  checkedSize('expand', full);
  const fits = lead >= 0 && x.shape.every((n, i) => n === full[i + lead] || n === 1);
  if (!fits) {
    fail(
      'expand',
      'ERR_SHAPE',
      `expected shape to repeat axes of size 1 of ${showShape(x.shape)}, got ${showShape(shape)}`,
    );
  }
  return expandOp(x, { shape: full });
}
