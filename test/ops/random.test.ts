// rand, randn, randint, manualSeed: the numbers that the generator's definition says.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { expectWithin } from '../harness/compare.js';
import { refuser } from '../harness/refusal.js';
import { roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits } from '../harness/tensors.js';
import { normals, philox, uniform, uniformDouble, words } from '../reference/philox.js';

test("the generator's known answers (Random123, kat_vectors)", () => {
  expect(philox(0n, 0n)).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
});

describe('rand', () => {
  // A 16-bit float takes as many bits as its significand has.
  const widths = { float32: 24, float16: 11, bfloat16: 8 } as const;
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
    test(`${dtype}: the high bits of each word`, () => {
      sp.manualSeed(2 ** 40 + 3);
      const expected = words(2 ** 40 + 3, 0, 601).map((w) => uniform(w, widths[dtype]));
      expect(numbers(sp.rand([601], { dtype }))).toEqual(expected);
      // 601 words took 151 blocks.
      const next = words(2 ** 40 + 3, 151, 3).map((w) => uniform(w, widths[dtype]));
      expect(numbers(sp.rand([3], { dtype }))).toEqual(next);
    });
  }

  test('float64: 53 bits of two words', () => {
    sp.manualSeed(0);
    const w = words(0, 0, 20);
    const expected = Array.from({ length: 9 }, (_, i) => uniformDouble(w[2 * i], w[2 * i + 1]));
    expect(numbers(sp.rand([3, 3], { dtype: 'float64' }))).toEqual(expected);
    expect(uniformDouble(2 ** 32 - 1, 2 ** 32 - 1)).toBeLessThan(1);
  });
});

describe('randn', () => {
  test('float32 and 16-bit floats: Box and Muller on pairs of words', () => {
    const w = words(11, 0, 2000);
    const expected = Array.from({ length: 1000 }, (_, i) =>
      normals(uniform(w[2 * i], 24) + 2 ** -24, uniform(w[2 * i + 1], 24)),
    ).flat();
    sp.manualSeed(11);
    const single = numbers(sp.randn([2000]));
    // A few roundings of a value below 6.
    expectWithin(single, expected, (i) => 3e-7 * (1 + Math.abs(expected[i])), 'float32');
    for (const dtype of ['float16', 'bfloat16'] as const) {
      sp.manualSeed(11);
      expect(numbers(sp.randn([2000], { dtype }))).toEqual([...roundAll(single, dtype)]);
    }
  });

  test('float64', () => {
    const w = words(11, 0, 2000);
    const expected = Array.from({ length: 500 }, (_, i) =>
      normals(
        uniformDouble(w[4 * i], w[4 * i + 1]) + 2 ** -53,
        uniformDouble(w[4 * i + 2], w[4 * i + 3]),
      ),
    ).flat();
    sp.manualSeed(11);
    const drawn = numbers(sp.randn([1000], { dtype: 'float64' }));
    // The reference rounds 2 pi v, which costs it a few ulp of the angle.
    expectWithin(drawn, expected, (i) => 3e-15 * (1 + Math.abs(expected[i])), 'float64');
  });

  test('moments', () => {
    sp.manualSeed(1);
    const n = 1 << 18;
    const values = numbers(sp.randn([n]));
    const moment = (k: number) => values.reduce((sum, v) => sum + v ** k, 0) / n;
    // Five standard errors each.
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });
});

describe('randint', () => {
  test('multiplies a 64-bit word by the range', () => {
    sp.manualSeed(5);
    const w = words(5, 0, 60);
    const expected = Array.from({ length: 30 }, (_, i) => {
      const word = (BigInt(w[2 * i]) << 32n) | BigInt(w[2 * i + 1]);
      return Number(-4n + ((word * 13n) >> 64n));
    });
    const drawn = sp.randint(-4, 9, [5, 6]);
    expect(drawn.dtype).toBe('int64');
    expect(numbers(drawn)).toEqual(expected);
    for (const dtype of ['int32', 'uint8'] as const) {
      sp.manualSeed(5);
      const narrow = sp.randint(7, [40], { dtype });
      expect(narrow.dtype).toBe(dtype);
      expect([...new Set(numbers(narrow))].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
  });
});

test('randint: a wide range takes all 64 bits', () => {
  sp.manualSeed(5);
  const [w, range] = [words(5, 0, 60), 2n ** 53n - 1n];
  const expected = Array.from({ length: 30 }, (_, i) => {
    const word = (BigInt(w[2 * i]) << 32n) | BigInt(w[2 * i + 1]);
    return Number((word * range) >> 64n);
  });
  expect(numbers(sp.randint(0, Number(range), [30]))).toEqual(expected);
});

describe('the same numbers', () => {
  const bytes = (t: sp.Tensor) => new Uint8Array(bits(t as AnyTensor).buffer as ArrayBuffer);
  const draw = () => {
    sp.manualSeed(77);
    const hash = createHash('sha256');
    for (const dtype of ['float32', 'float64', 'bfloat16'] as const) {
      hash.update(bytes(sp.rand([10_001], { dtype })));
      hash.update(bytes(sp.randn([30_001], { dtype })));
    }
    return hash.update(bytes(sp.randint(0, 1000, [777]))).digest('hex');
  };

  test('for any number of threads', () => {
    const threads = sp.getThreads();
    sp.setThreads(1);
    const one = draw();
    sp.setThreads(3);
    expect(draw()).toBe(one);
    sp.setThreads(threads);
  });

  test('on every instruction set and machine', () => {
    expect(draw()).toBe('fc2309f154024843a038e01a4be1d166888d2ff27c951a98661fb24f8ea5d7c0');
  });

  test('different numbers from different seeds, and from one call to the next', () => {
    sp.manualSeed(1);
    const a = numbers(sp.rand([4]));
    expect(numbers(sp.rand([4]))).not.toEqual(a);
    sp.manualSeed(2);
    expect(numbers(sp.rand([4]))).not.toEqual(a);
    sp.manualSeed(1);
    expect(numbers(sp.rand([4]))).toEqual(a);
  });
});

test('shapes, options, errors', () => {
  expect(sp.rand([2, 0]).shape).toEqual([2, 0]);
  expect(sp.randn([]).rank).toBe(0);
  expect(sp.randn([2], { requiresGrad: true }).requiresGrad).toBe(true);
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const any = sp as any;
  refuser('rand')(() => any.rand([2], { dtype: 'int32' }), 'ERR_DTYPE', /got int32/);
  refuser('randn')(() => any.randn(5), 'ERR_SHAPE', /array of sizes, got 5/);
  refuser('randn')(() => any.randn([2], { std: 1 }), 'ERR_UNKNOWN_OPTION', /'std'/);
  refuser('manualSeed')(() => sp.manualSeed(-1), 'ERR_INVALID_VALUE', /integer >= 0, got -1/);
  refuser('manualSeed')(() => any.manualSeed('1'), 'ERR_INVALID_TYPE', /got '1'/);
  const refused = refuser('randint');
  refused(() => sp.randint(3, 3, [1]), 'ERR_INVALID_VALUE', /high to be an integer > 3, got 3/);
  refused(() => sp.randint(0, 257, [1], { dtype: 'uint8' }), 'ERR_INVALID_VALUE', /high.*<= 256/);
  refused(() => any.randint(0, 2, [1], { dtype: 'float32' }), 'ERR_DTYPE', /got float32/);
});
