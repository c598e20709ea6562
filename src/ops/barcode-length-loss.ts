// The loss of the lengths of bars, given how many there should be: see the doc comment below.
import { defineOp, type Inputs, type Needs, type Op } from '../autograd.js';
import {
  type BarcodeLossOptions,
  barcodeBackward,
  barcodeForward,
  stoppable,
} from '../barcode-loss.js';
import { checkSpatial, preparedImage } from '../betti-images.js';
import { checkBettiMemory } from '../betti-memory.js';
import { type BettiOptions, checkBettiOptions } from '../betti-options.js';
import {
  accumulatorOf,
  type DType,
  dtypeInfo,
  floats,
  type LossDType,
  type MaybeFloat,
} from '../dtype.js';
import { expectDType, expectNumber, expectOnCpu, fail, show } from '../expect.js';
import { checkReduction, type LossReduction } from '../loss-options.js';
import { checkFromLogits } from '../targets.js';
import type { Tensor } from '../tensor.js';

const name = 'barcodeLengthLoss';

/** Options of `barcodeLengthLoss`. */
export interface BarcodeLengthLossOptions<R extends LossReduction = LossReduction>
  extends Pick<
    BettiOptions,
    'filtration' | 'dims' | 'padding' | 'minLength' | 'fromLogits' | 'signal'
  > {
  /**
   * The number of features of each degree: one list with an entry a spatial axis for all channels,
   * or one for each.
   */
  bettiNumbers: readonly number[] | readonly (readonly number[])[];
  /** Of lengths; default 2, at least 1. */
  exponent?: number | undefined;
  /** Counts the component that never dies; default true. */
  essential?: boolean | undefined;
  /** Default 'mean', over B·C; 'none' gives [B, C]. */
  reduction?: R | undefined;
}

type Options = BarcodeLengthLossOptions;
type In = Inputs<'prediction', never>;

const rowsOf = ({ bettiNumbers }: Options): readonly (readonly number[])[] =>
  Array.isArray(bettiNumbers[0])
    ? (bettiNumbers as readonly (readonly number[])[])
    : [bettiNumbers as readonly number[]];

function checkNumbers(options: Options, channels: number, axes: number): void {
  const { bettiNumbers } = options;
  if (!Array.isArray(bettiNumbers)) {
    const wanted = 'bettiNumbers to be an array of numbers of features';
    fail(name, 'ERR_INVALID_TYPE', `expected ${wanted}, got ${show(bettiNumbers)}`);
  }
  const rows = rowsOf(options);
  const fits = rows.every((row) => Array.isArray(row) && row.length === axes);
  if (!fits || (rows.length !== 1 && rows.length !== channels)) {
    const wanted = `one entry for each of ${axes} axes, for all or each of ${channels} channels`;
    fail(name, 'ERR_SHAPE', `expected bettiNumbers to have ${wanted}, got ${show(bettiNumbers)}`);
  }
  for (const n of rows.flat())
    expectNumber(name, 'bettiNumbers', n, { integer: true, min: 0, max: 2 ** 31 - 1 });
}

function check({ prediction }: In, options: Options): void {
  expectOnCpu(name, 'prediction', prediction);
  expectDType(name, 'prediction', prediction, floats);
  checkSpatial(name, 'prediction', prediction, 2);
  const axes = prediction.rank - 2;
  checkNumbers(options, prediction.shape[1], axes);
  checkBettiOptions(name, options, axes, true);
  checkFromLogits(name, options.fromLogits, prediction);
  const work = { matches: false, items: 1, keeps: true, padding: options.padding };
  // The image, its gradient and what backward makes of it.
  const each = 3 * dtypeInfo[accumulatorOf(prediction.dtype)].bytes;
  checkBettiMemory(name, prediction.shape, axes, work, each * prediction.size);
  const { exponent, reduction } = options;
  if (exponent !== undefined) expectNumber(name, 'exponent', exponent, { min: 1 });
  checkReduction(name, reduction);
}

function forward({ prediction }: In, options: Options, needs: Needs) {
  const own = { ...options, essential: options.essential ?? true } as BarcodeLossOptions;
  const images = { prediction: preparedImage(name, prediction, options) };
  return barcodeForward(name, prediction, images, own, needs, {
    kind: 2,
    exponent: options.exponent ?? 2,
    numbers: Int32Array.from(rowsOf(options).flat()),
  });
}

const op = defineOp({
  name,
  builtin: true,
  inputs: ['prediction'],
  options: [
    'filtration',
    'dims',
    'padding',
    'minLength',
    'fromLogits',
    'signal',
    'bettiNumbers',
    'exponent',
    'essential',
    'reduction',
  ],
  check,
  forward,
  backward: barcodeBackward,
});

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  options: BarcodeLengthLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The loss of the lengths of bars, where no target but only the number of features is known: the
 * longest are to be long, the others short.
 *
 * prediction [B, C, ...spatial] of any float dtype, 1 to 3 spatial axes, probabilities (or logits
 * with `fromLogits`) -> [] for 'mean' (over B·C) and 'sum', [B, C] for 'none'; float32, or float64
 * for float64. With the bars of degree k from the longest on and n_k = bettiNumbers[k], over `dims`:
 *
 *   L = Σ_k [ Σ i <= n_k (1 - |b_i - d_i|^q)  +  Σ i > n_k |b_i - d_i|^q ],  q = exponent
 *
 * where a missing bar has length 0. Degree 0 counts the component that never dies as dying at 0 (of
 * sublevels, 1), so `bettiNumbers: [1, 0]` asks for one disc; `essential: false` leaves it out. Bars
 * of at most `minLength` are left out.
 *
 * Differentiable in prediction, indices held constant; of q = 1 the slope is the sign of b - d. Equal
 * bits in every run, for any number of threads.
 *
 * Clough et al., "A topological loss function for deep-learning based image segmentation using
 * persistent homology", TPAMI 2020, eq. 4; Brüel-Gabrielsson et al., "A topology layer", AISTATS 2020.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE naming the first element that is not finite; OutOfMemoryError for images beyond
 *   the free memory.
 * @example const loss = sp.barcodeLengthLoss(probabilities, { bettiNumbers: [1, 1] }) // a ring
 */
export const barcodeLengthLoss = stoppable(op, 1) as unknown as Op<Signature>;
