// Skeletons of masks by thinning: see the doc comments below.
import { defineOp, type Op } from '../autograd.js';
import type { DType } from '../dtype.js';
import { expectBoolean, expectNumber, expectOnCpu, fail, showShape } from '../expect.js';
import { axesOf, expectThinningMemory, imagesOf } from '../image-axes.js';
import { launch, native } from '../native.js';
import type { Shape } from '../shape.js';
import { isClassIndex } from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

/** Options of `skeletonize`. */
export interface SkeletonizeOptions {
  /** Each value above 0 apart, as of class indices; default false: all that is above 0 as one. */
  perClass?: boolean | undefined;
}

/** Options of `tubedSkeleton`. */
export interface TubedSkeletonOptions extends SkeletonizeOptions {
  /** How far the tube reaches from the skeleton, in steps along axes; default 2. */
  radius?: number | undefined;
}

/** Of class indices [B, ...spatial] and masks [B, C, ...spatial], what comes before the image. */
const axesBefore = (mask: Tensor) => (isClassIndex(mask.dtype) ? 1 : 2);

function check(name: string, mask: Tensor, { perClass = false, radius = 0 }: TubedSkeletonOptions) {
  expectOnCpu(name, 'mask', mask);
  const spatial = mask.rank - axesBefore(mask);
  if (spatial !== 2 && spatial !== 3) {
    const wanted =
      axesBefore(mask) === 1
        ? '[B, H, W] or [B, D, H, W] (class indices)'
        : '[B, C, H, W] or [B, C, D, H, W]';
    const got = `${mask.dtype} ${showShape(mask.shape)}`;
    fail(name, 'ERR_SHAPE', `expected mask to have shape ${wanted}, got ${got}`);
  }
  expectBoolean(name, 'perClass', perClass);
  expectNumber(name, 'radius', radius, { min: 0, max: 1000, integer: true });
  expectThinningMemory(name, mask.shape, axesBefore(mask));
}

function thinned(mask: Tensor, radius: number, perClass = false): Tensor {
  const before = axesBefore(mask);
  const result = empty(mask.shape, mask.dtype);
  const own = {
    mask: mask.raw,
    result: result.raw,
    images: imagesOf(mask.shape, before),
    perValue: perClass,
    radius,
  };
  launch(native.skeletonize, own, axesOf(mask.shape, before));
  return result;
}

type Thinning<Options> = Op<
  <D extends DType, S extends Shape>(mask: Tensor<D, S>, options?: Options) => Tensor<D, S>
>;

/**
 * The skeleton of masks: their middle lines, one voxel wide, with the same components, holes and
 * cavities. Voxels touch in the mask by corners, in the background by faces alone.
 *
 * mask [B, C, H, W] or [B, C, D, H, W] (bool, uint8, any float dtype: above 0 is the mask), or class
 * indices [B, H, W] or [B, D, H, W] (int32, int64: above 0, or each class apart with `perClass`)
 * -> the same shape and dtype, with the mask's values on the skeleton and 0 elsewhere.
 *
 * In turn for each of four (in volumes six) directions, the mask's border there is found, without
 * ends of lines, and deleted voxel by voxel where that changes no topology, until nothing changes. Not
 * differentiable. Same input, same result on every machine.
 *
 * Lee, Kashyap and Chu 1994 (CVGIP 56, 462-478: the order of deletions), in 2-D too; simple
 * voxels by Bertrand and Malandain 1994 (Pattern Recognition Letters 15, 169-175: one
 * component of the 26-neighbours in the mask, one touching by faces in the background's 18).
 *
 * @throws ERR_SHAPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments.
 * @example const lines = sp.skeletonize(probabilities.gt(0.5))
 */
export const skeletonize: Thinning<SkeletonizeOptions> = defineOp({
  name: 'skeletonize',
  builtin: true,
  inputs: ['mask'],
  options: ['perClass'],
  check: ({ mask }: { mask: Tensor }, options: SkeletonizeOptions) =>
    check('skeletonize', mask, options),
  forward: ({ mask }: { mask: Tensor }, { perClass }: SkeletonizeOptions) => ({
    output: thinned(mask, 0, perClass),
  }),
});

/**
 * The skeleton of masks in a tube, which `skeletonRecallLoss` asks to be covered: `skeletonize`,
 * dilated `radius` times by the cross, where the mask is. Made once a target, as by a loader, it
 * spares the loss the thinning (`tubed`).
 *
 * mask as `skeletonize`'s -> the same shape and dtype, with the mask's values in the tube.
 *
 * Kirchhoff et al., ECCV 2024 ("Skeleton Recall Loss", algorithm 1), with radius 2 and all classes
 * thinned as one. Not differentiable.
 *
 * @throws as `skeletonize`.
 * @example const tube = sp.tubedSkeleton(labels)
 */
export const tubedSkeleton: Thinning<TubedSkeletonOptions> = defineOp({
  name: 'tubedSkeleton',
  builtin: true,
  inputs: ['mask'],
  options: ['perClass', 'radius'],
  check: ({ mask }: { mask: Tensor }, options: TubedSkeletonOptions) =>
    check('tubedSkeleton', mask, options),
  forward: ({ mask }: { mask: Tensor }, { perClass, radius = 2 }: TubedSkeletonOptions) => ({
    output: thinned(mask, radius, perClass),
  }),
});
