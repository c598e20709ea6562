// sinkhornDivergence against its float64 definition, over costs, modes and dtypes, and known answers.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import type { FloatDType } from '../harness/rounding.js';
import { floats, gradOf, read } from '../harness/tensors.js';
import { draw, exact, type Options, tensors, uniforms } from '../harness/transport.js';
import {
  costOf,
  type Kind,
  type Setting,
  sinkhornDivergence,
  solve,
} from '../reference/sinkhorn.js';

const golden = () => {
  const clouds = draw(7, 5, 3, 1);
  return { ...tensors(clouds, 'float64', true), clouds };
};
const value = (x: sp.Tensor, y: sp.Tensor, options: Options) =>
  sp.sinkhornDivergence(x, y, { ...exact, ...options }).item() as number;

describe('known answers', () => {
  test('the inputs are those of the published numbers', () => {
    const { clouds } = golden();
    expect([...clouds.x.subarray(0, 3)].map((v) => v.toFixed(8))).toEqual([
      '0.51387008',
      '0.17574130',
      '0.30865152',
    ]);
    expect(clouds.a[0]).toBeCloseTo(0.12470816, 8);
  });

  // OT, <P,C>, S, d/dx_0 of OT and of S. At 0.01 the tenth digit of S is from 200000 steps in NumPy.
  test.each([
    [0.1, 0.173396715706, 0.142793011176, 0.068438324737],
    [0.01, 0.113879146341, 0.102446146838, 0.096565699509],
  ])('balanced, epsilon %d', (epsilon, ot, linear, divergence) => {
    const { x, y, a, b, clouds } = golden();
    const options = { a, b, blur: Math.sqrt(epsilon) };
    expect(value(x, y, { ...options, debias: false })).toBeCloseTo(ot, 10);
    expect(value(x, y, options)).toBeCloseTo(divergence, 10);
    const plan = read(sp.sinkhornPotentials(x, y, { ...exact, ...options }).plan());
    const cost = costOf('sqeuclidean', clouds.x, clouds.y, 3).flatMap((row) => [...row]);
    expect(plan.reduce((sum, p, i) => sum + p * cost[i], 0)).toBeCloseTo(linear, 10);
    // POT's other convention, with the entropy of P itself.
    const entropic = plan.reduce((sum, p, i) => sum + p * (cost[i] + epsilon * Math.log(p)), 0);
    if (epsilon === 0.1) expect(entropic).toBeCloseTo(-0.174038944059, 10);
  });

  test.each([
    [0.1, false, [0.00728276, -0.06636502, -0.03761732]],
    [0.01, false, [0.0023896, -0.06032011, -0.05039262]],
    [0.1, true, [-0.0007526, -0.06077619, -0.02439667]],
    [0.01, true, [0.00291125, -0.06017926, -0.04986013]],
  ])('gradient in x_0, epsilon %d, debias %s', (epsilon, debias, expected) => {
    const { x, y, a, b } = golden();
    const options = { ...exact, a, b, blur: Math.sqrt(epsilon), debias };
    sp.sinkhornDivergence(x, y, options).backward();
    for (const k of [0, 1, 2]) expect(read(gradOf(x))[k]).toBeCloseTo(expected[k], 8);
  });

  // Values, and where peers go wrong: GeomLoss scales d/dx by (rho + eps/2)/(rho + eps), others give
  // f for d/da.
  test.each([
    [1, 0.160633170166, 0.17162123, -0.0549659068, 0.923508014],
    [0.1, 0.116655810447, 0.12585248, -0.0232615233, 0.611147299],
  ])('unbalanced, rho %d', (rho, expected, da, dx, mass) => {
    const { x, y, a, b } = golden();
    const options = { ...exact, a, b, blur: Math.sqrt(0.1), reach: Math.sqrt(rho), debias: false };
    const loss = sp.sinkhornDivergence(x, y, options);
    expect(loss.item()).toBeCloseTo(expected, 10);
    loss.backward();
    expect(read(gradOf(a))[0]).toBeCloseTo(da, 7);
    expect(read(gradOf(x))[1]).toBeCloseTo(dx, 9);
    const plan = sp.sinkhornPotentials(x, y, options).plan();
    expect(plan.sum().item()).toBeCloseTo(mass, 8);
  });

  test('semi-unbalanced: not <a,f> + <b,g>', () => {
    const { x, y, a, b } = golden();
    const options = { a, b, blur: Math.sqrt(0.1), reach: { x: 1 }, debias: false };
    expect(value(x, y, options)).toBeCloseTo(0.168096812228, 10);
  });

  test('d/da is that of KL(P|ab), not of the entropy of P', () => {
    const { x, y, a, b } = golden();
    const options = { ...exact, a, b, blur: Math.sqrt(0.1), debias: false };
    sp.sinkhornDivergence(x, y, options).backward();
    const da = read(gradOf(a));
    expect(da[0] - da[1]).toBeCloseTo(0.1062633857, 9);
    expect(da.reduce((sum, g, i) => sum + g * read(a)[i], 0)).toBeCloseTo(0, 12);
  });

  test('small epsilon: the exact distances', () => {
    const { x, y, a, b } = golden();
    const options = { ...exact, a, b, debias: false, tolerance: 1e-6 };
    const square = sp.sinkhornDivergence(x, y, { ...options, blur: 0.01 }).item();
    expect(Math.abs(square - 0.101767840028144)).toBeLessThan(1e-4 * Math.log(7));
    const distance = sp.sinkhornDivergence(x, y, { ...options, p: 1, blur: 1e-3 }).item();
    expect(Math.abs(distance - 0.410384724383741)).toBeLessThan(1e-3 * Math.log(7));
  });

  test('Gaussians on a fine grid: the closed form of Janati et al. 2020', () => {
    const n = 400;
    const grid = Float64Array.from({ length: n }, (_, i) => -3 + (6 * i) / (n - 1));
    const density = (mean: number, variance: number) => {
      const w = grid.map((t) => Math.exp(-((t - mean) ** 2) / (2 * variance)));
      const mass = w.reduce((sum, v) => sum + v, 0);
      return w.map((v) => v / mass);
    };
    const points = floats(grid, 'float64', [n, 1]);
    const [a, b] = [density(-0.35, 0.09), density(0.35, 0.25)].map((w) =>
      floats(w, 'float64', [n]),
    );
    // Costs of |x-y|^2 and eps 0.2 are twice those of half of it and eps 0.1.
    const options = { a, b, blur: Math.sqrt(0.1), debias: false, tolerance: 1e-9 };
    expect(2 * value(points, points, options)).toBeCloseTo(0.6870637598, 6);
  });
});

