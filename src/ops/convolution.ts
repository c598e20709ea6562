// Convolutions (cross-correlations) over the last two or three axes and their transposes, by
// implicit matrix products: no unfolded image is held. The same bits for any number of threads, and
// an item's result does not depend on the other items.
import { defineOp, type Needs, type Op } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import {
  expectDType,
  expectNumber,
  expectOnCpu,
  expectOneOf,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { axesFrom, kind, reduced } from '../reduction.js';
import type { Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { type Image, imageOf, type Sizes, shapeFrom, type Triple, triple } from '../windows.js';

interface SharedOptions {
  /** Summands, one per channel of the result; differentiable. Default: none. */
  bias?: Tensor | undefined;
  /** Distance between windows. Default 1. */
  stride?: Sizes | undefined;
  /** Distance between the elements of a window. Default 1. */
  dilation?: Sizes | undefined;
  /** Channels fall into this many groups, each convolved on its own. Default 1. */
  groups?: number | undefined;
}

/** Options of `conv2d` and `conv3d`. */
export interface ConvOptions extends SharedOptions {
  /** Zeros on both sides of each axis; 'same' keeps the size (stride 1), 'valid' is 0. Default 0. */
  padding?: Sizes | 'same' | 'valid' | undefined;
}

/** Options of `convTranspose2d` and `convTranspose3d`. */
export interface ConvTransposeOptions extends SharedOptions {
  /** What is cut off on both sides of each axis of the result. Default 0. */
  padding?: Sizes | undefined;
  /** Added to the result's sizes, to tell apart those that one stride can come from. Default 0. */
  outputPadding?: Sizes | undefined;
}

/** A convolution or its transpose: x, weight and options to a tensor. */
export type Conv<O extends object> = Op<
  <D extends DType>(x: Tensor<D>, weight: Tensor<D>, options?: O) => Tensor<D>
>;

interface Inputs {
  x: Tensor;
  weight: Tensor;
  bias?: Tensor;
}

/** What the kernels take besides tensors: `channels` and `size` are of the larger side. */
type Fields = {
  batch: number;
  channels: number;
  filters: number;
  groups: number;
  size: Triple;
  kernel: Triple;
  resultSize: Triple;
  stride: Triple;
  padding: Triple;
  dilation: Triple;
};

interface Plan {
  fields: Fields;
  shape: Shape;
}

const along = (f: (axis: 0 | 1 | 2) => number): Triple => [f(0), f(1), f(2)];

/** Checks what both directions share; `slot` is the axis of weight that x's channels run along. */
function shared(op: string, { x, weight, bias }: Inputs, options: SharedOptions, axes: number) {
  expectOnCpu(op, 'x', x);
  expectDType(op, 'x', x, floats);
  expectSameDType(op, 'x', x, 'weight', weight);
  if (bias) expectSameDType(op, 'x', x, 'bias', bias);
  const image = imageOf(op, 'x', x, axes);
  const kernel = weight.shape.slice(2);
  if (weight.rank !== axes + 2 || kernel.some((n) => n < 1)) {
    const wanted = `weight to have ${axes + 2} axes, the last ${axes} of at least 1`;
    fail(op, 'ERR_SHAPE', `expected ${wanted}, got ${showShape(weight.shape)}`);
  }
  const { groups = 1 } = options;
  expectNumber(op, 'groups', groups, { min: 1, max: 2 ** 31 - 1, integer: true });
  return {
    image,
    groups,
    kernel: triple(op, 'weight', kernel, axes, 1, 1),
    stride: triple(op, 'stride', options.stride ?? 1, axes, 1, 1),
    dilation: triple(op, 'dilation', options.dilation ?? 1, axes, 1, 1),
  };
}

function expectGroups(op: string, name: string, channels: number, groups: number): void {
  if (channels % groups === 0) return;
  const wanted = `${name} to be a multiple of groups (${groups})`;
  fail(op, 'ERR_SHAPE', `expected ${wanted}, got ${channels}`);
}

function expectSizes(op: string, x: Tensor, weight: Tensor, size: Triple): void {
  if (size.every((n) => n >= 1)) return;
  const shapes = `x ${showShape(x.shape)} and weight ${showShape(weight.shape)}`;
  fail(op, 'ERR_SHAPE', `expected a result of at least one element per axis, got ${shapes}`);
}

function plan(op: string, t: Inputs, options: ConvOptions, axes: number): Plan {
  const { image, groups, kernel, stride, dilation } = shared(op, t, options, axes);
  const { x, weight, bias } = t;
  const filters = weight.shape[0];
  expectGroups(op, "x's channels", image.channels, groups);
  expectGroups(op, "weight's first axis", filters, groups);
  if (weight.shape[1] * groups !== image.channels) {
    const per = image.channels / groups;
    const reason = `one per channel of x ${showShape(x.shape)}${groups > 1 ? ` in each of ${groups} groups` : ''}`;
    fail(
      op,
      'ERR_SHAPE',
      `expected weight's second axis to be ${per} (${reason}), got ${showShape(weight.shape)}`,
    );
  }
  if (bias) expectShape(op, 'bias', bias, [filters], 'one per filter');
  const { padding: given = 0 } = options;
  const extent = along((a) => (kernel[a] - 1) * dilation[a] + 1);
  let padding: Triple;
  let resultSize: Triple;
  if (given === 'same') {
    if (stride.some((s) => s !== 1)) {
      fail(op, 'ERR_INVALID_VALUE', "expected stride to be 1 with padding 'same'");
    }
    // Where the sum of both sides is odd, the side behind has one more.
    padding = along((a) => Math.floor((extent[a] - 1) / 2));
    resultSize = image.size;
  } else {
    if (typeof given === 'string') expectOneOf(op, 'padding', given, ['same', 'valid']);
    padding = triple(op, 'padding', given === 'valid' ? 0 : given, axes, 0, 0);
    resultSize = along(
      (a) => Math.floor((image.size[a] + 2 * padding[a] - extent[a]) / stride[a]) + 1,
    );
  }
  expectSizes(op, x, weight, resultSize);
  return planOf(image, axes, filters, resultSize, {
    channels: image.channels,
    filters,
    groups,
    size: image.size,
    kernel,
    resultSize,
    stride,
    padding,
    dilation,
  });
}

function planOf(
  { batch, leading }: Image,
  axes: number,
  channels: number,
  size: Triple,
  fields: Omit<Fields, 'batch'>,
): Plan {
  const shape = shapeFrom([...leading.slice(0, -1), channels], size, axes);
  return { fields: { batch, ...fields }, shape };
}

function transposedPlan(op: string, t: Inputs, options: ConvTransposeOptions, axes: number): Plan {
  const { image, groups, kernel, stride, dilation } = shared(op, t, options, axes);
  const { x, weight, bias } = t;
  const channels = weight.shape[1] * groups;
  expectGroups(op, "x's channels", image.channels, groups);
  if (weight.shape[0] !== image.channels) {
    const reason = `one per channel of x ${showShape(x.shape)}`;
    fail(
      op,
      'ERR_SHAPE',
      `expected weight's first axis to be ${image.channels} (${reason}), got ${showShape(weight.shape)}`,
    );
  }
  if (bias) expectShape(op, 'bias', bias, [channels], 'one per channel of the result');
  const padding = triple(op, 'padding', options.padding ?? 0, axes, 0, 0);
  const more = triple(op, 'outputPadding', options.outputPadding ?? 0, axes, 0, 0);
  for (const a of [0, 1, 2] as const) {
    const limit = Math.max(stride[a], dilation[a]);
    if (more[a] < limit) continue;
    const wanted = `outputPadding to be less than stride or dilation (${limit})`;
    fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${more[a]}`);
  }
  const size = along((a) => {
    const extent = (kernel[a] - 1) * dilation[a] + 1;
    return (image.size[a] - 1) * stride[a] - 2 * padding[a] + extent + more[a];
  });
  expectSizes(op, x, weight, size);
  return planOf(image, axes, channels, size, {
    channels,
    filters: image.channels,
    groups,
    size,
    kernel,
    resultSize: image.size,
    stride,
    padding,
    dilation,
  });
}

/** Σ over all axes but that of the channels. */
function biasGradient(g: Tensor, axes: number): Tensor {
  const channel = g.rank - axes - 1;
  const dims = g.shape.map((_, i) => i).filter((i) => i !== channel);
  return reduced(kind.sum, g, axesFrom('bias', g.shape, dims, false), g.dtype);
}

interface Saved {
  x: Tensor;
  weight: Tensor;
  fields: Fields;
}

interface Direction<O extends object> {
  name: string;
  axes: number;
  plan(op: string, t: Inputs, options: O, axes: number): Plan;
  options: readonly string[];
  /** x is the smaller side: what a convolution gives. */
  transposed: boolean;
}

function convolution<O extends object>({ name, axes, plan, options, transposed }: Direction<O>) {
  // Both directions, each the gradient of the other.
  const apply = (
    turned: boolean,
    from: Tensor,
    weight: Tensor,
    to: Tensor,
    f: Fields,
    b?: Tensor,
  ) => {
    const [image, result] = turned ? [to, from] : [from, to];
    const own = { image: image.raw, result: result.raw, filter: weight.raw, bias: b?.raw };
    launch(turned ? native.convolveImage : native.convolve, own, f);
    return to;
  };
  return defineOp({
    name,
    builtin: true,
    inputs: ['x', 'weight'],
    optionTensors: ['bias'],
    options,
    check: (t, o: O) => void plan(name, t as Inputs, o, axes),
    forward(t, o: O) {
      const { x, weight, bias } = t as Inputs;
      const { fields, shape } = plan(name, t as Inputs, o, axes);
      const output = apply(transposed, x, weight, empty(shape, x.dtype), fields, bias);
      return { output, saved: { x, weight, fields } };
    },
    backward({ x, weight, fields }: Saved, g: Tensor, needs: Needs) {
      const dx = needs.x && apply(!transposed, g, weight, empty(x.shape, x.dtype), fields);
      const dweight = needs.weight ? empty(weight.shape, weight.dtype) : null;
      const [image, result] = transposed ? [g, x] : [x, g];
      if (dweight) {
        const own = { image: image.raw, result: result.raw, filter: dweight.raw };
        launch(native.convolveFilter, own, fields);
      }
      return { x: dx || null, weight: dweight, bias: needs.bias ? biasGradient(g, axes) : null };
    },
  });
}

const forwards = { plan, options: ['stride', 'padding', 'dilation', 'groups'], transposed: false };
const backwards = {
  plan: transposedPlan,
  options: ['stride', 'padding', 'outputPadding', 'dilation', 'groups'],
  transposed: true,
};

/**
 * Σ over channels and windows of weight·x, plus bias (no kernel is flipped).
 *
 * x [B?, C, H, W], weight [O, C/groups, kh, kw], bias [O] -> [B?, O, h, w], all of one float dtype;
 * h = ⌊(H + 2·padding - dilation·(kh - 1) - 1) / stride⌋ + 1. Differentiable in all three.
 * Source: torch.nn.functional.conv2d.
 *
 * @throws ERR_SHAPE where channels, groups or sizes do not fit.
 * @example sp.conv2d(x, weight, { bias, padding: 'same' })
 */
export const conv2d: Conv<ConvOptions> = convolution({ name: 'conv2d', axes: 2, ...forwards });

/**
 * `conv2d` over three axes: x [B?, C, D, H, W], weight [O, C/groups, kd, kh, kw] -> [B?, O, d, h, w].
 *
 * @throws ERR_SHAPE where channels, groups or sizes do not fit.
 * @example sp.conv3d(x, weight, { stride: [1, 2, 2] })
 */
export const conv3d: Conv<ConvOptions> = convolution({ name: 'conv3d', axes: 3, ...forwards });

/**
 * The adjoint of `conv2d` with the same weight and options, plus bias: each element of x adds
 * weight·x to a window of the result.
 *
 * x [B?, C, H, W], weight [C, O/groups, kh, kw], bias [O] -> [B?, O, h, w], all of one float dtype;
 * h = (H - 1)·stride - 2·padding + dilation·(kh - 1) + outputPadding + 1. Differentiable in all
 * three. Source: torch.nn.functional.conv_transpose2d.
 *
 * @throws ERR_SHAPE where channels, groups or sizes do not fit; ERR_INVALID_VALUE for an
 * outputPadding that is not less than stride or dilation.
 * @example sp.convTranspose2d(x, weight, { stride: 2 })
 */
export const convTranspose2d: Conv<ConvTransposeOptions> = convolution({
  name: 'convTranspose2d',
  axes: 2,
  ...backwards,
});

/**
 * `convTranspose2d` over three axes: x [B?, C, D, H, W], weight [C, O/groups, kd, kh, kw] ->
 * [B?, O, d, h, w].
 *
 * @throws ERR_SHAPE where channels, groups or sizes do not fit.
 * @example sp.convTranspose3d(x, weight, { stride: 2, outputPadding: 1 })
 */
export const convTranspose3d: Conv<ConvTransposeOptions> = convolution({
  name: 'convTranspose3d',
  axes: 3,
  ...backwards,
});
