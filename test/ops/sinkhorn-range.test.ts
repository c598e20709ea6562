// Transport far from the usual sizes: costs large and small beside epsilon, options at the ends of
// the range of numbers.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { isEmulated, throughDevice } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { floats, gradOf, read } from '../harness/tensors.js';
import { type Options, uniforms } from '../harness/transport.js';

const dtypes = ['float32', 'float64'] as const;

function solved(x: sp.Tensor, y: sp.Tensor, options: Options = {}) {
  const seen: sp.TransportInfo[] = [];
  const onInfo = (info: sp.TransportInfo) => seen.push(info);
  const value = sp.sinkhornDivergence(x, y, { ...options, onInfo }).item() as number;
  return { value, ...(seen[0] as sp.TransportInfo) };
}

/** n and m points, the latter moved by a quarter, in [0, size]^d. */
function clouds(dtype: 'float32' | 'float64', n: number, m: number, size: number, d = 2) {
  const at = (seed: number, count: number, by: number) =>
    floats(
      uniforms(seed, count * d).map((v) => (v + by) * size),
      dtype,
      [count, d],
    );
  return { x: at(3, n, 0), y: at(4, m, 0.25) };
}

describe('epsilon far above the costs: half the square of the means distance', () => {
  const means = (t: sp.Tensor) => [...read(t.mean({ dim: 0 }) as never)];
  test.each(dtypes.flatMap((dtype) => [100, 300, 1e4, 1e6, 1e8].map((blur) => ({ dtype, blur }))))(
    '$dtype, blur $blur',
    ({ dtype, blur }) => {
      const { x, y } = clouds(dtype, 26, 18, 1, 3);
      const [p, q] = [means(x), means(y)];
      const expected = p.reduce((sum, v, k) => sum + (v - q[k]) ** 2 / 2, 0);
      const got = solved(x.requiresGrad_(), y, { blur });
      expect(got.converged).toBe(true);
      expect(Math.abs(got.value / expected - 1)).toBeLessThan(blur === 100 ? 1e-3 : 1e-4);
      sp.sinkhornDivergence(x, y, { blur }).backward();
      for (const [e, g] of read(gradOf(x)).entries())
        expect(Math.abs(g - (p[e % 3] - q[e % 3]) / 26)).toBeLessThan(1e-5);
    },
  );

  test.each([
    { reach: 1 },
    { reach: { x: 0.7 } },
    { p: 1, reach: 2 },
    { cost: 'cosine' },
    { debias: false },
  ] as Options[])('float32 like float64, %o', (options) => {
    for (const blur of [3, 30, 1e5]) {
      const [one, two] = dtypes.map((dtype) => {
        const { x, y } = clouds(dtype, 26, 18, 1, 3);
        return solved(x, y, { ...options, blur });
      });
      expect(one.converged && two.converged).toBe(true);
      expect(Math.abs(one.value - two.value)).toBeLessThan(1e-5);
    }
  });
});

