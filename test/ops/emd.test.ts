// Exact transport: every assignment, certificates of optimality, gradients, limits, bad input.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import golden from '../harness/golden/exact-transport.json' with { type: 'json' };
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { draw, tensors, uniforms } from '../harness/transport.js';
import { leastCost } from '../reference/emd.js';
import { costOf } from '../reference/sinkhorn.js';

type T64 = sp.Tensor<'float64'>;
const wide = (values: ArrayLike<number>, shape: number[], requiresGrad = false) =>
  floats(values, 'float64', shape, requiresGrad) as T64;
const sum = (v: ArrayLike<number>) => Array.from(v).reduce((s, e) => s + e, 0);

/** That a result is optimal, by the potentials; the weights are of mass 1. */
function certify(
  cost: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: sp.EmdOptions = {},
) {
  const [n, m] = [a.length, b.length];
  const weights = { a: wide(a, [n]), b: wide(b, [m]) };
  const result = sp.emd(wide(cost, [n, m]), { ...weights, ...options });
  const [plan, f, g] = [result.plan(), result.f, result.g].map((t) => read(t as AnyTensor));
  const scale = Math.max(...Array.from(cost, Math.abs), 1e-300);
  let [entries, least, most] = [0, 0, 0];
  const [rows, columns] = [new Float64Array(n), new Float64Array(m)];
  for (let e = 0; e < n * m; e++) {
    const [i, j] = [Math.floor(e / m), e % m];
    rows[i] += plan[e];
    columns[j] += plan[e];
    entries += plan[e] > 0 ? 1 : 0;
    const slack = (cost[e] - f[i] - g[j]) / scale;
    least = Math.min(least, slack, plan[e]);
    if (plan[e] > 1e-12) most = Math.max(most, slack);
  }
  expect(least).toBeGreaterThan(-1e-11);
  expect(most).toBeLessThan(1e-11);
  const off = [...rows.map((r, i) => r - a[i]), ...columns.map((c, j) => c - b[j])];
  expect(Math.max(...off.map(Math.abs))).toBeLessThan(1e-13);
  expect(entries).toBeLessThan(n + m);
  const dual = sum(f.map((v, i) => v * a[i])) + sum(g.map((v, j) => v * b[j]));
  expect(Math.abs(result.value.item() - dual) / scale).toBeLessThan(1e-11);
  expect(sum(f.map((v, i) => v * a[i])) / scale).toBeCloseTo(dual / 2 / scale, 10);
  expect(result.converged).toBe(true);
  expect(result.gap).toBe(0);
  return result;
}

const share = (units: readonly number[]) => units.map((u) => u / sum(units));

