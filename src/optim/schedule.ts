// Learning-rate schedules: functions of the number of steps done, for an optimiser's `lr`.
import { expectNumber, expectOptions } from '../expect.js';

/** A learning rate by the number of steps taken. */
export type Schedule = (step: number) => number;

/** Options of the schedules. */
export interface DecayOptions {
  /** The highest rate. */
  lr: number;
  /** Steps until `minLr` is reached, warm-up included. */
  steps: number;
  /** Steps of linear warm-up, from lr/warmup to lr (default 0). */
  warmup?: number | undefined;
  /** The rate at the end and after it (default 0). */
  minLr?: number | undefined;
}

function decay(op: string, options: DecayOptions, shape: (progress: number) => number): Schedule {
  expectOptions(op, options ?? null, ['lr', 'steps', 'warmup', 'minLr']);
  const { lr, steps, warmup = 0, minLr = 0 } = options;
  expectNumber(op, 'lr', lr, { min: 0 });
  expectNumber(op, 'steps', steps, { min: 1, integer: true });
  expectNumber(op, 'warmup', warmup, { min: 0, max: steps, integer: true });
  expectNumber(op, 'minLr', minLr, { min: 0, max: lr });
  return (step) => {
    if (step < warmup) return (lr * (step + 1)) / warmup;
    const progress = steps === warmup ? 1 : Math.min(1, (step - warmup) / (steps - warmup));
    return minLr + (lr - minLr) * shape(progress);
  };
}

/** Linear warm-up to `lr` over `steps` steps, constant afterwards. */
export function linearWarmup(lr: number, steps: number): Schedule {
  expectNumber('linearWarmup', 'lr', lr, { min: 0 });
  expectNumber('linearWarmup', 'steps', steps, { min: 1, integer: true });
  return (step) => lr * Math.min(1, (step + 1) / steps);
}

/** Warm-up, then half a cosine from `lr` down to `minLr` (Loshchilov and Hutter 2017). */
export function cosineSchedule(options: DecayOptions): Schedule {
  return decay('cosineSchedule', options, (progress) => (1 + Math.cos(Math.PI * progress)) / 2);
}

/** Warm-up, then a straight line from `lr` down to `minLr`. */
export function linearSchedule(options: DecayOptions): Schedule {
  return decay('linearSchedule', options, (progress) => 1 - progress);
}

/** `lr` multiplied by `gamma` (default 0.1) after every `every` steps. */
export function stepSchedule(options: {
  lr: number;
  every: number;
  gamma?: number | undefined;
}): Schedule {
  expectOptions('stepSchedule', options ?? null, ['lr', 'every', 'gamma']);
  const { lr, every, gamma = 0.1 } = options;
  expectNumber('stepSchedule', 'lr', lr, { min: 0 });
  expectNumber('stepSchedule', 'every', every, { min: 1, integer: true });
  expectNumber('stepSchedule', 'gamma', gamma, { min: 0 });
  return (step) => lr * gamma ** Math.floor(step / every);
}
