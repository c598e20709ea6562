// crossEntropy on a device where its plan changes: rows on both sides of every limit of
// native/ops/cross_entropy/plan.h, at every alignment that an odd number of classes brings, against
// the float64 reference; bad values in rows that clusters and parts share.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { type Case, draw, plain } from '../cases/cross-entropy.js';
import { expectSameBits } from '../harness/compare.js';
import { check, run } from '../harness/cross-entropy.js';
import { needsCuda, throughDevice } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import type { FloatDType } from '../harness/rounding.js';
import { bits, floats, gradOf, indices } from '../harness/tensors.js';

const missing = needsCuda('where the plan of crossEntropy changes');
const refuses = refuser('crossEntropy');

const rowsOf = (rows: number, classes: number, rest: Partial<Case> = {}): Case => ({
  ...plain,
  name: `${rows} x ${classes}`,
  shape: [rows],
  classes,
  target: 'indices',
  ignored: rows > 4 ? 0.3 : 0,
  ...rest,
});

describe.skipIf(missing)('on both sides of a limit', () => {
  // Registers: 8 lanes x 4, 32 x 4, 32 x 12 (float32: 32 x 8) slots; then blocks of 64 to 256.
  test.each([
    ...[1, 7, 8, 9, 263, 264, 1031, 1032, 3079, 3080, 4099, 8199, 8200].map((v) => [v, 'bfloat16']),
    ...[1031, 1032, 3079, 3080].map((v) => [v, 'float16']),
    ...[1, 3, 4, 5, 131, 132, 515, 516, 1027, 1028, 4099, 4100].map((v) => [v, 'float32']),
    ...[1, 2, 3, 128, 129, 514, 2050].map((v) => [v, 'float64']),
  ] as [number, FloatDType][])('%i classes, %s', (classes, dtype) => {
    const c = rowsOf(9, classes);
    check(c, draw(c, dtype), dtype);
  });

  // A block, clusters of 2, 4 and 8 with three and then fewer blocks a multiprocessor, parts.
  test.each([
    [36_743, 'bfloat16'],
    [36_744, 'bfloat16'],
    [73_721, 'bfloat16'],
    [147_449, 'bfloat16'],
    [294_905, 'bfloat16'],
    [1_000_003, 'bfloat16'],
    [50_257, 'float32'],
    [36_877, 'float64'],
  ] as [number, FloatDType][])('%i classes, %s', (classes, dtype) => {
    const c = rowsOf(2, classes);
    check(c, draw(c, dtype), dtype);
  });

  test.each([
    [300, 'bfloat16'],
    [4099, 'float16'],
    [40_001, 'bfloat16'],
    [20_001, 'float32'],
    [500_003, 'bfloat16'],
  ] as [number, FloatDType][])('every kind of loss: %i classes, %s', (classes, dtype) => {
    for (const rest of [
      { labelSmoothing: 0.1, weighted: true, softcap: 20 },
      { target: 'probabilities', labelSmoothing: 0.1, reduction: 'none' },
    ] as Partial<Case>[]) {
      const c = rowsOf(classes > 100_000 ? 1 : 2, classes, rest);
      check(c, draw(c, dtype), dtype);
    }
  });
});

describe.skipIf(missing)('rows that several blocks share', () => {
  const classes = 50_257;

  test('the same bits in every run', () => {
    const c = rowsOf(6, classes);
    const data = draw(c, 'bfloat16');
    const [first, ...others] = [1, 2, 3].map(() => {
      const one = run(c, data, 'bfloat16');
      one.backward();
      return [bits(one.loss), bits(gradOf(one.logits))];
    });
    for (const other of others) {
      expectSameBits(other[0], first[0], 'loss');
      expectSameBits(other[1], first[1], 'gradient');
    }
  });

  test('the first bad target is named, and the library goes on', () => {
    const logits = sp.zeros([5, classes], { dtype: 'bfloat16' });
    const labels = indices([0, 1, classes, -1, 7], [5]);
    for (const reduction of ['none', 'mean'] as const) {
      const call = () => throughDevice(() => sp.crossEntropy(logits, labels, { reduction }));
      refuses(call, 'ERR_OUT_OF_RANGE', `${classes}`, /\brow 2\b/);
    }
    const fine = sp.crossEntropy(logits, indices([0, 1, 2, 3, 4], [5]));
    expect(fine.item()).toBeCloseTo(Math.log(classes), 4);
  });

  test('a bad target comes before bad weights, as on the CPU', () => {
    const classWeight = floats([1, -1, 1], 'float32', [3]);
    const tokenWeight = floats([1, Number.NaN], 'float32', [2]);
    const logits = sp.zeros([2, 3]);
    const call = (labels: number[], options: object) => () =>
      throughDevice(() => sp.crossEntropy(logits, indices(labels, [2]), options));
    refuses(call([0, 9], { classWeight, tokenWeight }), 'ERR_OUT_OF_RANGE', /\b9\b/, /row 1/);
    refuses(call([0, 1], { classWeight, tokenWeight }), 'ERR_INVALID_VALUE', /class 1/, /-1/);
    refuses(call([0, 1], { tokenWeight }), 'ERR_INVALID_VALUE', /row 1/, /NaN/);
  });
});
