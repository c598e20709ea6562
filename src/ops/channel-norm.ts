// Group and batch normalisation: statistics over channels. They and weight gradients are float32
// (float64 for float64) of float64 sums, the same bits for any number of threads.
import { defineOp, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats } from '../dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { positional } from '../positional.js';
import { type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

interface Parameters {
  /** Factors [C], differentiable. Default: none. */
  weight?: Tensor | undefined;
  /** Summands [C], differentiable. Default: none. */
  bias?: Tensor | undefined;
  /** Added to the variance. Default 1e-5. */
  eps?: number | undefined;
}

/** Options of `groupNorm`. */
export interface GroupNormOptions extends Parameters {
  /** Into how many groups of neighbouring channels C is cut; also the second argument. */
  numGroups?: number | undefined;
}

/** Options of `batchNorm`. */
export interface BatchNormOptions extends Parameters {
  /** Means [C] that are used, or with `training` moved towards the batch's in place. */
  runningMean?: Tensor | undefined;
  /** Variances [C], likewise (unbiased). */
  runningVar?: Tensor | undefined;
  /** Normalise by the batch's own statistics. Default false: by the running ones. */
  training?: boolean | undefined;
  /** How far the running statistics move: running + momentum·(batch's - running). Default 0.1. */
  momentum?: number | undefined;
}

interface Inputs {
  x: Tensor;
  weight?: Tensor;
  bias?: Tensor;
  runningMean?: Tensor;
  runningVar?: Tensor;
}

interface Saved {
  x: Tensor;
  weight?: Tensor;
  hasBias: boolean;
  mean: Tensor;
  r: Tensor;
  groups: number;
  fixed: boolean;
}

function check(op: string, { x, weight, bias }: Inputs, eps: number | undefined): void {
  expectOnCpu(op, 'x', x);
  expectDType(op, 'x', x, floats);
  if (x.rank < 2) {
    fail(op, 'ERR_SHAPE', `expected x to have shape [B, C, ...], got ${showShape(x.shape)}`);
  }
  if (eps !== undefined) expectNumber(op, 'eps', eps, { min: 0 });
  for (const [name, t] of Object.entries({ weight, bias })) {
    if (!t) continue;
    expectSameDType(op, 'x', x, name, t);
    expectShape(op, name, t, [x.shape[1]], 'one per channel');
  }
}

/** x as [B, C, S]. */
function sizesOf({ shape }: Tensor): { batch: number; channels: number; size: number } {
  return { batch: shape[0], channels: shape[1], size: sizeOf(shape.slice(2)) };
}

function forward(
  { x, weight, bias, runningMean, runningVar }: Inputs,
  groups: number,
  eps = 1e-5,
  momentum = 0,
  fixed = false,
) {
  const { batch, channels, size } = sizesOf(x);
  const statistics: Shape = groups ? [batch, groups] : [channels];
  const y = empty(x.shape, x.dtype);
  const mean = empty(statistics, accumulatorOf(x.dtype));
  const r = empty(statistics, mean.dtype);
  launch(native.channelNormForward, {
    x: x.raw,
    y: y.raw,
    mean: mean.raw,
    r: r.raw,
    weight: weight?.raw,
    bias: bias?.raw,
    runningMean: runningMean?.raw,
    runningVar: runningVar?.raw,
    batch,
    channels,
    size,
    groups,
    eps,
    momentum,
    fixed,
  });
  return { output: y, saved: { x, weight, hasBias: bias !== undefined, mean, r, groups, fixed } };
}

function backward({ x, weight, hasBias, mean, r, groups, fixed }: Saved, g: Tensor, needs: Needs) {
  const dx = needs.x ? empty(x.shape, x.dtype) : null;
  const dweight = weight && needs.weight ? empty(weight.shape, x.dtype) : null;
  const dbias = hasBias && needs.bias ? empty([x.shape[1]], x.dtype) : null;
  const own = {
    x: x.raw,
    g: g.raw,
    mean: mean.raw,
    r: r.raw,
    weight: weight?.raw,
    groups,
    fixed,
    dx: dx?.raw,
    dweight: dweight?.raw,
    dbias: dbias?.raw,
  };
  launch(native.channelNormBackward, own, sizesOf(x));
  return { x: dx, weight: dweight, bias: dbias };
}

/** The type of `groupNorm`. */
export interface GroupNorm {
  <D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    numGroups: number,
    options?: GroupNormOptions,
  ): Tensor<D, S>;
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options: GroupNormOptions): Tensor<D, S>;
  async<D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    numGroups: number,
    options?: GroupNormOptions,
  ): Promise<Tensor<D, S>>;
  async<D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    options: GroupNormOptions,
  ): Promise<Tensor<D, S>>;
  readonly raw: Op['raw'];
}

