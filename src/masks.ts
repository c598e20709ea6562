// What losses of segmentations share: predictions [B, C, ...spatial] against masks of the same shape
// or class indices [B, ...spatial], and images of two or three axes for native code.
import { isGradEnabled } from './autograd.js';
import { getThreads } from './device.js';
import { floats } from './dtype.js';
import { expectDType, expectNumber, expectOnCpu, expectShape, fail, showShape } from './expect.js';
import { expectFreeMemory } from './free-memory.js';
import { type Shape, sizeOf } from './shape.js';
import type { Tensor } from './tensor.js';

export interface Masks {
  prediction: Tensor;
  target: Tensor;
}

/** Whether the target holds class indices. */
export const hasLabels = ({ prediction, target }: Masks) => target.rank === prediction.rank - 1;

/** `background`: whether channel 0 counts, for which else there has to be another. */
export function checkMasks(name: string, t: Masks, background: boolean): void {
  const { prediction, target } = t;
  expectOnCpu(name, 'prediction', prediction);
  expectDType(name, 'prediction', prediction, floats);
  const { shape, rank } = prediction;
  if (rank < 2 || shape[1] === 0) {
    const wanted = '[B, C, ...spatial] with at least one channel';
    fail(name, 'ERR_SHAPE', `expected prediction to have shape ${wanted}, got ${showShape(shape)}`);
  }
  if (!background && shape[1] === 1) {
    const got = `prediction ${showShape(shape)}`;
    const wanted = 'more than one channel where background is false';
    fail(name, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${got}`);
  }
  const [batch, , ...spatial] = shape;
  const like = `prediction ${showShape(shape)}`;
  if (hasLabels(t)) {
    expectDType(name, 'target', target, ['int32', 'int64']);
    expectShape(name, 'target', target, [batch, ...spatial], `class indices of ${like}`);
  } else {
    expectDType(name, 'target', target, [prediction.dtype, 'bool', 'uint8']);
    expectShape(name, 'target', target, shape, `like ${like}`);
  }
}

/** Axes of an image that follow `before` others, as native code takes them. */
export interface Axes {
  planes: number;
  rows: number;
  columns: number;
  volume: boolean;
}

/** Two or three spatial axes after B and C. */
export function expectSpatial(name: string, input: string, t: { shape: Shape }): void {
  const { length } = t.shape;
  if (length === 4 || length === 5) return;
  const wanted = '[B, C, H, W] or [B, C, D, H, W]';
  const got = showShape(t.shape);
  fail(name, 'ERR_SHAPE', `expected ${input} to have shape ${wanted}, got ${got}`);
}

export function axesOf(shape: Shape, before: number): Axes {
  const spatial = shape.slice(before);
  const volume = spatial.length === 3;
  const [planes, rows, columns] = volume ? spatial : [1, ...spatial];
  return { planes, rows, columns, volume };
}

/** How many images there are before the spatial axes. */
export const imagesOf = (shape: Shape, before: number) => sizeOf(shape.slice(0, before));

/** Refuses bad numbers of erosions of soft skeletons, and sweeps that would not fit the memory. */
export function expectIterations(name: string, iterations: number, images: Tensor): void {
  expectNumber(name, 'iterations', iterations, { min: 0, max: 1000, integer: true });
  expectFreeMemory(name, sweepBytes(images, iterations));
}

/** Scratch memory of the sweeps that run at once, as native/cpu/soft_skeleton*.h take it. */
function sweepBytes({ shape, dtype, requiresGrad }: Tensor, iterations: number): number {
  const { planes, rows, columns, volume } = axesOf(shape, 2);
  const [units, lines] = volume ? [planes, rows] : [rows, 1];
  const each = lines * Math.floor((columns + 31) / 16) * 16 * (dtype === 'float64' ? 8 : 4);
  const steps = Math.max(1, Math.min(16, Math.floor(8192 / each)));
  const held = (count: number) => Math.min(count + steps, units);
  const withGrad = requiresGrad && isGradEnabled();
  let sum = (iterations + 1) * held(3) + 2 * held(iterations + 3);
  if (withGrad) {
    const besides = 2 * held(3) + (volume ? 2 : 1) * Math.min(6, units);
    sum = held(5) + (iterations + 1) * besides;
    for (let j = 0; j <= iterations; j++) sum += held(2 * j + 7) + held(2 * j + 4);
  }
  const halo = (withGrad ? 2 : 1) * (iterations + 2);
  const threads = getThreads();
  const images = imagesOf(shape, 2);
  const bands = Math.min(Math.ceil(threads / images), Math.floor(units / (2 * halo)));
  return sum * each * Math.min(threads, images * Math.max(1, bands));
}
