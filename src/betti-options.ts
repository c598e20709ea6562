// The options that barcodes, Betti matchings and their loss share, their checks, and their form in
// native code (ops/betti_matching/op.h).
import {
  expectBoolean,
  expectNumber,
  expectOneOf,
  expectOptions,
  fail,
  show,
  showShape,
} from './expect.js';
import type { FromLogits } from './targets.js';
import type { Tensor } from './tensor.js';

/** From which end an image is entered: the largest values first, the smallest, or both in turn. */
export type Filtration = 'superlevel' | 'sublevel';

/** Options of section "Topology": each function takes those that mean something to it. */
export interface BettiOptions {
  /**
   * Default 'superlevel': features appear as the threshold falls, brightest first. 'sublevel' is the
   * other way round; 'both', of the loss alone, is the mean of the two losses.
   */
  filtration?: Filtration | 'both' | undefined;
  /** Degrees of homology to compute, each once; default all. The others are null. */
  dims?: readonly number[] | undefined;
  /** Default 'union': the comparison image is min(f0, f1) in the filtration's order; or max. */
  comparison?: 'union' | 'intersection' | undefined;
  /** Default 'all', as in Betti-Matching-3D; 'positive' drops matches through an empty image bar. */
  imageBars?: 'all' | 'positive' | undefined;
  /**
   * Default 'none'. One voxel all round with this value, or 'minmax': each image's own minimum
   * (sublevel) or maximum (superlevel). Padding has index -1 and no gradient.
   */
  padding?: 'none' | 'minmax' | number | undefined;
  /** Drops unmatched pairs of the prediction with |birth - death| <= minLength; default 0. */
  minLength?: number | undefined;
  /** Of the terms of the loss, at least 0; default 1 each. */
  weights?:
    | {
        matched?: number | undefined;
        unmatchedPrediction?: number | undefined;
        unmatchedTarget?: number | undefined;
      }
    | undefined;
  /**
   * Default 'diagonal': an unmatched pair costs (birth - death)². 'one-zero' costs
   * 2[(birth - 1)² + death²] of x (sublevel) or 1 - x (superlevel), which removes the feature.
   */
  pushUnmatchedTo?: 'diagonal' | 'one-zero' | undefined;
  /** Lists the component that never dies, of degree 0, with death index -1; default false. */
  essential?: boolean | undefined;
  /** Lists with every pair a cycle that represents it; default false. */
  cycles?: boolean | undefined;
  /** Default 0.5: masks are x >= threshold (superlevel) or x <= threshold (sublevel). */
  threshold?: number | undefined;
  /**
   * What makes probabilities of the prediction: 'sigmoid' (also `true`), 'softmax' over the channels
   * of [B, C, ...spatial] (at least two), or false (default): values are taken as they are.
   */
  fromLogits?: FromLogits | undefined;
  /** Stops asynchronous forms within a fraction of a second, whatever they are at. */
  signal?: AbortSignal | undefined;
}

/**
 * Options of barcodes and of `bettiMatching`, which do not mix filtrations; those that only matchings, only
 * metrics or only the loss look at may stand among them.
 */
export interface BettiMatchingOptions extends BettiOptions {
  filtration?: Filtration | undefined;
}

/** One set for barcodes, matchings and their loss, so that all can be called with the same options. */
export const bettiOptionNames = [
  'filtration',
  'dims',
  'comparison',
  'imageBars',
  'padding',
  'minLength',
  'essential',
  'fromLogits',
  'signal',
  'threshold',
  'weights',
  'pushUnmatchedTo',
] as const;

const weightNames = ['matched', 'unmatchedPrediction', 'unmatchedTarget'] as const;

function checkDims(op: string, dims: unknown, axes: number): void {
  if (dims === undefined) return;
  if (!Array.isArray(dims) || dims.length === 0) {
    const got = Array.isArray(dims) ? 'none' : show(dims);
    fail(op, 'ERR_INVALID_TYPE', `expected dims to be an array of degrees of homology, got ${got}`);
  }
  for (const k of dims) expectNumber(op, 'dims', k, { integer: true, min: 0, max: axes - 1 });
  if (new Set(dims).size < dims.length) {
    const got = showShape(dims);
    fail(op, 'ERR_INVALID_VALUE', `expected dims to name each degree once, got ${got}`);
  }
}

function checkPadding(op: string, padding: unknown): void {
  if (padding === undefined || padding === 'none' || padding === 'minmax') return;
  if (typeof padding === 'number') {
    expectNumber(op, 'padding', padding);
    return;
  }
  const code = typeof padding === 'string' ? 'ERR_INVALID_VALUE' : 'ERR_INVALID_TYPE';
  fail(op, code, `expected padding to be 'none' or 'minmax' or a number, got ${show(padding)}`);
}

