// Arithmetic, element by element. Tensors broadcast as in NumPy and share a dtype; a plain number
// takes the tensor's dtype. float16 and bfloat16 are computed in float32 and rounded once; integers
// wrap.
import { defineOp, type Needs, type RawOp } from '../autograd.js';
import { type DType, floats, isFloat, type MaybeSame } from '../dtype.js';
import { expectDType, fail, show } from '../expect.js';
import {
  binary,
  expectFits,
  fn,
  noShape,
  type Operand,
  reducedTo,
  reducing,
  resultShape,
  shapeOf,
  sharedDType,
  ternary,
  unary,
} from '../pointwise.js';
import type { Broadcast, Shape } from '../shape.js';
import { Tensor } from '../tensor.js';

/** An operation of one tensor that keeps its dtype and shape. */
export interface Unary {
  <D extends DType, S extends Shape>(x: Tensor<D, S>): Tensor<D, S>;
  async<D extends DType, S extends Shape>(x: Tensor<D, S>): Promise<Tensor<D, S>>;
  readonly raw: RawOp;
}

/** An operation of two tensors, or a tensor and a number, that broadcast. */
export interface Binary {
  <D extends DType, S extends Shape>(
    a: Tensor<D, S>,
    b: number | Tensor<NoInfer<D>, S>,
  ): Tensor<D, S>;
  <D extends DType, S extends Shape>(a: number, b: Tensor<D, S>): Tensor<D, S>;
  <D extends DType, S extends Shape, T extends Shape>(
    a: Tensor<D, S>,
    b: Tensor<NoInfer<D>, T>,
  ): Tensor<D, Broadcast<S, T>>;
  <D extends DType, E extends DType>(
    a: Tensor<D> | number,
    b: (Tensor<E> & MaybeSame<D, E>) | number,
  ): Tensor<D>;
  async<D extends DType>(a: Tensor<D> | number, b: Tensor<D> | number): Promise<Tensor<D>>;
  readonly raw: RawOp;
}

const numeric: readonly DType[] = [...floats, 'int32', 'int64', 'uint8'];

interface UnaryParts {
  /** float dtypes only. */
  floatOnly?: boolean;
  /** The gradient from g and what is saved: the input x, the output y, or nothing. */
  save?: 'x' | 'y';
  gradient?: (g: Tensor, saved: Tensor) => Tensor;
}

/** A gradient kernel of (g, saved). */
const by =
  (f: number) =>
  (g: Tensor, saved: Tensor): Tensor =>
    binary(f, g, saved, g.shape, g.dtype);

function unaryOp(name: string, f: number, { floatOnly = true, save, gradient }: UnaryParts): Unary {
  const allowed = floatOnly ? floats : numeric;
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: [],
    check: ({ x }) => expectDType(name, 'x', x, allowed),
    forward({ x }) {
      const output = unary(f, x);
      return { output, saved: save === 'x' ? { t: x } : save === 'y' ? { t: output } : {} };
    },
    backward: ({ t }, g) => (gradient ? { x: gradient(g, t) } : {}),
  }) as unknown as Unary;
}

/**
 * -x. x of any shape and dtype but bool -> the same.
 * @throws ERR_DTYPE for bool.
 */
export const neg = unaryOp('neg', fn.neg, { floatOnly: false, gradient: (g) => unary(fn.neg, g) });
/**
 * |x|. Gradient g·sign(x), 0 at 0. x of any shape and dtype but bool -> the same.
 * @throws ERR_DTYPE for bool.
 */
export const abs = unaryOp('abs', fn.abs, {
  floatOnly: false,
  save: 'x',
  gradient: by(fn.absGradient),
});
/**
 * -1, 0 or 1; NaN stays. Its gradient is 0. x of any shape and dtype but bool -> the same.
 * @throws ERR_DTYPE for bool.
 */
export const sign = unaryOp('sign', fn.sign, { floatOnly: false });
/**
 * √x, NaN below 0. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const sqrt = unaryOp('sqrt', fn.sqrt, { save: 'y', gradient: by(fn.sqrtGradient) });
/**
 * 1/√x. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const rsqrt = unaryOp('rsqrt', fn.rsqrt, { save: 'y', gradient: by(fn.rsqrtGradient) });
/**
 * eˣ. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const exp = unaryOp('exp', fn.exp, { save: 'y', gradient: by(fn.mul) });
/**
 * Natural logarithm: -Infinity at 0, NaN below. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const log = unaryOp('log', fn.log, { save: 'x', gradient: by(fn.div) });
/**
 * log(1 + x), exact for small x. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const log1p = unaryOp('log1p', fn.log1p, { save: 'x', gradient: by(fn.log1pGradient) });
/**
 * Sine; x in radians. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const sin = unaryOp('sin', fn.sin, { save: 'x', gradient: by(fn.sinGradient) });
/**
 * Cosine; x in radians. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const cos = unaryOp('cos', fn.cos, { save: 'x', gradient: by(fn.cosGradient) });

interface Pair {
  a: Operand;
  b: Operand;
}

interface BinaryParts {
  allowed?: readonly DType[];
  /** The operands that each gradient reads. */
  readsFor?: { a?: readonly ('a' | 'b')[]; b?: readonly ('a' | 'b')[] };
  gradientA(g: Tensor, saved: Pair): Tensor;
  gradientB(g: Tensor, saved: Pair): Tensor;
}