describe('values', () => {
  test("of the research page's clouds", () => {
    const { x, y, a, b } = tensors(draw(7, 5, 3, 1));
    expect(sp.emd({ x, y }, { a, b }).value.item()).toBeCloseTo(0.101767840028144, 14);
    expect(sp.emd({ x, y, p: 1 }, { a, b }).value.item()).toBeCloseTo(0.410384724383741, 14);
  });

  test.each(golden.exact)('of POT: $n × $m, $metric', ({ n, m, metric, seed, value }) => {
    const { x, y, a, b } = tensors(draw(n, m, 3, seed));
    const cost = metric as 'euclidean';
    expect(sp.emd({ x, y, cost }, { a, b }).value.item()).toBeCloseTo(value, 13);
  });

  test('of every assignment, with many ties, units and points without weight', () => {
    for (let seed = 1; seed < 40; seed++) {
      const u = uniforms(seed, 60);
      const levels = 1 + (seed % 6);
      const cost = u.slice(0, 20).map((v) => Math.floor(levels * v));
      const a = [0, 1, 2, 3].map((i) => Math.floor(3 * u[20 + i]));
      a[seed % 4]++;
      const b = [0, 0, 0, 0, 0];
      for (let k = 0; k < sum(a); k++) b[Math.floor(5 * u[30 + k])]++;
      const expected = leastCost((i, j) => cost[5 * i + j], a, b) / sum(a);
      const { value } = certify(cost, share(a), share(b));
      expect(value.item()).toBeCloseTo(expected, 13);
    }
  });

  test('of all permutations, uniform', () => {
    for (let seed = 1; seed < 6; seed++) {
      const cost = uniforms(seed, 49);
      const ones = Array(7).fill(1) as number[];
      const expected = leastCost((i, j) => cost[7 * i + j], ones, ones) / 7;
      const { value, plan } = sp.emd(wide(cost, [7, 7]));
      expect(value.item()).toBeCloseTo(expected, 14);
      expect(read(plan() as AnyTensor).filter((p) => p > 0).length).toBe(7);
    }
  });

  test('of the line', () => {
    const { x, y, a, b } = tensors(draw(60, 45, 1, 3));
    const line = sp.emd1d(sp.squeeze(x, 1) as T64, sp.squeeze(y, 1) as T64, { a, b, p: 1 });
    expect(sp.emd({ x, y, cost: 'euclidean' }, { a, b }).value.item()).toBeCloseTo(line.item(), 13);
  });

  test('bound the entropic ones: 0 <= OT - EMD <= ε min(H(a), H(b))', () => {
    const { x, y, a, b } = tensors(draw(12, 9, 3, 4));
    const exact = sp.emd({ x, y }, { a, b }).value.item();
    const entropy = (w: AnyTensor) => -sum(read(w).map((v) => v * Math.log(v)));
    const bound = Math.min(entropy(a), entropy(b));
    for (const blur of [0.3, 0.1, 0.03]) {
      const options = { a, b, blur, debias: false, tolerance: 1e-9, maxIterations: 1e5 };
      const over = sp.sinkhornDivergence(x, y, { ...options, onInfo: () => {} }).item() - exact;
      expect(over).toBeGreaterThan(-1e-12);
      expect(over).toBeLessThan(blur ** 2 * bound);
    }
  });
});

describe('degenerate problems end, at the optimum', () => {
  const uniform = (n: number) => Array(n).fill(1 / n) as number[];
  test.each([
    ['all costs equal', (_: number, n: number) => Array(n * n).fill(3) as number[]],
    ['costs 0 and 1', (seed: number, n: number) => uniforms(seed, n * n).map(Math.round)],
    [
      'costs of four values',
      (seed: number, n: number) => uniforms(seed, n * n).map((u) => Math.floor(4 * u)),
    ],
    [
      '0 on the diagonal',
      (_: number, n: number) => Array.from({ length: n * n }, (__, e) => (e % (n + 1) ? 1 : 0)),
    ],
    [
      'products',
      (_: number, n: number) =>
        Array.from({ length: n * n }, (__, e) => (e % n) * Math.floor(e / n)),
    ],
    ['negative', (seed: number, n: number) => uniforms(seed, n * n).map((u) => Math.floor(-5 * u))],
    [
      'large and small',
      (seed: number, n: number) => uniforms(seed, n * n).map((u) => 10 ** (12 * u - 6)),
    ],
  ] as const)('%s', (_, cost) => {
    for (const n of [2, 17, 60]) {
      const units = Array.from(uniforms(n, n), (u) => Math.floor(3 * u));
      units[0]++;
      certify(cost(n, n), uniform(n), uniform(n));
      certify(cost(n, n), share(units), share([...units].reverse()));
      const { a, b } = draw(n, n, 1, n);
      certify(cost(n + 1, n), a, b);
    }
  });

  test('points of a grid, duplicates and all', () => {
    const grid = (seed: number, n: number) => uniforms(seed, 2 * n).map((u) => Math.floor(4 * u));
    const [x, y] = [grid(1, 80), grid(2, 50)];
    const cost = costOf('sqeuclidean', x, y, 2).flatMap((row) => [...row]);
    const { value } = certify(cost, uniform(80), uniform(50));
    const clouds = { x: wide(x, [80, 2]), y: wide(y, [50, 2]) };
    expect(sp.emd(clouds).value.item()).toBeCloseTo(value.item(), 13);
    expect(sp.emd({ x: clouds.x, y: clouds.x.clone() }).value.item()).toBe(0);
  });

  test('one row, one column, one of each', () => {
    const cost = uniforms(3, 6);
    const { b } = draw(6, 6, 1, 2);
    for (const [p, q] of [
      [[1], b],
      [b, [1]],
    ]) {
      const { value, iterations } = certify(cost, p, q);
      expect(value.item()).toBeCloseTo(sum(cost.map((c, i) => c * b[i])), 14);
      expect(iterations).toBe(0);
    }
    certify([2.5], [1], [1]);
    certify([0, 0, 0, 0], [0, 1], [1, 0]);
  });
});

