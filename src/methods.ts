// Attaches operations to the tensor as methods. Each family declares its own methods here, beside
// the line that attaches them, so that `a.add(b)` and `add(a, b)` are one function.
import './pointwise-methods.js';
import { attach } from './attach.js';
import { type BackwardOptions, backward, backwardAsync } from './backward.js';
import type { Device } from './device.js';
import type { DType, FloatDType, IndexDType, MaybeSame } from './dtype.js';
import { clone, to } from './ops/cast.js';
import { type CdistOptions, cdist } from './ops/cdist.js';
import {
  type BatchNormOptions,
  batchNorm,
  type GroupNormOptions,
  groupNorm,
} from './ops/channel-norm.js';
import { where } from './ops/comparison.js';
import {
  type ConvOptions,
  type ConvTransposeOptions,
  conv2d,
  conv3d,
  convTranspose2d,
  convTranspose3d,
} from './ops/convolution.js';
import { type CumsumOptions, cumsum } from './ops/cumsum.js';
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
import type { ReduceOptions } from './reduction.js';
import type { Shape } from './shape.js';
import type { Sizes } from './windows.js';

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** Accumulates gradients into the leaves this tensor depends on; `grad` defaults to 1 for a single element. */
    backward(grad?: Tensor | null, options?: BackwardOptions): void;
    /** As `backward`, with the kernels on a background thread. */
    backwardAsync(grad?: Tensor | null, options?: BackwardOptions): Promise<void>;
  }
}

attach({ backward, backwardAsync });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** The same values as another dtype, or on another device; itself where it is that already. */
    to<E extends DType>(dtype: E): Tensor<E, S>;
    to(device: Device): Tensor<D, S>;
    /** A copy in memory of its own, differentiable. */
    clone(): Tensor<D, S>;
    /** The same elements under another shape; -1 is inferred. Shares memory. */
    reshape<const T extends Shape>(shape: T): Tensor<D, Inferred<T>>;
    /** Without its axes of size 1. Shares memory. */
    squeeze(dim?: number | readonly number[]): Tensor<D>;
    /** With an axis of size 1 before `dim`. Shares memory. */
    unsqueeze(dim: number): Tensor<D>;
    /** Axis i of the result is axis `dims[i]`. */
    permute(dims: readonly number[]): Tensor<D>;
    /** Two axes exchanged; the last two without arguments. */
    transpose(dim0?: number, dim1?: number): Tensor<D>;
    /** Axes of size 1, and new ones before, repeated to `shape`. */
    expand<const T extends Shape>(shape: T): Tensor<D, Inferred<T>>;
    /** Consecutive pieces along `dim` (default 0), of one size or of those listed. */
    split(sizes: number | readonly number[], dim?: number): Tensor<D>[];
    /** Elements start, start + step, ... below end along `dim` (default 0). */
    slice(dim?: number, start?: number, end?: number, step?: number): Tensor<D>;
    /**
     * With elements before and after: [before, after] of the last axis, then the one before it, ...
     */
    pad(
      padding: readonly number[],
      mode?: 'constant' | { mode?: 'constant' | undefined; value?: number | undefined },
      value?: number,
    ): Tensor<D>;
    /** Zero above the given diagonal of each matrix. */
    tril(diagonal?: number): Tensor<D, S>;
    /** Zero below the given diagonal of each matrix. */
    triu(diagonal?: number): Tensor<D, S>;
    /** The matrix product [..., M, K] · [..., K, N] -> [..., M, N]. */
    matmul<E extends DType = D>(
      b: Tensor<D> | (Tensor<E> & MaybeSame<D, E>),
      options?: MatmulOptions,
    ): Tensor<D>;
    /** The elements at positions `index` along `dim`. */
    gather(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    /** The slices at positions `index` (a vector) along `dim`. */
    indexSelect(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    /** With `src` added at positions `index` along `dim`. */
    scatterAdd(dim: number, index: Tensor<IndexDType>, src: Tensor): Tensor<D>;
    /** `value` where the mask is true. */
    maskedFill(mask: Tensor<'bool'>, value: number): Tensor<D, S>;
  }
}

