// Cross-entropy on logits against the float64 reference: every option in pairs, sizes, dtypes; and
// what must hold to the bit: repeated runs, thread counts, grad mode, rows in another batch.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import type { Case, Data } from '../cases/cross-entropy.js';
import { draw, floatDTypes, optionCases, plain, shapeCases } from '../cases/cross-entropy.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { check, run } from '../harness/cross-entropy.js';
import { inTurn, isOnCpu } from '../harness/device.js';
import type { FloatDType } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';

const turnOf = (dtype: FloatDType) => floatDTypes.indexOf(dtype);

describe.each(floatDTypes)('%s', (dtype) => {
  describe('every pair of options', () => {
    test.each(inTurn(optionCases, turnOf(dtype), 4))('$name', (c) =>
      check(c, draw(c, dtype), dtype),
    );
  });

  describe('sizes', () => {
    test.each(inTurn(shapeCases, turnOf(dtype) % 2, 2))('$name', (c) =>
      check(c, draw(c, dtype), dtype),
    );
  });

  test('forward+gradient twice with retainGraph doubles the gradient', () => {
    const c: Case = { ...plain, name: '', shape: [5], classes: 100, target: 'indices' };
    const { logits, loss } = run(c, draw(c, dtype), dtype);
    loss.backward(undefined, { retainGraph: true });
    const once = read(gradOf(logits));
    loss.backward();
    expectWithin(
      read(gradOf(logits)),
      once.map((g) => 2 * g),
      () => 0,
      'gradient',
    );
    expect(() => loss.backward()).toThrow(/backward/);
  });
});

describe('the same bits', () => {
  afterEach(() => sp.setThreads(2));

  const cases: Case[] = [
    ...optionCases.filter((_, i) => i % 4 === 0),
    ...shapeCases.filter((c) => ['3 x 4099', '289 x 1000', '2 x 65537'].includes(c.name)),
  ];
  const results = (c: Case, dtype: FloatDType) => {
    const { logits, loss, tokenWeight, backward } = run(c, draw(c, dtype), dtype);
    backward();
    return [loss, gradOf(logits), ...(tokenWeight ? [gradOf(tokenWeight)] : [])].map(bits);
  };

  describe.each(floatDTypes)('%s', (dtype) => {
    test.each(inTurn(cases, turnOf(dtype) % 2, 2))(
      'in repeated runs and for any thread count: $name',
      (c) => {
        const first = results(c, dtype);
        // A device does not know of them: there it is one run more.
        for (const threads of isOnCpu ? [2, 1, 3] : [2]) {
          sp.setThreads(threads);
          results(c, dtype).forEach((again, i) => {
            expectSameBits(again, first[i], `${threads} threads`);
          });
        }
      },
    );

    test.each(inTurn(cases, turnOf(dtype), 4))('without gradients: $name', (c) => {
      const data = draw(c, dtype);
      const expected = bits(run(c, data, dtype).loss);
      expectSameBits(bits(run(c, data, dtype, false).loss), expected, 'inputs need no gradient');
      const inside = sp.noGrad(() => run(c, data, dtype));
      expect(inside.loss.requiresGrad).toBe(false);
      expectSameBits(bits(inside.loss), expected, 'noGrad');
    });

    test.each([41, 1000, 4099])('a row alone and among others, V = %i', (classes) => {
      const c: Case = {
        ...plain,
        name: 'rows',
        shape: [70],
        classes,
        target: 'indices',
        reduction: 'none',
        zLoss: 0.01,
      };
      const data = draw(c, dtype);
      const all = run(c, data, dtype);
      all.loss.backward(floats(data.upstream, all.loss.dtype as FloatDType, [70]));
      const labels = (data.target as { indices: Int32Array }).indices;
      for (const n of [0, 33, 69]) {
        const row = data.logits.subarray(n * classes, (n + 1) * classes);
        const one: Data = { ...data, rows: 1, logits: row, target: { indices: [labels[n]] } };
        const alone = run({ ...c, shape: [1] }, { ...one, upstream: Float64Array.of(1) }, dtype);
        alone.backward();
        const own = (t: AnyTensor, width: number) =>
          (bits(t) as Uint16Array).subarray(n * width, (n + 1) * width);
        expectSameBits(bits(alone.loss), own(all.loss, 1), `row ${n}`);
        expectSameBits(bits(gradOf(alone.logits)), own(gradOf(all.logits), classes), `row ${n}`);
      }
    });
  });
});
