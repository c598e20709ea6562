// Maxima and means over sliding windows of the last two or three axes. Gradients are summed plane
// by plane in order: the same bits for any number of threads.
import { defineOp, type Op } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  fail,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { positional } from '../positional.js';
import type { Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { type Image, imageOf, type Sizes, shapeFrom, type Triple, triple } from '../windows.js';

interface WindowOptions {
  /** Sizes of the window; also the second argument. */
  kernelSize?: Sizes | undefined;
  /** Distance between windows. Default: the window's size. */
  stride?: Sizes | undefined;
  /** Positions added on both sides of each axis, at most half a window. Default 0. */
  padding?: Sizes | undefined;
  /** A last window may reach beyond the padded image. Default false. */
  ceilMode?: boolean | undefined;
}

/** Options of `maxPool2d` and `maxPool3d`. */
export interface MaxPoolOptions extends WindowOptions {
  /** Distance between the positions of a window. Default 1. */
  dilation?: Sizes | undefined;
}

/** Options of `avgPool2d` and `avgPool3d`. */
export interface AvgPoolOptions extends WindowOptions {
  /** Padding counts in the divisor. Default true. */
  countIncludePad?: boolean | undefined;
  /** Divides every window's sum, in place of the number of its positions. */
  divisorOverride?: number | undefined;
}

/** The type of pooling. */
export interface Pool<O extends object> {
  <D extends DType>(x: Tensor<D>, kernelSize: Sizes, options?: O): Tensor<D>;
  <D extends DType>(x: Tensor<D>, options: O): Tensor<D>;
  async<D extends DType>(x: Tensor<D>, kernelSize: Sizes, options?: O): Promise<Tensor<D>>;
  async<D extends DType>(x: Tensor<D>, options: O): Promise<Tensor<D>>;
  readonly raw: Op['raw'];
}

const ordered: readonly DType[] = [...floats, 'int32', 'int64', 'uint8'];

/** The kernel's fields but for its tensors, and the shape of the result. */
interface Windows {
  fields: {
    planes: number;
    size: Triple;
    resultSize: Triple;
    kernel: Triple;
    stride: Triple;
    padding: Triple;
    dilation: Triple;
    countPadding: boolean;
    divisor: number;
  };
  shape: Shape;
}

function windowsOf(
  op: string,
  x: Tensor,
  options: MaxPoolOptions & AvgPoolOptions,
  axes: number,
): Windows {
  const image = imageOf(op, 'x', x, axes);
  const { kernelSize, ceilMode = false, countIncludePad = true, divisorOverride } = options;
  const kernel = triple(op, 'kernelSize', kernelSize, axes, 1, 1);
  const stride = triple(op, 'stride', options.stride ?? kernelSize, axes, 1, 1);
  const padding = triple(op, 'padding', options.padding ?? 0, axes, 0, 0);
  const dilation = triple(op, 'dilation', options.dilation ?? 1, axes, 1, 1);
  expectBoolean(op, 'ceilMode', ceilMode);
  expectBoolean(op, 'countIncludePad', countIncludePad);
  if (divisorOverride !== undefined) {
    // Bounded, so that it is an integer in native code.
    expectNumber(op, 'divisorOverride', divisorOverride, { min: 1, max: 2 ** 53, integer: true });
  }
  const resultSize = kernel.map((k, axis) => {
    const extent = (k - 1) * dilation[axis] + 1;
    if (2 * padding[axis] > extent) {
      const wanted = `padding to be at most half of the window (${extent})`;
      fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${padding[axis]}`);
    }
    return windowsAlong(image.size[axis] + 2 * padding[axis] - extent, stride[axis], {
      ceilMode,
      limit: image.size[axis] + padding[axis],
    });
  }) as unknown as Triple;
  if (resultSize.some((n) => n < 1)) {
    const window = `a window of ${showShape(kernel.slice(3 - axes))}`;
    fail(op, 'ERR_SHAPE', `expected x to have room for ${window}, got ${showShape(x.shape)}`);
  }
  return fieldsOf(image, axes, {
    resultSize,
    kernel,
    stride,
    padding,
    dilation,
    countPadding: countIncludePad,
    divisor: divisorOverride ?? 0,
  });
}

/** How many windows begin at multiples of the stride up to `last`. */
function windowsAlong(
  last: number,
  stride: number,
  { ceilMode, limit }: { ceilMode: boolean; limit: number },
): number {
  if (last < 0 && !ceilMode) return 0;
  const count = Math.floor((last + (ceilMode ? stride - 1 : 0)) / stride) + 1;
  // The last window must begin inside the image or the padding before it.
  return ceilMode && (count - 1) * stride >= limit ? count - 1 : count;
}

function fieldsOf(
  { batch, channels, size, leading }: Image,
  axes: number,
  rest: Omit<Windows['fields'], 'planes' | 'size'>,
): Windows {
  return {
    fields: { planes: batch * channels, size, ...rest },
    shape: shapeFrom(leading, rest.resultSize, axes),
  };
}

function maxPool(name: string, axes: number): Pool<MaxPoolOptions> {
  const op = defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['kernelSize', 'stride', 'padding', 'dilation', 'ceilMode'],
    check({ x }, options: MaxPoolOptions) {
      expectOnCpu(name, 'x', x);
      expectDType(name, 'x', x, ordered);
      const { size } = windowsOf(name, x, options, axes).fields;
      if (size[0] * size[1] * size[2] < 2 ** 31) return;
      fail(name, 'ERR_SHAPE', `expected planes of less than 2^31, got ${showShape(x.shape)}`);
    },
    forward({ x }, options: MaxPoolOptions, needs) {
      const { fields, shape } = windowsOf(name, x, options, axes);
      const output = empty(shape, x.dtype);
      const index = needs.x ? empty(shape, 'int32') : undefined;
      launch(native.maxPool, { image: x.raw, result: output.raw, index: index?.raw }, fields);
      return { output, saved: index && { index, fields, shape: x.shape } };
    },
    backward({ index, fields, shape }, g: Tensor) {
      const x = empty(shape, g.dtype);
      launch(native.maxPoolBackward, { image: x.raw, result: g.raw, index: index.raw }, fields);
      return { x };
    },
  });
  return positional(op, 1, 'kernelSize');
}

function avgPool(name: string, axes: number): Pool<AvgPoolOptions> {
  const op = defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['kernelSize', 'stride', 'padding', 'ceilMode', 'countIncludePad', 'divisorOverride'],
    check({ x }, options: AvgPoolOptions) {
      expectOnCpu(name, 'x', x);
      expectDType(name, 'x', x, floats);
      windowsOf(name, x, options, axes);
    },
    forward({ x }, options: AvgPoolOptions) {
      const { fields, shape } = windowsOf(name, x, options, axes);
      const output = empty(shape, x.dtype);
      launch(native.avgPool, { image: x.raw, result: output.raw }, fields);
      return { output, saved: { fields, shape: x.shape } };
    },
    backward({ fields, shape }, g: Tensor) {
      const x = empty(shape, g.dtype);
      launch(native.avgPoolBackward, { image: x.raw, result: g.raw }, fields);
      return { x };
    },
  });
  return positional(op, 1, 'kernelSize');
}

/**
 * The largest element of each window; padding never is. NaN if the window holds one; of equal
 * elements the first gets the gradient.
 *
 * x [B?, C, H, W] of a float dtype, int32, int64 or uint8 -> [B?, C, h, w],
 * h = ⌊(H + 2·padding - dilation·(kernelSize - 1) - 1) / stride⌋ + 1 (`ceilMode`: ⌈ ⌉).
 * Source: torch.nn.functional.max_pool2d.
 *
 * @throws ERR_SHAPE where no window fits, ERR_INVALID_VALUE for padding beyond half a window.
 * @example sp.maxPool2d(x, 3, { stride: 2, padding: 1 })
 */
export const maxPool2d: Pool<MaxPoolOptions> = maxPool('maxPool2d', 2);

/**
 * `maxPool2d` over three axes: x [B?, C, D, H, W] -> [B?, C, d, h, w].
 *
 * @throws ERR_SHAPE where no window fits, ERR_INVALID_VALUE for padding beyond half a window.
 * @example sp.maxPool3d(x, 2)
 */
export const maxPool3d: Pool<MaxPoolOptions> = maxPool('maxPool3d', 3);

/**
 * The mean of each window, with padding as zeros that count (`countIncludePad: false`: do not).
 *
 * x [B?, C, H, W] of a float dtype -> [B?, C, h, w], h = ⌊(H + 2·padding - kernelSize) / stride⌋ + 1
 * (`ceilMode`: ⌈ ⌉). Source: torch.nn.functional.avg_pool2d.
 *
 * @throws ERR_SHAPE where no window fits, ERR_INVALID_VALUE for padding beyond half a window.
 * @example sp.avgPool2d(x, 2)
 */
export const avgPool2d: Pool<AvgPoolOptions> = avgPool('avgPool2d', 2);

/**
 * `avgPool2d` over three axes: x [B?, C, D, H, W] -> [B?, C, d, h, w].
 *
 * @throws ERR_SHAPE where no window fits, ERR_INVALID_VALUE for padding beyond half a window.
 * @example sp.avgPool3d(x, 2)
 */
export const avgPool3d: Pool<AvgPoolOptions> = avgPool('avgPool3d', 3);
