// The images that barcodes and Betti matchings take: their checks (those of targets are in targets.ts),
// and their form in native code, which wants arrays of the host, of one dtype, with one class each.
import { noGrad } from './autograd.js';
import { checkBettiMemory, listBytes } from './betti-memory.js';
import { type BettiOptions, callers, checkBettiOptions } from './betti-options.js';
import { tensor } from './create.js';
import { type DType, dtypeInfo, isFloat } from './dtype.js';
import { expectDevice, expectSameDType, fail, showShape } from './expect.js';
import { launch, native } from './native.js';
import { to } from './ops/cast.js';
import { probabilitiesOf } from './probabilities.js';
import {
  activationOf,
  checkFromLogits,
  checkTargetShape,
  hasIntegerIndices,
  masksOf,
} from './targets.js';
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

/** Refuses tensors that are no images to be matched, and bad options. */
export function checkMatching(
  op: string,
  prediction: Tensor,
  target: Tensor,
  options: BettiOptions,
  batch: number,
  isLoss = false,
  matches = true,
): void {
  checkSpatial(op, 'prediction', prediction, batch);
  const t = { maps: prediction, target };
  const words = batch === 2 ? 'int32, int64 or uint8' : undefined;
  checkTargetShape(op, t, batch === 2 && hasIntegerIndices(t), words);
  expectDevice(op, 'target', target, prediction.device, 'like prediction');
  const axes = prediction.rank - batch;
  checkBettiOptions(op, options, axes, isLoss);
  checkFromLogits(op, options.fromLogits, batch === 2 ? prediction : undefined);
  const dtype = commonDType(op, prediction, target);
  // Both images, and the gradient with what backward makes of it or the lists.
  const each = isLoss ? 4 * dtypeInfo[dtype].bytes : listBytes(options, dtype, 2);
  // Metrics are of a matching of the masks; losses of barcodes take one of either image.
  const items = isLoss && matches ? 1 : 2;
  const work = { matches, items, keeps: !matches, padding: options.padding };
  checkBettiMemory(op, prediction.shape, axes, work, each * prediction.size);
}

/** The images as native code takes them: where they are, of one dtype, probabilities, one class each. */
export function prepared(op: string, prediction: Tensor, target: Tensor, options: BettiOptions) {
  const dtype = commonDType(op, prediction, target);
  return noGrad(() => {
    const masks = hasIntegerIndices({ maps: prediction, target })
      ? oneVersusRest(op, prediction, target)
      : target;
    return {
      prediction: probabilitiesOf(to(prediction, dtype), activationOf(options.fromLogits)),
      target: to(masks, dtype),
    };
  });
}

/** Masks of each class from class indices, which are looked through; a device throws at the next read. */
function oneVersusRest(op: string, { shape }: Tensor, target: Tensor): Tensor {
  const channels = shape[1];
  const indices = target.dtype === 'uint8' ? to(target, 'int32') : target;
  const caller = callers.indexOf(op);
  launch(native.bettiMatchingLabels, { target: indices.raw, channels, caller });
  return masksOf(indices, channels);
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
  return noGrad(() => probabilitiesOf(to(image, dtype), activationOf(options.fromLogits)));
}
