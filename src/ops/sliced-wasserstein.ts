// Optimal transport of clouds along random directions: see the doc comment below.
import { defineOp, type Inputs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, type LossDType } from '../dtype.js';
import { expectDType, expectNumber, expectShape, fail, showShape } from '../expect.js';
import { takeBlocks } from '../generator.js';
import { checkLines, type LineOptions, linesBackward, linesForward } from '../lines.js';
import { launch, native } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import { normalize } from './reduce.js';

/** Options of `slicedWasserstein`. */
export interface SlicedWassersteinOptions extends LineOptions {
  /** How many random directions; default 50. */
  projections?: number | undefined;
  /** Draws the directions of this seed; by default they are drawn as `randn` draws, anew each time. */
  seed?: number | undefined;
  /** [L, D] in place of random ones, of the value's dtype, used as they are. Not differentiable. */
  directions?: Tensor | undefined;
}

const name = 'slicedWasserstein';
type In = Inputs<'x' | 'y', 'a' | 'b' | 'directions'>;

function check(t: In, options: SlicedWassersteinOptions): void {
  const { projections, seed } = options;
  checkLines(name, t, options, 1);
  expectNumber(name, 'projections', projections ?? 50, { min: 1, integer: true });
  expectNumber(name, 'seed', seed ?? 0, { min: 0, integer: true });
  const { x, directions } = t;
  if (!directions) return;
  if (projections !== undefined || seed !== undefined) {
    const message = 'expected directions, or projections and seed, got both';
    fail(name, 'ERR_INVALID_VALUE', message);
  }
  const { shape } = directions as Tensor;
  const width = x.shape[x.rank - 1];
  expectDType(name, 'directions', directions, [accumulatorOf(x.dtype)]);
  expectShape(
    name,
    'directions',
    directions,
    [shape[0] ?? 1, width],
    `features of x ${showShape(x.shape)}`,
  );
  if (shape[0] === 0) {
    fail(name, 'ERR_SHAPE', `expected at least one direction, got ${showShape(shape)}`);
  }
}

/** Unit vectors, uniform on the sphere. */
function drawn(x: Tensor, { projections = 50, seed }: SlicedWassersteinOptions): Tensor {
  const normals = empty([projections, x.shape[x.rank - 1]], accumulatorOf(x.dtype));
  const words = normals.dtype === 'float64' ? 2 : 1;
  const draw =
    seed === undefined ? takeBlocks(Math.ceil((normals.size * words) / 4)) : { seed, offset: 0 };
  launch(native.randomNormal, { out: normals.raw }, draw);
  return normalize(normals, { dim: 1 });
}

/**
 * Sliced Wasserstein distance between clouds x and y of weights a and b: the mean of `emd1d` over
 * their projections on random directions, W_p^p without a root. O(L (N + M) (D + log(N + M))).
 *
 * x [N, D] or [B, N, D], y [M, D] or [B, M, D] of one float dtype -> [] or [B]; float32, or float64
 * for float64 points. The directions are shared by the batch. The same `seed` gives the same bits;
 * without one the library's generator goes on (`manualSeed`).
 *
 *   1/L Σ_l W_p^p(⟨x, θ_l⟩, ⟨y, θ_l⟩), |θ_l| = 1
 *
 * Differentiable in x, y, a and b, with `emd1d`'s choices at kinks. Bonneel et al. 2015.
 *
 * @throws as `emd1d`; ERR_INVALID_VALUE for directions beside projections or seed.
 * @example sp.slicedWasserstein(x, y, { projections: 100, seed: 1 }).backward()
 */
export const slicedWasserstein: Op<
  <D extends DType>(
    x: Tensor<D>,
    y: Tensor<NoInfer<D>>,
    options?: SlicedWassersteinOptions,
  ) => Tensor<LossDType<D>>
> = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'y'],
  optionTensors: ['a', 'b', 'directions'],
  options: ['p', 'projections', 'seed'],
  nondifferentiable: ['directions'],
  check,
  forward(t: In, options: SlicedWassersteinOptions, needs) {
    const directions = t.directions ?? drawn(t.x, options);
    return linesForward({ t, p: options.p ?? 2, features: 1, directions }, needs);
  },
  backward: linesBackward,
});
