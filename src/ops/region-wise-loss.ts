// Region-wise loss and its maps: see the doc comments below. The loss is a sum of probability times
// map over each channel, which the kernel of the overlap losses gives with a quotient of 1 below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType, type MaybeFloat } from '../dtype.js';
import { expectDType, expectNumber, expectOnCpu, fail, show, showShape } from '../expect.js';
import { expectMemoryOfImages } from '../free-memory.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { sizeOf } from '../shape.js';
import {
  activationNumber,
  activationOf,
  checkFromLogits,
  checkIgnoreIndex,
  checkMaps,
  defaultIgnoreIndex,
  type FromLogits,
  hasClassIndices,
  isClassIndex,
  usualOf,
} from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `regionWiseMap`. */
export interface RegionWiseMapOptions {
  /** The number of classes; needed for class indices. */
  classes?: number | undefined;
  /** Sizes of a voxel, one a spatial axis; default 1 each. */
  spacing?: readonly number[] | undefined;
  /** The value outside of a region, of all classes or of each; default 1. */
  outside?: number | readonly number[] | undefined;
  /** Class index whose voxels are in no region and 0 in the map; default -100. */
  ignoreIndex?: number | undefined;
}

/** Options of `regionWiseLoss`. */
export interface RegionWiseLossOptions<R extends LossReduction = LossReduction>
  extends Omit<RegionWiseMapOptions, 'classes'> {
  /**
   * What makes probabilities of the prediction: `true`, softmax over the channels or, of a single one, a
   * sigmoid; 'softmax' (at least two channels) or 'sigmoid'. Default false: it holds probabilities.
   */
  fromLogits?: FromLogits | undefined;
  /** Default 'mean', over images and channels; 'none' gives [B, C]. */
  reduction?: R | undefined;
}

type MapIn = Inputs<'target', never>;
type In = Inputs<'prediction' | 'target', never>;

function checkMapOptions(op: string, o: RegionWiseMapOptions, axes: number, channels: number) {
  const { spacing, outside = 1 } = o;
  const list = (key: string, values: unknown, length: number, what: string) => {
    if (!Array.isArray(values)) {
      fail(
        op,
        'ERR_INVALID_TYPE',
        `expected ${key} to be an array of numbers, got ${show(values)}`,
      );
    }
    if (values.length !== length) {
      const got = `${values.length} entries`;
      fail(op, 'ERR_SHAPE', `expected ${key} to have ${length} entries, one ${what}, got ${got}`);
    }
  };
  if (spacing !== undefined) {
    list('spacing', spacing, axes, 'a spatial axis');
    for (const size of spacing) expectNumber(op, 'spacing', size, { above: 0 });
  }
  if (typeof outside !== 'number') list('outside', outside, channels, 'a channel');
  for (const x of [outside].flat()) expectNumber(op, 'outside', x);
}

/**
 * The map of a target into `map`, of the shape [B, C, ...spatial]; into `weights`, [B, ...spatial], how
 * much each voxel counts.
 */
function computeMap(
  caller: 0 | 1,
  target: Tensor,
  map: Tensor,
  o: RegionWiseMapOptions,
  weights?: Tensor,
): void {
  const [batch, channels, ...shape] = map.shape;
  const { outside = 1, spacing = shape.map(() => 1) } = o;
  launch(native.regionWiseMap, {
    target: target.raw,
    shape,
    batch,
    channels,
    labels: hasClassIndices({ maps: map, target }),
    ignore: o.ignoreIndex ?? defaultIgnoreIndex,
    caller,
    spacing: Float64Array.from(spacing),
    outside: Float64Array.from({ length: channels }, (_, c) => [outside].flat()[c] ?? outside),
    map: map.raw,
    weights: weights?.raw,
  });
}

/** The map and classes; a mask and its distances. */
const bytesOfMaps = { each: 8, scratch: 9 };

const mapName = 'regionWiseMap';

