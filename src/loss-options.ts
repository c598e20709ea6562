// The options that every loss ending in a softmax over classes takes, their checks, and their form
// in native code (core/row_loss.h).
import { expectBoolean, expectNumber, expectOneOf, fail, show } from './expect.js';
import type { Tensor } from './tensor.js';

/** f of the row loss L = -log p_y: what the loss adds up is f(L), and its gradient f'(L)·(p - 1_y). */
export type Epilogue =
  /** (1-e^-L)^gamma · L (Lin et al. 2017) */
  | { kind: 'focal'; gamma: number }
  /** (1-e^(-qL))/q (Zhang & Sabuncu 2018) */
  | { kind: 'generalized'; q: number }
  /** (1-e^(-(tau-1)L))/(tau-1), tau = 1 -> L (Mao et al. 2023) */
  | { kind: 'compSum'; tau: number };

/** How losses of rows become one: their weighted mean, their sum, or not. */
export type LossReduction = 'none' | 'mean' | 'sum';

/** How logits become the z that the loss sees. */
export interface LogitOptions {
  /** z <- z/temperature; default 1. */
  temperature?: number | undefined;
  /** z <- softcap·tanh(z/softcap); default none. */
  softcap?: number | undefined;
  /** Softcap before the temperature instead of after it; default false. */
  capFirst?: boolean | undefined;
}

/** What cross-entropy with and without logits share. */
export interface LossOptions<R extends LossReduction = LossReduction> extends LogitOptions {
  /**
   * Default 'mean': divides by the sum of classWeight[target]·tokenWeight over the rows that are
   * not ignored. 'none' gives the loss of every row.
   */
  reduction?: R | undefined;
  /** Rows with this target give loss 0 and gradient 0, whatever they hold; default -100. */
  ignoreIndex?: number | undefined;
  /** s in (1-s)·CE(target) + s/V·sum over classes of classWeight·(-log p); default 0. */
  labelSmoothing?: number | undefined;
  /** [V], not negative, any float dtype; not differentiable. */
  classWeight?: Tensor | undefined;
  /** One weight per row, any float dtype, may be negative; differentiable. */
  tokenWeight?: Tensor | undefined;
  /** Adds zLoss·lse² to each row; not class-weighted, but token-weighted; default 0. */
  zLoss?: number | undefined;
  /** Transforms the row loss; default none. Refused with labelSmoothing. */
  epilogue?: Epilogue | undefined;
}

export const logitOptionNames = ['temperature', 'softcap', 'capFirst'] as const;
export const lossOptionNames = [
  'reduction',
  'ignoreIndex',
  'labelSmoothing',
  'zLoss',
  ...logitOptionNames,
  'epilogue',
] as const;
export const lossOptionTensors = ['classWeight', 'tokenWeight'] as const;

/** In the order of core/row_loss.h. */
export const reductions: readonly LossReduction[] = ['none', 'mean', 'sum'];
export function checkReduction(op: string, reduction: unknown = 'mean'): void {
  expectOneOf(op, 'reduction', reduction, reductions);
}

const epilogues = ['focal', 'generalized', 'compSum'] as const;

export function checkLogitOptions(op: string, options: LogitOptions): void {
  const { temperature = 1, softcap, capFirst = false } = options;
  expectNumber(op, 'temperature', temperature, { above: 0 });
  if (softcap !== undefined) expectNumber(op, 'softcap', softcap, { above: 0 });
  expectBoolean(op, 'capFirst', capFirst);
}

function checkEpilogue(op: string, epilogue: Epilogue): void {
  if (epilogue === null || typeof epilogue !== 'object') {
    fail(
      op,
      'ERR_INVALID_TYPE',
      `expected epilogue to be an object with a kind, got ${show(epilogue)}`,
    );
  }
  expectOneOf(op, 'epilogue.kind', epilogue.kind, epilogues);
  const [name, bounds] = {
    focal: ['gamma', { min: 0 }],
    generalized: ['q', { min: 0 }],
    compSum: ['tau', { min: 0 }],
  }[epilogue.kind] as [string, { min: number }];
  const values = epilogue as unknown as Record<string, unknown>;
  for (const key of Object.keys(values)) {
    if (key !== 'kind' && key !== name) {
      fail(
        op,
        'ERR_UNKNOWN_OPTION',
        `expected epilogue to hold kind and ${name}, got '${key}' (did you mean '${name}'?)`,
      );
    }
  }
  expectNumber(op, `epilogue.${name}`, values[name], bounds);
}

/** Refuses what is not an option value; shapes and dtypes of tensors are the operation's to check. */
export function checkLossOptions(op: string, options: LossOptions): void {
  const { reduction = 'mean', ignoreIndex = -100, labelSmoothing = 0, zLoss = 0 } = options;
  expectOneOf(op, 'reduction', reduction, reductions);
  expectNumber(op, 'ignoreIndex', ignoreIndex, { integer: true });
  expectNumber(op, 'labelSmoothing', labelSmoothing, { min: 0, max: 1 });
  expectNumber(op, 'zLoss', zLoss);
  checkLogitOptions(op, options);
  if (options.epilogue === undefined) return;
  checkEpilogue(op, options.epilogue);
  if (labelSmoothing > 0) {
    fail(op, 'ERR_INVALID_VALUE', 'expected no epilogue together with labelSmoothing, got both');
  }
}

export function logitFields({ temperature = 1, softcap = 0, capFirst = false }: LogitOptions) {
  return { temperature, softcap, capFirst };
}

function epilogueFields(epilogue: Epilogue | undefined) {
  if (!epilogue) return { epilogue: 0, epilogueK: 0 };
  if (epilogue.kind === 'focal') return { epilogue: 1, epilogueK: epilogue.gamma };
  return {
    epilogue: 2,
    epilogueK: epilogue.kind === 'generalized' ? epilogue.q : epilogue.tau - 1,
  };
}

/** The fields of a native loss that are plain numbers. */
export function lossFields(options: LossOptions) {
  const own = {
    reduction: reductions.indexOf(options.reduction ?? 'mean'),
    ignoreIndex: options.ignoreIndex ?? -100,
    labelSmoothing: options.labelSmoothing ?? 0,
    zLoss: options.zLoss ?? 0,
  };
  return Object.assign(own, logitFields(options), epilogueFields(options.epilogue));
}
