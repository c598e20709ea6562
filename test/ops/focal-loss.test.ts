// Focal loss of logits against its definition, finite differences, its limits and refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { floatDTypes } from '../harness/operation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

function reference(x: number, t: number, gamma: number, a = 1, b = 1) {
  const [logP, logQ] = [-softplus(-x), -softplus(x)];
  return -a * t * Math.exp(gamma * logQ) * logP - b * (1 - t) * Math.exp(gamma * logP) * logQ;
}

function draw(n: number, dtype: FloatDType) {
  const random = new Random(n + 3);
  const x = roundAll(random.normals(n, 4), dtype);
  const t = roundAll(
    random.normals(n).map((v) => (v > 0.5 ? 1 : v < -1 ? 0.25 : 0)),
    dtype,
  );
  return { x, t };
}

const variants = [{}, { gamma: 0 }, { gamma: 0.5, alpha: 0.25 }, { gamma: 3, alpha: 1 }];

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(variants)('%o', (options: { gamma?: number; alpha?: number }) => {
    const { gamma = 2, alpha } = options;
    for (const n of [0, 1, 7, 512, 5001]) {
      const { x, t } = draw(n, dtype);
      const value = (i: number) =>
        reference(x[i], t[i], gamma, alpha ?? 1, alpha === undefined ? 1 : 1 - alpha);
      const expected = Array.from({ length: n }, (_, i) => value(i));
      const [logits, target] = [floats(x, dtype, [n]), floats(t, dtype, [n])] as [never, never];
      const each = sp.focalLoss(logits, target, { ...options, reduction: 'none' }) as AnyTensor;
      const unit = epsilon(dtype === 'float64' ? 'float64' : 'float32');
      // The exponent's rounding is multiplied by the exponential's argument, up to gamma · 16.
      const allowed = (i: number) => unit * (16 + 16 * gamma) * expected[i] + 1e-300;
      expectWithin(read(each), expected, allowed, 'elements');
      const total = expected.reduce((a, b) => a + b, 0);
      const sum = sp.focalLoss(logits, target, { ...options, reduction: 'sum' }).item() as number;
      expect(Math.abs(sum - total)).toBeLessThanOrEqual(64 * unit * total);
      const mean = sp.focalLoss(logits, target, options).item() as number;
      if (n === 0) expect(mean).toBeNaN();
      else expect(Math.abs(mean - total / n)).toBeLessThanOrEqual((64 * unit * total) / n);
    }
  });

  test('the same bits for any number of threads and in the background', async () => {
    const { x, t } = draw(70_001, dtype);
    const target = floats(t, dtype, [70_001]) as never;
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const logits = floats(x, dtype, [70_001], true);
      const loss = sp.focalLoss(logits as never, target) as AnyTensor;
      loss.backward();
      return [bits(loss), bits(gradOf(logits))];
    });
    sp.setThreads(before);
    for (const k of [0, 1]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const later = await sp.focalLoss.async(floats(x, dtype, [70_001]) as never, target);
    expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
  });
});

test.each(variants)('gradients of %o', (options) => {
  const { x, t } = draw(30, 'float64');
  const target = floats(t, 'float64', [5, 6]) as never;
  for (const reduction of ['none', 'mean', 'sum'] as const) {
    const f = (z: AnyTensor) => sp.focalLoss(z as never, target, { ...options, reduction });
    sp.gradcheck(f as never, [floats(x, 'float64', [5, 6], true)] as never);
  }
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
    const { x, t } = draw(900, dtype);
    const gradients = (['float64', dtype] as const).map((d) => {
      const z = floats(x, d, [900], true);
      sp.focalLoss(z as never, floats(t, d, [900]) as never, {
        ...options,
        reduction: 'sum',
      }).backward();
      return read(gradOf(z));
    });
    const allowed = (i: number) =>
      (epsilon(dtype) + 1e-5) * Math.abs(gradients[0][i]) +
      (dtype === 'float16' ? 2 ** -25 : 1e-30);
    expectWithin(gradients[1], gradients[0], allowed, dtype);
  }
});

test('far from zero: as large as the logit, or nothing, and never NaN', () => {
  const z = sp.tensor([-200, 200, -Infinity, Infinity, -200, 200], { requiresGrad: true });
  const t = sp.tensor([1, 0, 0, 1, 0, 1]);
  for (const gamma of [0, 2]) {
    z.grad = null;
    const loss = sp.focalLoss(z, t, { gamma, reduction: 'none' });
    expect(loss.toArray()).toEqual([200, 200, 0, 0, 0, 0]);
    loss.sum().backward();
    const grad = [...read(gradOf(z as AnyTensor))];
    expect(grad.slice(0, 2)).toEqual([-1, 1]);
    expect(grad.slice(2).map(Math.abs)).toEqual([0, 0, 0, 0]);
  }
  expect(sp.focalLoss(sp.tensor([-Infinity]), sp.tensor([1])).item()).toBe(Infinity);
});

test('bool and uint8 masks; gamma 0 is binary cross-entropy', () => {
  const z = sp.tensor([0.5, -1, 2]);
  const expected = sp.focalLoss(z, sp.tensor([1, 0, 1]), { gamma: 0 }).item();
  const mask = sp.tensor([true, false, true]);
  expect(sp.focalLoss(z, mask, { gamma: 0 }).item()).toBe(expected);
  const bytes = sp.tensor([1, 0, 1], { dtype: 'uint8' });
  expect(sp.focalLoss(z, bytes, { gamma: 0 }).item()).toBe(expected);
  const byHand = (softplus(-0.5) + softplus(-1) + softplus(-2)) / 3;
  expect(expected).toBeCloseTo(byHand, 6);
});

test('refusals', () => {
  const refuses = refuser('focalLoss');
  const x = sp.ones([2, 3]);
  refuses(() => sp.focalLoss(x, sp.ones([3, 2])), 'ERR_SHAPE', '[2, 3]', '[3, 2]');
  refuses(() => sp.focalLoss(x, sp.ones([2, 3], { dtype: 'int32' })), 'ERR_DTYPE', 'target');
  refuses(() => sp.focalLoss(x, x, { gamma: -1 }), 'ERR_INVALID_VALUE', 'gamma');
  refuses(() => sp.focalLoss(x, x, { alpha: 2 }), 'ERR_INVALID_VALUE', 'alpha');
  refuses(() => sp.focalLoss(x, x, { alhpa: 1 } as never), 'ERR_UNKNOWN_OPTION', 'alpha');
});

test('a target outside 0 to 1 is refused, by its place', () => {
  const refuses = refuser('focalLoss');
  const n = 200_001;
  for (const dtype of [...floatDTypes, 'uint8'] as const) {
    const logits = sp.zeros([n], { dtype: dtype === 'uint8' ? 'float32' : dtype });
    for (const bad of dtype === 'uint8' ? [2] : [2, -1, NaN]) {
      for (const at of [0, 123_457, n - 1]) {
        const values = new Array<number>(n).fill(1);
        values[at] = values[n - 1] = bad;
        const target = sp.tensor(values, { dtype });
        refuses(
          () => sp.focalLoss(logits as never, target),
          'ERR_INVALID_VALUE',
          `target to hold numbers from 0 to 1, got ${bad} at ${at}`,
        );
      }
    }
    const ends = sp.tensor([0, 1, dtype === 'uint8' ? 0 : -0], { dtype });
    const short = sp.zeros([3], { dtype: logits.dtype });
    expect(Number.isFinite(sp.focalLoss(short as never, ends).item())).toBe(true);
  }
});
