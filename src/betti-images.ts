// The images that barcodes and Betti matchings take: their checks, and their form in native code,
// which wants arrays of the host, of one dtype, with one class each.
import { noGrad } from './autograd.js';
import {
  type BettiOptions,
  callers,
  checkBettiMemory,
  checkBettiOptions,
  listBytes,
} from './betti-options.js';
import { tensor } from './create.js';
import { type DType, dtypeInfo, isFloat } from './dtype.js';
import { expectDevice, expectSameDType, expectShape, fail, showShape } from './expect.js';
import { launch, native } from './native.js';
import { sigmoid } from './ops/activation.js';
import { to } from './ops/cast.js';
import { eq } from './ops/comparison.js';
import { reshape, unsqueeze } from './ops/shape-ops.js';
import { arange } from './patterns.js';
import type { Tensor } from './tensor.js';
import { readData, readDataAsync } from './transfer.js';

type Real = 'float32' | 'float64';

/** The dtype in which images are compared: exactly, for all but huge integers. */
export function commonDType(op: string, prediction: Tensor, target?: Tensor): Real {
  if (target && isFloat(prediction.dtype) && isFloat(target.dtype))
    expectSameDType(op, 'prediction', prediction, 'target', target);
  const wide = (t: Tensor | undefined) => t && ['float64', 'int32', 'int64'].includes(t.dtype);
  if (isFloat(prediction.dtype)) return prediction.dtype === 'float64' ? 'float64' : 'float32';
  if (target && isFloat(target.dtype)) return target.dtype === 'float64' ? 'float64' : 'float32';
  return wide(prediction) || wide(target) ? 'float64' : 'float32';
}

export function checkSpatial(op: string, name: string, t: Tensor, batch: number): void {
  const axes = t.rank - batch;
  if (axes < 1 || axes > 3) {
    const form = batch ? '[B, C, ...spatial] with 1 to 3 spatial axes' : 'of 1 to 3 axes';
    fail(op, 'ERR_SHAPE', `expected ${name} to have shape ${form}, got ${showShape(t.shape)}`);
  }
  if (t.shape.slice(batch).includes(0)) {
    fail(op, 'ERR_SHAPE', `expected ${name} to have at least one voxel, got ${showShape(t.shape)}`);
  }
}

/** Whether the target holds class indices [B, ...spatial] of predictions [B, C, ...spatial]. */
function hasLabels(prediction: Tensor, target: Tensor, batch: number): boolean {
  const isIndex = target.dtype === 'int32' || target.dtype === 'int64' || target.dtype === 'uint8';
  return batch === 2 && isIndex && target.rank === prediction.rank - 1;
}

/** Refuses tensors that are no images to be matched, and bad options. */
export function checkMatching(
  op: string,
  prediction: Tensor,
  target: Tensor,
  options: BettiOptions,
  batch: number,
  isLoss = false,
): void {
  checkSpatial(op, 'prediction', prediction, batch);
  if (hasLabels(prediction, target, batch)) {
    const [b, , ...spatial] = prediction.shape;
    const why = `class indices of prediction ${showShape(prediction.shape)}`;
    expectShape(op, 'target', target, [b, ...spatial], why);
  } else {
    const why = `like prediction ${showShape(prediction.shape)}`;
    expectShape(op, 'target', target, prediction.shape, why);
  }
  expectDevice(op, 'target', target, prediction.device, 'like prediction');
  const axes = prediction.rank - batch;
  checkBettiOptions(op, options, axes, isLoss);
  const dtype = commonDType(op, prediction, target);
  // Both images and the gradient, or both images and what of them is kept.
  const each = isLoss ? 3 * dtypeInfo[dtype].bytes : listBytes(options, dtype, 4);
  checkBettiMemory(op, prediction.shape, axes, each * prediction.size);
}

/** The images as native code takes them: where they are, of one dtype, probabilities, one class each. */
export function prepared(op: string, prediction: Tensor, target: Tensor, options: BettiOptions) {
  const dtype = commonDType(op, prediction, target);
  return noGrad(() => {
    const scores = to(prediction, dtype);
    const labels = hasLabels(prediction, target, prediction.rank - target.rank + 1);
    return {
      prediction: options.fromLogits ? sigmoid(scores) : scores,
      target: to(labels ? oneVersusRest(op, prediction, target) : target, dtype),
    };
  });
}

/** [B, C, ...spatial] of whether each voxel is of the class; a single channel is class 1. */
function oneVersusRest(op: string, { shape, device }: Tensor, target: Tensor): Tensor {
  const channels = shape[1];
  const labels = target.dtype === 'uint8' ? to(target, 'int32') : target;
  // Of a device they are taken as they are: it would have to be waited for.
  if (device === 'cpu') {
    const caller = callers.indexOf(op);
    launch(native.bettiMatchingLabels, { target: labels.raw, channels, caller });
  }
  const first = channels === 1 ? 1 : 0;
  const each = to(arange(first, first + channels, { device }), labels.dtype);
  const ones = shape.slice(2).map(() => 1);
  return eq(unsqueeze(labels, 1), reshape(each, [1, channels, ...ones]));
}

/** A copy on the CPU of a tensor that is on a device; float16 and bfloat16 come as float32. */
export function onHost(t: Tensor): Tensor {
  if (t.device === 'cpu') return t;
  return hosted(t, readData(t));
}

/** The same without waiting. */
export async function onHostAsync(t: Tensor): Promise<Tensor> {
  if (t.device === 'cpu') return t;
  return hosted(t, await readDataAsync(t));
}

function hosted(t: Tensor, values: ReturnType<typeof readData>): Tensor {
  const dtype: DType = t.dtype === 'float16' || t.dtype === 'bfloat16' ? 'float32' : t.dtype;
  return tensor(values, { shape: t.shape, dtype, device: 'cpu' });
}

/** One image likewise, for its barcode. */
export function preparedImage(op: string, image: Tensor, options: BettiOptions): Tensor {
  const dtype = commonDType(op, image);
  return noGrad(() => (options.fromLogits ? sigmoid(to(image, dtype)) : to(image, dtype)));
}
