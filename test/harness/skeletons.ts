// Cases of skeletons: torch's numbers (golden/make_skeletons.py) and images with and without ties.
import { readFileSync } from 'node:fs';
import type { Extent } from '../reference/soft-skeleton.js';
import { sizeOf } from './arrays.js';
import { Random } from './random.js';

export interface SkeletonCase {
  kind: 'skeleton' | 'clDice' | 'recall';
  shape: number[];
  steps: number;
  iterations: number;
  diceWeight: number;
  overBatch: boolean;
  values: number[];
  gradient: number[];
}

const path = new URL('golden/skeletons.json', import.meta.url);
const golden = JSON.parse(readFileSync(path, 'utf8')) as { cases: SkeletonCase[] };

export const goldenCases = (kind: SkeletonCase['kind']) =>
  golden.cases.filter((one) => one.kind === kind);

/** `fill` of make_skeletons.py. */
export function fill(shape: readonly number[], seed: number, steps: number): Float64Array {
  return Float64Array.from(
    { length: sizeOf(shape) },
    (_, i) => (Math.floor(((i + 1) * (7919 + 104729 * seed)) / 31) % (steps + 1)) / steps,
  );
}

/** Of a shape [B, C, ...spatial]. */
export function extentOf(shape: readonly number[]): Extent {
  const [, , ...spatial] = shape;
  const size = (spatial.length === 3 ? spatial : [1, ...spatial]) as [number, number, number];
  return { size, volume: spatial.length === 3 };
}

/** Probabilities of blobs and lines, without equal neighbours. */
export function probabilities(n: number, seed = n): Float64Array {
  const random = new Random(seed + 1);
  return Float64Array.from({ length: n }, () => random.uniform(0.02, 0.98));
}

/** The images of a tensor's values, one after the other. */
export function imagesIn(values: ArrayLike<number>, shape: readonly number[]): Float64Array[] {
  const each = sizeOf(shape.slice(2));
  const all = Float64Array.from(values);
  return Array.from({ length: sizeOf(shape.slice(0, 2)) }, (_, k) =>
    all.slice(k * each, (k + 1) * each),
  );
}
