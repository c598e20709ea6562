// What logit-free cross-entropy must satisfy whatever the reference says: known answers, accuracy
// of sure predictions and of huge logits, arguments in all their forms.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { floatDTypes } from '../cases/cross-entropy.js';
import { expectWithin, expectZero } from '../harness/compare.js';
import { isEmulated } from '../harness/device.js';
import { expectGradient } from '../harness/linear-cross-entropy.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';
import { round, roundAll, ulp } from '../harness/rounding.js';
import { floats, gradOf, indices, read } from '../harness/tensors.js';
import { gradientTolerance, lossTolerance } from '../harness/tolerance.js';
import { linearCrossEntropy as reference } from '../reference/linear-cross-entropy.js';

const storedLoss = (dtype: FloatDType): FloatDType => (dtype === 'float64' ? dtype : 'float32');

describe.each(floatDTypes)('logits that are known in %s', (dtype) => {
  test('equal ones cost log V to one ulp, however large', () => {
    for (const classes of [2, 33, ...(isEmulated ? [600] : [1000, 5003])]) {
      for (const size of [0, 1, -100, 128]) {
        const x = floats([size, size, 0], dtype, [1, 3]);
        const weight = floats(new Float64Array(classes * 3).fill(size), dtype, [classes, 3]);
        const loss = sp.linearCrossEntropy(x, weight, indices([classes - 1], [1]));
        const expected = round(Math.log(classes), storedLoss(dtype));
        const allowed = ulp(expected, storedLoss(dtype));
        expectWithin(read(loss), [expected], () => allowed, `V = ${classes}, logits ${size}`);
      }
    }
  });

  test('a sure prediction keeps its relative accuracy', () => {
    for (const classes of [3, 40, ...(isEmulated ? [] : [3000])]) {
      for (const margin of [8, 20, 40, 64]) {
        // Logits are `margin` at the target and 0 elsewhere, exactly.
        const label = classes - 2;
        const weight = new Float64Array(classes * 2);
        weight[2 * label] = 1;
        const x = floats([margin, 3], dtype, [1, 2], true);
        const w = floats(weight, dtype, [classes, 2], true);
        const loss = sp.linearCrossEntropy(x, w, indices([label], [1]));
        loss.backward();
        const rest = (classes - 1) * Math.exp(-margin);
        const relative = dtype === 'float64' ? 1e-12 : 1e-6;
        expectWithin(read(loss), [Math.log1p(rest)], () => relative * Math.log1p(rest), 'loss');
        const dx = -rest / (1 + rest);
        const stored = dtype === 'float32' || dtype === 'float64' ? 0 : ulp(dx, dtype);
        const allowed = relative * Math.abs(dx) + stored;
        expectWithin(read(gradOf(x)).subarray(0, 1), [dx], () => allowed, 'dx');
        const own = read(gradOf(w)).subarray(2 * label, 2 * label + 1);
        const wide = margin * allowed + (stored && ulp(margin * dx, dtype));
        expectWithin(own, [margin * dx], () => wide, 'dweight');
      }
    }
  });

  test('the gradient of the bias sums to 0 over the classes', () => {
    const random = new Random(2);
    const bias = floats(random.normals(700), 'float64', [700], true);
    const x = floats(random.normals(50 * 9), 'float64', [50, 9]);
    const weight = floats(random.normals(700 * 9), 'float64', [700, 9]);
    const target = indices(
      Array.from({ length: 50 }, () => random.integer(700)),
      [50],
    );
    sp.linearCrossEntropy(x, weight, target, { bias, labelSmoothing: 0.1 }).backward();
    const sum = read(gradOf(bias)).reduce((total, g) => total + g, 0);
    expect(Math.abs(sum)).toBeLessThan(1e-14);
  });
});