function checkWeights(op: string, weights: unknown): void {
  if (weights === undefined) return;
  if (weights === null || typeof weights !== 'object' || Array.isArray(weights)) {
    fail(op, 'ERR_INVALID_TYPE', `expected weights to be an object, got ${show(weights)}`);
  }
  expectOptions(op, weights, weightNames);
  for (const name of weightNames) {
    const weight = (weights as Record<string, unknown>)[name];
    if (weight !== undefined) expectNumber(op, `weights.${name}`, weight, { min: 0 });
  }
}

function checkSignal(op: string, signal: unknown): void {
  if (signal === undefined) return;
  if (!(signal instanceof AbortSignal)) {
    fail(op, 'ERR_INVALID_TYPE', `expected signal to be an AbortSignal, got ${show(signal)}`);
  }
  signal.throwIfAborted();
}

/** Refuses bad values of the shared options, for an image of `axes` axes. */
export function checkBettiOptions(op: string, o: BettiOptions, axes: number, both = false): void {
  const { filtration, comparison, imageBars, pushUnmatchedTo } = o;
  const filtrations = ['superlevel', 'sublevel', ...(both ? ['both'] : [])];
  if (filtration !== undefined) expectOneOf(op, 'filtration', filtration, filtrations);
  if (comparison !== undefined)
    expectOneOf(op, 'comparison', comparison, ['union', 'intersection']);
  if (imageBars !== undefined) expectOneOf(op, 'imageBars', imageBars, ['all', 'positive']);
  if (pushUnmatchedTo !== undefined)
    expectOneOf(op, 'pushUnmatchedTo', pushUnmatchedTo, ['diagonal', 'one-zero']);
  checkDims(op, o.dims, axes);
  checkPadding(op, o.padding);
  checkWeights(op, o.weights);
  if (o.minLength !== undefined) expectNumber(op, 'minLength', o.minLength, { min: 0 });
  if (o.threshold !== undefined) expectNumber(op, 'threshold', o.threshold);
  if (o.essential !== undefined) expectBoolean(op, 'essential', o.essential);
  if (o.cycles !== undefined) expectBoolean(op, 'cycles', o.cycles);
  checkSignal(op, o.signal);
}

/** In the order of native code's. */
export const callers = [
  'persistenceBarcode',
  'bettiMatching',
  'bettiMatchingBatch',
  'bettiMatchingLoss',
  'topologyLoss',
  'barcodeLengthLoss',
];

/** A number to be compared with values of the image: as its dtype has it. */
export const asValueOf = ({ dtype }: Tensor, x: number) =>
  dtype === 'float64' ? x : Math.fround(x);

/** The options as they are now: they may be changed while work goes on. */
export const ownOptions = <O extends BettiOptions>(o: O): O => ({
  ...o,
  ...(o.dims && { dims: [...o.dims] }),
  ...(o.weights && { weights: { ...o.weights } }),
});

/** What native code calls the options and the images, which are as it takes them. */
export function bettiFields(
  op: string,
  o: BettiOptions,
  axes: number,
  prediction: Tensor,
  target?: Tensor,
) {
  const { padding = 'none', filtration = 'superlevel' } = o;
  return {
    prediction: prediction.raw,
    target: target?.raw,
    shape: prediction.shape,
    axes,
    caller: callers.indexOf(op),
    degrees: o.dims ? o.dims.reduce((mask, k) => mask | (1 << k), 0) : 7,
    filtration: ['sublevel', 'superlevel', 'both'].indexOf(filtration),
    intersection: o.comparison === 'intersection',
    positiveBars: o.imageBars === 'positive',
    essential: o.essential === true,
    padding: typeof padding === 'number' ? 1 : padding === 'minmax' ? 2 : 0,
    pad: typeof padding === 'number' ? padding : 0,
    minLength: asValueOf(prediction, o.minLength ?? 0),
    threshold: asValueOf(prediction, o.threshold ?? 0.5),
    cancel: cancelFlag(o.signal),
  };
}

const flags = new WeakMap<AbortSignal, Int32Array>();

/** An array that native code looks at in every long loop, set once the signal is aborted. */
function cancelFlag(signal: AbortSignal | undefined): Int32Array | undefined {
  if (!signal) return undefined;
  const known = flags.get(signal);
  if (known) return known;
  const flag = new Int32Array([signal.aborted ? 1 : 0]);
  signal.addEventListener('abort', () => flag.fill(1), { once: true });
  flags.set(signal, flag);
  return flag;
}

/** Waits for `work`, whose failure after an abort is the signal's reason. */
export async function unlessAborted<R>(
  signal: AbortSignal | undefined,
  work: Promise<R>,
): Promise<R> {
  try {
    return await work;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw error;
  }
}
