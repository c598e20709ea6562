// Resampling of the spatial axes. Gradients are summed plane by plane in order: the same bits for
// any number of threads.
import { defineOp, type Op } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  expectOneOf,
  fail,
  show,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import type { Sizes, Triple } from '../windows.js';

/** Options of `interpolate`. */
export interface InterpolateOptions {
  /** Sizes of the result's spatial axes. */
  size?: Sizes | undefined;
  /** Factors of the spatial sizes, > 0; this or `size`. Sizes are rounded down. */
  scaleFactor?: number | readonly number[] | undefined;
  /** Default 'nearest'. 'linear', 'bilinear', 'trilinear' are for 1, 2 and 3 spatial axes. */
  mode?: 'nearest' | 'linear' | 'bilinear' | 'trilinear' | undefined;
  /** The linear modes: corner elements keep their places. Default false. */
  alignCorners?: boolean | undefined;
}

const modes = ['nearest', 'linear', 'bilinear', 'trilinear'] as const;

interface Plan {
  shape: Shape;
  fields: {
    planes: number;
    size: Triple;
    resultSize: Triple;
    scaleZ: number;
    scaleY: number;
    scaleX: number;
    linear: boolean;
    alignCorners: boolean;
  };
}

const op = 'interpolate';

/** One number per spatial axis. */
function listed(name: string, value: unknown, axes: number): number[] {
  const list = Array.isArray(value) ? value : new Array(axes).fill(value);
  if (list.length === axes) return list;
  const wanted = `a number or ${axes} numbers, one per spatial axis`;
  fail(op, 'ERR_INVALID_VALUE', `expected ${name} to be ${wanted}, got ${show(value)}`);
}

function sizesOf(own: Shape, { size, scaleFactor }: InterpolateOptions) {
  if ((size === undefined) === (scaleFactor === undefined)) {
    const got = size === undefined ? 'neither' : 'both';
    fail(op, 'ERR_INVALID_VALUE', `expected size or scaleFactor, got ${got}`);
  }
  if (size !== undefined) {
    const sizes = listed('size', size, own.length);
    for (const n of sizes) {
      expectNumber(op, 'size', n, { min: 1, max: 2 ** 31 - 1, integer: true });
    }
    return { sizes, scales: own.map(() => 0) };
  }
  const factors = listed('scaleFactor', scaleFactor, own.length);
  for (const f of factors) expectNumber(op, 'scaleFactor', f, { above: 0, max: 2 ** 31 - 1 });
  const sizes = own.map((n, i) => Math.floor(n * factors[i]));
  if (sizes.some((n) => n < 1 || n >= 2 ** 31)) {
    fail(op, 'ERR_SHAPE', `expected sizes of at least 1, got ${showShape(sizes)}`);
  }
  // As in PyTorch, positions go by the factor that was asked for, not by the rounded sizes.
  return { sizes, scales: factors.map((f) => 1 / f) };
}

function plan(x: Tensor, options: InterpolateOptions): Plan {
  const { mode = 'nearest', alignCorners = false } = options;
  expectOnCpu(op, 'x', x);
  expectDType(op, 'x', x, floats);
  expectOneOf(op, 'mode', mode, modes);
  expectBoolean(op, 'alignCorners', alignCorners);
  const axes = x.rank - 2;
  const wanted = modes.indexOf(mode);
  if (axes < 1 || axes > 3 || (wanted > 0 && axes !== wanted)) {
    const shapes = ['[B, C, W]', '[B, C, H, W]', '[B, C, D, H, W]'];
    const fit = wanted ? shapes[wanted - 1] : shapes.join(' or ');
    const got = showShape(x.shape);
    fail(op, 'ERR_SHAPE', `expected x to have shape ${fit} for mode '${mode}', got ${got}`);
  }
  if (alignCorners && mode === 'nearest') {
    fail(op, 'ERR_INVALID_VALUE', "expected alignCorners to be false for mode 'nearest'");
  }
  const own = x.shape.slice(2);
  if (own.some((n) => n < 1)) {
    const got = showShape(x.shape);
    fail(op, 'ERR_SHAPE', `expected x to have at least one element per spatial axis, got ${got}`);
  }
  const { sizes, scales } = sizesOf(own, options);
  const three = (list: readonly number[], fill: number) =>
    [...new Array(3 - axes).fill(fill), ...list] as unknown as Triple;
  const [scaleZ, scaleY, scaleX] = three(scales, 0);
  return {
    shape: [...x.shape.slice(0, 2), ...sizes],
    fields: {
      planes: sizeOf(x.shape.slice(0, 2)),
      size: three(own, 1),
      resultSize: three(sizes, 1),
      scaleZ,
      scaleY,
      scaleX,
      linear: wanted > 0,
      alignCorners,
    },
  };
}

/**
 * The spatial axes at other sizes: the nearest element below, or mixtures of neighbours.
 *
 * x [B, C, ...] of a float dtype with 1 to 3 spatial axes -> [B, C, ...]; exactly one of `size` and
 * `scaleFactor`. Source: torch.nn.functional.interpolate (nearest, linear, bilinear, trilinear).
 *
 * @throws ERR_SHAPE when x has not the axes of the mode, ERR_INVALID_VALUE without a size.
 * @example sp.interpolate(x, { scaleFactor: 2, mode: 'bilinear' })
 */
export const interpolate: Op<
  <D extends DType>(x: Tensor<D>, options: InterpolateOptions) => Tensor<D>
> = defineOp({
  name: op,
  builtin: true,
  inputs: ['x'],
  options: ['size', 'scaleFactor', 'mode', 'alignCorners'],
  check: ({ x }, options: InterpolateOptions) => void plan(x, options),
  forward({ x }, options: InterpolateOptions) {
    const { shape, fields } = plan(x, options);
    const output = empty(shape, x.dtype);
    launch(native.interpolate, { image: x.raw, result: output.raw }, fields);
    return { output, saved: { fields, shape: x.shape } };
  },
  backward({ fields, shape }, g: Tensor) {
    const x = empty(shape, g.dtype);
    launch(native.interpolateBackward, { image: x.raw, result: g.raw }, fields);
    return { x };
  },
});
