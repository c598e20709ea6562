// Soft skeletons of images: see the doc comment below. Nothing is stored for backward.
import { defineOp, type Gradients, type Op } from '../autograd.js';
import { type DType, dtypeInfo, floats, type MaybeFloat } from '../dtype.js';
import { expectDType, expectOnCpu } from '../expect.js';
import { axesOf, expectIterations, expectSpatial, imagesOf, isTracked } from '../image-axes.js';
import { launch, native } from '../native.js';
import type { Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'softSkeleton';

/** Options of `softSkeleton`. */
export interface SoftSkeletonOptions {
  /**
   * How often the image is eroded: at least half the width of the widest structure in pixels;
   * default 10, to at most 1000.
   */
  iterations?: number | undefined;
}

interface Saved {
  image: Tensor;
  iterations: number;
}

function fields({ image, iterations }: Saved) {
  const own = { image: image.raw, images: imagesOf(image.shape, 2), iterations };
  return Object.assign(own, axesOf(image.shape, 2));
}

/**
 * The soft skeleton of images by differentiable min and max pooling: of probabilities, what stays of
 * each structure's middle line.
 *
 *   E_0 = image,  E_j+1 = erode(E_j),  D_j = relu(E_j - dilate(E_j+1)),  j = 0 to iterations
 *   S_0 = D_0,  S_j = S_j-1 + relu(D_j - S_j-1 D_j);  the result is the last S_j
 *
 * where erode takes the least of a pixel and its neighbours along each axis and dilate the greatest
 * of the pixels that touch it, within the image.
 *
 * image [B, C, H, W] or [B, C, D, H, W] of any float dtype -> the same. 16-bit images compute in
 * float32. A NaN gives NaN there, and maybe where windows reach it.
 *
 * Differentiable, with torch's choices where there is no one derivative: of equal pixels in a window
 * the first in memory takes the gradient, equal minima of axes each take half, of three first those
 * of planes and rows, then theirs and the columns'; relu'(0) = 0. Nothing is stored: backward
 * erodes again, in one sweep over rows (planes of volumes), of which it holds some 650 at 10
 * iterations and 24,000 at 100 (the square, up to two images an iteration), for as many images at
 * once as there are threads; the call refuses what the free memory would not hold. Same input, same
 * bits for any number of threads.
 *
 * Shit et al., CVPR 2021 ("clDice", algorithm 1).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   OutOfMemoryError, before anything is computed.
 * @example const skeleton = sp.softSkeleton(probabilities, { iterations: 5 })
 */
export const softSkeleton: Op<
  <D extends DType, S extends Shape>(
    image: Tensor<D, S> & MaybeFloat<D, 'image'>,
    options?: SoftSkeletonOptions,
  ) => Tensor<D, S>
> = defineOp({
  name,
  builtin: true,
  inputs: ['image'],
  options: ['iterations'],
  check({ image }: { image: Tensor }, { iterations = 10 }: SoftSkeletonOptions) {
    expectOnCpu(name, 'image', image);
    expectDType(name, 'image', image, floats);
    expectSpatial(name, 'image', image);
    const { bytes } = dtypeInfo[image.dtype];
    expectIterations(name, iterations, image, isTracked(image) ? 2 * bytes : bytes);
  },
  forward({ image }: { image: Tensor }, { iterations = 10 }: SoftSkeletonOptions) {
    const output = empty(image.shape, image.dtype);
    const saved: Saved = { image, iterations };
    launch(native.softSkeletonForward, { skeleton: output.raw }, fields(saved));
    return { output, saved };
  },
  backward(saved: Saved, upstream: Tensor): Gradients {
    const image = empty(saved.image.shape, saved.image.dtype);
    launch(
      native.softSkeletonBackward,
      {
        upstream: upstream.raw,
        grad: image.raw,
      },
      fields(saved),
    );
    return { image };
  },
});