interface Case extends Setting {
  options: Options;
}
const cases: readonly Case[] = (['sqeuclidean', 'euclidean', 'cosine'] as Kind[]).flatMap(
  (kind) => {
    const power = kind === 'sqeuclidean' ? 2 : 1;
    const blur = kind === 'sqeuclidean' ? 0.3 : 0.1;
    const epsilon = blur ** power;
    const modes: { options: Options; rhoA?: number; rhoB?: number }[] = [
      { options: {} },
      { options: { reach: 0.8 }, rhoA: 0.8 ** power, rhoB: 0.8 ** power },
      { options: { reach: { x: 0.6 } }, rhoA: 0.6 ** power },
      { options: { reach: { x: 0.5, y: 2 } }, rhoA: 0.5 ** power, rhoB: 2 ** power },
    ];
    return modes.flatMap((mode) =>
      [true, false].map((debias) => ({
        kind,
        epsilon,
        ...mode,
        debias,
        options: { ...mode.options, cost: kind, blur, debias },
      })),
    );
  },
);
// Relative to the size of the terms: float32 rounds costs of about 1 and potentials.
const tolerances: Record<FloatDType, number> = {
  float64: 1e-10,
  float32: 5e-6,
  bfloat16: 5e-6,
  float16: 5e-6,
};

