// Betti matching of the same images on the CPU and on the device: pairs to the index, losses and
// gradients to the bit.
import { expect } from 'vitest';
import { bettiFields } from '../../src/betti-options.js';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { Random } from './random.js';
import { gradOf, read } from './tensors.js';

type Options = sp.BettiMatchingLossOptions;
export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
export const devices = ['cpu', 'cuda'] as const;

/** [B, C, ...spatial]. */
export interface Batch {
  shape: number[];
  prediction: Float64Array;
  target: Float64Array;
}

/** The lists of every image, by native code; -2 where nothing is written, and behind them all. */
export function pairsOf(
  { shape, prediction, target }: Batch,
  options: Options,
  dtype: sp.FloatDType,
  capacity = 9 * sizeOf(shape.slice(2)) + 8,
) {
  const [images, axes] = [shape[0] * shape[1], shape.length - 2];
  return devices.map((device) => {
    const [p, t] = [prediction, target].map((v) => sp.tensor(v, { shape, dtype, device }));
    const counts = sp.zeros([images, axes, 3], { dtype: 'int32', device });
    const pairs = sp.full([images * capacity + 1], -2, { dtype: 'int32', device });
    const fields = bettiFields('bettiMatchingBatch', options, axes, p, t);
    const own = { counts: counts.raw, pairs: pairs.raw, capacity };
    launch(native.bettiMatchingPairs, own, fields);
    return { counts: read(counts), pairs: read(pairs) };
  });
}

/** Loss and gradient. */
export function lossesOf(
  { shape, prediction, target }: Batch,
  options: Options,
  dtype: sp.FloatDType,
) {
  return devices.map((device) => {
    const p = sp.tensor(prediction, { shape, dtype, device, requiresGrad: true });
    const loss = sp.bettiMatchingLoss(p, sp.tensor(target, { shape, dtype, device }), options);
    const upstream = sp.tensor(
      Float64Array.from(read(loss), (_, i) => i + 0.7),
      {
        shape: loss.shape,
        dtype: loss.dtype,
        device,
      },
    );
    loss.backward(upstream as never);
    return { loss: read(loss), grad: read(gradOf(p)) };
  });
}

/** Random images of so many levels. */
export function drawn(shape: number[], levels: number): Batch {
  const random = new Random(levels);
  const image = () => random.fill(sizeOf(shape), () => random.integer(levels) / 8);
  return { shape, prediction: image(), target: image() };
}

/** Two components and one critical edge: nothing to sort. */
export const valley: Batch = {
  shape: [1, 1, 3],
  prediction: Float64Array.of(1, 0, 1),
  target: Float64Array.of(1, 0, 1),
};

/** `isCrop`: whether a kernel finds the pairs, so that they can be asked for. */
export function expectEqual(
  batch: Batch,
  options: Options,
  dtype: sp.FloatDType,
  isCrop = dtype === 'float32' || dtype === 'float64',
): void {
  const about = JSON.stringify({ ...options, shape: batch.shape, dtype });
  if (options.filtration !== 'both' && isCrop) {
    const [cpu, cuda] = pairsOf(batch, options, dtype);
    expect(cuda, about).toEqual(cpu);
  }
  const [cpu, cuda] = lossesOf(batch, options, dtype);
  expect(cuda, about).toEqual(cpu);
}
