// What cross-entropy must satisfy whatever the reference says: laws, known answers, accuracy at
// the edges of the number formats, rows that hold NaN or infinities, rows that are ignored.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { floatDTypes } from '../cases/cross-entropy.js';
import { expectSameBits, expectWithin, expectZero, rowMax } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';
import { epsilon, formats, round, roundAll, ulp } from '../harness/rounding.js';
import type { Numbers } from '../harness/tensors.js';
import { bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { gradientTolerance } from '../harness/tolerance.js';
import { crossEntropy as reference } from '../reference/cross-entropy.js';

type Options = NonNullable<Parameters<typeof sp.crossEntropy>[2]>;

/** Loss and gradient of [rows, V] logits with class indices; upstream 1. */
function lossOf(values: Numbers, labels: Numbers, dtype: FloatDType, options: Options = {}) {
  const classes = values.length / labels.length;
  const logits = floats(values, dtype, [labels.length, classes], true);
  const loss = sp.crossEntropy(logits, indices(labels, [labels.length]), options);
  loss.backward(floats(new Float64Array(loss.size).fill(1), loss.dtype as FloatDType, loss.shape));
  return { loss: read(loss), gradient: read(gradOf(logits)), lossBits: bits(loss) };
}

const none: Options = { reduction: 'none' };
const storedLoss = (dtype: FloatDType): FloatDType => (dtype === 'float64' ? dtype : 'float32');
/** Relative accuracy of a loss; in float64 equal terms, added one by one, err the same way. */
const unit = (dtype: FloatDType) => (dtype === 'float64' ? 1e-12 : 1e-6);

describe.each(floatDTypes)('laws in %s', (dtype) => {
  const random = new Random(21);
  // Multiples of 1/8 below 16: adding 64 keeps them exact in every dtype but bfloat16.
  const logits = random.fill(6 * 300, () => Math.round(random.uniform(-64, 64)) / 8);
  const labels = Array.from({ length: 6 }, () => random.integer(300));

  test('adding a constant to a row changes nothing', () => {
    if (dtype === 'bfloat16') return;
    const a = lossOf(logits, labels, dtype, none);
    const b = lossOf(
      logits.map((z) => z + 64),
      labels,
      dtype,
      none,
    );
    expectWithin(b.loss, a.loss, (i) => unit(dtype) * a.loss[i], 'loss');
    const largest = rowMax(a.gradient, 300);
    const allowed = (i: number) => gradientTolerance(dtype, a.gradient[i], largest(i));
    expectWithin(b.gradient, a.gradient, allowed, 'gradient');
  });

  test('the rows of the gradient sum to 0', () => {
    const { gradient } = lossOf(logits, labels, dtype, {
      ...none,
      epilogue: { kind: 'focal', gamma: 2 },
    });
    const largest = rowMax(gradient, 300);
    for (let n = 0; n < 6; n++) {
      const row = gradient.subarray(n * 300, (n + 1) * 300);
      // Every element is rounded once: half an ulp of its own size, and float32 before that.
      const rounding = row.reduce((sum, g) => sum + Math.abs(g) * epsilon(dtype), 0);
      const sum = row.reduce((total, g) => total + g, 0);
      expect(Math.abs(sum)).toBeLessThanOrEqual(rounding + 4 * unit(dtype) * largest(n * 300));
    }
  });

  test('equal logits cost log V to one ulp, however large', () => {
    const sizes = [0, 10, -1e4, 4096, 2 ** 24, -(2 ** 24), 65504].map((z) => round(z, dtype));
    for (const classes of [2, 7, 1000, 50257]) {
      const expected = round(Math.log(classes), storedLoss(dtype));
      for (const size of sizes.filter(Number.isFinite)) {
        const { loss } = lossOf(new Float64Array(classes).fill(size), [classes - 1], dtype);
        const allowed = ulp(expected, storedLoss(dtype));
        expectWithin(loss, [expected], () => allowed, `V = ${classes}, logits ${size}`);
      }
    }
  });

  test('the order of the classes does not matter', () => {
    const order = random.permutation(300);
    const shuffled = logits.map((_, i) => logits[Math.floor(i / 300) * 300 + order[i % 300]]);
    const inverse = labels.map((y) => order.indexOf(y));
    const a = lossOf(logits, labels, dtype, none);
    const b = lossOf(shuffled, inverse, dtype, none);
    expectWithin(b.loss, a.loss, (i) => unit(dtype) * a.loss[i], 'loss');
  });

  test('neutral options change nothing', () => {
    const a = lossOf(logits, labels, dtype, none);
    const neutral: Options[] = [
      { temperature: 1, zLoss: 0, labelSmoothing: 0, ignoreIndex: -1 },
      { epilogue: { kind: 'compSum', tau: 1 } },
      { epilogue: { kind: 'focal', gamma: 0 } },
      { classWeight: floats(new Float64Array(300).fill(1), 'float32', [300]) },
      { tokenWeight: floats(new Float64Array(6).fill(1), 'float32', [6]) },
    ];
    for (const options of neutral) {
      const b = lossOf(logits, labels, dtype, { ...none, ...options });
      expectWithin(b.loss, a.loss, (i) => unit(dtype) * a.loss[i], JSON.stringify(options));
      const largest = rowMax(a.gradient, 300);
      const allowed = (i: number) => gradientTolerance(dtype, a.gradient[i], largest(i));
      expectWithin(b.gradient, a.gradient, allowed, JSON.stringify(options));
    }
  });

  test('a one-hot probability target equals the class index, smoothed or not', () => {
    const onehot = new Float64Array(6 * 300);
    for (const [n, y] of labels.entries()) onehot[n * 300 + y] = 1;
    for (const labelSmoothing of [0, 0.1]) {
      const a = lossOf(logits, labels, dtype, { ...none, labelSmoothing });
      const z = floats(logits, dtype, [6, 300], true);
      const loss = sp.crossEntropy(z, floats(onehot, dtype, [6, 300]), { ...none, labelSmoothing });
      loss.sum().backward();
      expectWithin(read(loss), a.loss, (i) => unit(dtype) * a.loss[i], 'loss');
      const largest = rowMax(a.gradient, 300);
      const allowed = (i: number) => gradientTolerance(dtype, a.gradient[i], largest(i));
      expectWithin(read(gradOf(z)), a.gradient, allowed, 'gradient');
    }
  });
});

describe('a sure prediction keeps its relative accuracy', () => {
  const epilogues: Options[] = [
    {},
    { epilogue: { kind: 'focal', gamma: 0.5 } },
    { epilogue: { kind: 'generalized', q: 0.7 } },
    { epilogue: { kind: 'compSum', tau: 1.5 } },
  ];
  test.each(['float64', 'float32', 'bfloat16'] as const)('%s', (dtype) => {
    for (const options of epilogues) {
      for (const [classes, label] of [
        [3, 0],
        [41, 40],
        [5000, 2500],
      ]) {
        for (const margin of [8, 20, 40, dtype === 'float64' ? 600 : 64]) {
          const logits = new Float64Array(classes);
          logits[label] = margin;
          const { loss, gradient } = lossOf(logits, [label], dtype, options);
          const want = reference(logits, 1, classes, { indices: [label] }, options as never);
          const what = `${JSON.stringify(options)} V = ${classes}, margin ${margin}`;
          // f(L) of a focal loss is L^1.5 here, with one and a half times L's relative error.
          const relative = unit(dtype) * (options.epilogue?.kind === 'focal' ? 1.5 : 1);
          const tiny = 2 ** formats[storedLoss(dtype)].minExponent;
          expectWithin(loss, want.loss, () => relative * want.loss[0] + tiny, `loss, ${what}`);
          const own = want.gradLogits[label];
          const stored = dtype === 'bfloat16' ? ulp(own, dtype) : 0;
          const allowed = relative * Math.abs(own) + stored + tiny;
          expectWithin([gradient[label]], [own], () => allowed, `gradient, ${what}`);
        }
      }
    }
  });
});

describe.each(floatDTypes)('extreme logits in %s', (dtype) => {
  const check = (values: Float64Array, labels: number[], options: Options = none) => {
    const rounded = roundAll(values, dtype);
    const classes = values.length / labels.length;
    const target = { indices: labels };
    const ones = new Float64Array(labels.length).fill(1);
    const want = reference(rounded, labels.length, classes, target, options as never, ones);
    const got = lossOf(rounded, labels, dtype, options);
    expectWithin(got.loss, want.loss, (i) => unit(dtype) * want.magnitude[i], 'loss');
    const largest = rowMax(want.gradLogits, classes);
    const allowed = (i: number) => gradientTolerance(dtype, want.gradLogits[i], largest(i));
    expectWithin(got.gradient, want.gradLogits, allowed, 'gradient');
  };

  test('random up to 1e4', () => {
    const random = new Random(31);
    const labels = Array.from({ length: 20 }, () => random.integer(333));
    check(random.normals(20 * 333, 4e3), labels);
  });

  test('neighbours near 2^24, at and below the target', () => {
    const top = dtype === 'float16' ? 65504 : 2 ** 24;
    const step = ulp(top, dtype) / (dtype === 'float64' ? 2 ** -28 : 1);
    for (const sign of [1, -1]) {
      const near = Float64Array.of(top, top - step, top, top - 2 * step, top - step);
      check(
        near.map((z) => sign * z),
        [0],
      );
      check(
        near.map((z) => sign * z),
        [3],
      );
    }
  });

  test('the largest float16 beside its negative', () => {
    check(Float64Array.of(65504, -65504, 0), [0]);
    check(Float64Array.of(65504, -65504, 0), [1]);
    check(Float64Array.of(65504, -65504, 0), [2], { ...none, temperature: 0.5 });
    check(Float64Array.of(65504, -65504, 0), [1], { ...none, softcap: 30 });
  });

  test('-inf has probability 0 and gradient 0, also where a whole block is -inf', () => {
    for (const classes of [3, 41, 5000, 9000]) {
      const random = new Random(classes);
      const logits = random.normals(3 * classes, 2).fill(-Infinity, 0, classes - 2);
      logits.fill(-Infinity, classes + 2, 2 * classes);
      for (let c = 0; c < classes; c += 2) logits[2 * classes + c] = -Infinity;
      check(logits, [classes - 1, 1, 1]);
      check(logits, [classes - 2, 0, 1], { ...none, softcap: 20 });
    }
  });

  test('the lowest finite logit is a number like any other, also where all others are -inf', () => {
    const { mantissa, maxExponent } = formats[dtype];
    const low = (2 ** -mantissa - 2) * 2 ** maxExponent;
    const only = lossOf([low, -Infinity, low, low, low, -Infinity], [0, 0], dtype, none);
    expect([...only.loss]).toEqual([
      expect.closeTo(Math.log(2), 6),
      expect.closeTo(Math.log(2), 6),
    ]);
    const alone = lossOf([-Infinity, low, -Infinity, low], [1, 1], dtype, none);
    expect([...alone.loss]).toEqual([0, 0]);
    expectZero(alone.gradient, 'gradient');
    expect(lossOf([low], [0], dtype, none).loss[0]).toBe(0);
  });

  test('the gradient at -inf is exactly 0 with every option, the others are numbers', () => {
    const masked = [0, 3, 17, 40];
    const logits = new Random(8).normals(41);
    for (const c of masked) logits[c] = -Infinity;
    const options: Options[] = [
      {},
      { labelSmoothing: 0.1 },
      { zLoss: 0.1, temperature: 0.5 },
      { softcap: 20 },
      { softcap: 20, labelSmoothing: 0.1 },
      { epilogue: { kind: 'focal', gamma: 2 } },
    ];
    for (const o of options) {
      for (const label of [5, 17]) {
        const { gradient } = lossOf(logits, [label], dtype, o);
        const what = `${JSON.stringify(o)}, target ${label}`;
        expectZero(
          masked.map((c) => gradient[c]),
          what,
        );
        expect(gradient.every(Number.isFinite), what).toBe(true);
      }
    }
  });

  test('a target of probability 0 costs infinity', () => {
    const { loss } = lossOf([0, -Infinity, 1], [1], dtype, none);
    expect(loss[0]).toBe(Infinity);
  });
});

describe.each(floatDTypes)('rows that are not numbers in %s', (dtype) => {
  const poisons: [string, (row: Float64Array, at: number) => void][] = [
    ['NaN', (row, at) => row.fill(NaN, at, at + 1)],
    ['+inf', (row, at) => row.fill(Infinity, at, at + 1)],
    ['+inf and -inf', (row, at) => row.fill(-Infinity).fill(Infinity, at, at + 1)],
    ['only -inf', (row) => row.fill(-Infinity)],
  ];

  test.each(poisons)('%s gives NaN in its own row alone', (_, poison) => {
    for (const classes of [3, 41, 4099]) {
      const clean = roundAll(new Random(3).normals(4 * classes), dtype);
      const labels = [0, 1, classes - 1, 2];
      const expected = lossOf(clean, labels, dtype, none);
      for (const at of [0, 1, classes >> 1, classes - 1]) {
        const logits = clean.slice();
        poison(logits.subarray(classes, 2 * classes), at);
        const got = lossOf(logits, labels, dtype, none);
        for (const n of [0, 2, 3]) {
          expect(got.loss[n]).toBe(expected.loss[n]);
          const row = (g: Float64Array) => g.subarray(n * classes, (n + 1) * classes);
          expectSameBits(row(got.gradient), row(expected.gradient), `gradient of row ${n}`);
        }
        expect(got.loss[1]).toBeNaN();
        expect([...got.gradient.subarray(classes, 2 * classes)].every(Number.isNaN)).toBe(true);
        expect(lossOf(logits, labels, dtype).loss[0]).toBeNaN();
      }
    }
  });

  test.each(['mean', 'sum', 'none'] as const)('ignored, they are exact zeros: %s', (reduction) => {
    for (const classes of [3, 41, 4099]) {
      const logits = roundAll(new Random(4).normals(4 * classes), dtype);
      const options: Options = { reduction, labelSmoothing: 0.1, zLoss: 0.1 };
      const expected = lossOf(logits, [0, -100, 1, -100], dtype, options);
      logits.fill(NaN, classes, 2 * classes).fill(Infinity, 3 * classes);
      const got = lossOf(logits, [0, -100, 1, -100], dtype, options);
      expectSameBits(got.lossBits, expected.lossBits, 'loss');
      expectSameBits(got.gradient, expected.gradient, 'gradient');
      expectZero(got.gradient.subarray(classes, 2 * classes), 'gradient');
      expectZero(got.gradient.subarray(3 * classes), 'gradient');
      if (reduction === 'none') expectZero([got.loss[1], got.loss[3]], 'loss');
    }
  });
});

describe('nothing to average', () => {
  const all = [-100, -100, -100];
  test.each(floatDTypes)('every row ignored, %s', (dtype) => {
    const logits = new Float64Array(3 * 41).fill(NaN);
    const mean = lossOf(logits, all, dtype);
    expect(mean.loss[0]).toBeNaN();
    expectZero(mean.gradient, 'gradient of the mean');
    expect(lossOf(logits, all, dtype, { reduction: 'sum' }).loss[0]).toBe(0);
    expectZero(lossOf(logits, all, dtype, none).loss, 'losses');
  });

  test('an empty batch', () => {
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const logits = floats([], 'float32', [0, 5], true);
      const loss = sp.crossEntropy(logits, indices([], [0]), { reduction });
      expect([...read(loss)]).toEqual({ mean: [NaN], sum: [0], none: [] }[reduction]);
      loss.backward(sp.ones(loss.shape));
      expect(gradOf(logits).shape).toEqual([0, 5]);
    }
  });

  test('weights of 0', () => {
    const logits = [1, 2, 3, 4, 5, 6];
    const byToken = { tokenWeight: floats([0, 0], 'float32', [2]) };
    const byClass = { classWeight: floats([0, 1, 1], 'float32', [3]) };
    for (const options of [byToken, byClass]) {
      const { loss, gradient } = lossOf(logits, [0, 0], 'float32', options);
      expect(loss[0]).toBeNaN();
      expectZero(gradient, 'gradient');
      expect(lossOf(logits, [0, 0], 'float32', { ...options, reduction: 'sum' }).loss[0]).toBe(0);
    }
  });
});

