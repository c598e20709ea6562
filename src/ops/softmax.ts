// softmax and log-softmax along one axis; sums in float32 (float64 for float64); the same
// bits for any number of threads, whatever the other rows are and wherever in memory a row lies.
import { defineOp, type RawOp } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import { expectDType } from '../expect.js';
import { launchAt, native } from '../native.js';
import { axisOf, type Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `softmax` and `logSoftmax`. */
export interface SoftmaxOptions {
  /** Axis whose elements compete. Default -1. */
  dim?: number | undefined;
}

/** The type of `softmax` and `logSoftmax`. */
export interface Softmax {
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options?: SoftmaxOptions): Tensor<D, S>;
  async<D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    options?: SoftmaxOptions,
  ): Promise<Tensor<D, S>>;
  readonly raw: RawOp;
}

const forwardKernel = native.softmaxForward;
const backwardKernel = native.softmaxBackward;

/** The tensor seen as (outer, n, inner) around an axis. */
function around(shape: Shape, axis: number): [number, number, number] {
  let outer = 1;
  let inner = 1;
  for (let d = 0; d < axis; d++) outer *= shape[d];
  for (let d = axis + 1; d < shape.length; d++) inner *= shape[d];
  return [outer, shape.length ? shape[axis] : 1, inner];
}

/** The gradient of `softmax` along an axis, from its result and the gradient by that. */
export function softmaxGradient(y: Tensor, g: Tensor, axis: number): Tensor {
  const dx = empty(y.shape, y.dtype);
  launchAt(backwardKernel, [y.raw, g.raw, dx.raw, ...around(y.shape, axis), false]);
  return dx;
}

function softmaxOp(name: string, isLog: boolean): Softmax {
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['dim'],
    check: ({ x }) => expectDType(name, 'x', x, floats),
    forward({ x }, { dim = -1 }: SoftmaxOptions) {
      const place = around(x.shape, axisOf(name, 'dim', dim, x.rank));
      const y = empty(x.shape, x.dtype);
      launchAt(forwardKernel, [x.raw, y.raw, ...place, isLog]);
      return { output: y, saved: { y, place } };
    },
    backward({ y, place }, g: Tensor) {
      const dx = empty(y.shape, y.dtype);
      launchAt(backwardKernel, [y.raw, g.raw, dx.raw, ...place, isLog]);
      return { x: dx };
    },
  }) as unknown as Softmax;
}

/**
 * e^x / Σ e^x along `dim` (default -1). -Infinity gets probability 0; a row of nothing but
 * -Infinity, or with NaN or +Infinity, is NaN. A row's bits, and those of its gradient, do not depend
 * on the rest of the tensor.
 *
 * x of any float dtype and shape -> the same.
 *
 * @throws ERR_DTYPE for integers and bool, ERR_OUT_OF_RANGE for an axis that x has not.
 */
export const softmax = softmaxOp('softmax', false);
/**
 * x - log Σ e^x along `dim` (default -1), without overflow. x of any float dtype and shape -> the
 * same.
 * @throws ERR_DTYPE for integers and bool, ERR_OUT_OF_RANGE for an axis that x has not.
 */
export const logSoftmax = softmaxOp('logSoftmax', true);
