// Attaches what works element by element to the tensor as methods.
import { attach } from './attach.js';
import type { DType, MaybeSame } from './dtype.js';
import {
  type DropoutOptions,
  dropout,
  type GeluOptions,
  gelu,
  relu,
  sigmoid,
  silu,
  softplus,
  tanh,
} from './ops/activation.js';
import {
  eq,
  ge,
  gt,
  isNaN as isNan,
  le,
  logicalAnd,
  logicalNot,
  logicalOr,
  lt,
  ne,
} from './ops/comparison.js';
import {
  abs,
  add,
  type ClampOptions,
  clamp,
  cos,
  div,
  exp,
  log,
  log1p,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  rsqrt,
  sign,
  sin,
  sqrt,
  square,
  sub,
} from './ops/elementwise.js';
import type { Broadcast, Shape } from './shape.js';

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** -x */
    neg(): Tensor<D, S>;
    /** |x| */
    abs(): Tensor<D, S>;
    /** -1, 0 or 1. */
    sign(): Tensor<D, S>;
    /** √x */
    sqrt(): Tensor<D, S>;
    /** x² */
    square(): Tensor<D, S>;
    /** 1/√x */
    rsqrt(): Tensor<D, S>;
    /** eˣ */
    exp(): Tensor<D, S>;
    /** The natural logarithm. */
    log(): Tensor<D, S>;
    /** log(1 + x), exact for small x. */
    log1p(): Tensor<D, S>;
    /** Sine; in radians. */
    sin(): Tensor<D, S>;
    /** Cosine; in radians. */
    cos(): Tensor<D, S>;
    /** Limited to [min, max]. */
    clamp(min: number | null | undefined, max?: number | null): Tensor<D, S>;
    clamp(options: ClampOptions): Tensor<D, S>;
    /** max(x, 0) */
    relu(): Tensor<D, S>;
    /** x·Φ(x) */
    gelu(options?: GeluOptions): Tensor<D, S>;
    /** x·σ(x) */
    silu(): Tensor<D, S>;
    /** 1 / (1 + e⁻ˣ) */
    sigmoid(): Tensor<D, S>;
    /** Hyperbolic tangent. */
    tanh(): Tensor<D, S>;
    /** log(1 + eˣ) */
    softplus(): Tensor<D, S>;
    /** Zero with probability p, else divided by 1 - p. */
    dropout(options?: DropoutOptions): Tensor<D, S>;
    /** Where this is NaN. */
    isNaN(): Tensor<'bool', S>;
    /** Where this is 0. */
    logicalNot(): Tensor<'bool', S>;
    /** This plus b. */
    add(b: number): Tensor<D, S>;
    add(b: Tensor<D, S>): Tensor<D, S>;
    add<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    add<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    add<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** This minus b. */
    sub(b: number): Tensor<D, S>;
    sub(b: Tensor<D, S>): Tensor<D, S>;
    sub<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    sub<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    sub<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** This times b, element by element. */
    mul(b: number): Tensor<D, S>;
    mul(b: Tensor<D, S>): Tensor<D, S>;
    mul<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    mul<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    mul<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** This divided by b; float dtypes. */
    div(b: number): Tensor<D, S>;
    div(b: Tensor<D, S>): Tensor<D, S>;
    div<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    div<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    div<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** This to the power b; float dtypes. */
    pow(b: number): Tensor<D, S>;
    pow(b: Tensor<D, S>): Tensor<D, S>;
    pow<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    pow<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    pow<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** The larger of this and b; NaN if either is. */
    maximum(b: number): Tensor<D, S>;
    maximum(b: Tensor<D, S>): Tensor<D, S>;
    maximum<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    maximum<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    maximum<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** The smaller of this and b; NaN if either is. */
    minimum(b: number): Tensor<D, S>;
    minimum(b: Tensor<D, S>): Tensor<D, S>;
    minimum<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    minimum<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<E>;
    minimum<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<D>;
    /** Where this equals b. */
    eq(b: number): Tensor<'bool', S>;
    eq(b: Tensor<D, S>): Tensor<'bool', S>;
    eq<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    eq<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    eq<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where this is not b. */
    ne(b: number): Tensor<'bool', S>;
    ne(b: Tensor<D, S>): Tensor<'bool', S>;
    ne<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    ne<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    ne<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where this is below b. */
    lt(b: number): Tensor<'bool', S>;
    lt(b: Tensor<D, S>): Tensor<'bool', S>;
    lt<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    lt<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    lt<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where this is b or below. */
    le(b: number): Tensor<'bool', S>;
    le(b: Tensor<D, S>): Tensor<'bool', S>;
    le<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    le<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    le<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where this is above b. */
    gt(b: number): Tensor<'bool', S>;
    gt(b: Tensor<D, S>): Tensor<'bool', S>;
    gt<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    gt<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    gt<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where this is b or above. */
    ge(b: number): Tensor<'bool', S>;
    ge(b: Tensor<D, S>): Tensor<'bool', S>;
    ge<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    ge<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    ge<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where both are not 0. */
    logicalAnd(b: number): Tensor<'bool', S>;
    logicalAnd(b: Tensor<D, S>): Tensor<'bool', S>;
    logicalAnd<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    logicalAnd<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    logicalAnd<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
    /** Where one is not 0. */
    logicalOr(b: number): Tensor<'bool', S>;
    logicalOr(b: Tensor<D, S>): Tensor<'bool', S>;
    logicalOr<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    logicalOr<E extends DType>(this: Tensor<E>, b: number | Tensor<NoInfer<E>>): Tensor<'bool'>;
    logicalOr<E extends DType>(b: number | (Tensor<E> & MaybeSame<D, E>)): Tensor<'bool'>;
  }
}

attach({
  neg,
  abs,
  sign,
  square,
  sqrt,
  rsqrt,
  exp,
  log,
  log1p,
  sin,
  cos,
  clamp,
  isNaN: isNan,
  logicalNot,
});
attach({ add, sub, mul, div, pow, maximum, minimum, logicalAnd, logicalOr });
attach({ eq, ne, lt, le, gt, ge, relu, gelu, silu, sigmoid, tanh });
attach({ softplus, dropout });