function checkMap({ target }: MapIn, o: RegionWiseMapOptions): void {
  expectOnCpu(mapName, 'target', target);
  expectDType(mapName, 'target', target, [...floats, 'int32', 'int64', 'bool', 'uint8']);
  const { shape, dtype } = target as Tensor;
  const { classes } = o;
  const isIndex = isClassIndex(dtype);
  if (classes !== undefined) expectNumber(mapName, 'classes', classes, { integer: true, min: 1 });
  if (isIndex !== (classes !== undefined)) {
    const wanted = isIndex ? 'for class indices' : 'only for class indices (int32, int64)';
    fail(mapName, 'ERR_INVALID_VALUE', `expected classes ${wanted}, got ${show(classes)}`);
  }
  const axes = shape.length - (isIndex ? 1 : 2);
  if (axes < 1 || axes > 3) {
    const form = isIndex ? '[B, ...spatial]' : '[B, C, ...spatial]';
    const wanted = `${form} with 1 to 3 spatial axes`;
    fail(mapName, 'ERR_SHAPE', `expected target to have shape ${wanted}, got ${showShape(shape)}`);
  }
  checkMapOptions(mapName, o, axes, classes ?? shape[1]);
  checkIgnoreIndex(mapName, o.ignoreIndex, isIndex);
  const spatial = shape.slice(shape.length - axes);
  expectMemoryOfImages(mapName, shape[0] * (classes ?? shape[1]), sizeOf(spatial), bytesOfMaps);
}

type MapSignature = (target: Tensor, options?: RegionWiseMapOptions) => Tensor<'float32'>;

/**
 * The maps of `regionWiseLoss`: for each class -d / max d inside its region, d being the Euclidean distance
 * to the nearest voxel outside, and `outside` there; -1 all over where the region is everything; 0 at
 * voxels of `ignoreIndex`, which are outside of every region.
 *
 * target masks [B, C, ...spatial] (bool, uint8, or floats of at least 0.5), or class indices [B, ...spatial]
 * (int32, int64) with `classes`, 1 to 3 spatial axes -> [B, C, ...spatial] float32. Exact distances, O(voxels).
 *
 * Valverde and Tohka, "Region-wise loss for biomedical image segmentation", Pattern Recognition 2023,
 * section 3.3 (rectified maps).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE for masks that are not finite; ERR_OUT_OF_RANGE for a class index.
 * @example const map = sp.regionWiseMap(labels, { classes: 3 })
 */
export const regionWiseMap = defineOp({
  name: mapName,
  builtin: true,
  inputs: ['target'],
  options: ['classes', 'spacing', 'outside', 'ignoreIndex'],
  nondifferentiable: ['target'],
  check: checkMap,
  forward({ target }: MapIn, o: RegionWiseMapOptions) {
    const [batch, ...rest] = (target as Tensor).shape;
    const shape = o.classes === undefined ? [batch, ...rest] : [batch, o.classes, ...rest];
    const output = empty(shape, 'float32');
    computeMap(0, target, output, o);
    return { output };
  },
}) as unknown as Op<MapSignature>;

const name = 'regionWiseLoss';

interface Saved {
  t: In;
  options: RegionWiseLossOptions;
  map: Tensor;
  weights?: Tensor;
  slopes: Tensor;
}

const form = { shape: '[B, C, ...spatial] (1 to 3 spatial axes)', axes: [1, 3] } as const;
const imagesIn = ({ prediction, target }: In) => ({ maps: prediction as Tensor, target });

function check(t: In, options: RegionWiseLossOptions): void {
  const { prediction } = t;
  checkMaps(name, imagesIn(t), form);
  checkMapOptions(name, options, prediction.shape.length - 2, prediction.shape[1]);
  checkIgnoreIndex(name, options.ignoreIndex, hasClassIndices(imagesIn(t)));
  const { fromLogits, reduction } = options;
  checkFromLogits(name, fromLogits, prediction);
  const [batch, channels, ...spatial] = prediction.shape;
  expectMemoryOfImages(name, batch * channels, sizeOf(spatial), bytesOfMaps);
  checkReduction(name, reduction);
}

