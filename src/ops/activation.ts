// Activation functions, element by element. float16 and bfloat16 are computed in float32.
import { defineOp, type RawOp } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import { expectBoolean, expectDType, expectNumber, expectOneOf, expectOptions } from '../expect.js';
import { takeBlocks } from '../generator.js';
import { launchAt, native } from '../native.js';
import { binary, fn, unary } from '../pointwise.js';
import type { Shape } from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';

/** An activation with options O; the result has the dtype and shape of x. */
export interface Activation<O extends object = Record<never, never>> {
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options?: O): Tensor<D, S>;
  async<D extends DType, S extends Shape>(x: Tensor<D, S>, options?: O): Promise<Tensor<D, S>>;
  readonly raw: RawOp;
}

/** `save`: whether the gradient kernel takes the input or the output beside g. */
function activation(name: string, f: number, gradient: number, save: 'x' | 'y'): Activation {
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: [],
    check: ({ x }) => expectDType(name, 'x', x, floats),
    forward({ x }) {
      const output = unary(f, x);
      return { output, saved: { t: save === 'x' ? x : output } };
    },
    backward: ({ t }, g) => ({ x: binary(gradient, g, t, g.shape, g.dtype) }),
  }) as unknown as Activation;
}

/**
 * max(x, 0). Gradient 0 at 0. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const relu = activation('relu', fn.relu, fn.reluGradient, 'y');
/**
 * x·σ(x). x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const silu = activation('silu', fn.silu, fn.siluGradient, 'x');
/**
 * σ(x) = 1 / (1 + e⁻ˣ). x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const sigmoid = activation('sigmoid', fn.sigmoid, fn.sigmoidGradient, 'y');
/**
 * Hyperbolic tangent. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const tanh = activation('tanh', fn.tanh, fn.tanhGradient, 'y');
/**
 * log(1 + eˣ), without overflow. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool.
 */
export const softplus = activation('softplus', fn.softplus, fn.softplusGradient, 'x');

/** Options of `gelu`. */
export interface GeluOptions {
  /** `'tanh'` takes x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))); default `'none'`, the exact function. */
  approximate?: 'none' | 'tanh' | undefined;
}

/**
 * x·Φ(x), Φ the normal distribution function. x of any float dtype and shape -> the same.
 * @throws ERR_DTYPE for integers and bool, ERR_INVALID_VALUE for another `approximate`.
 */
export const gelu: Activation<GeluOptions> = defineOp({
  name: 'gelu',
  builtin: true,
  inputs: ['x'],
  options: ['approximate'],
  check({ x }, { approximate = 'none' }: GeluOptions) {
    expectDType('gelu', 'x', x, floats);
    expectOneOf('gelu', 'approximate', approximate, ['none', 'tanh']);
  },
  forward({ x }, { approximate }: GeluOptions) {
    const isTanh = approximate === 'tanh';
    return { output: unary(isTanh ? fn.geluTanh : fn.gelu, x), saved: { x, isTanh } };
  },
  backward: ({ x, isTanh }, g) => ({
    x: binary(isTanh ? fn.geluTanhGradient : fn.geluGradient, g, x, g.shape, g.dtype),
  }),
}) as unknown as Activation<GeluOptions>;

/** Options of `dropout`. */
export interface DropoutOptions {
  /** Probability that an element becomes 0. Default 0.5. */
  p?: number | undefined;
  /** False returns x unchanged. Default true. */
  training?: boolean | undefined;
}

interface Draw {
  seed: number;
  offset: number;
}

const dropoutKernel = native.dropout;

function dropped(x: Tensor, p: number, { seed, offset }: Draw): Tensor {
  const out = empty(x.shape, x.dtype);
  launchAt(dropoutKernel, [x.raw, out.raw, p, seed, offset]);
  return out;
}

const dropoutOp = defineOp({
  name: 'dropout',
  builtin: true,
  inputs: ['x'],
  options: ['p', 'training'],
  check({ x }, { p = 0.5 }: DropoutOptions) {
    expectDType('dropout', 'x', x, floats);
    expectNumber('dropout', 'p', p, { min: 0, max: 1 });
  },
  forward({ x }, { p = 0.5 }: DropoutOptions) {
    const draw = takeBlocks(Math.ceil(x.size / 4));
    return { output: dropped(x, p, draw), saved: { p, draw } };
  },
  // The mask is drawn again instead of being kept.
  backward: ({ p, draw }, g) => ({ x: dropped(g, p, draw) }),
}) as unknown as Activation<DropoutOptions>;

function isTraining(x: Tensor, options: DropoutOptions): boolean {
  expectTensor('dropout', 'x', x);
  const given = options ?? {};
  expectOptions('dropout', given, ['p', 'training']);
  const { training = true } = given;
  expectBoolean('dropout', 'training', training);
  return training;
}

/**
 * Each element is 0 with probability p, else divided by 1 - p. Which ones depends on `manualSeed`
 * and the draws before, on no thread or device.
 *
 * x of any float dtype and shape -> the same.
 *
 * @throws ERR_DTYPE for integers and bool, ERR_INVALID_VALUE for p outside [0, 1].
 */
export const dropout: Activation<DropoutOptions> = Object.assign(
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options: DropoutOptions = {}) => {
    return isTraining(x, options) ? dropoutOp(x, options) : x;
  },
  {
    async: async <D extends DType, S extends Shape>(
      x: Tensor<D, S>,
      options: DropoutOptions = {},
    ) => (isTraining(x, options) ? dropoutOp.async(x, options) : x),
    raw: dropoutOp.raw,
  },
);