/**
 * (x - mean) / √(var + eps) · weight + bias, with mean and population variance of each item's
 * groups of C / numGroups neighbouring channels. An item's result does not depend on the others.
 *
 * x [B, C, ...], weight [C], bias [C] -> [B, C, ...]; all of one dtype. Source: Wu and He 2018,
 * torch.nn.functional.group_norm.
 *
 * @throws ERR_INVALID_VALUE when numGroups does not divide C.
 * @example sp.groupNorm(x, 8, { weight, bias })
 */
export const groupNorm: GroupNorm = positional(
  defineOp({
    name: 'groupNorm',
    builtin: true,
    inputs: ['x'],
    optionTensors: ['weight', 'bias'],
    options: ['numGroups', 'eps'],
    check(t, { numGroups, eps }: GroupNormOptions) {
      check('groupNorm', t, eps);
      expectNumber('groupNorm', 'numGroups', numGroups, { min: 1, integer: true });
      const channels = t.x.shape[1];
      if (channels % numGroups === 0) return;
      const wanted = `numGroups to divide the ${channels} channels of x`;
      fail('groupNorm', 'ERR_INVALID_VALUE', `expected ${wanted}, got ${numGroups}`);
    },
    forward: (t, { numGroups, eps }: GroupNormOptions) => forward(t as Inputs, numGroups!, eps),
    backward,
  }),
  1,
  'numGroups',
);

/** Refuses running statistics that cannot be used, or not be written to. */
function checkRunning({ x, runningMean, runningVar }: Inputs, training: boolean): void {
  const op = 'batchNorm';
  if (!training && !(runningMean && runningVar)) {
    const wanted = 'runningMean and runningVar, or training: true';
    fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got neither`);
  }
  for (const [name, t] of Object.entries({ runningMean, runningVar })) {
    if (!t) continue;
    expectDType(op, name, t, [...new Set([accumulatorOf(x.dtype), x.dtype])]);
    expectShape(op, name, t, [x.shape[1]], 'one per channel');
    if (!training) continue;
    if (t.wantsGrad || t.node) {
      fail(op, 'ERR_GRAPH', `expected ${name} to be a leaf without gradient: it is written to`);
    }
    if (t.storage?.isSaved() || (t.storage?.pins ?? 0) > 0) {
      fail(op, 'ERR_IN_USE', `expected ${name} to be free, but a pending operation needs it`);
    }
  }
}

/**
 * (x - mean) / √(var + eps) · weight + bias by channel: with `training` mean and population
 * variance of the batch, towards which the running statistics are moved in place (the unbiased
 * variance); else the running ones.
 *
 * x [B, C, ...], weight [C], bias [C] -> [B, C, ...]; all of one dtype. runningMean [C] and
 * runningVar [C] of that dtype or float32. Source: Ioffe and Szegedy 2015,
 * torch.nn.functional.batch_norm.
 *
 * @throws ERR_INVALID_VALUE without running statistics when not training; ERR_SHAPE for a batch of
 * one value per channel when training; ERR_IN_USE when a pending backward needs what is written.
 * @example sp.batchNorm(x, { runningMean, runningVar, weight, bias, training: true })
 */
export const batchNorm: Op<
  <D extends DType, S extends Shape>(x: Tensor<D, S>, options: BatchNormOptions) => Tensor<D, S>
> = defineOp({
  name: 'batchNorm',
  builtin: true,
  inputs: ['x'],
  optionTensors: ['weight', 'bias', 'runningMean', 'runningVar'],
  nondifferentiable: ['runningMean', 'runningVar'],
  options: ['training', 'momentum', 'eps'],
  check(t, { training = false, momentum = 0.1, eps }: BatchNormOptions) {
    check('batchNorm', t, eps);
    expectBoolean('batchNorm', 'training', training);
    expectNumber('batchNorm', 'momentum', momentum, { min: 0, max: 1 });
    checkRunning(t, training);
    const { batch, size } = sizesOf(t.x);
    if (!training || batch * size !== 1) return;
    const wanted = 'more than one value per channel when training';
    fail('batchNorm', 'ERR_SHAPE', `expected ${wanted}, got ${showShape(t.x.shape)}`);
  },
  forward(t, { training = false, momentum = 0.1, eps }: BatchNormOptions) {
    if (training) for (const s of [t.runningMean, t.runningVar]) s?.storage?.touch();
    return forward(t as Inputs, 0, eps, momentum, !training);
  },
  backward,
});
