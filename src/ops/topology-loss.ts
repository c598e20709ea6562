// The topological loss of Hu et al.: see the doc comment below.
import { defineOp, type Inputs, type Needs, type Op } from '../autograd.js';
import {
  type BarcodeLossOptions,
  barcodeBackward,
  barcodeForward,
  stoppable,
} from '../barcode-loss.js';
import { checkMatching, prepared } from '../betti-images.js';
import { asValueOf, type BettiOptions } from '../betti-options.js';
import { type DType, floats, type LossDType, type MaybeFloat } from '../dtype.js';
import { expectDType, expectNumber, expectOnCpu, expectOneOf, fail, show } from '../expect.js';
import { checkReduction, type LossReduction } from '../loss-options.js';
import type { Tensor } from '../tensor.js';

const name = 'topologyLoss';

/** The default of `perfect`. */
const rightAlready = 0.99;

/** Options of `topologyLoss`. */
export interface TopologyLossOptions<R extends LossReduction = LossReduction>
  extends Pick<
    BettiOptions,
    'filtration' | 'dims' | 'padding' | 'weights' | 'essential' | 'fromLogits' | 'signal'
  > {
  /**
   * Which bars of the prediction answer those of the target: 'wasserstein' (default), those of the
   * matching of least cost; 'longest', as many as the target has, the longest.
   */
  matching?: 'wasserstein' | 'longest' | undefined;
  /** Bars of at most this length are left out of both barcodes; default 0, 'longest' 0.03. */
  minLength?: number | undefined;
  /** Of 'longest' alone: bars longer than this are right already; default 0.99. */
  perfect?: number | undefined;
  /** Default 'mean', over B·C; 'none' gives [B, C]. */
  reduction?: R | undefined;
}

type Options = TopologyLossOptions;
type In = Inputs<'prediction' | 'target', never>;

/** Refuses what has no effect but with another matching; its default has none anywhere. */
function checkEffect<V>(key: string, value: V | undefined, byDefault: V, matching: string): void {
  if (value === undefined || value === byDefault) return;
  const wanted = `${key} to be ${byDefault} unless matching is '${matching}'`;
  fail(name, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${show(value)}`);
}

function check({ prediction, target }: In, options: Options): void {
  expectOnCpu(name, 'prediction', prediction);
  expectDType(name, 'prediction', prediction, floats);
  checkMatching(name, prediction, target, options, 2, true, false);
  const { matching = 'wasserstein', perfect, reduction } = options;
  expectOneOf(name, 'matching', matching, ['wasserstein', 'longest']);
  if (perfect !== undefined) expectNumber(name, 'perfect', perfect, { min: 0 });
  checkReduction(name, reduction);
  if (matching === 'wasserstein') {
    checkEffect('perfect', perfect, rightAlready, 'longest');
  } else {
    checkEffect('essential', options.essential, false, 'wasserstein');
    checkEffect('weights.unmatchedTarget', options.weights?.unmatchedTarget, 1, 'wasserstein');
  }
}

function forward({ prediction, target }: In, options: Options, needs: Needs) {
  const isLongest = options.matching === 'longest';
  const { perfect = rightAlready, minLength = isLongest ? 0.03 : 0 } = options;
  const images = prepared(name, prediction, target, options);
  const own = { ...options, minLength } as BarcodeLossOptions;
  return barcodeForward(name, prediction, images, own, needs, {
    kind: isLongest ? 1 : 0,
    perfect: asValueOf(images.prediction, perfect),
  });
}

const op = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  options: [
    'filtration',
    'dims',
    'padding',
    'weights',
    'essential',
    'fromLogits',
    'signal',
    'matching',
    'minLength',
    'perfect',
    'reduction',
  ],
  nondifferentiable: ['target'],
  check,
  forward,
  backward: barcodeBackward,
});

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  target: Tensor,
  options?: TopologyLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * The topological loss of Hu et al.: how far the barcode of each predicted image is from its
 * target's, wherever in the images the features are (`bettiMatchingLoss` matches them in space).
 *
 * prediction [B, C, ...spatial] of any float dtype, 1 to 3 spatial axes, probabilities (or logits
 * with `fromLogits`); target the same shape, or class indices [B, ...spatial], each class against the
 * rest (a single channel is class 1) -> [] for 'mean' (over B·C) and 'sum', [B, C] for 'none';
 * float32, or float64 for float64.
 * With bars (b, d) of the prediction and (b', d') of the target, summed over `dims`:
 *
 *   'wasserstein'  least of  Σ matched [(b - b')² + (d - d')²]  +  ½ Σ unmatched (b - d)²
 *   'longest'      Σ fixed [(b - 1)² + d²]  +  Σ removed (b - d)²
 *
 * where as many bars as the target has, the longest, are fixed unless they are longer than
 * `perfect`, and the others are removed; births and deaths of superlevels (of sublevels 0 and 1
 * change places). `weights`: matched or fixed, unmatchedPrediction or removed, unmatchedTarget.
 * `essential` adds (max p - max t)² of the components that never die to 'wasserstein'; 'longest' takes
 * neither that nor another `weights.unmatchedTarget` than 1, 'wasserstein' no other `perfect` than 0.99.
 *
 * Differentiable in prediction, indices and matching held constant. Equal bits in every run, for any
 * number of threads. The matching is exact: fast where one side has few kinds of bars, as masks
 * have, cubic in the number of bars where all differ (`minLength` thins them out).
 *
 * Hu et al., "Topology-preserving deep image segmentation", NeurIPS 2019, eq. 3; its code for 'longest', where
 * removal counts twice this term with the same gradient, the targets being held constant there.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE naming the first element that is not finite; ERR_OUT_OF_RANGE for a class
 *   index; OutOfMemoryError for images beyond the free memory.
 * @example const loss = sp.topologyLoss(probabilities, mask, { minLength: 0.05 })
 */
export const topologyLoss = stoppable(op, 2) as unknown as Op<Signature>;
