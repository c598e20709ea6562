// Attaches operations to the tensor as methods. Each family declares its own methods here, beside
// the line that attaches them, so that `a.add(b)` and `add(a, b)` are one function.
import { type BackwardOptions, backward, backwardAsync } from './backward.js';
import type { Device } from './device.js';
import type { DType, FloatDType, IndexDType, MaybeSame } from './dtype.js';
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
import { clone, to } from './ops/cast.js';
import { type CdistOptions, cdist } from './ops/cdist.js';
import {
  type BatchNormOptions,
  batchNorm,
  type GroupNormOptions,
  groupNorm,
} from './ops/channel-norm.js';
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
  where,
} from './ops/comparison.js';
import {
  type ConvOptions,
  type ConvTransposeOptions,
  conv2d,
  conv3d,
  convTranspose2d,
  convTranspose3d,
} from './ops/convolution.js';
import { type CumsumOptions, cumsum } from './ops/cumsum.js';
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
import { embedding, gather, indexSelect, maskedFill, oneHot, scatterAdd } from './ops/indexing.js';
import { type InterpolateOptions, interpolate } from './ops/interpolate.js';
import { split } from './ops/join.js';
import { type MatmulOptions, matmul } from './ops/matmul.js';
import { type LayerNormOptions, layerNorm, type RmsNormOptions, rmsNorm } from './ops/norm.js';
import {
  type AvgPoolOptions,
  avgPool2d,
  avgPool3d,
  type MaxPoolOptions,
  maxPool2d,
  maxPool3d,
} from './ops/pool.js';
import {
  type ArgOptions,
  argmax,
  argmin,
  logsumexp,
  max,
  mean,
  min,
  type NormalizeOptions,
  type NormOptions,
  norm,
  normalize,
  type ReduceOptions,
  type RowOptions,
  std,
  sum,
  type VarOptions,
  var as variance,
} from './ops/reduce.js';
import {
  expand,
  type Inferred,
  permute,
  reshape,
  squeeze,
  transpose,
  unsqueeze,
} from './ops/shape-ops.js';
import { pad, slice, tril, triu } from './ops/slice.js';
import { logSoftmax, type SoftmaxOptions, softmax } from './ops/softmax.js';
import { type Sorted, type SortOptions, sort, type TopkOptions, topk } from './ops/sort.js';
import type { Broadcast, Shape } from './shape.js';
import { Tensor } from './tensor.js';
import type { Sizes } from './windows.js';

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** Accumulates gradients into the leaves this tensor depends on; `grad` defaults to 1 for a single element. */
    backward(grad?: Tensor | null, options?: BackwardOptions): void;
    /** As `backward`, with the kernels on a background thread. */
    backwardAsync(grad?: Tensor | null, options?: BackwardOptions): Promise<void>;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: operations of every signature
type Functions = Record<string, (self: any, ...args: any[]) => unknown>;

/** Makes each function a method whose first argument is the tensor. */
function attach(functions: Functions): void {
  for (const [name, fn] of Object.entries(functions)) {
    Object.defineProperty(Tensor.prototype, name, {
      value(this: Tensor, ...args: unknown[]) {
        return fn(this, ...args);
      },
      writable: true,
      configurable: true,
    });
  }
}

attach({ backward, backwardAsync });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    to<E extends DType>(dtype: E): Tensor<E, S>;
    to(device: Device): Tensor<D, S>;
    clone(): Tensor<D, S>;
    reshape<const T extends Shape>(shape: T): Tensor<D, Inferred<T>>;
    squeeze(dim?: number | readonly number[]): Tensor<D>;
    unsqueeze(dim: number): Tensor<D>;
    permute(dims: readonly number[]): Tensor<D>;
    transpose(dim0?: number, dim1?: number): Tensor<D>;
    expand<const T extends Shape>(shape: T): Tensor<D, Inferred<T>>;
    split(sizes: number | readonly number[], dim?: number): Tensor<D>[];
    slice(dim?: number, start?: number, end?: number, step?: number): Tensor<D>;
    pad(
      padding: readonly number[],
      mode?: 'constant' | { mode?: 'constant'; value?: number },
      value?: number,
    ): Tensor<D>;
    tril(diagonal?: number): Tensor<D, S>;
    triu(diagonal?: number): Tensor<D, S>;
    matmul<E extends DType>(b: Tensor<E> & MaybeSame<D, E>, options?: MatmulOptions): Tensor<D>;
    gather(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    indexSelect(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    scatterAdd(dim: number, index: Tensor<IndexDType>, src: Tensor): Tensor<D>;
    maskedFill(mask: Tensor<'bool'>, value: number): Tensor<D, S>;
  }
}

