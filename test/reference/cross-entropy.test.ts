// The reference itself: equal to torch in float64 where torch has the option, and its gradients
// equal to central differences for every option.
import { describe, expect, test } from 'vitest';
import { expectWithin } from '../harness/compare.js';
import { centralDifferences } from '../harness/differences.js';
import { readGolden } from '../harness/golden.js';
import { pairwise } from '../harness/pairwise.js';
import { Random } from '../harness/random.js';
import type { Epilogue, Options, Target } from './cross-entropy.js';
import { crossEntropy } from './cross-entropy.js';

interface GoldenCase extends Options {
  weighted: boolean;
  indices?: number[];
  loss: number[];
  gradLogits: number[];
  gradTarget?: number[];
}

describe('the reference agrees with torch', () => {
  const { rows, classes, inputs, cases } = readGolden<GoldenCase>('cross-entropy');
  test.each(cases.map((golden, i) => ({ ...golden, name: `case ${i}` })))('$name', (golden) => {
    const target = golden.indices
      ? { indices: golden.indices }
      : { probabilities: inputs.probabilities };
    const classWeight = golden.weighted ? inputs.classWeight : undefined;
    const options = { ...golden, classWeight };
    const result = crossEntropy(inputs.logits, rows, classes, target, options, inputs.upstream);
    const same = (name: string, actual: Float64Array, expected: number[]) =>
      expectWithin(actual, expected, (i) => 1e-12 * Math.max(1, Math.abs(expected[i])), name);
    same('loss', result.loss, golden.loss);
    same('gradLogits', result.gradLogits, golden.gradLogits);
    if (golden.gradTarget) same('gradTarget', result.gradTarget, golden.gradTarget);
  });
});

const epilogues: (Epilogue | undefined)[] = [
  undefined,
  { kind: 'focal', gamma: 2 },
  { kind: 'focal', gamma: 0.5 },
  { kind: 'generalized', q: 0.7 },
  { kind: 'compSum', tau: 1.5 },
  { kind: 'compSum', tau: 0.5 },
];

const matrix = {
  target: ['indices', 'probabilities'],
  reduction: ['mean', 'sum', 'none'],
  labelSmoothing: [0, 0.1, 0.9],
  weighted: [false, true],
  tokens: [false, true],
  zLoss: [0, 0.01],
  temperature: [1, 0.7],
  softcap: [undefined, 3],
  capFirst: [false, true],
  ignored: [false, true],
  epilogue: epilogues,
} as const;

describe('analytic gradients equal central differences', () => {
  const rows = 4;
  const classes = 5;
  const cases = pairwise(
    matrix,
    (row) => !row.epilogue || (!row.labelSmoothing && row.target !== 'probabilities'),
  );
  test.each(cases)('%j', (row) => {
    const random = new Random(11);
    const logits = random.normals(rows * classes, 2);
    const probabilities = random.uniforms(rows * classes);
    const indices = Array.from({ length: rows }, () => random.integer(classes));
    if (row.ignored) indices[1] = -100;
    const target: Target = row.target === 'indices' ? { indices } : { probabilities };
    const tokenWeight = row.tokens
      ? random.uniforms(rows, -0.5, 2)
      : new Float64Array(rows).fill(1);
    const classWeight = row.weighted ? random.uniforms(classes) : undefined;
    const options: Options = { ...row, classWeight, tokenWeight };
    const upstream = random.normals(rows);
    const value = (z: ArrayLike<number>, t: Target, o: Options) =>
      crossEntropy(z, rows, classes, t, o).loss.reduce((sum, v, n) => sum + v * upstream[n], 0);
    const result = crossEntropy(logits, rows, classes, target, options, upstream);
    const check = (
      at: Float64Array,
      gradient: Float64Array,
      f: (v: Float64Array) => number,
      what: string,
    ) => expectWithin(gradient, centralDifferences(f, at), () => 1e-7, what);
    check(logits, result.gradLogits, (v) => value(v, target, options), 'gradLogits');
    check(
      tokenWeight,
      result.gradTokenWeight,
      (v) => value(logits, target, { ...options, tokenWeight: v }),
      'gradTokenWeight',
    );
    if (row.target === 'probabilities') {
      const f = (v: Float64Array) => value(logits, { probabilities: v }, options);
      check(probabilities, result.gradTarget, f, 'gradTarget');
    }
  });
});

describe('known values', () => {
  test('equal logits cost log V, however large', () => {
    for (const size of [0, 1e4, 2 ** 24]) {
      const { loss } = crossEntropy(new Float64Array(12).fill(size), 1, 12, { indices: [5] });
      expect(loss[0]).toBeCloseTo(Math.log(12), 14);
    }
  });

  test('a sure prediction keeps its relative accuracy', () => {
    const { loss, gradLogits } = crossEntropy([50, 0, 0], 1, 3, { indices: [0] });
    expect(loss[0] / (2 * Math.exp(-50))).toBeCloseTo(1, 14);
    expect(gradLogits[0] / (-2 * Math.exp(-50))).toBeCloseTo(1, 14);
  });

  test('NaN and +inf spoil their own row only, -inf has probability 0', () => {
    const logits = [NaN, 0, 0, 0, Infinity, 0, -Infinity, 1, 1];
    const { loss, gradLogits } = crossEntropy(
      logits,
      3,
      3,
      { indices: [1, 0, 1] },
      { reduction: 'none' },
    );
    expect([...loss].map(Number.isNaN)).toEqual([true, true, false]);
    expect(loss[2]).toBeCloseTo(Math.LN2, 15);
    expect([...gradLogits.subarray(6)]).toEqual([0, -0.5, 0.5]);
  });

  test('nothing to average: mean NaN, gradients 0', () => {
    const { loss, gradLogits } = crossEntropy([NaN, 1], 1, 2, { indices: [-100] });
    expect(loss[0]).toBeNaN();
    expect([...gradLogits]).toEqual([0, 0]);
    expect(crossEntropy([], 0, 2, { indices: [] }).loss[0]).toBeNaN();
  });
});
