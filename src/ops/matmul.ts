// Matrix products, batched: out[..., i, j] = sum over k of A[..., i, k] B[..., k, j], A and B as
// given or transposed. Batch axes broadcast as in NumPy, without copies: the kernel takes the place
// of each pair. Products of x [..., M, K] with one matrix are a single product of all rows.
import { defineOp, type Op } from '../autograd.js';
import { type DType, floats, type MaybeSame } from '../dtype.js';
import { expectBoolean, expectDType, expectSameDType, fail, showShape } from '../expect.js';
import { launchAt, native, type Raw } from '../native.js';
import { broadcastShapes, type Shape, sizeOf, stridesOf } from '../shape.js';
import { sumTo } from '../strided.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `matmul`. */
export interface MatmulOptions {
  /** Use the transpose of a's matrices: a is [..., K, M]. */
  transposeA?: boolean | undefined;
  /** Use the transpose of b's matrices: b is [..., N, K]. */
  transposeB?: boolean | undefined;
}

/** Where each pair of a broadcast batch starts in an operand; undefined if they lie in order. */
function offsets(batch: Shape, own: Shape, matrix: number): BigInt64Array | undefined {
  if (sizeOf(own) === sizeOf(batch)) return undefined;
  const count = sizeOf(batch);
  const lead = batch.length - own.length;
  const strides = stridesOf(own);
  const starts = new BigInt64Array(count);
  for (let i = 0; i < count; i++) {
    let rest = i;
    let at = 0;
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      const index = rest % batch[axis];
      rest = (rest - index) / batch[axis];
      if (axis >= lead && own[axis - lead] !== 1) at += index * strides[axis - lead];
    }
    starts[i] = BigInt(at * matrix);
  }
  return starts;
}

/** Elements and the shape, of rank 2 or more, in which a product sees them. */
interface Operand {
  raw: Raw;
  shape: Shape;
}

/** Rows and columns of the matrices that take part in a product. */
function matrixOf(shape: Shape, transposed: boolean): [number, number] {
  const rows = shape[shape.length - 2];
  const columns = shape[shape.length - 1];
  return transposed ? [columns, rows] : [rows, columns];
}

const none: Shape = [];
const batchOf = (shape: Shape): Shape => (shape.length === 2 ? none : shape.slice(0, -2));

/** A vector is one row on the left, one column on the right. */
const leftShape = ({ shape }: Tensor): Shape => (shape.length === 1 ? [1, shape[0]] : shape);
const rightShape = ({ shape }: Tensor): Shape => (shape.length === 1 ? [shape[0], 1] : shape);

function product(
  dtype: DType,
  a: Operand,
  transposeA: boolean,
  b: Operand,
  transposeB: boolean,
  outShape?: Shape,
): Tensor {
  const [m, k] = matrixOf(a.shape, transposeA);
  const n = matrixOf(b.shape, transposeB)[1];
  const batchA = batchOf(a.shape);
  const batchB = batchOf(b.shape);
  const batch = broadcastShapes('matmul', batchA, batchB);
  const out = empty(outShape ?? [...batch, m, n], dtype);
  if (out.size === 0) return out;
  // One matrix on the right of untransposed rows: all of them are one product.
  const joint = !transposeA && sizeOf(batchB) === 1;
  const pairs = joint ? 1 : sizeOf(batch);
  launchAt(native.matmul, [
    a.raw,
    b.raw,
    out.raw,
    joint ? m * sizeOf(batch) : m,
    n,
    k,
    pairs,
    transposeA,
    transposeB,
    false,
    joint ? undefined : offsets(batch, batchA, m * k),
    joint ? undefined : offsets(batch, batchB, k * n),
  ]);
  return out;
}

/** A product that is the gradient of an operand of `shape`, which was repeated along batch axes. */
function productFor(
  t: Tensor,
  shape: Shape,
  left: Operand,
  transposeLeft: boolean,
  right: Operand,
  transposeRight: boolean,
): Tensor {
  const batch = broadcastShapes('matmul', batchOf(left.shape), batchOf(right.shape));
  if (sizeOf(batch) === sizeOf(batchOf(shape))) {
    return product(t.dtype, left, transposeLeft, right, transposeRight, t.shape);
  }
  return sumTo(product(t.dtype, left, transposeLeft, right, transposeRight), shape, t.shape);
}

interface Saved {
  a: Tensor;
  b: Tensor;
  transposeA: boolean;
  transposeB: boolean;
}

function gradientA({ a, b, transposeA, transposeB }: Saved, g: Operand): Tensor {
  const right = { raw: b.raw, shape: rightShape(b) };
  return transposeA
    ? productFor(a, leftShape(a), right, transposeB, g, true)
    : productFor(a, leftShape(a), g, false, right, !transposeB);
}