describe('arguments in all their forms', () => {
  const random = new Random(3);
  const [rows, width, classes] = [12, 5, 30];
  const x = random.normals(rows * width);
  const weight = random.normals(classes * width);
  const target = Int32Array.from({ length: rows }, () => random.integer(classes));
  const problem = { batch: 1, length: rows, width, classes, x, weight, target };
  const leaves = (needsGrad = true) => ({
    x: floats(x, 'float64', [rows, width], needsGrad),
    weight: floats(weight, 'float64', [classes, width], needsGrad),
  });

  test.each([-1, 0, 7, 29, 2 ** 31 - 1])('ignoreIndex %i', (ignoreIndex) => {
    const labels = target.map((y, t) => (t % 3 ? y : ignoreIndex));
    const want = reference({ ...problem, target: labels }, { ignoreIndex });
    const t = leaves();
    const loss = sp.linearCrossEntropy(t.x, t.weight, indices(labels, [rows]), { ignoreIndex });
    loss.backward();
    expectWithin(read(loss), want.loss, () => 1e-13, 'loss');
    expectGradient(t.x, want.gradX, 'dx');
    expectGradient(t.weight, want.gradWeight, 'dweight');
    expectZero(read(gradOf(t.x)).subarray(0, width), 'dx of an ignored row');
  });

  test.each(floatDTypes)('weights of dtype %s', (dtype) => {
    const classWeight = roundAll(random.uniforms(classes), dtype);
    const tokenWeight = roundAll(random.uniforms(rows), dtype);
    const want = reference(problem, { classWeight, tokenWeight });
    const token = floats(tokenWeight, dtype, [rows], true);
    const t = leaves();
    const loss = sp.linearCrossEntropy(t.x, t.weight, indices(target, [rows]), {
      classWeight: floats(classWeight, dtype, [classes]),
      tokenWeight: token,
    });
    loss.backward();
    expectWithin(read(loss), want.loss, () => 1e-13, 'loss');
    expectGradient(t.x, want.gradX, 'dx');
    const allowed = (i: number) =>
      gradientTolerance(dtype, want.gradTokenWeight[i], want.magnitudeTokenWeight[i]);
    expectWithin(read(gradOf(token)), want.gradTokenWeight, allowed, 'tokenWeight.grad');
  });

  test('one row without a batch axis', () => {
    const one = floats(x.subarray(0, width), 'float64', [width], true);
    const { weight: w } = leaves();
    const want = reference({ ...problem, length: 1 });
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const loss = sp.linearCrossEntropy(one, w, indices([target[0]], []), { reduction });
      expect(loss.shape).toEqual([]);
      expectWithin(read(loss), want.loss, () => 1e-13, 'loss');
    }
  });

  test('an upstream gradient of 0 gives 0, of NaN gives NaN', () => {
    for (const reduction of ['mean', 'none'] as const) {
      for (const scale of [0, NaN]) {
        const t = leaves();
        const loss = sp.linearCrossEntropy(t.x, t.weight, indices(target, [rows]), { reduction });
        loss.backward(sp.full(loss.shape, scale, { dtype: 'float64' }));
        for (const g of [gradOf(t.x), gradOf(t.weight)].map(read)) {
          expect(g.every((v) => Object.is(v + 0, scale))).toBe(true);
        }
      }
    }
  });

  test('shift equals slicing by hand', () => {
    for (const shift of [1, 3, 11]) {
      const a = leaves();
      const shifted = sp.linearCrossEntropy(a.x, a.weight, indices(target, [rows]), { shift });
      shifted.backward();
      const b = leaves();
      const kept = rows - shift;
      const head = floats(x.subarray(0, kept * width), 'float64', [kept, width], true);
      const plain = sp.linearCrossEntropy(head, b.weight, indices(target.subarray(shift), [kept]));
      plain.backward();
      const limit = lossTolerance('float64') * 10;
      expectWithin(read(shifted), read(plain), () => limit, `shift ${shift}`);
      const dx = read(gradOf(a.x));
      expectWithin(dx.subarray(0, kept * width), read(gradOf(head)), () => 1e-14, 'dx');
      expectZero(dx.subarray(kept * width), 'dx of the last rows');
      expectWithin(read(gradOf(a.weight)), read(gradOf(b.weight)), () => 1e-14, 'dweight');
    }
  });
});
