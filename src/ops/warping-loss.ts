// Homotopy warping loss: see the doc comment below. Forward saves the true class of critical voxels.
import { defineOp, type Gradients, type Inputs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, type LossDType, type MaybeFloat } from '../dtype.js';
import { expectOneOf } from '../expect.js';
import { expectMemoryOfImages } from '../free-memory.js';
import { checkReduction, type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Shape, sizeOf } from '../shape.js';
import { checkIgnoreIndex, checkMaps, defaultIgnoreIndex, hasClassIndices } from '../targets.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'warpingLoss';
const connectivities = ['faces', 'corners'] as const;

/** Options of `warpingLoss`. */
export interface WarpingLossOptions<R extends LossReduction = LossReduction> {
  /**
   * What joins voxels of the foreground: 'faces' (default; 4 and 6 neighbours) or 'corners' (8 and
   * 26). The background has the other.
   */
  connectivity?: (typeof connectivities)[number] | undefined;
  /**
   * Class index whose voxels are right, whatever is predicted there, so that none of them is critical;
   * default -100.
   */
  ignoreIndex?: number | undefined;
  /** Default 'mean', over all voxels of the batch but ignored ones; 'none' gives [B, ...spatial]. */
  reduction?: R | undefined;
}

type In = Inputs<'logits' | 'target', never>;
const imagesOf = ({ logits, target }: In) => ({ maps: logits as Tensor, name: 'logits', target });

interface Saved {
  t: In;
  options: WarpingLossOptions;
  critical: Tensor;
}

const form = { shape: '[B, C, H, W] or [B, C, D, H, W]', axes: [2, 3] } as const;

function check(t: In, { connectivity, ignoreIndex, reduction }: WarpingLossOptions): void {
  checkMaps(name, imagesOf(t), form);
  checkIgnoreIndex(name, ignoreIndex, hasClassIndices(imagesOf(t)));
  if (connectivity !== undefined) expectOneOf(name, 'connectivity', connectivity, connectivities);
  checkReduction(name, reduction);
  // Classes and what is critical; distances and their order (native/ops/warping/warp.h).
  const [batch, channels, ...spatial] = t.logits.shape;
  const bytes = { each: 1 + 8 / channels, scratch: 28 };
  expectMemoryOfImages(name, batch * channels, sizeOf(spatial), bytes);
}

function fields(t: In, o: WarpingLossOptions) {
  const { connectivity, ignoreIndex = defaultIgnoreIndex, reduction = 'mean' } = o;
  const [batch, channels, ...shape] = t.logits.shape;
  return {
    logits: t.logits.raw,
    target: t.target.raw,
    shape,
    batch,
    channels,
    labels: hasClassIndices(imagesOf(t)),
    ignore: ignoreIndex,
    corners: connectivity === 'corners',
    reduction: reductions.indexOf(reduction),
  };
}

function forward(t: In, options: WarpingLossOptions) {
  const [batch, , ...spatial] = t.logits.shape;
  const each = [batch, ...spatial];
  const output = empty(options.reduction === 'none' ? each : [], accumulatorOf(t.logits.dtype));
  const critical = empty(each, 'int32');
  launch(
    native.warpingForward,
    {
      critical: critical.raw,
      loss: output.raw,
    },
    fields(t, options),
  );
  return { output, saved: { t, options, critical } satisfies Saved };
}

function backward({ t, options, critical }: Saved, upstream: Tensor): Gradients {
  const logits = empty(t.logits.shape, t.logits.dtype);
  launch(
    native.warpingBackward,
    {
      critical: critical.raw,
      upstream: upstream.raw,
      grad: logits.raw,
    },
    fields(t, options),
  );
  return { logits };
}

type Signature = <D extends DType, R extends LossReduction = 'mean'>(
  logits: Tensor<D> & MaybeFloat<D, 'logits'>,
  target: Tensor,
  options?: WarpingLossOptions<R>,
) => Tensor<LossDType<D>, R extends 'none' ? Shape : readonly []>;

/**
 * Homotopy warping loss: cross-entropy at the voxels that decide the topology, and nowhere else.
 *
 * logits [B, C, H, W] or [B, C, D, H, W] of any float dtype, with one channel the foreground's; target
 * class indices [B, ...spatial] (int32, int64), or masks of the logits' shape (their dtype, bool, uint8)
 * -> [] for 'mean' (over all voxels, critical or not, but ignored ones) and 'sum', [B, ...spatial] for 'none'; float32,
 * or float64 for float64.
 *
 * Of each class from 1 on against the rest, the true mask is warped towards the predicted one: of
 * the voxels that differ those are flipped that are simple, so that the topology stays, first the
 * missed ones from the outside of the true mask inwards, then the false ones from it outwards; and
 * the predicted mask towards the true one alike. Voxels that still differ either way are critical:
 *
 *   loss = Σ critical  -log softmax(logits)_target
 *
 * Beyond the image is background. Differentiable in logits, the critical voxels held constant. Equal bits
 * in every run, for any number of threads.
 *
 * Hu, "Structure-aware image segmentation with homotopy warping", NeurIPS 2022, section 3. Its code
 * never flips voxels of the border, counts components of all nine for simplicity, and adds log C for each
 * voxel that is not critical.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE for logits or masks that are not finite; ERR_OUT_OF_RANGE for a class index.
 * @example const loss = sp.warpingLoss(logits, labels).mul(1e-2).add(dice)
 */
export const warpingLoss = defineOp({
  name,
  builtin: true,
  inputs: ['logits', 'target'],
  options: ['connectivity', 'ignoreIndex', 'reduction'],
  nondifferentiable: ['target'],
  check,
  forward,
  backward,
}) as unknown as Op<Signature>;