describe('costs far above epsilon', () => {
  const maxIterations = isEmulated ? 60 : 2000;
  const cost = (x: sp.Tensor, y: sp.Tensor) => {
    const [p, q] = [read(x as never), read(y as never)];
    const [n, m] = [x.shape[0], y.shape[0]] as [number, number];
    const at = (i: number, j: number) =>
      ((p[2 * i] - q[2 * j]) ** 2 + (p[2 * i + 1] - q[2 * j + 1]) ** 2) / 2;
    return Float64Array.from({ length: n * m }, (_, e) => at(Math.floor(e / m), e % m));
  };
  const exact = (x: sp.Tensor, y: sp.Tensor) =>
    sp
      .emd(
        sp
          .tensor(cost(x, y), { dtype: 'float64', device: 'cpu' })
          .reshape([x.shape[0] as number, y.shape[0] as number]),
      )
      .value.item();

  test.each([
    { dtype: 'float32', size: 1000, blur: 0.05 },
    { dtype: 'float32', size: 3000, blur: 0.05 },
    { dtype: 'float32', size: 1, blur: 1e-5 },
    { dtype: 'float32', size: 1, blur: 1e-30 },
    { dtype: 'float64', size: 1, blur: 1e-12 },
    { dtype: 'float64', size: 1, blur: 1e-100 },
  ] as const)('$dtype, size $size, blur $blur: a lower bound, finite', ({ dtype, size, blur }) => {
    const { x, y } = clouds(dtype, 60, 50, size);
    const { value, error, converged } = solved(x, y, { blur, debias: false, maxIterations });
    const best = exact(x, y) as number;
    if (error > 1e-3) expect(converged).toBe(false);
    expect(value).toBeLessThan(best * (1 + 1e-6) + blur ** 2 * Math.log(60));
    expect(value).toBeGreaterThan(0.9 * best);
  });

  test('a point far away; a given cost; its plan and gradient', () => {
    const { x, y } = clouds('float32', 20, 15, 1);
    const points = Float64Array.from(read(x as never));
    points[0] = 1e6;
    const far = solved(floats(points, 'float32', [20, 2]), y, {
      maxIterations: isEmulated ? 100 : 500,
    });
    expect(Number.isFinite(far.value)).toBe(true);
    const c = floats(cost(x, y), 'float32', [20, 15], true);
    const { value, plan } = sp.sinkhorn(c, {
      epsilon: 1e-15,
      maxIterations: isEmulated ? 100 : 500,
    });
    expect(Math.abs((value.item() as number) - (exact(x, y) as number))).toBeLessThan(0.02);
    value.backward();
    const total = (v: ArrayLike<number>) => Array.from(v).reduce((sum, p) => sum + p, 0);
    // Exponents of up to 2^42, to which ε was raised, are good to 2^-11 in float64.
    expect(Math.abs(total(read(gradOf(c))) - 1)).toBeLessThan(2 ** -11);
    expect(Number.isFinite(total(read(plan() as never)))).toBe(true);
  });

  test.each([
    { size: 1, blur: 0.006 },
    { size: 10, blur: 0.05 },
    { size: 100, blur: 0.5 },
  ])('float32 goes as far as float64: size $size, blur $blur', ({ size, blur }) => {
    const [one, two] = (['float32', 'float64'] as const).map((dtype) => {
      const { x, y } = clouds(dtype, 60, 50, size);
      return solved(x, y, { blur, maxIterations: isEmulated ? 60 : 10000 });
    });
    expect(one.error).toBeLessThan(Math.max(1e-3, 1.5 * two.error));
    expect(Math.abs(one.value / two.value - 1)).toBeLessThan(1e-3);
  });
});

describe("the length of GeomLoss's schedule", () => {
  const { x, y } = clouds('float32', 5, 4, 1);
  const solver = 'geomloss';
  const refuses = refuser('sinkhornDivergence');

  test('is at most maxIterations', () => {
    for (const scaling of [0.9999, 1 - 2 ** -53]) {
      const call = () => throughDevice(() => sp.sinkhornDivergence(x, y, { solver, scaling }));
      refuses(call, 'ERR_INVALID_VALUE', 'maxIterations', '10000', 'scaling');
    }
    const short = () =>
      throughDevice(() => sp.sinkhornDivergence(x, y, { solver, maxIterations: 3 }));
    refuses(short, 'ERR_INVALID_VALUE', 'maxIterations', /\b3\b/);
    expect(solved(x, y, { solver, maxIterations: 30 }).iterations).toBeLessThan(30);
  });

  test('strict says that it has ended', () => {
    const strict = () =>
      sp.sinkhornDivergence(x, y, { solver, blur: 0.01, tolerance: 1e-9, strict: true }).item();
    const { message } = refuses(strict, 'ERR_NOT_CONVERGED', 'schedule');
    expect(message).not.toMatch(/rounding/);
  });
});

test('options whose powers leave the range of numbers', () => {
  const { x, y } = clouds('float32', 5, 4, 1);
  const refuses = refuser('sinkhornDivergence');
  const by = (options: Options) => () => sp.sinkhornDivergence(x, y, options);
  for (const blur of [1e-170, 1e200]) {
    refuses(by({ blur }), 'ERR_INVALID_VALUE', 'blur^2', String(blur));
    expect(Number.isFinite(by({ blur, p: 1, maxIterations: 200 })().item())).toBe(true);
  }
  refuses(by({ reach: 1e-170 }), 'ERR_INVALID_VALUE', 'reach^2');
  refuses(by({ reach: { y: 1e-170 } }), 'ERR_INVALID_VALUE', 'reach.y^2');
  expect(by({ reach: 1e200 })().item()).toBe(by({})().item());
  const cost = sp.rand([3, 4]);
  const refusesCost = refuser('sinkhorn');
  for (const options of [{ epsilon: 1e-310 }, { rhoA: 1e-310 }, { rhoB: 5e-324 }])
    refusesCost(() => sp.sinkhorn(cost, options), 'ERR_INVALID_VALUE');
  const none = sp.sinkhorn(cost, { rhoA: Number.POSITIVE_INFINITY }).value.item();
  expect(none).toBe(sp.sinkhorn(cost).value.item());
});