/** All leading axes in one: [..., M, K] -> [rows, K]. */
function flat({ raw, shape }: Operand): Operand {
  const columns = shape[shape.length - 1];
  return { raw, shape: [sizeOf(shape.slice(0, -1)), columns] };
}

function gradientB({ a, b, transposeA, transposeB }: Saved, g: Operand): Tensor {
  const left = { raw: a.raw, shape: leftShape(a) };
  // One matrix for all rows: the sum over the batch is part of the product.
  const joint = !transposeA && sizeOf(batchOf(rightShape(b))) === 1;
  if (joint) {
    const [x, y] = [flat(left), flat(g)];
    return transposeB
      ? product(b.dtype, y, true, x, false, b.shape)
      : product(b.dtype, x, true, y, false, b.shape);
  }
  return transposeB
    ? productFor(b, rightShape(b), g, true, left, transposeA)
    : productFor(b, rightShape(b), left, !transposeA, g, false);
}

/**
 * Matrix product of the last two axes; leading axes broadcast. A vector counts as one row on the
 * left, as one column on the right, and its axis is dropped from the result.
 * float64 is computed in float64, everything else accumulates in float32.
 *
 * a [..., M, K] · b [..., K, N] -> [..., M, N]
 *
 * @throws ERR_SHAPE when the inner sizes differ or batch axes do not broadcast.
 * @example q.matmul(k, { transposeB: true }) // [B, H, T, d] · [B, H, T, d]ᵀ -> [B, H, T, T]
 */
export const matmul: Op<{
  <D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>>, options?: MatmulOptions): Tensor<D>;
  <D extends DType, E extends DType>(
    a: Tensor<D>,
    b: Tensor<E> & MaybeSame<D, E>,
    options?: MatmulOptions,
  ): Tensor<D>;
}> = defineOp({
  name: 'matmul',
  builtin: true,
  inputs: ['a', 'b'],
  options: ['transposeA', 'transposeB'],
  check({ a, b }, { transposeA = false, transposeB = false }: MatmulOptions) {
    expectDType('matmul', 'a', a, floats);
    expectSameDType('matmul', 'a', a, 'b', b);
    expectBoolean('matmul', 'transposeA', transposeA);
    expectBoolean('matmul', 'transposeB', transposeB);
    expectMatrix('a', a, transposeA);
    expectMatrix('b', b, transposeB);
    const inner = matrixOf(leftShape(a), transposeA)[1];
    const rows = matrixOf(rightShape(b), transposeB)[0];
    if (inner !== rows) {
      const as = (t: Tensor, on: boolean) => `${showShape(t.shape)}${on ? ' transposed' : ''}`;
      fail(
        'matmul',
        'ERR_SHAPE',
        `expected b to have ${inner} rows (the columns of a ${as(a, transposeA)}), got ${as(b, transposeB)}`,
      );
    }
    broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2));
  },
  forward({ a, b }, { transposeA = false, transposeB = false }: MatmulOptions) {
    const left = { raw: a.raw, shape: leftShape(a) };
    const right = { raw: b.raw, shape: rightShape(b) };
    const shape = fullShape(a, b, transposeA, transposeB);
    if (b.rank === 1) shape.pop();
    if (a.rank === 1) shape.splice(b.rank === 1 ? -1 : -2, 1);
    const output = product(a.dtype, left, transposeA, right, transposeB, shape);
    return { output, saved: { a, b, transposeA, transposeB } };
  },
  backward(saved: Saved, gradient: Tensor, needs) {
    const { a, b, transposeA, transposeB } = saved;
    const g = { raw: gradient.raw, shape: fullShape(a, b, transposeA, transposeB) };
    return {
      a: needs.a ? gradientA(saved, g) : null,
      b: needs.b ? gradientB(saved, g) : null,
    };
  },
});

/** The shape of the product before the axes of vectors are dropped. */
function fullShape(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): number[] {
  const [left, right] = [leftShape(a), rightShape(b)];
  return [
    ...broadcastShapes('matmul', batchOf(left), batchOf(right)),
    matrixOf(left, transposeA)[0],
    matrixOf(right, transposeB)[1],
  ];
}

function expectMatrix(name: string, t: Tensor, transposed: boolean): void {
  const least = transposed ? 2 : 1;
  if (t.rank >= least) return;
  fail(
    'matmul',
    'ERR_SHAPE',
    `expected ${name} to have at least ${least} ${least === 1 ? 'axis' : 'axes'}, got ${showShape(t.shape)}`,
  );
}
