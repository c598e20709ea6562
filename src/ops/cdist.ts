// Distances between all pairs of two lists of points. The same bits for any number of threads; a
// pair of lists does not depend on the others of its batch.
import { defineOp, type Needs, type Op } from '../autograd.js';
import { type DType, floats, type MaybeSame } from '../dtype.js';
import {
  expectDType,
  expectNumber,
  expectOnCpu,
  expectSameDType,
  fail,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { release } from '../pointwise.js';
import { broadcastShapes, type Shape, sameShape, sizeOf, stridesOf } from '../shape.js';
import { gathered, sumTo } from '../strided.js';
import { empty, type Tensor, viewOf } from '../tensor.js';

/** Options of `cdist`. */
export interface CdistOptions {
  /** The norm: a number >= 0, or Infinity for the largest difference; 0 counts them. Default 2. */
  p?: number | undefined;
}

interface Saved {
  a: Tensor;
  b: Tensor;
  distance: Tensor;
  shapes: readonly [Shape, Shape];
  p: number;
}

/** t with the batch axes of `batch`, repeated where it lacks them. */
function repeated(t: Tensor, batch: Shape): Tensor {
  const shape = [...batch, ...t.shape.slice(-2)];
  if (sameShape(t.shape, shape)) return t;
  if (sizeOf(shape) === t.size) return viewOf(t, shape);
  const own = stridesOf(t.shape);
  const lead = shape.length - t.rank;
  const strides = shape.map((_, i) => (i < lead || t.shape[i - lead] === 1 ? 0 : own[i - lead]));
  return gathered(t, shape, strides);
}

/** p as native code takes it: beyond 1e300 it means the largest difference. */
const order = (p: number) => (p === Infinity ? Number.MAX_VALUE : p);

function sizes(a: Tensor, b: Tensor) {
  const [n, width] = a.shape.slice(-2);
  return { batch: sizeOf(a.shape.slice(0, -2)), n, m: b.shape[b.rank - 2], width };
}

function gradientOf(a: Tensor, b: Tensor, saved: Saved, g: Tensor, transposed: boolean): Tensor {
  const shape = saved.shapes[transposed ? 1 : 0];
  const isRepeated = sizeOf(shape) !== a.size;
  const dx = empty(isRepeated ? a.shape : shape, a.dtype);
  const own = {
    x: a.raw,
    y: b.raw,
    result: saved.distance.raw,
    g: g.raw,
    dx: dx.raw,
    transposed,
    p: order(saved.p),
  };
  launch(native.cdistBackward, own, sizes(a, b));
  if (!isRepeated) return dx;
  const sum = sumTo(dx, shape);
  release(dx);
  return sum;
}

/**
 * The distance (Σ |x - y|ᵖ)^(1/p) of every row of x to every row of y.
 *
 * x [..., N, D], y [..., M, D] -> [..., N, M], all of one float dtype; leading axes broadcast.
 * Differentiable; the gradient is 0 where a distance is 0, as in PyTorch. With p = 2 most of the
 * work is one matrix product, and close pairs are taken by differences, so that no digits are lost.
 * Source: torch.cdist.
 *
 * @throws ERR_SHAPE when the widths differ, ERR_INVALID_VALUE for p < 0.
 * @example sp.cdist(points, centres, { p: 1 })
 */
export const cdist: Op<{
  <D extends DType>(x: Tensor<D>, y: Tensor<NoInfer<D>>, options?: CdistOptions): Tensor<D>;
  <D extends DType, E extends DType>(
    x: Tensor<D>,
    y: Tensor<E> & MaybeSame<D, E>,
    options?: CdistOptions,
  ): Tensor<D>;
}> = defineOp({
  name: 'cdist',
  builtin: true,
  inputs: ['x', 'y'],
  options: ['p'],
  check({ x, y }, { p = 2 }: CdistOptions) {
    expectOnCpu('cdist', 'x', x);
    expectDType('cdist', 'x', x, floats);
    expectSameDType('cdist', 'x', x, 'y', y);
    if (p !== Infinity) expectNumber('cdist', 'p', p, { min: 0, max: 1e300 });
    for (const [name, t] of Object.entries({ x, y })) {
      if (t.rank >= 2) continue;
      const wanted = `${name} to have shape [..., points, D]`;
      fail('cdist', 'ERR_SHAPE', `expected ${wanted}, got ${showShape(t.shape)}`);
    }
    if (x.shape[x.rank - 1] !== y.shape[y.rank - 1]) {
      const wanted = `y's points to have the ${x.shape[x.rank - 1]} numbers of x's ${showShape(x.shape)}`;
      fail('cdist', 'ERR_SHAPE', `expected ${wanted}, got ${showShape(y.shape)}`);
    }
    broadcastShapes('cdist', x.shape.slice(0, -2), y.shape.slice(0, -2));
  },
  forward({ x, y }, { p = 2 }: CdistOptions) {
    const batch = broadcastShapes('cdist', x.shape.slice(0, -2), y.shape.slice(0, -2));
    const [a, b] = [repeated(x, batch), repeated(y, batch)];
    const distance = empty([...batch, a.shape[a.rank - 2], b.shape[b.rank - 2]], x.dtype);
    const own = { x: a.raw, y: b.raw, result: distance.raw, p: order(p) };
    launch(native.cdist, own, sizes(a, b));
    return { output: distance, saved: { a, b, distance, shapes: [x.shape, y.shape], p } };
  },
  backward(saved: Saved, g: Tensor, needs: Needs) {
    const { a, b } = saved;
    return {
      x: needs.x ? gradientOf(a, b, saved, g, false) : null,
      y: needs.y ? gradientOf(b, a, saved, g, true) : null,
    };
  },
});
