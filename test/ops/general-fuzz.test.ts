// Random shapes, axes and options for the elementwise operations, reductions, softmax and
// normalisation, against the float64 definitions; and their asynchronous forms.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { binaryCases, unaryCases } from '../cases/elementwise.js';
import { sizeOf } from '../cases/reduce.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { fuzz } from '../harness/fuzz.js';
import { Random } from '../harness/random.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import { broadcastIndex, broadcastShape } from '../reference/elementwise.js';
import * as reference from '../reference/reduce.js';

const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 6 });
const dtype = fc.constantFrom<FloatDType>('float32', 'float64', 'float16', 'bfloat16');
const seed = fc.integer({ min: 1, max: 2 ** 31 });

/** A result of few roundings: of the dtype's own size, relative to the largest term. */
const tolerance = (d: FloatDType, scale: number) =>
  scale * { float64: 1e-12, float32: 1e-5, float16: 2e-3, bfloat16: 2e-2 }[d];

const draw = (at: number, count: number, d: FloatDType) =>
  roundAll(new Random(at).normals(count), d);

test('two operands of shapes that broadcast', () => {
  // Each operand drops leading axes and shrinks others to 1.
  const part = fc.record({ drop: fc.nat(3), ones: fc.array(fc.boolean(), { maxLength: 6 }) });
  fuzz(
    fc.property(shape, part, part, dtype, seed, (whole, partA, partB, d, at) => {
      const [a, b] = [partA, partB].map(({ drop, ones }) =>
        whole.map((n, i) => (ones[i] ? 1 : n)).slice(drop),
      );
      const common = broadcastShape(a, b);
      const [x, y] = [draw(at, sizeOf(a), d), draw(at + 1, sizeOf(b), d)];
      const result = sp.sub(floats(x, d, a), floats(y, d, b));
      expect(result.shape).toEqual(common);
      const [i, j] = [broadcastIndex(a, common), broadcastIndex(b, common)];
      const expected = i.map((k, n) => x[k] - y[j[n]]);
      expectWithin(read(result as never), expected, () => tolerance(d, 4), `[${a}] - [${b}]`);
      const [p, q] = [floats(x, d, a, true), floats(y, d, b, true)];
      sp.sub(p, q).sum().backward();
      const repeats = (index: number[], n: number) =>
        Array.from({ length: n }, (_, k) => index.filter((v) => v === k).length);
      expect([...read(gradOf(p))]).toEqual(repeats(i, x.length));
      expect([...read(gradOf(q))]).toEqual(repeats(j, y.length).map((v) => (v ? -v : 0)));
    }),
  );
});

test('reductions over any axes', () => {
  const axes = fc.array(fc.integer({ min: -6, max: 5 }), { maxLength: 4 });
  fuzz(
    fc.property(shape, axes, fc.boolean(), dtype, seed, (whole, list, keepDim, d, at) => {
      const rank = whole.length;
      const valid = [
        ...new Set(list.filter((a) => a >= -rank && a < rank).map((a) => (a + rank) % rank)),
      ];
      if (valid.length === 0) return;
      const x = draw(at, sizeOf(whole), d);
      const t = floats(x, d, whole);
      const groups = reference.groups(x, whole, valid);
      const options = { dim: valid, keepDim };
      const check = (y: sp.Tensor, f: (g: number[]) => number) => {
        expect(y.rank).toBe(keepDim ? rank : rank - valid.length);
        const scale = 4 + groups.reduce((m, g) => Math.max(m, reference.norm(g, 1)), 0);
        expectWithin(read(y as never), groups.map(f), () => tolerance(d, scale), `[${whole}]`);
      };
      check(sp.sum(t, options), reference.sum);
      check(sp.logsumexp(t, options), reference.logsumexp);
      check(sp.norm(t, { ...options, p: 1 }), (g) => reference.norm(g, 1));
      check(sp.var(t, { ...options, correction: 0 }), (g) => reference.variance(g, 0));
      if (valid.some((d) => whole[d] === 0)) return;
      check(sp.max(t, options), reference.largest);
    }),
  );
});

test('softmax along any axis sums to 1, its gradient to 0', () => {
  fuzz(
    fc.property(shape, fc.nat(5), dtype, seed, (whole, axis, d, at) => {
      const dim = whole.length ? axis % whole.length : 0;
      const x = floats(draw(at, sizeOf(whole), d), d, whole, true);
      const y = sp.softmax(x, { dim });
      for (const v of read(sp.sum(y, { dim }) as never)) {
        if (whole[dim] !== 0) expect(Math.abs(v - 1)).toBeLessThan(tolerance(d, 4));
      }
      y.backward(floats(draw(at + 1, sizeOf(whole), d), d, whole));
      const total = read(gradOf(x).sum({ dim }) as never);
      expectWithin(total, new Float64Array(total.length), () => tolerance(d, 4), `[${whole}]`);
    }),
  );
});

describe('asynchronous forms give the same bits', () => {
  const a = draw(1, 600, 'float32');
  const b = roundAll(
    a.map((v) => Math.abs(v) + 0.5),
    'float32',
  ).subarray(0, 30);
  const both = (fn: (x: sp.Tensor, y: sp.Tensor) => sp.Tensor) => async () => {
    const results = [];
    for (const isAsync of [false, true]) {
      const x = floats(a, 'float32', [20, 30], true);
      const y = floats(b, 'float32', [30], true);
      const loss = fn(x, y).sum();
      if (isAsync) await loss.backwardAsync();
      else loss.backward();
      results.push([x, y].map((t) => (t.grad ? t.grad.dataSync() : new Float32Array(0))));
    }
    expectSameBits(results[1][0], results[0][0], 'gradient of x');
    expectSameBits(results[1][1], results[0][1], 'gradient of y');
  };
  for (const { name, run } of binaryCases) {
    test(
      name,
      both((x, y) => run(name === 'pow' ? x.abs() : x, y)),
    );
  }
  for (const { name, run } of unaryCases.slice(-6))
    test(
      name,
      both((x) => run(x)),
    );
  test(
    'norm',
    both((x) => sp.norm(x, { p: 3, dim: 1 })),
  );
  test(
    'normalize',
    both((x) => sp.normalize(x)),
  );
  test(
    'std and max',
    both((x) => sp.std(x, { dim: 0 }).add(sp.max(x, { dim: 0 }))),
  );
  test(
    'layerNorm',
    both((x, y) => sp.layerNorm(x, { weight: y }).mul(y)),
  );
  test('forward', async () => {
    const x = floats(a, 'float32', [20, 30]);
    const y = floats(b, 'float32', [30]);
    const pairs = [
      [await sp.mul.async(x, y), sp.mul(x, y)],
      [await sp.softmax.async(x, { dim: 0 }), sp.softmax(x, { dim: 0 })],
      [await sp.var.async(x, { dim: [0, 1] }), sp.var(x, { dim: [0, 1] })],
      [await sp.rmsNorm.async(x, { weight: y }), sp.rmsNorm(x, { weight: y })],
    ];
    for (const [one, two] of pairs)
      expectSameBits(bits(one as never), bits(two as never), 'forward');
  });
});