describe('gradients', () => {
  const unit = (w: T64) => w.div(w.sum({ dim: -1, keepDim: true })) as T64;
  test('of cost and weights, in a batch', () => {
    const { a, b } = tensors(draw(5, 4, 2, 8, 2), 'float64', true);
    const cost = wide(uniforms(5, 40), [2, 5, 4], true);
    const f = (c: T64, wa: T64, wb: T64) => sp.emd(c, { a: unit(wa), b: unit(wb) }).value;
    expect(sp.gradcheck(f as never, [cost, a, b], { atol: 1e-7, rtol: 1e-5, eps: 1e-6 })).toBe(
      true,
    );
    sp.emd(cost, { a, b }).value.sum().backward();
    for (const w of [a, b]) {
      const slopes = read(gradOf(w)).map((g, i) => g * read(w)[i]);
      for (const k of [0, 1]) {
        const part = slopes.subarray((k * slopes.length) / 2, ((k + 1) * slopes.length) / 2);
        expect(sum(part)).toBeCloseTo(0, 14);
      }
    }
  });

  test.each(['sqeuclidean', 'euclidean', 'cosine'] as const)('of points, %s', (kind) => {
    const { x, y, a, b } = tensors(draw(5, 6, 3, 9), 'float64', true);
    const f = (px: T64, py: T64, wa: T64, wb: T64) =>
      sp.emd({ x: px, y: py, cost: kind }, { a: unit(wa), b: unit(wb) }).value;
    expect(sp.gradcheck(f as never, [x, y, a, b], { atol: 1e-7, rtol: 1e-5, eps: 1e-6 })).toBe(
      true,
    );
  });

  test('in other dtypes are those of float64, rounded', () => {
    for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
      const { x, y, a, b } = tensors(draw(6, 5, 3, 2), dtype, true);
      const { value, f, g, plan } = sp.emd({ x, y }, { a, b });
      expect([value, f, g, plan()].map((t) => t.dtype)).toEqual(Array(4).fill('float32'));
      value.mul(2).backward();
      const [u, v] = [x, y].map((t) => wide(read(t), [...t.shape], true));
      const [p, q] = [a, b].map((t) => t.detach().to('float64'));
      const exact = sp.emd({ x: u, y: v }, { a: p, b: q });
      expect(value.item()).toBeCloseTo(exact.value.item(), 7);
      exact.value.mul(2).backward();
      const digits = dtype === 'float32' ? 6 : 2;
      for (const [i, e] of read(gradOf(u)).entries())
        expect(read(gradOf(x))[i]).toBeCloseTo(e, digits);
      const cost = floats(uniforms(1, 30), dtype, [6, 5], true);
      sp.emd(cost).value.backward();
      expect(sum(read(gradOf(cost)))).toBeCloseTo(1, dtype === 'bfloat16' ? 2 : 3);
    }
  });
});