/** What keeps of the operands what the wanted gradients read, of the others only the shape. */
function saverOf({ a: forA = [], b: forB = [] }: NonNullable<BinaryParts['readsFor']>) {
  const [aForA, bForA] = [forA.includes('a'), forA.includes('b')];
  const [aForB, bForB] = [forB.includes('a'), forB.includes('b')];
  return ({ a, b }: Pair, needs: Needs) => {
    const all = !needs.a && !needs.b;
    const toA = all || needs.a;
    const toB = all || needs.b;
    return {
      a: (toA && aForA) || (toB && aForB) || !(a instanceof Tensor) ? a : null,
      b: (toA && bForA) || (toB && bForB) || !(b instanceof Tensor) ? b : null,
      shapeA: shapeOf(a),
      shapeB: shapeOf(b),
    };
  };
}

function binaryOp(name: string, f: number, parts: BinaryParts): Binary {
  const { allowed = numeric, readsFor = {}, gradientA, gradientB } = parts;
  const saved = saverOf(readsFor);
  return defineOp({
    name,
    builtin: true,
    inputs: ['a', 'b'],
    numbers: ['a', 'b'],
    options: [],
    forward({ a, b }: Pair, _, needs) {
      const dtype = sharedDType(name, a, b, allowed);
      const output = binary(f, a, b, resultShape(name, a, b), dtype);
      return { output, saved: saved({ a, b }, needs) };
    },
    backward(saved, g: Tensor, needs) {
      const result: Record<string, Tensor> = {};
      if (needs.a && saved.shapeA !== noShape) result.a = to(saved.shapeA, g, gradientA(g, saved));
      if (needs.b && saved.shapeB !== noShape) result.b = to(saved.shapeB, g, gradientB(g, saved));
      return result;
    },
  }) as unknown as Binary;
}

/** The full gradient summed to an operand's shape. */
function to(shape: Shape, g: Tensor, full: Tensor): Tensor {
  return full === g ? reducedTo(full, shape) : reducing(full, shape);
}

const product = (g: Tensor, by: Operand) => binary(fn.mul, g, by, g.shape, g.dtype);

/**
 * a + b. a and b of one dtype but bool, or one of them a number -> their broadcast shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const add = binaryOp('add', fn.add, { gradientA: (g) => g, gradientB: (g) => g });
/**
 * a - b. a and b of one dtype but bool, or one of them a number -> their broadcast shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const sub = binaryOp('sub', fn.sub, {
  gradientA: (g) => g,
  gradientB: (g) => unary(fn.neg, g),
});
/**
 * a · b, element by element. a and b of one dtype but bool, or one of them a number -> their
 * broadcast shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const mul = binaryOp('mul', fn.mul, {
  readsFor: { a: ['b'], b: ['a'] },
  gradientA: (g, { b }) => product(g, b),
  gradientB: (g, { a }) => product(g, a),
});
/**
 * a / b; float dtypes only. a and b of one float dtype, or one of them a number -> their broadcast
 * shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const div = binaryOp('div', fn.div, {
  allowed: floats,
  readsFor: { a: ['b'], b: ['a', 'b'] },
  gradientA: (g, { b }) => binary(fn.div, g, b, g.shape, g.dtype),
  gradientB: (g, { a, b }) => three(fn.divGradient, g, a, b),
});

/** A gradient kernel of g and both operands. */
function three(f: number, g: Tensor, a: Operand, b: Operand): Tensor {
  return ternary(f, g, a, b, g.shape, g.dtype);
}