describe.each(['float64', 'float32', 'bfloat16', 'float16'] as const)('%s', (dtype) => {
  // 16-bit points are computed as float32 ones.
  const narrow = dtype === 'bfloat16' || dtype === 'float16';
  test.each(cases.filter((_, i) => !narrow || i % 5 === 0))(
    '$kind, $options',
    ({ options, ...setting }) => {
      for (const [n, m, d] of [
        [7, 5, 3],
        [1, 4, 2],
        [26, 18, 5],
      ]) {
        const clouds = draw(n, m, d, 11);
        const { x, y, a, b } = tensors(clouds, dtype);
        const tolerance = dtype === 'float64' ? 1e-11 : 1e-6;
        const got = value(x, y, { ...options, a, b, tolerance });
        const expected = sinkhornDivergence(clouds, setting);
        expect(Math.abs(got - expected)).toBeLessThan(tolerances[dtype]);
      }
    },
  );

  test('defaults: p 2, blur 0.05, debiased, uniform weights; p 1', () => {
    const clouds = draw(12, 9, 2, 3);
    clouds.a.fill(1 / 12);
    clouds.b.fill(1 / 9);
    const { x, y } = tensors(clouds, dtype);
    const half = sinkhornDivergence(clouds, { kind: 'sqeuclidean', epsilon: 0.0025 });
    // To a tolerance of 1e-3 of the marginals the value is good to its square.
    expect(Math.abs(sp.sinkhornDivergence(x, y).item() - half)).toBeLessThan(1e-4);
    const plain = sinkhornDivergence(clouds, { kind: 'euclidean', epsilon: 0.05 });
    expect(Math.abs(value(x, y, { p: 1, tolerance: 1e-6 }) - plain)).toBeLessThan(1e-5);
    expect(sp.sinkhornDivergence(x, y).dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
  });
});

test('the potentials and the plan are the optimal ones', () => {
  const clouds = draw(9, 6, 3, 4);
  const { x, y, a, b } = tensors(clouds);
  const { f, g, plan, error, converged, iterations } = sp.sinkhornPotentials(x, y, {
    ...exact,
    a,
    b,
    blur: 0.2,
    reach: 0.7,
  });
  const rho = 0.49;
  const cost = costOf('sqeuclidean', clouds.x, clouds.y, 3);
  const best = solve({ cost, a: clouds.a, b: clouds.b, epsilon: 0.2 ** 2, rhoA: rho, rhoB: rho });
  expect(converged).toBe(true);
  expect(error).toBeLessThanOrEqual(1e-12);
  expect(iterations).toBeGreaterThan(1);
  for (const [i, v] of best.f.entries()) expect(read(f)[i]).toBeCloseTo(v, 9);
  for (const [j, v] of best.g.entries()) expect(read(g)[j]).toBeCloseTo(v, 9);
  const flat = best.plan.flatMap((row) => [...row]);
  for (const [i, p] of read(plan()).entries()) expect(p).toBeCloseTo(flat[i], 10);
});

describe('apply', () => {
  const v = uniforms(3, 200);
  test.each([{}, { reach: { y: 0.5 } }, { p: 1 as const }])(
    'is the plan times v, %o',
    (options) => {
      const { x, y } = tensors(draw(27, 18, 3, 4, 2));
      const { plan, apply } = sp.sinkhornPotentials(x, y, { blur: 0.2, ...options });
      const p = plan();
      const close = (got: sp.Tensor, expected: sp.Tensor) => {
        expect(got.shape).toEqual(expected.shape);
        const wanted = read(expected as never);
        for (const [i, t] of read(got as never).entries()) expect(t).toBeCloseTo(wanted[i], 12);
      };
      const right = floats(v.subarray(0, 2 * 18 * 3), 'float64', [2, 18, 3]);
      const left = floats(v.subarray(0, 2 * 27), 'float64', [2, 27]);
      close(apply(right), sp.matmul(p, right));
      close(apply(right, { axis: 1 }), sp.matmul(p, right));
      const product = sp.matmul(p, left.unsqueeze(2), { transposeA: true });
      close(apply(left, { axis: 0 }), product.squeeze(2));
    },
  );
});