attach({ to, clone, reshape, squeeze, unsqueeze, permute, transpose, expand });
attach({ split, slice, pad, tril, triu, matmul, gather, indexSelect, scatterAdd, maskedFill });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** The sum over all elements or over `dim`; 0 for none. */
    sum<E extends FloatDType>(this: Tensor<E>): Tensor<E, readonly []>;
    sum<E extends FloatDType>(this: Tensor<E>, options?: ReduceOptions): Tensor<E>;
    sum<E extends Exclude<DType, FloatDType>>(this: Tensor<E>): Tensor<'int64', readonly []>;
    sum<E extends Exclude<DType, FloatDType>>(
      this: Tensor<E>,
      options?: ReduceOptions,
    ): Tensor<'int64'>;
    sum(options?: ReduceOptions): Tensor;
    /** The arithmetic mean; NaN for no elements. */
    mean(): Tensor<D, readonly []>;
    mean(options?: ReduceOptions): Tensor<D>;
    /** The variance, by default unbiased. */
    var(): Tensor<D, readonly []>;
    var(options?: VarOptions): Tensor<D>;
    /** The standard deviation, √var. */
    std(): Tensor<D, readonly []>;
    std(options?: VarOptions): Tensor<D>;
    /** The largest element; NaN if any is. */
    max(): Tensor<D, readonly []>;
    max(options?: ReduceOptions): Tensor<D>;
    /** The smallest element; NaN if any is. */
    min(): Tensor<D, readonly []>;
    min(options?: ReduceOptions): Tensor<D>;
    /** Where the largest element is (int32). */
    argmax(options?: ArgOptions): Tensor<'int32'>;
    /** Where the smallest element is (int32). */
    argmin(options?: ArgOptions): Tensor<'int32'>;
    /** log Σ eˣ over `dim` (default -1), without overflow. */
    logsumexp(options?: RowOptions): Tensor<D>;
    /** (Σ |x|ᵖ)^(1/p), by default Euclidean. */
    norm(): Tensor<D, readonly []>;
    norm(options?: NormOptions): Tensor<D>;
    /** Divided by its norm over `dim` (default -1). */
    normalize(options?: NormalizeOptions): Tensor<D, S>;
    /** e^x over its sum along `dim` (default -1). */
    softmax(options?: SoftmaxOptions): Tensor<D, S>;
    /** The logarithm of `softmax`, without overflow. */
    logSoftmax(options?: SoftmaxOptions): Tensor<D, S>;
  }
}

attach({ sum, mean, var: variance, std, max, min, argmax, argmin, logsumexp });
attach({ norm, normalize, softmax, logSoftmax });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** `where(this, a, b)`: this is the condition. */
    where(a: Tensor | number, b: Tensor | number): Tensor;
    /** Rows of mean 0 and variance 1, times weight plus bias. */
    layerNorm(options?: LayerNormOptions): Tensor<D, S>;
    /** Rows of mean square 1, times weight. */
    rmsNorm(options?: RmsNormOptions): Tensor<D, S>;
    /** `embedding(this, ids)`: this is the table. */
    embedding(ids: Tensor<IndexDType>, options?: { paddingIdx?: number | undefined }): Tensor<D>;
    /** `oneHot(this, classes)`: these are the indices. */
    oneHot(classes: number, options?: { dtype?: DType | undefined }): Tensor;
  }
}

attach({ where, layerNorm, rmsNorm, embedding, oneHot });

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** Sums of the elements up to each along `dim`. */
    cumsum(options?: number | CumsumOptions): Tensor<D extends FloatDType ? D : 'int64', S>;
    /** In ascending order along `dim` (default -1), and where each was. */
    sort(options?: SortOptions): Sorted<D, S>;
    /** The k largest along `dim`, in order, and where they were. */
    topk(k: number, options?: TopkOptions): Sorted<D>;
    topk(options: TopkOptions): Sorted<D>;
    /** The largest of each window. */
    maxPool2d(kernelSize: Sizes, options?: MaxPoolOptions): Tensor<D>;
    maxPool2d(options: MaxPoolOptions): Tensor<D>;
    /** The largest of each window. */
    maxPool3d(kernelSize: Sizes, options?: MaxPoolOptions): Tensor<D>;
    maxPool3d(options: MaxPoolOptions): Tensor<D>;
    /** The mean of each window. */
    avgPool2d(kernelSize: Sizes, options?: AvgPoolOptions): Tensor<D>;
    avgPool2d(options: AvgPoolOptions): Tensor<D>;
    /** The mean of each window. */
    avgPool3d(kernelSize: Sizes, options?: AvgPoolOptions): Tensor<D>;
    avgPool3d(options: AvgPoolOptions): Tensor<D>;
    /** Distances of rows: [..., N, D] and [..., M, D] -> [..., N, M]. */
    cdist<E extends DType = D>(
      y: Tensor<D> | (Tensor<E> & MaybeSame<D, E>),
      options?: CdistOptions,
    ): Tensor<D>;
    /** The spatial axes at other sizes. */
    interpolate(options: InterpolateOptions): Tensor<D>;
    /** Convolution of images [B?, C, H, W]. */
    conv2d(weight: Tensor, options?: ConvOptions): Tensor<D>;
    /** Convolution of volumes [B?, C, D, H, W]. */
    conv3d(weight: Tensor, options?: ConvOptions): Tensor<D>;
    /** The transpose of `conv2d`. */
    convTranspose2d(weight: Tensor, options?: ConvTransposeOptions): Tensor<D>;
    /** The transpose of `conv3d`. */
    convTranspose3d(weight: Tensor, options?: ConvTransposeOptions): Tensor<D>;
    /** Groups of channels of mean 0 and variance 1. */
    groupNorm(numGroups: number, options?: GroupNormOptions): Tensor<D, S>;
    groupNorm(options: GroupNormOptions): Tensor<D, S>;
    /** Channels of mean 0 and variance 1 over the batch. */
    batchNorm(options: BatchNormOptions): Tensor<D, S>;
  }
}

attach({ cumsum, sort, topk, maxPool2d, maxPool3d, avgPool2d, avgPool3d, groupNorm, batchNorm });
attach({ cdist, interpolate, conv2d, conv3d, convTranspose2d, convTranspose3d });
