// Betti matchings as sorted lists, so that orders do not matter, and random ones beside the reference.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import { drawOptions, drawPair, type ImagePair } from '../cases/betti-matching.js';
import {
  type Found,
  lossWith,
  matchingWith,
  metricsOf,
  type Options,
} from '../reference/betti-options.js';
import { expectWithin } from './compare.js';
import { Random } from './random.js';
import { gradOf, read } from './tensors.js';

/** The lists of one array in lexicographic order. */
export function rows(list: Int32Array, width: number): number[][] {
  const all = Array.from({ length: list.length / width }, (_, i) =>
    Array.from(list.subarray(i * width, (i + 1) * width)),
  );
  return sorted(all);
}

const sorted = (list: number[][]) =>
  list.sort((a, b) => a.reduce((order, x, i) => order || x - b[i], 0));

export interface Lists {
  matched: number[][];
  unmatched: [number[][], number[][]];
}

const listsOfDegree = (d: sp.MatchedPairs): Lists => ({
  matched: rows(d.matched, 4),
  unmatched: [rows(d.unmatchedPrediction, 2), rows(d.unmatchedTarget, 2)],
});

export const listsOf = (found: sp.BettiMatch): Lists[] => found.dims.map((d) => listsOfDegree(d!));

export function imagesOf({ shape, prediction, target }: ImagePair, dtype: sp.FloatDType) {
  const image = (values: Float64Array) => sp.tensor(values, { dtype, shape, device: 'cpu' });
  return { prediction: image(prediction), target: image(target) };
}

type LossOptions = sp.BettiMatchingLossOptions;

/** A random problem, and the images and numbers as the library compares them. */
interface Drawn {
  pair: ImagePair;
  dtype: sp.FloatDType;
  given: LossOptions;
  options: LossOptions;
  threshold: number;
  values: Float64Array[];
  ways: ('sublevel' | 'superlevel')[];
}

function drawn(random: Random, axes: number): Drawn {
  // Most of them small: a boundary matrix takes many times as long as what it judges.
  const pair = drawPair(random, axes, random.pick([8, 16, 16, 24, 24, 32, 32, undefined]));
  const dtype = random.pick(['float32', 'float64'] as const);
  const given: LossOptions = {
    ...drawOptions(random, axes),
    fromLogits: random.pick([false, false, 'sigmoid'] as const),
  };
  const { prediction, target } = imagesOf(pair, dtype);
  const seen = given.fromLogits ? sp.sigmoid(prediction) : prediction;
  const as = <T>(x: T) => (typeof x === 'number' && dtype === 'float32' ? Math.fround(x) : x);
  const { filtration = 'superlevel' } = given;
  return {
    pair,
    dtype,
    given,
    options: { ...given, minLength: as(given.minLength), padding: as(given.padding) },
    threshold: random.pick([0.5, 0.25, 0, -0.25]),
    values: [seen, target].map((t) => Float64Array.from(read(t))),
    ways: filtration === 'both' ? ['sublevel', 'superlevel'] : [filtration],
  };
}

/** Pairs of one filtration, and sometimes, for they take as long, the metrics. */
function expectPairs(
  one: Drawn,
  filtration: 'sublevel' | 'superlevel',
  found: Found,
  all: boolean,
) {
  const { pair, dtype, given, options, threshold, values } = one;
  const { prediction, target } = imagesOf(pair, dtype);
  const { weights, pushUnmatchedTo, reduction, ...rest } = given;
  const match = sp.bettiMatching(prediction, target, { ...rest, filtration, threshold });
  const expected = found.map(
    (d) => d && { matched: sorted([...d.matched]), unmatched: d.unmatched.map(sorted) },
  );
  expect(match.dims.map((d) => d && listsOfDegree(d))).toEqual(expected);
  if (!all) return;
  const errors = metricsOf(values, pair.shape, { ...options, filtration, threshold } as Options);
  expect([match.matchingError, match.bettiNumberError]).toEqual(errors);
}

/** Loss and gradient of one image. */
function expectLoss({ pair, dtype, given, options, values, ways }: Drawn, found: Found[]): void {
  const grad = new Float64Array(values[0].length);
  let loss = 0;
  for (const [i, filtration] of ways.entries()) {
    const own = { ...options, filtration } as Options;
    loss += lossWith(found[i], values, own, grad) / ways.length;
  }
  const images = imagesOf(pair, dtype);
  const shape = [1, 1, ...pair.shape];
  const p = sp.reshape(images.prediction, shape).detach().requiresGrad_();
  const result = sp.bettiMatchingLoss(
    p as sp.Tensor<sp.FloatDType>,
    sp.reshape(images.target, shape),
    given,
  );
  result.sum().backward();
  const chain = (i: number) => (given.fromLogits ? values[0][i] * (1 - values[0][i]) : 1);
  const unit = dtype === 'float64' ? 2 ** -52 : 2 ** -23;
  // A few hundred terms at most, none larger than the sum of their squares and 1.
  const allowed = () => 64 * unit * (1 + loss);
  expectWithin(read(result), [loss], allowed, 'loss');
  const slopes = grad.map((g, i) => (g * chain(i)) / ways.length);
  expectWithin(read(gradOf(p)), slopes, allowed, 'gradient');
}

/** Pairs, metrics, loss and gradient of the library are the reference's, for the images of a seed. */
export function checkSeed(seed: number): void {
  const random = new Random(seed);
  const one = drawn(random, 1 + (seed % 3));
  const { pair, options, values, ways } = one;
  const found = ways.map((filtration) =>
    matchingWith(values, pair.shape, { ...options, filtration } as Options),
  );
  const withMetrics = random.integer(4) === 0;
  for (const [i, filtration] of ways.entries()) expectPairs(one, filtration, found[i], withMetrics);
  if (values.every((list) => list.every(Number.isFinite))) expectLoss(one, found);
}