function fields(
  prediction: Tensor,
  map: Tensor,
  weights: Tensor | undefined,
  o: RegionWiseLossOptions,
) {
  const [batch, channels, ...spatial] = prediction.shape;
  return {
    image: prediction.raw,
    target: map.raw,
    weight: weights?.raw,
    batch,
    channels,
    voxels: sizeOf(spatial),
    labels: false,
    ignore: -1,
    how: activationNumber(activationOf(o.fromLogits, usualOf(prediction))),
    squared: false,
    caller: 0,
    overBatch: false,
    firstChannel: 0,
    reduction: reductions.indexOf(o.reduction ?? 'mean'),
  };
}

function forward(t: In, options: RegionWiseLossOptions, needs: Needs) {
  const { prediction, target } = t;
  const { shape, dtype } = prediction as Tensor;
  const wide = accumulatorOf(dtype);
  const map = empty(shape, wide);
  const weights = hasClassIndices(imagesIn(t)) ? empty(target.shape, wide) : undefined;
  computeMap(1, target, map, options, weights);
  const given = fields(prediction, map, weights, options);
  const output = empty(options.reduction === 'none' ? shape.slice(0, 2) : [], wide);
  const slopes = needs.prediction ? empty([shape[0], shape[1], 2], 'float64') : undefined;
  launch(
    native.overlapForward,
    {
      // 1 - (1 - sum / voxels) of the products.
      k: -1 / given.voxels,
      u: 0,
      a: 0,
      b: 0,
      smooth: 1,
      exponent: 1,
      loss: output.raw,
      slopes: slopes?.raw,
    },
    given,
  );
  const saved = slopes && ({ t, options, map, weights, slopes } satisfies Saved);
  return { output, saved };
}

function backward({ t, options, map, weights, slopes }: Saved, upstream: Tensor): Gradients {
  const grad = empty(t.prediction.shape, t.prediction.dtype);
  launch(
    native.overlapBackward,
    {
      slopes: slopes.raw,
      upstream: upstream.raw,
      grad: grad.raw,
    },
    fields(t.prediction, map, weights, options),
  );
  return { prediction: grad };
}

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  prediction: Tensor<D> & MaybeFloat<D>,
  target: Tensor,
  options?: RegionWiseLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? readonly [number, number] : readonly []>;

/**
 * Region-wise loss: the mean of probability times a map that rewards being right the more the deeper
 * inside a region a voxel lies, and costs the same wherever it is wrong.
 *
 *   loss = mean over voxels of p z,  z = `regionWiseMap` of the target
 *
 * (over voxels that are not of `ignoreIndex`; 0 of an image of no other).
 *
 * prediction [B, C, ...spatial] of any float dtype, 1 to 3 spatial axes, probabilities (or logits with
 * `fromLogits`); target class indices [B, ...spatial] (int32, int64) or masks alike -> [] for 'mean' and 'sum'
 * over images and channels, [B, C] for 'none'; float32, or float64 for float64. Negative where the
 * segmentation is good. Differentiable in prediction. Equal bits in every run, for any number of threads.
 *
 * Valverde and Tohka, "Region-wise loss for biomedical image segmentation", Pattern Recognition 2023.
 *
 * @throws as `regionWiseMap`.
 * @example const loss = sp.regionWiseLoss(logits, labels, { fromLogits: true })
 */
export const regionWiseLoss = defineOp({
  name,
  builtin: true,
  inputs: ['prediction', 'target'],
  options: ['fromLogits', 'spacing', 'outside', 'ignoreIndex', 'reduction'],
  nondifferentiable: ['target'],
  check,
  forward,
  backward,
}) as unknown as Op<Signature>;
