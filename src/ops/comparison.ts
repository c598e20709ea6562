// Comparison, logic and choice, element by element, with the broadcasting and the rule for numbers
// of arithmetic. Comparisons and logic give bool.
import { defineOp, type RawOp } from '../autograd.js';
import type { DType, MaybeSame } from '../dtype.js';
import { expectDType, expectFits } from '../expect.js';
import {
  binary,
  fn,
  noShape,
  type Operand,
  reducing,
  resultShape,
  shapeOf,
  sharedDType,
  ternary,
  unary,
} from '../pointwise.js';
import { type Broadcast, broadcastShapes, type Shape } from '../shape.js';
import { Tensor } from '../tensor.js';

/** A comparison of two tensors, or a tensor and a number, that broadcast. */
export interface Comparison {
  <D extends DType, S extends Shape>(
    a: Tensor<D, S>,
    b: number | Tensor<NoInfer<D>, S>,
  ): Tensor<'bool', S>;
  <D extends DType, S extends Shape, T extends Shape>(
    a: Tensor<D, S>,
    b: Tensor<NoInfer<D>, T>,
  ): Tensor<'bool', Broadcast<S, T>>;
  <D extends DType, E extends DType>(
    a: Tensor<D> | number,
    b: (Tensor<E> & MaybeSame<D, E>) | number,
  ): Tensor<'bool'>;
  async<D extends DType>(a: Tensor<D> | number, b: Tensor<D> | number): Promise<Tensor<'bool'>>;
  readonly raw: RawOp;
}

/** A test of each element. */
export interface UnaryTest {
  <S extends Shape>(x: Tensor<DType, S>): Tensor<'bool', S>;
  async<S extends Shape>(x: Tensor<DType, S>): Promise<Tensor<'bool', S>>;
  readonly raw: RawOp;
}

interface Pair {
  a: Operand;
  b: Operand;
}

function comparisonOp(name: string, f: number): Comparison {
  return defineOp({
    name,
    builtin: true,
    inputs: ['a', 'b'],
    numbers: ['a', 'b'],
    options: [],
    forward({ a, b }: Pair) {
      sharedDType(name, a, b);
      return { output: binary(f, a, b, resultShape(name, a, b), 'bool') };
    },
  }) as unknown as Comparison;
}

/**
 * a = b; false where either is NaN. a and b of one dtype, or one of them a number -> bool of their
 * broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const eq = comparisonOp('eq', fn.eq);
/**
 * a ≠ b; true where either is NaN. a and b of one dtype, or one of them a number -> bool of their
 * broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const ne = comparisonOp('ne', fn.ne);
/**
 * a < b. a and b of one dtype, or one of them a number -> bool of their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const lt = comparisonOp('lt', fn.lt);
/**
 * a ≤ b. a and b of one dtype, or one of them a number -> bool of their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const le = comparisonOp('le', fn.le);
/**
 * a > b. a and b of one dtype, or one of them a number -> bool of their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const gt = comparisonOp('gt', fn.gt);
/**
 * a ≥ b. a and b of one dtype, or one of them a number -> bool of their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const ge = comparisonOp('ge', fn.ge);
/**
 * a and b, where anything but 0 is true. a and b of one dtype, or one of them a number -> bool of
 * their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const logicalAnd = comparisonOp('logicalAnd', fn.logicalAnd);
/**
 * a or b, where anything but 0 is true. a and b of one dtype, or one of them a number -> bool of
 * their broadcast shape [...].
 * @throws ERR_DTYPE for two different dtypes, ERR_SHAPE where shapes do not broadcast.
 */
export const logicalOr = comparisonOp('logicalOr', fn.logicalOr);

function testOp(name: string, f: number): UnaryTest {
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: [],
    forward: ({ x }) => ({ output: unary(f, x, 'bool') }),
  }) as unknown as UnaryTest;
}

/**
 * x = 0. x of any dtype and shape -> bool of the same shape.
 * @throws ERR_INVALID_TYPE for what is no tensor.
 */
export const logicalNot = testOp('logicalNot', fn.logicalNot);
/**
 * Whether x is NaN; never for integers. x of any dtype and shape -> bool of the same shape.
 * @throws ERR_INVALID_TYPE for what is no tensor.
 */
const isNan = testOp('isNaN', fn.isNaN);

export { isNan as isNaN };

interface Choice extends Pair {
  condition: Tensor;
}

/**
 * a where `condition` (bool) is true, else b; all three broadcast. The gradient goes to the one
 * that was taken. Two numbers give float32.
 *
 * condition, a and b -> their broadcast shape [...], of the dtype of a and b.
 *
 * @throws ERR_DTYPE for a condition that is not bool or two dtypes, ERR_SHAPE where shapes do not
 *   broadcast.
 * @example sp.where(mask, scores, -Infinity)
 */
export const where: {
  <D extends DType>(condition: Tensor<'bool'>, a: Tensor<D> | number, b: Tensor<D>): Tensor<D>;
  <D extends DType>(condition: Tensor<'bool'>, a: Tensor<D>, b: number): Tensor<D>;
  (condition: Tensor<'bool'>, a: number, b: number): Tensor<'float32'>;
  async<D extends DType>(
    condition: Tensor<'bool'>,
    a: Tensor<D> | number,
    b: Tensor<D> | number,
  ): Promise<Tensor<D>>;
  readonly raw: RawOp;
} = defineOp({
  name: 'where',
  builtin: true,
  inputs: ['condition', 'a', 'b'],
  numbers: ['a', 'b'],
  nondifferentiable: ['condition'],
  options: [],
  forward({ condition, a, b }: Choice) {
    expectDType('where', 'condition', condition, ['bool']);
    const numbers = !(a instanceof Tensor) && !(b instanceof Tensor);
    const dtype = numbers ? 'float32' : sharedDType('where', a, b);
    if (!(a instanceof Tensor)) expectFits('where', 'a', a, dtype);
    if (!(b instanceof Tensor)) expectFits('where', 'b', b, dtype);
    const values = numbers ? noShape : resultShape('where', a, b);
    const shape = broadcastShapes('where', condition.shape, values);
    const output = ternary(fn.where, condition, a, b, shape, dtype);
    return { output, saved: { condition, shapeA: shapeOf(a), shapeB: shapeOf(b) } };
  },
  backward({ condition, shapeA, shapeB }, g: Tensor, needs) {
    const result: Record<string, Tensor> = {};
    const taken = (a: Operand, b: Operand) => ternary(fn.where, condition, a, b, g.shape, g.dtype);
    if (needs.a) result.a = reducing(taken(g, 0), shapeA);
    if (needs.b) result.b = reducing(taken(0, g), shapeB);
    return result;
  },
  // biome-ignore lint/suspicious/noExplicitAny: a generic signature that Op cannot carry
}) as any;
