// Layer and RMS normalisation over the last axis. Statistics and weight gradients are float32
// (float64 for float64), the same bits for any number of threads; a row's
// y and dx do not depend on the other rows or on where in memory it lies.
import { defineOp, type Needs, type RawOp } from '../autograd.js';
import { accumulatorOf, type DType, type FloatDType, floats } from '../dtype.js';
import { expectDType, expectNumber, expectSameDType, expectShape, fail } from '../expect.js';
import { launchAt, native } from '../native.js';
import type { Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `rmsNorm`. */
export interface RmsNormOptions {
  /** Factors [D] of the last axis, differentiable. Default: none. */
  weight?: Tensor | undefined;
  /** Added to the mean square. Default: the machine epsilon of x's dtype, as in PyTorch. */
  eps?: number | undefined;
}

/** Options of `layerNorm`. */
export interface LayerNormOptions {
  /** Factors [D] of the last axis, differentiable. Default: none. */
  weight?: Tensor | undefined;
  /** Summands [D] of the last axis, differentiable. Default: none. */
  bias?: Tensor | undefined;
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined;
}

/** The type of `layerNorm` and `rmsNorm`. */
export interface Normalization<O extends object> {
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options?: O): Tensor<D, S>;
  async<D extends DType, S extends Shape>(x: Tensor<D, S>, options?: O): Promise<Tensor<D, S>>;
  readonly raw: RawOp;
}

const epsilon: Record<FloatDType, number> = {
  float32: 2 ** -23,
  float64: 2 ** -52,
  float16: 2 ** -10,
  bfloat16: 2 ** -7,
};
const forwardKernel = native.normForward;
const backwardKernel = native.normBackward;

interface Inputs {
  x: Tensor;
  weight?: Tensor;
  bias?: Tensor;
}

interface Saved {
  x: Tensor;
  weight?: Tensor;
  hasBias: boolean;
  scale: Tensor;
  mean?: Tensor;
}

function check(op: string, { x, weight, bias }: Inputs, eps: number | undefined): void {
  expectDType(op, 'x', x, floats);
  if (x.rank === 0) fail(op, 'ERR_SHAPE', 'expected x to have at least one axis, got a scalar');
  if (eps !== undefined) expectNumber(op, 'eps', eps, { min: 0 });
  for (const [name, t] of [
    ['weight', weight],
    ['bias', bias],
  ] as const) {
    if (!t) continue;
    expectSameDType(op, 'x', x, name, t);
    expectShape(op, name, t, [x.shape[x.rank - 1]], 'the last axis of x');
  }
}

/** N and D of x seen as rows. */
function rowsOf(x: Tensor): [number, number] {
  const width = x.shape[x.rank - 1];
  return [width ? x.size / width : 0, width];
}

function forward({ x, weight, bias }: Inputs, eps: number, centred: boolean) {
  const [rows, width] = rowsOf(x);
  const y = empty(x.shape, x.dtype);
  const scale = empty([rows], accumulatorOf(x.dtype));
  const mean = centred ? empty([rows], scale.dtype) : undefined;
  launchAt(forwardKernel, [
    x.raw,
    y.raw,
    scale.raw,
    rows,
    width,
    eps,
    weight?.raw,
    bias?.raw,
    mean?.raw,
  ]);
  return { output: y, saved: { x, weight, hasBias: bias !== undefined, scale, mean } };
}

function backward({ x, weight, hasBias, scale, mean }: Saved, g: Tensor, needs: Needs) {
  const like = (t: Tensor | undefined, wanted: boolean) =>
    t && wanted ? empty(t.shape, t.dtype) : null;
  const [rows, width] = rowsOf(x);
  const dx = like(x, needs.x);
  const dweight = like(weight, needs.weight);
  const dbias = hasBias && needs.bias ? empty([width], x.dtype) : null;
  launchAt(backwardKernel, [
    x.raw,
    g.raw,
    scale.raw,
    rows,
    width,
    weight?.raw,
    mean?.raw,
    dx?.raw,
    dweight?.raw,
    dbias?.raw,
  ]);
  return { x: dx, weight: dweight, bias: dbias };
}

/**
 * (x - mean) / √(var + eps) · weight + bias over the last axis, with the population variance.
 *
 * x [..., D], weight [D], bias [D] -> [..., D]; all of one dtype.
 *
 * @throws ERR_DTYPE for integers and bool, ERR_SHAPE for a weight or bias that is not [D].
 * @example sp.layerNorm(x, { weight, bias })
 */
export const layerNorm: Normalization<LayerNormOptions> = defineOp({
  name: 'layerNorm',
  builtin: true,
  inputs: ['x'],
  optionTensors: ['weight', 'bias'],
  options: ['eps'],
  check: (t, { eps }: LayerNormOptions) => check('layerNorm', t, eps),
  forward: (t, { eps = 1e-5 }: LayerNormOptions) => forward(t, eps, true),
  backward,
}) as unknown as Normalization<LayerNormOptions>;

/**
 * x / √(mean x² + eps) · weight over the last axis.
 *
 * x [..., D], weight [D] -> [..., D]; both of one dtype.
 *
 * @throws ERR_DTYPE for integers and bool, ERR_SHAPE for a weight or bias that is not [D].
 * @example sp.rmsNorm(x, { weight, eps: 1e-6 })
 */
export const rmsNorm: Normalization<RmsNormOptions> = defineOp({
  name: 'rmsNorm',
  builtin: true,
  inputs: ['x'],
  optionTensors: ['weight'],
  options: ['eps'],
  check: (t, { eps }: RmsNormOptions) => check('rmsNorm', t, eps),
  forward: (t, { eps }: RmsNormOptions) =>
    forward(t, eps ?? epsilon[t.x.dtype as FloatDType], false),
  backward,
}) as unknown as Normalization<RmsNormOptions>;
