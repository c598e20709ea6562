// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), as torch.optim's.
// Deliberately without amsgrad.
import { expectNumber, fail, show } from '../expect.js';
import { launch, native } from '../native.js';
import type { Tensor } from '../tensor.js';
import { type Batch, type LearningRate, mastersOf, type Pace, rawsOf } from './batch.js';
import { type Numbers, Optimizer, type ParamGroup, type SomeOf } from './optimizer.js';

/** Options of `Adam` and `AdamW`, for all parameters or for a group. */
export interface AdamOptions {
  /** Learning rate (default 1e-3). */
  lr: LearningRate;
  /** Decay of the running means of g and g² (default [0.9, 0.999]). */
  betas: readonly [number, number];
  /** Added to the denominator (default 1e-8). */
  eps: number;
  /** Adam: strength of an L2 penalty (default 0). AdamW: of the decay of weights (default 0.01). */
  weightDecay: number;
}

const defaults: AdamOptions = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 };

class AdamBase extends Optimizer<AdamOptions> {
  constructor(
    name: string,
    private readonly decoupled: boolean,
    params: readonly Tensor[] | readonly ParamGroup<AdamOptions>[],
    standard: AdamOptions,
    options: SomeOf<AdamOptions>,
  ) {
    super(name, params, standard, options);
  }

  protected checked(options: AdamOptions): AdamOptions {
    const { betas, eps, weightDecay } = options;
    if (!Array.isArray(betas) || betas.length !== 2) {
      fail(this.name, 'ERR_INVALID_TYPE', `expected betas to be two numbers, got ${show(betas)}`);
    }
    expectNumber(this.name, 'betas[0]', betas[0], { min: 0, below: 1 });
    expectNumber(this.name, 'betas[1]', betas[1], { min: 0, below: 1 });
    expectNumber(this.name, 'eps', eps, { min: 0 });
    expectNumber(this.name, 'weightDecay', weightDecay, { min: 0 });
    return options;
  }

  protected stateNames(): readonly string[] {
    return ['expAvg', 'expAvgSq'];
  }

  protected update({ slots, options, ...batch }: Batch<AdamOptions>): void {
    const own = {
      m: slots.map((slot) => slot.tensors.expAvg.raw),
      v: slots.map((slot) => slot.tensors.expAvgSq.raw),
      master: mastersOf(slots),
      rates: batch.rates?.raw,
      eps: options.eps,
      decoupled: this.decoupled,
    };
    launch(native.optimiserAdam, own, rawsOf(batch), this.numbers(options, batch));
  }

  protected numbers({ betas, weightDecay }: AdamOptions, { lr, step }: Pace): Numbers {
    return { lr, step, beta1: betas[0], beta2: betas[1], weightDecay };
  }
}

/**
 * m = β1·m + (1-β1)·g; v = β2·v + (1-β2)·g²; p -= lr·m̂ / (√v̂ + eps), with m̂ = m/(1-β1^t) and
 * v̂ = v/(1-β2^t); g includes weightDecay·p.
 */
export class Adam extends AdamBase {
  constructor(
    params: readonly Tensor[] | readonly ParamGroup<AdamOptions>[],
    options: SomeOf<AdamOptions> = {},
  ) {
    super('Adam', false, params, defaults, options);
  }
}

/**
 * Adam whose weight decay acts on the weights, p *= 1 - lr·weightDecay, not on the gradient.
 *
 * @example new optim.AdamW(params, { lr: optim.cosineSchedule({ lr: 3e-4, steps: 1000 }) })
 */
export class AdamW extends AdamBase {
  constructor(
    params: readonly Tensor[] | readonly ParamGroup<AdamOptions>[],
    options: SomeOf<AdamOptions> = {},
  ) {
    super('AdamW', true, params, { ...defaults, weightDecay: 0.01 }, options);
  }
}
