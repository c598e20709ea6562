// Transport on the line: known values, every assignment, gradients at and off ties, laws, bad input.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import golden from '../harness/golden/exact-transport.json' with { type: 'json' };
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { draw, tensors, uniforms } from '../harness/transport.js';
import { leastCost, lineCost } from '../reference/emd.js';

type T64 = sp.Tensor<'float64'>;
const line = (values: ArrayLike<number>, requiresGrad = false) =>
  floats(values, 'float64', [values.length], requiresGrad) as T64;
const share = (units: readonly number[]) => {
  const mass = units.reduce((s, u) => s + u, 0);
  return line(units.map((u) => u / mass));
};

describe('values', () => {
  test("of the research page's clouds", () => {
    const { x, y, a, b } = draw(7, 5, 3, 1);
    const first = (t: Float64Array) => line(t.filter((_, i) => i % 3 === 0));
    const weights = { a: line(a), b: line(b) };
    const [p, q] = [first(x), first(y)];
    expect(sp.emd1d(p, q, { ...weights, p: 1 }).item()).toBeCloseTo(0.122249092376124, 14);
    expect(sp.emd1d(p, q, { ...weights, p: 2 }).item()).toBeCloseTo(0.018334369466054, 14);
  });

  test.each([1, 1.5, 2, 3])('of every assignment, p %d', (p) => {
    for (let seed = 1; seed < 8; seed++) {
      const u = uniforms(seed, 30);
      const count = (k: number) => Math.floor(3 * u[k]);
      const a = [count(0), count(1), count(2), 1];
      const total = a.reduce((s, w) => s + w, 0);
      const b = [0, 0, 0];
      for (let k = 0; k < total; k++) b[Math.floor(3 * u[3 + k])]++;
      // Some points coincide.
      const x = [...u.slice(15, 18), u[15]];
      const y = [u[18], u[16], u[19]];
      const expected = leastCost((i, j) => Math.abs(x[i] - y[j]) ** p, a, b) / total;
      expect(lineCost(x, y, a, b, p) / total).toBeCloseTo(expected, 13);
      const got = sp.emd1d(line(x), line(y), { p, a: share(a), b: share(b) }).item();
      expect(got).toBeCloseTo(expected, 13);
    }
  });

  test.each(golden.lines)('of POT, p $p, $n and $m', ({ n, m, p, seed, value }) => {
    const { x, y, a, b } = tensors(draw(n, m, 1, seed));
    const flat = (t: AnyTensor) => sp.squeeze(t, 1) as T64;
    expect(sp.emd1d(flat(x), flat(y), { a, b, p }).item()).toBeCloseTo(value, 12);
  });

  test('in every dtype, of any order, long lists too', () => {
    const [u, v] = [uniforms(1, 1000), uniforms(2, 1500)];
    for (const dtype of ['float64', 'float32', 'bfloat16', 'float16'] as const) {
      const [x, y] = [floats(u, dtype, [1000]), floats(v, dtype, [1500])];
      const got = sp.emd1d(x, y, { p: 1 });
      expect(got.dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
      const sorted = (t: AnyTensor, times: number) =>
        [...read(t)].sort((s, w) => s - w).flatMap((s) => Array(times).fill(s) as number[]);
      const [xs, ys] = [sorted(x, 3), sorted(y, 2)];
      const expected = xs.reduce((sum, s, k) => sum + Math.abs(s - ys[k]), 0) / 3000;
      expect(got.item()).toBeCloseTo(expected, dtype === 'float64' ? 14 : 8);
      const turned = floats(read(x).reverse(), dtype, [1000]);
      expect(sp.emd1d(turned, y, { p: 1 }).item()).toBeCloseTo(
        expected,
        dtype === 'float64' ? 14 : 8,
      );
    }
  });

  test('of one point, of none in the batch', () => {
    expect(sp.emd1d(line([3]), line([1, 2, 5])).item()).toBeCloseTo(3, 14);
    expect(sp.emd1d(line([1, 2, 5]), line([3]), { p: 1 }).item()).toBeCloseTo(5 / 3, 14);
    expect(sp.emd1d(line([2]), line([-1]), { p: 3 }).item()).toBe(27);
    expect(sp.emd1d(sp.zeros([0, 3]), sp.zeros([0, 2])).shape).toEqual([0]);
  });
});

describe('gradients', () => {
  const unit = (w: T64) => w.div(w.sum()) as T64;
  test.each([1, 1.5, 2, 3])('of points and weights, p %d', (p) => {
    const { x, y, a, b } = tensors(draw(6, 4, 1, 9), 'float64', true);
    const flat = (t: T64) => sp.squeeze(t, 1);
    const f = (...[px, py, wa, wb]: T64[]) =>
      sp.emd1d(flat(px) as T64, flat(py) as T64, { p, a: unit(wa), b: unit(wb) });
    expect(sp.gradcheck(f as never, [x, y, a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
  });

  test('of uniform weights, whose cumulative sums meet: the mean of both sides', () => {
    for (const [n, m] of [
      [4, 4],
      [6, 3],
    ]) {
      const [x, y] = [line(uniforms(3, n)), line(uniforms(4, m))];
      const [a, b] = [
        floats(Array(n).fill(1 / n), 'float64', [n], true),
        floats(Array(m).fill(1 / m), 'float64', [m], true),
      ];
      const f = (wa: T64, wb: T64) => sp.emd1d(x, y, { a: unit(wa), b: unit(wb) });
      expect(sp.gradcheck(f as never, [a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
      sp.emd1d(x, y, { a, b }).backward();
      expect(read(gradOf(a)).reduce((s, g) => s + g, 0)).toBeCloseTo(0, 13);
    }
  });

  test('coincident points share theirs by weight; |d| has slope 0 at 0', () => {
    const x = line([1, 0, 1], true);
    const a = line([0.1, 0.5, 0.4]);
    sp.emd1d(x, line([0, 2]), { a, p: 1 }).backward();
    // Half of the mass stays at 0, half goes from 1 to 2.
    expect([...read(gradOf(x as never))].map((g) => Number(g.toFixed(12)))).toEqual([
      -0.1, 0, -0.4,
    ]);
  });

  test('of equal clouds are 0, and of points without weight', () => {
    const x = line([0.3, 0.1, 0.3, 0.9], true);
    const y = line([0.9, 0.3, 0.1, 0.3], true);
    sp.emd1d(x, y).backward();
    expect([...read(gradOf(x as never)), ...read(gradOf(y as never))].every((g) => g === 0)).toBe(
      true,
    );
    const z = line([5, 0.2, 0.4], true);
    sp.emd1d(z, line([0.1]), { a: line([0, 0.5, 0.5]) }).backward();
    expect(read(gradOf(z as never))[0]).toBe(0);
  });

  test('of a batch, in 16 bits, and of raw calls that forward was not told of', () => {
    const { x, y } = tensors(draw(5, 4, 1, 3, 2), 'bfloat16');
    const flat = (t: AnyTensor) => sp.squeeze(t, 2).detach().requiresGrad_();
    const [p, q] = [flat(x), flat(y)];
    const loss = sp.emd1d(p as never, q as never);
    loss
      .mul(sp.tensor([2, 3]))
      .sum()
      .backward();
    for (let k = 0; k < 2; k++) {
      const part = (t: AnyTensor, n: number) =>
        floats(read(t).subarray(k * n, (k + 1) * n), 'float64', [n], true) as T64;
      const [u, v] = [part(p as never, 5), part(q as never, 4)];
      sp.emd1d(u, v)
        .mul(2 + k)
        .backward();
      for (const [i, g] of read(gradOf(u as never)).entries())
        expect(read(gradOf(p as never))[5 * k + i]).toBeCloseTo(g, 2);
    }
    const t = { x: p, y: q };
    const { saved } = sp.raw.emd1d.forward(t) as { saved: unknown };
    const { x: dx } = sp.raw.emd1d.backward(saved, sp.tensor([2, 3]), { x: true }) as Record<
      string,
      sp.Tensor
    >;
    expectSameBits(bits(dx as AnyTensor), bits(gradOf(p as never)), 'gradient');
  });
});

test('the same bits for any number of threads, batched, asynchronously', async () => {
  const { x, y, a, b } = tensors(draw(300, 200, 1, 3, 5), 'float32');
  const flat = (t: AnyTensor) => sp.squeeze(t, 2) as AnyTensor;
  const before = sp.getThreads();
  sp.setThreads(1);
  const one = sp.emd1d(flat(x), flat(y), { a, b });
  sp.setThreads(3);
  expectSameBits(
    bits(sp.emd1d(flat(x), flat(y), { a, b }) as AnyTensor),
    bits(one as AnyTensor),
    'value',
  );
  sp.setThreads(before);
  const later = await sp.emd1d.async(flat(x), flat(y), { a, b });
  expectSameBits(bits(later as AnyTensor), bits(one as AnyTensor), 'value');
  const part = (t: AnyTensor, n: number) => floats(read(t).subarray(2 * n, 3 * n), 'float32', [n]);
  const third = sp.emd1d(part(x, 300), part(y, 200), { a: part(a, 300), b: part(b, 200) });
  expect(third.item()).toBe(read(one as AnyTensor)[2]);
});

test('translations and scalings', () => {
  const [x, y] = [line(uniforms(5, 20)), line(uniforms(6, 15))];
  const value = sp.emd1d(x, y, { p: 1 }).item();
  expect(sp.emd1d(x.add(1e3) as T64, y.add(1e3) as T64, { p: 1 }).item()).toBeCloseTo(value, 11);
  expect(sp.emd1d(x.mul(-3) as T64, y.mul(-3) as T64, { p: 1 }).item()).toBeCloseTo(3 * value, 13);
  expect(sp.emd1d(x, x.add(0.5) as T64).item()).toBeCloseTo(0.25, 14);
  expect(sp.emd1d(y, x, { p: 1 }).item()).toBeCloseTo(value, 14);
});

test('bad input', () => {
  const refuses = refuser('emd1d');
  const by =
    (options: object, x: sp.Tensor = sp.rand([4]), y: sp.Tensor = sp.rand([5])) =>
    () =>
      sp.emd1d(x as never, y as never, options);
  refuses(by({}, sp.rand([2, 3, 4])), 'ERR_SHAPE', 'x', /\[B, N\]/);
  refuses(by({}, sp.zeros([0])), 'ERR_SHAPE', 'at least one point');
  refuses(by({}, sp.rand([2, 4])), 'ERR_SHAPE', 'y', /\[5\]/);
  refuses(by({}, sp.rand([4], { dtype: 'float64' })), 'ERR_DTYPE', 'float64');
  refuses(by({ p: 0.5 }), 'ERR_INVALID_VALUE', /\bp\b/, '0.5');
  refuses(by({ q: 1 }), 'ERR_UNKNOWN_OPTION', "'q'");
  refuses(by({ a: sp.ones([5]) }), 'ERR_SHAPE', /\ba\b/);
  refuses(by({ a: sp.tensor([1, -1, 1, 1]) }), 'ERR_INVALID_VALUE', '-1 at 1');
  refuses(by({ a: sp.ones([4]) }), 'ERR_INVALID_VALUE', 'same mass', '4 and 1');
  refuses(by({ a: sp.zeros([4]) }), 'ERR_INVALID_VALUE', 'positive sum');
  refuses(by({}, sp.tensor([1, NaN, 0, 0])), 'ERR_INVALID_VALUE', 'x', 'NaN at point 1');
  refuses(by({}, sp.rand([4]), sp.tensor([Infinity])), 'ERR_INVALID_VALUE', 'y', 'Infinity');
});
