// dropout; the other activations are elementwise functions and tested with them.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { refuser } from '../harness/refusal.js';
import { bits, gradOf, read } from '../harness/tensors.js';

test('far from zero gelu and its gradient are the limits', () => {
  const far = [15.5, 16.5, 39.5, 40.5, 1e30, Infinity];
  for (const dtype of ['float32', 'float64', 'bfloat16'] as const) {
    // The smallest number of float32 is within 2 ulp of what is far smaller.
    const least = dtype === 'float32' ? 2 ** -148 : 1e-50;
    for (const approximate of ['none', 'tanh'] as const) {
      const x = sp.tensor([...far, ...far.map((v) => -v)], { dtype, requiresGrad: true });
      const y = sp.gelu(x, { approximate });
      expect(read(y as never).slice(0, 6)).toEqual(read(x as never).slice(0, 6));
      expect(
        Math.max(
          ...read(y as never)
            .slice(6)
            .map(Math.abs),
        ),
      ).toBeLessThan(least);
      y.backward(sp.ones([12], { dtype }));
      const slopes = read(gradOf(x as never));
      expect([...slopes.slice(0, 6)]).toEqual(new Array(6).fill(1));
      expect(Math.max(...slopes.slice(6).map(Math.abs))).toBeLessThan(least);
    }
  }
});

describe('dropout', () => {
  test.each(['float32', 'float64', 'float16', 'bfloat16'] as const)(
    'kept elements, %s',
    (dtype) => {
      sp.manualSeed(1);
      const n = 40_003;
      const y = sp.dropout(sp.ones([n], { dtype }), { p: 0.25 });
      const kept = sp.full([1], 1 / 0.75, { dtype }).item();
      const values = Array.from(y.dataSync());
      expect(new Set(values)).toEqual(new Set([0, kept]));
      // Six standard deviations of a binomial count.
      const zeros = values.filter((v) => v === 0).length;
      expect(Math.abs(zeros - n / 4)).toBeLessThan(6 * Math.sqrt((n * 3) / 16));
    },
  );

  test('the gradient has the same mask; each call another', () => {
    const x = sp.randn([1000], { requiresGrad: true });
    const [a, b] = [x.dropout({ p: 0.4 }), x.dropout({ p: 0.4 })];
    expect(a.ne(b).sum().item()).not.toBe(0n);
    a.sum().backward();
    expectWithin(read(gradOf(x as never).mul(x) as never), read(a as never), () => 0, 'mask');
  });

  test('seed, threads, p of 0 and 1, evaluation', () => {
    const x = sp.randn([40_003]);
    const before = sp.getThreads();
    const [one, three] = [1, 3].map((threads) => {
      sp.setThreads(threads);
      sp.manualSeed(7);
      return x.dropout();
    });
    sp.setThreads(before);
    expectSameBits(bits(three as never), bits(one as never), 'threads');
    expectSameBits(bits(x.dropout({ p: 0 }) as never), bits(x as never), 'p = 0');
    expect(x.dropout({ p: 1 }).ne(0).sum().item()).toBe(0n);
    expect(x.dropout({ training: false })).toBe(x);
  });

  test('refusals', () => {
    const no = refuser('dropout');
    no(() => sp.dropout(sp.ones([2]), { p: 1.5 }), 'ERR_INVALID_VALUE', 'p', '1.5');
    no(() => sp.dropout(sp.ones([2], { dtype: 'int32' })), 'ERR_DTYPE', 'int32');
    no(() => sp.dropout(sp.ones([2]), { rate: 1 } as never), 'ERR_UNKNOWN_OPTION', "'rate'");
    no(() => sp.dropout(sp.ones([2]), { training: 0 as never }), 'ERR_INVALID_TYPE', 'training');
  });

  test('outside training x comes back, from the asynchronous form too', async () => {
    const x = sp.ones([100]);
    expect(sp.dropout(x, { training: false })).toBe(x);
    expect(await sp.dropout.async(x, { p: 0.9, training: false })).toBe(x);
    const dropped = await sp.dropout.async(x, { p: 0.9 });
    expect(dropped.eq(0).sum().item()).toBeGreaterThan(50n);
    refuser('dropout')(() => sp.dropout(5 as never, { training: false }), 'ERR_INVALID_TYPE');
  });
});
