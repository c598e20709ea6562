// Images of two or three axes as native code takes them, and what their soft skeletons take.
import { isGradEnabled } from './autograd.js';
import { getThreads } from './device.js';
import { expectNumber, fail, showShape } from './expect.js';
import { expectFreeMemory, expectMemoryOfImages } from './free-memory.js';
import { type Shape, sizeOf } from './shape.js';
import type { Tensor } from './tensor.js';

/** Axes of an image that follow `before` others, as native code takes them. */
export type Axes = {
  planes: number;
  rows: number;
  columns: number;
  volume: boolean;
};

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

/** Refuses masks whose thinning would not fit the memory: voxels by object, borders, candidates. */
export function expectThinningMemory(name: string, shape: Shape, before: number): void {
  const voxels = sizeOf(shape.slice(before));
  expectMemoryOfImages(name, imagesOf(shape, before), voxels, { each: 4, scratch: 28 });
}

/**
 * Refuses bad numbers of erosions of soft skeletons, and sweeps that would not fit the memory, with what
 * else the call and its backward take: so many bytes a voxel.
 */
export function expectIterations(
  name: string,
  iterations: number,
  images: Tensor,
  bytesEach: number,
): void {
  expectNumber(name, 'iterations', iterations, { min: 0, max: 1000, integer: true });
  expectFreeMemory(name, sweepBytes(images, iterations) + images.size * bytesEach);
}

/** Whether a call with this tensor will be differentiated. */
export const isTracked = ({ requiresGrad }: Tensor) => requiresGrad && isGradEnabled();

/** Scratch memory of the sweeps that run at once, as native/cpu/soft_skeleton*.h take it. */
function sweepBytes(t: Tensor, iterations: number): number {
  const { shape, dtype } = t;
  const { planes, rows, columns, volume } = axesOf(shape, 2);
  const [units, lines] = volume ? [planes, rows] : [rows, 1];
  const each = lines * Math.floor((columns + 31) / 16) * 16 * (dtype === 'float64' ? 8 : 4);
  const steps = Math.max(1, Math.min(16, Math.floor(8192 / each)));
  const held = (count: number) => Math.min(count + steps, units);
  const withGrad = isTracked(t);
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
