// Calls of the elementwise kernel, shared by the operations that need it: a function of one to
// three operands, each a tensor or a number, broadcast to a shape.
import { type DType, isFloat } from './dtype.js';
import { expectDType, expectSameDType, fail } from './expect.js';
import { isRecording, launchAt, native, type Raw } from './native.js';
import { broadcastShapes, type Shape, sameShape } from './shape.js';
import { sumTo } from './strided.js';
import { empty, Tensor } from './tensor.js';

/** The functions of native/ops/elementwise/op.h, with its numbers. */
export const fn = {
  neg: 0,
  abs: 1,
  sign: 2,
  square: 3,
  sqrt: 4,
  rsqrt: 5,
  exp: 6,
  log: 7,
  log1p: 8,
  sin: 9,
  cos: 10,
  clamp: 11,
  relu: 12,
  gelu: 13,
  geluTanh: 14,
  silu: 15,
  sigmoid: 16,
  tanh: 17,
  softplus: 18,
  logicalNot: 19,
  isNaN: 20,
  add: 32,
  sub: 33,
  mul: 34,
  div: 35,
  pow: 36,
  maximum: 37,
  minimum: 38,
  eq: 39,
  ne: 40,
  lt: 41,
  le: 42,
  gt: 43,
  ge: 44,
  logicalAnd: 45,
  logicalOr: 46,
  absGradient: 64,
  squareGradient: 65,
  sqrtGradient: 66,
  rsqrtGradient: 67,
  log1pGradient: 68,
  sinGradient: 69,
  cosGradient: 70,
  clampGradient: 71,
  reluGradient: 72,
  geluGradient: 73,
  geluTanhGradient: 74,
  siluGradient: 75,
  sigmoidGradient: 76,
  tanhGradient: 77,
  softplusGradient: 78,
  where: 96,
  maximumGradient: 97,
  divGradient: 98,
  powBaseGradient: 99,
  powExponentGradient: 100,
  scaledDifference: 101,
  selectEqual: 102,
  expDifference: 103,
  normGradient: 104,
} as const;

export type Operand = Tensor | number;

const unaryKernel = native.elementwiseUnary;
const binaryKernel = native.elementwiseBinary;
const ternaryKernel = native.elementwiseTernary;

/** f(x), of the same shape. */
export function unary(f: number, x: Tensor, dtype: DType = x.dtype, p?: number, q = 0): Tensor {
  const out = empty(x.shape, dtype);
  launchAt(unaryKernel, p === undefined ? [f, x.raw, out.raw] : [f, x.raw, out.raw, p, q]);
  return out;
}

/** Where a number stands for a tensor. */
export const noShape: Shape = [];

function rawOf(x: Operand): Raw | undefined {
  return typeof x === 'number' ? undefined : x.raw;
}

/** Whether an operand needs strides to be walked along the result. */
function isRepeated(x: Operand, size: number): boolean {
  return typeof x !== 'number' && x.size !== size && x.size !== 1;
}

/**
 * f(a, b) broadcast to `shape`. `aShape`, `bShape`: the operands' shapes where they lack axes of
 * size 1 that reductions dropped. p and q reach the function where both operands are tensors.
 */
export function binary(
  f: number,
  a: Operand,
  b: Operand,
  shape: Shape,
  dtype: DType,
  aShape: Shape = a instanceof Tensor ? a.shape : noShape,
  bShape: Shape = b instanceof Tensor ? b.shape : noShape,
  p = typeof a === 'number' ? a : typeof b === 'number' ? b : 0,
  q = 0,
): Tensor {
  const out = empty(shape, dtype);
  const values = [f, rawOf(a), rawOf(b), out.raw, p, q];
  if (isRepeated(a, out.size) || isRepeated(b, out.size)) {
    launchAt(binaryKernel, [...values, shape, aShape, bShape]);
  } else {
    launchAt(binaryKernel, values);
  }
  return out;
}

/** f(a, b, c) broadcast to `shape`; of the operands only b and c may be numbers. */
export function ternary(
  f: number,
  a: Tensor,
  b: Operand,
  c: Operand,
  shape: Shape,
  dtype: DType,
  aShape: Shape = a.shape,
  bShape: Shape = b instanceof Tensor ? b.shape : noShape,
  cShape: Shape = c instanceof Tensor ? c.shape : noShape,
): Tensor {
  const out = empty(shape, dtype);
  const p = typeof b === 'number' ? b : 0;
  const q = typeof c === 'number' ? c : 0;
  const values = [f, a.raw, rawOf(b), rawOf(c), out.raw, p, q];
  const { size } = out;
  if (isRepeated(a, size) || isRepeated(b, size) || isRepeated(c, size)) {
    launchAt(ternaryKernel, [...values, shape, aShape, bShape, cShape]);
  } else {
    launchAt(ternaryKernel, values);
  }
  return out;
}

/** The dtype that two operands share, after checking it. */
export function sharedDType(op: string, a: Operand, b: Operand, allowed?: readonly DType[]): DType {
  if (a instanceof Tensor) {
    if (allowed) expectDType(op, 'a', a, allowed);
    if (b instanceof Tensor) expectSameDType(op, 'a', a, 'b', b);
    else expectFits(op, 'b', b, a.dtype);
    return a.dtype;
  }
  if (!(b instanceof Tensor)) {
    fail(op, 'ERR_INVALID_TYPE', `expected a or b to be a Tensor, got the numbers ${a} and ${b}`);
  }
  if (allowed) expectDType(op, 'b', b, allowed);
  expectFits(op, 'a', a, b.dtype);
  return b.dtype;
}

/** A number that stands for an element of an integer tensor must be one. */
export function expectFits(op: string, name: string, value: number, dtype: DType): void {
  if (isFloat(dtype) || Number.isSafeInteger(value)) return;
  fail(
    op,
    'ERR_INVALID_VALUE',
    `expected ${name} to be an integer beside a tensor of ${dtype}, got ${value}`,
  );
}

/** The shape of an operand: `noShape` for a number. */
export const shapeOf = (x: Operand): Shape => (x instanceof Tensor ? x.shape : noShape);

/** The shape that two operands broadcast to. */
export function resultShape(op: string, a: Operand, b: Operand): Shape {
  if (!(b instanceof Tensor)) return (a as Tensor).shape;
  return a instanceof Tensor ? broadcastShapes(op, a.shape, b.shape) : b.shape;
}

/** Gives back a tensor that only served a step, unless a recorded launch has yet to use it. */
export function release(temporary: Tensor): void {
  if (!isRecording()) temporary.dispose();
}

/** The gradient of an operand of `shape` that was broadcast to that of `g`. */
export function reducedTo(g: Tensor, shape: Shape): Tensor {
  return sameShape(g.shape, shape) ? g : sumTo(g, shape);
}

/** As `reducedTo`, for a gradient that nobody else holds. */
export function reducing(g: Tensor, shape: Shape): Tensor {
  const sum = reducedTo(g, shape);
  if (sum !== g) release(g);
  return sum;
}
