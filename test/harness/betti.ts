// Betti matchings as sorted lists, so that orders do not matter, and by the reference.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import type { ImagePair } from '../cases/betti-matching.js';
import { bettiMatching as reference } from '../reference/betti-matching.js';

/** The lists of one array in lexicographic order. */
export function rows(list: Int32Array, width: number): number[][] {
  const all = Array.from({ length: list.length / width }, (_, i) =>
    Array.from(list.subarray(i * width, (i + 1) * width)),
  );
  return all.sort((a, b) => a.reduce((order, x, i) => order || x - b[i], 0));
}

export interface Lists {
  matched: number[][];
  unmatched: [number[][], number[][]];
}

export function listsOf(found: sp.BettiMatch): Lists[] {
  return found.dims.map((d) => ({
    matched: rows(d!.matched, 4),
    unmatched: [rows(d!.unmatchedPrediction, 2), rows(d!.unmatchedTarget, 2)],
  }));
}

export function imagesOf({ shape, prediction, target }: ImagePair, dtype: sp.FloatDType) {
  const image = (values: Float64Array) => sp.tensor(values, { dtype, shape, device: 'cpu' });
  return { prediction: image(prediction), target: image(target) };
}

/** The library's pairs are the reference's. */
export function checkPair(
  pair: ImagePair,
  options: sp.BettiMatchingOptions,
  dtype: sp.FloatDType,
): void {
  const images = imagesOf(pair, dtype);
  const found = listsOf(sp.bettiMatching(images.prediction, images.target, options));
  const sign = options.filtration === 'sublevel' ? 1 : -1;
  const sublevel = (values: Float64Array) => values.map((x) => sign * x);
  const expected = reference(sublevel(pair.prediction), sublevel(pair.target), pair.shape, {
    intersection: options.comparison === 'intersection',
    positive: options.imageBars === 'positive',
  });
  expect(found, JSON.stringify({ ...options, shape: pair.shape, dtype })).toEqual(expected);
}
