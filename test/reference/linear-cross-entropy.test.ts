// The logit-free reference: torch's answers, central differences, shards merged.
import { describe, test } from 'vitest';
import { expectWithin } from '../harness/compare.js';
import { centralDifferences } from '../harness/differences.js';
import { readGolden } from '../harness/golden.js';
import { Random } from '../harness/random.js';
import type { Logprobs, Options, Problem } from './linear-cross-entropy.js';
import {
  linearCrossEntropy,
  linearLogprobs,
  mergePartials,
  partials,
} from './linear-cross-entropy.js';

interface GoldenCase extends Options {
  weighted: boolean;
  biased: boolean;
  loss: number[];
  gradX: number[];
  gradWeight: number[];
  gradBias: number[];
}

describe('the reference agrees with torch', () => {
  const golden = readGolden<GoldenCase>('linear-cross-entropy');
  const { x, weight, bias, indices, classWeight, upstream } = golden.inputs;
  test.each(golden.cases.map((c, i) => ({ ...c, name: `case ${i}` })))('$name', (c) => {
    const problem = {
      batch: 1,
      length: golden.rows,
      width: golden.width,
      classes: golden.classes,
      x,
      weight,
      bias: c.biased ? bias : undefined,
      target: indices,
    };
    const options = { ...c, classWeight: c.weighted ? classWeight : undefined };
    const result = linearCrossEntropy(problem, options, upstream);
    const same = (name: string, actual: Float64Array, expected: number[]) =>
      expectWithin(actual, expected, (i) => 1e-12 * Math.max(1, Math.abs(expected[i])), name);
    same('loss', result.loss, c.loss);
    same('gradX', result.gradX, c.gradX);
    same('gradWeight', result.gradWeight, c.gradWeight);
    if (c.biased) same('gradBias', result.gradBias, c.gradBias);
  });
});

const random = new Random(5);
const problem: Problem = {
  batch: 2,
  length: 4,
  width: 3,
  classes: 6,
  x: random.normals(24),
  weight: random.normals(18),
  bias: random.normals(6),
  target: [1, 5, -100, 0, 3, 3, 2, 4],
};
const tokenWeight = random.uniforms(8, -0.5, 2);
const cases: Options[] = [
  { reduction: 'mean' },
  { reduction: 'sum', shift: 1, labelSmoothing: 0.2, classWeight: random.uniforms(6) },
  { reduction: 'none', shift: 2, zLoss: 0.01, temperature: 0.7, softcap: 4 },
  { reduction: 'mean', shift: 1, softcap: 4, capFirst: true, temperature: 0.7 },
  { reduction: 'none', epilogue: { kind: 'focal', gamma: 2 } },
];

describe('analytic gradients equal central differences', () => {
  const same = (gradient: Float64Array, f: (v: Float64Array) => number, at: ArrayLike<number>) =>
    expectWithin(gradient, centralDifferences(f, Float64Array.from(at)), () => 1e-7, 'gradient');

  test.each(cases)('loss: %j', (c) => {
    const options = { ...c, tokenWeight };
    const upstream = random.normals(8);
    const value = (p: Problem, o: Options) =>
      linearCrossEntropy(p, o).loss.reduce((sum, v, n) => sum + v * upstream[n], 0);
    const result = linearCrossEntropy(problem, options, upstream);
    same(result.gradX, (x) => value({ ...problem, x }, options), problem.x);
    same(result.gradWeight, (weight) => value({ ...problem, weight }, options), problem.weight);
    same(result.gradBias, (bias) => value({ ...problem, bias }, options), problem.bias ?? []);
    const byToken = (v: Float64Array) => value(problem, { ...options, tokenWeight: v });
    same(result.gradTokenWeight, byToken, tokenWeight);
  });

  test.each(cases)('logprobs: %j', (options) => {
    const names = ['logprob', 'lse', 'entropy'] as const;
    const upstream: Logprobs = {
      logprob: random.normals(8),
      lse: random.normals(8),
      entropy: random.normals(8),
    };
    const value = (p: Problem) => {
      const outputs = linearLogprobs(p, options);
      const dot = (name: keyof Logprobs) =>
        outputs[name].reduce((sum, v, n) => sum + v * upstream[name][n], 0);
      return names.reduce((sum, name) => sum + dot(name), 0);
    };
    const result = linearLogprobs(problem, options, upstream);
    same(result.gradX, (x) => value({ ...problem, x }), problem.x);
    same(result.gradWeight, (weight) => value({ ...problem, weight }), problem.weight);
    same(result.gradBias, (bias) => value({ ...problem, bias }), problem.bias ?? []);
  });
});

test('partials of any shards merge into the whole', () => {
  const whole = { ...problem, target: [1, 5, 0, 0, 3, 3, 2, 4] };
  const expected = linearLogprobs(whole);
  for (const cuts of [
    [0, 6],
    [0, 3, 6],
    [0, 1, 2, 5, 6],
  ]) {
    const parts = cuts.slice(1).map((to, i) => partials(whole, cuts[i], to));
    const merged = mergePartials(parts);
    expectWithin(merged.logprob, expected.logprob, () => 1e-13, 'logprob');
    expectWithin(merged.lse, expected.lse, () => 1e-13, 'lse');
  }
});