/**
 * The larger of a and b; NaN if either is. Where they are equal each gets half the gradient. a and
 * b of one dtype but bool, or one of them a number -> their broadcast shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const maximum = binaryOp('maximum', fn.maximum, {
  readsFor: { a: ['a', 'b'], b: ['a', 'b'] },
  gradientA: (g, { a, b }) => three(fn.maximumGradient, g, a, b),
  gradientB: (g, { a, b }) => three(fn.maximumGradient, g, b, a),
});
/**
 * The smaller of a and b; NaN if either is. Where they are equal each gets half the gradient. a and
 * b of one dtype but bool, or one of them a number -> their broadcast shape [...].
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const minimum = binaryOp('minimum', fn.minimum, {
  readsFor: { a: ['a', 'b'], b: ['a', 'b'] },
  gradientA: (g, { a, b }) => three(fn.maximumGradient, g, b, a),
  gradientB: (g, { a, b }) => three(fn.maximumGradient, g, a, b),
});

const powOp = binaryOp('pow', fn.pow, {
  allowed: floats,
  readsFor: { a: ['a', 'b'], b: ['a', 'b'] },
  gradientA: (g, { a, b }) => three(fn.powBaseGradient, g, a, b),
  gradientB: (g, { a, b }) => three(fn.powExponentGradient, g, a, b),
});
/**
 * x²; float dtypes only. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const square = unaryOp('square', fn.square, { save: 'x', gradient: by(fn.squareGradient) });

/**
 * a to the power b; float dtypes only. A negative base needs an integer exponent, else NaN.
 * Gradient in b: g·aᵇ·log a, 0 where a = 0 and b ≥ 0.
 *
 * a and b of one float dtype, or one of them a number -> their broadcast shape [...].
 *
 * @throws ERR_DTYPE for other dtypes or two different ones, ERR_SHAPE where shapes do not
 *   broadcast.
 */
export const pow: Binary = Object.assign(
  // x² and √x are common and much cheaper than the general function.
  (a: Operand, b: Operand) => {
    if (a instanceof Tensor && isFloat(a.dtype)) {
      if (b === 2) return square(a);
      if (b === 0.5) return sqrt(a);
    }
    return powOp(a as Tensor, b as Tensor);
  },
  { async: powOp.async, raw: powOp.raw },
) as Binary;

/** Options of `clamp`. */
export interface ClampOptions {
  /** Smallest value; none by default. */
  min?: number | undefined;
  /** Largest value; none by default. */
  max?: number | undefined;
}

// Integers are clamped in int64; these are its ends, as far as a number can say them.
const lowest = -(2 ** 63);
const highest = 2 ** 63 - 1024;

function limits(dtype: DType, { min, max }: ClampOptions): [number, number] {
  return isFloat(dtype)
    ? [min ?? -Infinity, max ?? Infinity]
    : [Math.max(min ?? lowest, lowest), Math.min(max ?? highest, highest)];
}

const clampOp = defineOp({
  name: 'clamp',
  builtin: true,
  inputs: ['x'],
  options: ['min', 'max'],
  check({ x }, options: ClampOptions) {
    expectDType('clamp', 'x', x, numeric);
    for (const name of ['min', 'max'] as const) {
      const value = options[name];
      if (value === undefined) continue;
      if (typeof value !== 'number' || Number.isNaN(value)) {
        fail('clamp', 'ERR_INVALID_TYPE', `expected ${name} to be a number, got ${show(value)}`);
      }
      if (Number.isFinite(value)) expectFits('clamp', name, value, x.dtype);
    }
    if (options.min === undefined && options.max === undefined) {
      fail('clamp', 'ERR_INVALID_VALUE', 'expected min or max, got neither');
    }
  },
  forward({ x }, options: ClampOptions) {
    const [min, max] = limits(x.dtype, options);
    return { output: unary(fn.clamp, x, x.dtype, min, max), saved: { x, min, max } };
  },
  backward: ({ x, min, max }, g) => ({
    x: binary(fn.clampGradient, g, x, g.shape, g.dtype, g.shape, x.shape, min, max),
  }),
});

/** `clamp(x, min, max)` as `clamp(x, { min, max })`. */
function clampArguments(min: number | null | ClampOptions | undefined, max?: number | null) {
  if (min !== null && typeof min === 'object') return min;
  return { min: min ?? undefined, max: max ?? undefined };
}

interface Clamp {
  <D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    min: number | null | undefined,
    max?: number | null,
  ): Tensor<D, S>;
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options: ClampOptions): Tensor<D, S>;
  async<D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    min: number | null | undefined | ClampOptions,
    max?: number | null,
  ): Promise<Tensor<D, S>>;
  readonly raw: RawOp;
}

/**
 * x limited to [min, max], given by position or by name; NaN stays. The gradient passes where
 * min ≤ x ≤ max. With min > max everything becomes max.
 *
 * @throws ERR_DTYPE for bool, ERR_INVALID_VALUE without min and max, or for fractions beside
 *   integers.
 * @example x.clamp(0, 6)
 * @example x.clamp({ max: 6 })
 */
export const clamp: Clamp = Object.assign(
  (x: Tensor, min: number | null | undefined | ClampOptions, max?: number | null) =>
    clampOp(x, clampArguments(min, max)),
  {
    async: (x: Tensor, min: number | null | undefined | ClampOptions, max?: number | null) =>
      clampOp.async(x, clampArguments(min, max)),
    raw: clampOp.raw,
  },
) as Clamp;