describe('the plan', () => {
  test('times vectors and matrices, both ways', () => {
    const { a, b } = tensors(draw(6, 4, 2, 8, 2));
    const { apply, plan } = sp.emd(wide(uniforms(5, 48), [2, 6, 4]), { a, b });
    const v = wide(uniforms(6, 24), [2, 4, 3]);
    const w = wide(uniforms(7, 12), [2, 6]);
    const expected = [
      sp.matmul(plan(), v),
      sp.matmul(plan(), sp.unsqueeze(w, 2), { transposeA: true }),
    ];
    for (const [k, got] of [apply(v), apply(w, { axis: 0 })].entries())
      for (const [i, e] of read(expected[k] as AnyTensor).entries())
        expect(read(got as AnyTensor)[i]).toBeCloseTo(e, 14);
  });

  test('is the same each time, for any number of threads, batched, asynchronously', async () => {
    const { x, y } = tensors(draw(40, 30, 3, 5, 3), 'float32');
    const before = sp.getThreads();
    sp.setThreads(1);
    const one = sp.emd({ x, y });
    sp.setThreads(3);
    const other = sp.emd({ x, y });
    sp.setThreads(before);
    const later = await sp.emd.async({ x, y });
    for (const { value, f, plan, iterations } of [other, later]) {
      expectSameBits(bits(value as AnyTensor), bits(one.value as AnyTensor), 'value');
      expectSameBits(bits(f as AnyTensor), bits(one.f as AnyTensor), 'f');
      expectSameBits(bits(plan() as AnyTensor), bits(one.plan() as AnyTensor), 'plan');
      expect(iterations).toBe(one.iterations);
    }
    const part = (t: AnyTensor, n: number) =>
      floats(read(t).subarray(3 * n, 6 * n), 'float32', [n, 3]);
    const second = sp.emd({ x: part(x, 40), y: part(y, 30) });
    expect(second.value.item()).toBe(read(one.value as AnyTensor)[1]);
    expect(sp.emd(sp.zeros([0, 2, 3])).value.shape).toEqual([0]);
  });
});

test('at the limit of pivots: the value of a plan, and how far it may be off', () => {
  const cost = wide(uniforms(1, 900), [30, 30]);
  const best = sp.emd(cost);
  const short = sp.emd(cost, { maxIterations: 5 });
  expect([short.converged, short.iterations]).toEqual([false, 5]);
  expect(short.value.item()).toBeGreaterThan(best.value.item());
  expect(short.value.item() - short.gap).toBeLessThanOrEqual(best.value.item());
  expect(sp.emd(cost, { maxIterations: best.iterations }).converged).toBe(true);
  const strict = { maxIterations: 5, strict: true };
  refuser('emd')(() => sp.emd(cost, strict), 'ERR_NOT_CONVERGED', '5 pivots');
});

test('bad input', () => {
  const refuses = refuser('emd');
  const by =
    (options: object, cost: unknown = sp.rand([4, 5])) =>
    () =>
      sp.emd(cost as never, options);
  // As everywhere, null for the options stands for none.
  expect(sp.emd(sp.eye(3), null as never).value.item()).toBe(0);
  refuses(by({}, sp.rand([3])), 'ERR_SHAPE', 'cost', /\[3\]/);
  refuses(by({}, sp.zeros([0, 3])), 'ERR_SHAPE', 'at least one');
  refuses(by({}, sp.rand([3, 4]).to('int32')), 'ERR_DTYPE', 'int32');
  refuses(by({ a: sp.ones([5]) }), 'ERR_SHAPE', /\ba\b/, /\[4\]/);
  refuses(by({ maxIterations: 0 }), 'ERR_INVALID_VALUE', 'maxIterations');
  refuses(by({ strict: 1 }), 'ERR_INVALID_TYPE', 'strict');
  refuses(by({ epsilon: 1 }), 'ERR_UNKNOWN_OPTION', "'epsilon'");
  refuses(by({ b: sp.tensor([1, 1, -1, 0, 0]) }), 'ERR_INVALID_VALUE', '-1 at 2');
  refuses(by({ a: sp.ones([4]), b: sp.ones([5]) }), 'ERR_INVALID_VALUE', 'same mass', '4 and 5');
  refuses(by({ a: sp.zeros([4]) }), 'ERR_INVALID_VALUE', 'positive sum');
  refuses(
    by(
      {},
      sp.tensor([
        [0, 1],
        [NaN, 1],
      ]),
    ),
    'ERR_INVALID_VALUE',
    'cost',
    'NaN at [1, 0]',
  );
  refuses(by({}, sp.full([2, 1, 1], Infinity)), 'ERR_INVALID_VALUE', '[0, 0, 0]');
  const [x, y] = [sp.rand([4, 3]), sp.rand([5, 3])];
  refuses(by({}, { x, y: sp.rand([5, 2]) }), 'ERR_SHAPE', 'y');
  refuses(by({}, { x }), 'ERR_INVALID_TYPE', 'y');
  refuses(by({}, { x, y, p: 3 }), 'ERR_INVALID_VALUE', /\bp\b/);
  refuses(by({}, { x, y, cost: 'cos' }), 'ERR_INVALID_VALUE', "'cosine'");
  refuses(by({}, { x, y, blur: 1 }), 'ERR_UNKNOWN_OPTION', "'blur'");
  refuses(by({}, 3), 'ERR_INVALID_TYPE', 'clouds', '3');
});

