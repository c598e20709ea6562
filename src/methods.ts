// Attaches operations to the tensor as methods. Each family declares its own methods here, beside
// the line that attaches them, so that `a.add(b)` and `add(a, b)` are one function.
import { type BackwardOptions, backward, backwardAsync } from './backward.js';
import type { Device } from './device.js';
import type { DType, IndexDType } from './dtype.js';
import { clone, to } from './ops/cast.js';
import { gather, indexSelect, maskedFill, scatterAdd } from './ops/indexing.js';
import { split } from './ops/join.js';
import { type MatmulOptions, matmul } from './ops/matmul.js';
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
import type { Shape } from './shape.js';
import { Tensor } from './tensor.js';

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
    matmul(b: Tensor, options?: MatmulOptions): Tensor<D>;
    gather(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    indexSelect(dim: number, index: Tensor<IndexDType>): Tensor<D>;
    scatterAdd(dim: number, index: Tensor<IndexDType>, src: Tensor): Tensor<D>;
    maskedFill(mask: Tensor<'bool'>, value: number): Tensor<D, S>;
  }
}

attach({ to, clone, reshape, squeeze, unsqueeze, permute, transpose, expand });
attach({ split, slice, pad, tril, triu, matmul, gather, indexSelect, scatterAdd, maskedFill });