attach({ to, clone, reshape, squeeze, unsqueeze, permute, transpose, expand });
attach({ split, slice, pad, tril, triu, matmul, gather, indexSelect, scatterAdd, maskedFill });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    neg(): Tensor<D, S>;
    abs(): Tensor<D, S>;
    sign(): Tensor<D, S>;
    sqrt(): Tensor<D, S>;
    square(): Tensor<D, S>;
    rsqrt(): Tensor<D, S>;
    exp(): Tensor<D, S>;
    log(): Tensor<D, S>;
    log1p(): Tensor<D, S>;
    sin(): Tensor<D, S>;
    cos(): Tensor<D, S>;
    clamp(min: number | null | undefined, max?: number | null): Tensor<D, S>;
    clamp(options: ClampOptions): Tensor<D, S>;
    relu(): Tensor<D, S>;
    gelu(options?: GeluOptions): Tensor<D, S>;
    silu(): Tensor<D, S>;
    sigmoid(): Tensor<D, S>;
    tanh(): Tensor<D, S>;
    softplus(): Tensor<D, S>;
    dropout(options?: DropoutOptions): Tensor<D, S>;
    isNaN(): Tensor<'bool', S>;
    logicalNot(): Tensor<'bool', S>;
    add(b: number): Tensor<D, S>;
    add<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    add<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    sub(b: number): Tensor<D, S>;
    sub<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    sub<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    mul(b: number): Tensor<D, S>;
    mul<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    mul<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    div(b: number): Tensor<D, S>;
    div<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    div<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    pow(b: number): Tensor<D, S>;
    pow<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    pow<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    maximum(b: number): Tensor<D, S>;
    maximum<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    maximum<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    minimum(b: number): Tensor<D, S>;
    minimum<T extends Shape>(b: Tensor<D, T>): Tensor<D, Broadcast<S, T>>;
    minimum<E extends DType>(b: Tensor<E> & MaybeSame<D, E>): Tensor<D>;
    eq(b: number): Tensor<'bool', S>;
    eq<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    eq<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    ne(b: number): Tensor<'bool', S>;
    ne<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    ne<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    lt(b: number): Tensor<'bool', S>;
    lt<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    lt<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    le(b: number): Tensor<'bool', S>;
    le<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    le<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    gt(b: number): Tensor<'bool', S>;
    gt<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    gt<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    ge(b: number): Tensor<'bool', S>;
    ge<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    ge<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    logicalAnd(b: number): Tensor<'bool', S>;
    logicalAnd<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    logicalAnd<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    logicalOr(b: number): Tensor<'bool', S>;
    logicalOr<T extends Shape>(b: Tensor<D, T>): Tensor<'bool', Broadcast<S, T>>;
    logicalOr<E extends DType>(b: (Tensor<E> & MaybeSame<D, E>) | number): Tensor<'bool'>;
    sum<E extends FloatDType>(this: Tensor<E>, options?: ReduceOptions): Tensor<E>;
    sum<E extends Exclude<DType, FloatDType>>(
      this: Tensor<E>,
      options?: ReduceOptions,
    ): Tensor<'int64'>;
    sum(options?: ReduceOptions): Tensor;
    mean(options?: ReduceOptions): Tensor<D>;
    var(options?: VarOptions): Tensor<D>;
    std(options?: VarOptions): Tensor<D>;
    max(options?: ReduceOptions): Tensor<D>;
    min(options?: ReduceOptions): Tensor<D>;
    argmax(options?: ArgOptions): Tensor<'int32'>;
    argmin(options?: ArgOptions): Tensor<'int32'>;
    logsumexp(options?: RowOptions): Tensor<D>;
    norm(options?: NormOptions): Tensor<D>;
    normalize(options?: NormalizeOptions): Tensor<D, S>;
    softmax(options?: SoftmaxOptions): Tensor<D, S>;
    logSoftmax(options?: SoftmaxOptions): Tensor<D, S>;
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
attach({ sum, mean, var: variance, std, max, min, argmax, argmin, logsumexp });
attach({ norm, normalize, softmax, logSoftmax });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** `where(this, a, b)`: this is the condition. */
    where(a: Tensor | number, b: Tensor | number): Tensor;
    layerNorm(options?: LayerNormOptions): Tensor<D, S>;
    rmsNorm(options?: RmsNormOptions): Tensor<D, S>;
    /** `embedding(this, ids)`: this is the table. */
    embedding(ids: Tensor<IndexDType>, options?: { paddingIdx?: number }): Tensor<D>;
    /** `oneHot(this, classes)`: these are the indices. */
    oneHot(classes: number, options?: { dtype?: DType }): Tensor;
  }
}

attach({ where, layerNorm, rmsNorm, embedding, oneHot });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    cumsum(options?: number | CumsumOptions): Tensor<D extends FloatDType ? D : 'int64', S>;
    sort(options?: SortOptions): Sorted<D, S>;
    topk(k: number, options?: TopkOptions): Sorted<D>;
    topk(options: TopkOptions): Sorted<D>;
    maxPool2d(kernelSize: Sizes, options?: MaxPoolOptions): Tensor<D>;
    maxPool2d(options: MaxPoolOptions): Tensor<D>;
    maxPool3d(kernelSize: Sizes, options?: MaxPoolOptions): Tensor<D>;
    maxPool3d(options: MaxPoolOptions): Tensor<D>;
    avgPool2d(kernelSize: Sizes, options?: AvgPoolOptions): Tensor<D>;
    avgPool2d(options: AvgPoolOptions): Tensor<D>;
    avgPool3d(kernelSize: Sizes, options?: AvgPoolOptions): Tensor<D>;
    avgPool3d(options: AvgPoolOptions): Tensor<D>;
    cdist<E extends DType>(y: Tensor<E> & MaybeSame<D, E>, options?: CdistOptions): Tensor<D>;
    interpolate(options: InterpolateOptions): Tensor<D>;
    conv2d(weight: Tensor, options?: ConvOptions): Tensor<D>;
    conv3d(weight: Tensor, options?: ConvOptions): Tensor<D>;
    convTranspose2d(weight: Tensor, options?: ConvTransposeOptions): Tensor<D>;
    convTranspose3d(weight: Tensor, options?: ConvTransposeOptions): Tensor<D>;
    groupNorm(numGroups: number, options?: GroupNormOptions): Tensor<D, S>;
    groupNorm(options: GroupNormOptions): Tensor<D, S>;
    batchNorm(options: BatchNormOptions): Tensor<D, S>;
  }
}

attach({ cumsum, sort, topk, maxPool2d, maxPool3d, avgPool2d, avgPool3d, groupNorm, batchNorm });
attach({ cdist, interpolate, conv2d, conv3d, convTranspose2d, convTranspose3d });