describe('arguments in all their forms', () => {
  const random = new Random(6);
  const logits = random.normals(4 * 7);

  test.each([-1, 0, 3, 6, 2 ** 31 - 1])('ignoreIndex %i', (ignoreIndex) => {
    const labels = [ignoreIndex, 5, 1, 2];
    const want = reference(logits, 4, 7, { indices: labels }, { ignoreIndex });
    const got = lossOf(logits, labels, 'float64', { ignoreIndex });
    expectWithin(got.loss, want.loss, () => 1e-14, 'loss');
    expectWithin(got.gradient, want.gradLogits, () => 1e-14, 'gradient');
    expectZero(got.gradient.subarray(0, 7), 'the ignored row');
  });

  test.each(floatDTypes)('weights of dtype %s', (weights) => {
    const classWeight = roundAll(random.uniforms(7), weights);
    const tokenWeight = roundAll(random.uniforms(4), weights);
    const labels = [3, 0, 6, 2];
    const options = { classWeight, tokenWeight };
    const want = reference(logits, 4, 7, { indices: labels }, options);
    const token = floats(tokenWeight, weights, [4], true);
    const z = floats(logits, 'float64', [4, 7], true);
    const loss = sp.crossEntropy(z, indices(labels, [4]), {
      classWeight: floats(classWeight, weights, [7]),
      tokenWeight: token,
    });
    loss.backward();
    expectWithin(read(loss), want.loss, () => 1e-13, 'loss');
    expectWithin(read(gradOf(z)), want.gradLogits, () => 1e-13, 'gradient');
    const allowed = (i: number) =>
      gradientTolerance(weights, want.gradTokenWeight[i], want.magnitudeTokenWeight[i]);
    expectWithin(read(gradOf(token)), want.gradTokenWeight, allowed, 'tokenWeight.grad');
  });

  test('one row without a batch axis', () => {
    const z = floats(logits.subarray(0, 7), 'float64', [7], true);
    const want = reference(logits.subarray(0, 7), 1, 7, { indices: [4] });
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const loss = sp.crossEntropy(z, indices([4], []), { reduction });
      expect(loss.shape).toEqual([]);
      expectWithin(read(loss), want.loss, () => 1e-14, 'loss');
    }
  });

  test('the asynchronous forms give the same bits', async () => {
    const z = floats(logits, 'float32', [4, 7], true);
    const labels = indices([3, 0, -100, 2], [4]);
    const expected = sp.crossEntropy(z, labels, { zLoss: 0.1 });
    expected.backward();
    const gradient = bits(gradOf(z));
    z.zeroGrad();
    const loss = await sp.crossEntropy.async(z, labels, { zLoss: 0.1 });
    await loss.backwardAsync();
    expectSameBits(bits(loss), bits(expected), 'loss');
    expectSameBits(bits(gradOf(z)), gradient, 'gradient');
  });
});