test.each([undefined, {}, { x: 3 }])(
  '%j is refused by the asynchronous form in its name',
  async (given) => {
    const message = /^emd: expected .*, got /;
    await expect(sp.emd.async(given as never)).rejects.toThrow(message);
  },
);

test('costs that hardly differ beside their size end, and soon', () => {
  for (const spread of [1e-13, 1e-14, 1e-15, 1e-16]) {
    const n = 300;
    const cost = uniforms(7, n * n).map((u) => 1 + spread * u);
    const { value, iterations, converged } = sp.emd(wide(cost, [n, n]));
    expect(converged).toBe(true);
    expect(iterations).toBeLessThan(50 * n);
    expect(Math.abs(value.item() - 1)).toBeLessThan(2 * spread + 1e-15);
  }
});

describe('clouds in the background', () => {
  test.each(['sqeuclidean', 'euclidean', 'cosine'] as const)('%s', async (cost) => {
    const drawn = tensors(draw(40, 30, 3, 5));
    const [x, y, a, b] = [drawn.x, drawn.y, drawn.a, drawn.b] as T64[];
    const wanted = sp.emd({ x, y, cost }, { a, b });
    const points = x.clone().requiresGrad_() as T64;
    sp.emd({ x: points, y, cost }, { a, b }).value.backward();
    const slopes = bits(gradOf(points as AnyTensor));
    points.zeroGrad();
    const graph = await sp.emd.async({ x: points, y, cost }, { a, b });
    graph.value.backward();
    expectSameBits(bits(gradOf(points as AnyTensor)), slopes, 'gradient');
    const later = sp.emd.async({ x, y, cost }, { a, b });
    for (const t of [a, b]) t.copy_(sp.rand(t.shape, { dtype: 'float64' }));
    for (const t of [x, y, a, b]) t.dispose();
    const got = await later;
    expect([got.value.item(), got.converged]).toEqual([wanted.value.item(), true]);
    expectSameBits(bits(got.plan() as AnyTensor), bits(wanted.plan() as AnyTensor), 'plan');
  });

  test('costs are made there, and given back', async () => {
    const [x, y] = [sp.rand([1500, 3]), sp.rand([1500, 3])];
    // Costs of 18 MB are not made before the first await.
    sp.memory({ resetPeak: true });
    const before = sp.memory().cpu.live;
    const later = sp.emd.async({ x, y }, { maxIterations: 1 });
    await later;
    expect(sp.memory().cpu.live - before).toBeLessThan(1500 * 1500 * 8);
    sp.emd({ x, y }, { maxIterations: 1 });
    expect(sp.memory().cpu.live - before).toBeLessThan(1500 * 1500 * 8);
  });
});
