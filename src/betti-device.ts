// Betti matching losses of tensors on a device. Crops are matched by a kernel; larger images by the
// threads of the host: the images are copied out, and the loss and the places where its gradient is
// not zero go back. The copy waits for the work before it alone, behind an event, and nothing waits
// on the device for the host: what is enqueued meanwhile goes on.
import { whilePinned } from './autograd.js';
import { onHost, onHostAsync, prepared } from './betti-images.js';
import type { BettiOptions } from './betti-options.js';
import type { FloatDType } from './dtype.js';
import { type Fields, launch, launchNow, native, record, submit } from './native.js';
import { type Device, onDevice } from './place.js';
import type { Shape } from './shape.js';
import { activationOf } from './targets.js';
import { empty, type Tensor } from './tensor.js';
import { hostArray, written } from './transfer.js';

/** What a loss is computed to, on the device of its images. */
export interface Computed {
  output: Tensor;
  grad?: Tensor;
}

/** A gradient where it is not zero: places in [B, C, ...spatial], ascending. */
export interface SparseGradient {
  index: Tensor<'int64'>;
  value: Tensor;
}

/** A loss on the host, and its gradient. */
export interface HostLoss {
  output: Tensor;
  sparse?: { index: BigInt64Array; value: Float32Array | Float64Array };
}

/** How a loss is computed of images that lie together. */
export type Compute = (
  images: { prediction: Tensor; target: Tensor },
  options: BettiOptions,
  withGrad: boolean,
) => Computed;

/** Whether the tensor's device has a kernel for images of its size. */
export function hasKernel(prediction: Tensor, options: BettiOptions): boolean {
  if (prediction.device === 'cpu') return false;
  if (prediction.size === 0) return true;
  const out = new Int32Array(1);
  const padded = options.padding !== undefined && options.padding !== 'none';
  const spatial = prediction.shape.slice(2);
  launchNow(native.bettiMatchingFits, { prediction: prediction.raw, spatial, padded, out });
  return out[0] === 1;
}

/** Of a sigmoid's probabilities the gradient is that by logits; a softmax is for the device. */
function sparseFields({ grad }: Computed, p: Tensor, { fromLogits }: BettiOptions) {
  const isSigmoid = activationOf(fromLogits) === 'sigmoid';
  const count = new BigInt64Array(1);
  return { grad: grad!.raw, probability: isSigmoid ? p.raw : undefined, count };
}

function lists(grad: Tensor, n: number) {
  const value = grad.dtype === 'float64' ? new Float64Array(n) : new Float32Array(n);
  return { index: new BigInt64Array(n), value };
}

/** Computes a loss of device tensors on the host; waits for them. */
export function onThreads(
  name: string,
  prediction: Tensor,
  target: Tensor,
  options: BettiOptions,
  withGrad: boolean,
  compute: Compute,
): HostLoss {
  return onDevice('cpu', () => {
    const images = prepared(name, onHost(prediction), onHost(target), options);
    const made = compute(images, options, withGrad);
    if (!made.grad) return { output: made.output };
    const fields = sparseFields(made, images.prediction, options);
    launch(native.bettiMatchingSparse, fields);
    const sparse = lists(made.grad, Number(fields.count[0]));
    launch(native.bettiMatchingSparse, sparse, fields);
    return { output: made.output, sparse };
  });
}

/** The same without waiting: the host's threads work while the event loop and the device go on. */
export async function onThreadsAsync(
  name: string,
  prediction: Tensor,
  target: Tensor,
  options: BettiOptions,
  withGrad: boolean,
  compute: Compute,
): Promise<HostLoss> {
  const copies = await Promise.all([onHostAsync(prediction), onHostAsync(target)]);
  const { result, launches } = record(() =>
    onDevice('cpu', () => {
      const images = prepared(name, copies[0], copies[1], options);
      return { images, made: compute(images, options, withGrad) };
    }),
  );
  const { images, made } = result;
  let sparse: HostLoss['sparse'];
  await whilePinned([copies, images, made], async () => {
    await submit(launches);
    if (!made.grad) return;
    const fields = sparseFields(made, images.prediction, options);
    const run = (more: Fields) =>
      submit(record(() => launch(native.bettiMatchingSparse, more, fields)).launches);
    await run({});
    sparse = lists(made.grad, Number(fields.count[0]));
    await run(sparse);
  });
  return { output: made.output, sparse };
}

/** A loss of the host and its sparse gradient, on the device. */
export function returned({ output, sparse }: HostLoss, device: Device) {
  const values = hostArray(output);
  const moved = written(output.shape, output.dtype, device, (raw) => raw.set(values as never));
  if (!sparse) return { output: moved };
  const { index, value } = sparse;
  const shape = [index.length];
  const { dtype } = output;
  return {
    output: moved,
    sparse: {
      index: written(shape, 'int64', device, (raw) => raw.set(index as never)),
      value: written(shape, dtype, device, (raw) => raw.set(value as never)),
    } as SparseGradient,
  };
}

/** The dense gradient from its places: one fill and one kernel. */
export function scattered(
  { index, value }: SparseGradient,
  upstream: Tensor,
  shape: Shape,
  dtype: FloatDType,
  factor: number,
): Tensor {
  const images = shape[0] * shape[1];
  const out = empty(shape, dtype);
  launch(native.bettiMatchingScatter, {
    index: index.raw,
    value: value.raw,
    upstream: upstream.raw,
    out: out.raw,
    images,
    factor,
  });
  return out;
}
