// Running sums along an axis. Floats are summed in float64 and rounded at each step; one line is
// summed in order by one thread: the same bits for any number of threads.
import { defineOp, type Op } from '../autograd.js';
import type { DType, FloatDType } from '../dtype.js';
import { isFloat } from '../dtype.js';
import { expectOnCpu } from '../expect.js';
import { launch, native } from '../native.js';
import { positional } from '../positional.js';
import { around, axisOf, type Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `cumsum`. */
export interface CumsumOptions {
  /** The axis along which is summed; negative ones count from the end. Default -1. */
  dim?: number | undefined;
}

type Result<D extends DType, S extends Shape> = Tensor<D extends FloatDType ? D : 'int64', S>;

/** The type of `cumsum`. */
export interface Cumsum {
  <D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    options?: number | CumsumOptions,
  ): Result<D, S>;
  async<D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    options?: number | CumsumOptions,
  ): Promise<Result<D, S>>;
  readonly raw: Op['raw'];
}

function summed(x: Tensor, axis: number, dtype: DType, reverse: boolean): Tensor {
  const out = empty(x.shape, dtype);
  const { outer, size, inner } = around(x.shape, axis);
  launch(native.cumsum, { a: x.raw, out: out.raw, outer, n: size, inner, reverse });
  return out;
}

/**
 * The running sum: out[..., i, ...] = Σ x[..., j, ...] over j <= i along `dim` (default -1).
 *
 * x [...] -> [...]; integers and bool give int64. Source: torch.cumsum.
 *
 * @throws ERR_OUT_OF_RANGE when x has no such axis.
 * @example sp.cumsum(x, { dim: 0 })
 */
export const cumsum: Cumsum = positional(
  defineOp({
    name: 'cumsum',
    builtin: true,
    inputs: ['x'],
    options: ['dim'],
    check({ x }, { dim = -1 }: CumsumOptions) {
      expectOnCpu('cumsum', 'x', x);
      axisOf('cumsum', 'dim', dim, x.rank);
    },
    forward({ x }, { dim = -1 }: CumsumOptions) {
      const axis = axisOf('cumsum', 'dim', dim, x.rank);
      return {
        output: summed(x, axis, isFloat(x.dtype) ? x.dtype : 'int64', false),
        saved: { axis },
      };
    },
    backward: ({ axis }, g: Tensor) => ({ x: summed(g, axis, g.dtype, true) }),
  }),
  1,
  'dim',
);
