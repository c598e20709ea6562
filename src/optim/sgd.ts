// Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983), as torch.optim.SGD.
import { expectBoolean, expectNumber, fail } from '../expect.js';
import { launch, native } from '../native.js';
import type { Tensor } from '../tensor.js';
import { type Batch, type LearningRate, mastersOf, type Pace, rawsOf } from './batch.js';
import { type Numbers, Optimizer, type ParamGroup, type SomeOf } from './optimizer.js';

/** Options of `SGD`, for all parameters or for a group. */
export interface SGDOptions {
  /** Learning rate (default 1e-3). */
  lr: LearningRate;
  /** Share of the last update that is kept (default 0). */
  momentum: number;
  /** Share of the gradient that the momentum leaves out (default 0). */
  dampening: number;
  /** Look ahead along the momentum (default false). */
  nesterov: boolean;
  /** Strength of the L2 penalty (default 0). */
  weightDecay: number;
}

const defaults: SGDOptions = {
  lr: 1e-3,
  momentum: 0,
  dampening: 0,
  nesterov: false,
  weightDecay: 0,
};

/**
 * g += weightDecay·p; b = momentum·b + (1 - dampening)·g (b = g at first); p -= lr·b, or with
 * `nesterov` p -= lr·(g + momentum·b).
 *
 * @example const optimizer = new optim.SGD([weight], { lr: 0.1, momentum: 0.9 })
 */
export class SGD extends Optimizer<SGDOptions> {
  constructor(
    params: readonly Tensor[] | readonly ParamGroup<SGDOptions>[],
    options: SomeOf<SGDOptions> = {},
  ) {
    super('SGD', params, defaults, options);
  }

  protected checked(options: SGDOptions): SGDOptions {
    expectNumber('SGD', 'momentum', options.momentum, { min: 0 });
    expectNumber('SGD', 'dampening', options.dampening);
    expectNumber('SGD', 'weightDecay', options.weightDecay, { min: 0 });
    expectBoolean('SGD', 'nesterov', options.nesterov);
    if (options.nesterov && (options.momentum === 0 || options.dampening !== 0)) {
      fail('SGD', 'ERR_INVALID_VALUE', 'expected momentum > 0 and dampening 0 with nesterov');
    }
    return options;
  }

  protected stateNames({ momentum }: SGDOptions): readonly string[] {
    return momentum === 0 ? [] : ['momentum'];
  }

  protected update({ slots, options, ...batch }: Batch<SGDOptions>): void {
    const { momentum, dampening, nesterov } = options;
    const own = {
      buffer: momentum === 0 ? undefined : slots.map((slot) => slot.tensors.momentum.raw),
      master: mastersOf(slots),
      rates: batch.rates?.raw,
      first: batch.step === 1,
      momentum,
      dampening,
      nesterov,
    };
    launch(native.optimiserSgd, own, rawsOf(batch), this.numbers(options, batch));
  }

  protected override beginsApart({ momentum, dampening }: SGDOptions): boolean {
    return momentum !== 0 && dampening !== 0;
  }

  protected numbers({ weightDecay }: SGDOptions, { lr, step }: Pace): Numbers {
    return { lr, step, weightDecay };
  }
}
