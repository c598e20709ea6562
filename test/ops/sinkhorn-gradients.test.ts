// Gradients of the transport losses against central differences, in every differentiable input and mode.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { inTurn } from '../harness/device.js';
import { floats, gradOf, indices, read } from '../harness/tensors.js';
import { draw, exact, type Options, tensors, uniforms } from '../harness/transport.js';

const modes: readonly [string, Options][] = [
  ['balanced', {}],
  ['unbalanced', { reach: 0.7 }],
  ['semi-unbalanced in x', { reach: { x: 0.6 } }],
  ['semi-unbalanced in y', { reach: { y: 0.6 } }],
  ['unbalanced by two strengths', { reach: { x: 0.5, y: 1.5 } }],
];
const costs: readonly Options[] = [
  { cost: 'sqeuclidean', blur: 0.3 },
  { cost: 'euclidean', blur: 0.2 },
  { cost: 'cosine', blur: 0.1 },
];

describe.each(costs)('$cost', (cost) => {
  describe.each([true, false])('debias %s', (debias) => {
    const turn = costs.indexOf(cost) + (debias ? 0 : 3);
    test.each(inTurn(modes, turn % 5, 5))('%s: x, y, a, b', (_, mode) => {
      const { x, y, a, b } = tensors(draw(5, 4, 2, 9), 'float64', true);
      const f = (...[px, py, wa, wb]: sp.Tensor<'float64'>[]) =>
        sp.sinkhornDivergence(px, py, { ...exact, ...cost, ...mode, debias, a: wa, b: wb });
      expect(sp.gradcheck(f as never, [x, y, a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
    });
  });
});

test.each(inTurn(modes, 1, 3))('masses other than 1, %s', (_, mode) => {
  const isBalanced = Object.keys(mode).length === 0;
  const { x, y, a, b } = tensors(draw(4, 3, 2, 5));
  const wa = a.mul(1.7).detach().requiresGrad_();
  const wb = b
    .mul(isBalanced ? 1.7 : 0.6)
    .detach()
    .requiresGrad_();
  // Where both marginals hold only masses that stay equal have a value.
  const unit = (w: sp.Tensor<'float64'>) => (isBalanced ? w.div(w.sum()).mul(1.7) : w);
  for (const debias of [true, false]) {
    const f = (p: sp.Tensor<'float64'>, v: sp.Tensor<'float64'>, w: sp.Tensor<'float64'>) =>
      sp.sinkhornDivergence(p, y as never, {
        ...exact,
        ...mode,
        blur: 0.3,
        debias,
        a: unit(v),
        b: unit(w),
      });
    const inputs = [x.requiresGrad_(), wa, wb];
    expect(sp.gradcheck(f as never, inputs, { atol: 1e-7, rtol: 1e-5 })).toBe(true);
  }
});

test('the upstream gradient of each problem of a batch', () => {
  const { x, y, a, b } = tensors(draw(3, 2, 1, 6, 3), 'float64', true);
  const f = (...[px, py, wa, wb]: sp.Tensor<'float64'>[]) =>
    sp.sinkhornDivergence(px, py, { ...exact, blur: 0.3, reach: 1, a: wa, b: wb });
  expect(sp.gradcheck(f as never, [x, y, a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
});

describe('labels', () => {
  test.each([true, false])('points and label costs, debias %s', (debias) => {
    const { x, y } = tensors(draw(6, 5, 2, 7), 'float64', true);
    const labelCost = floats(uniforms(3, 9), 'float64', [3, 3], true);
    const labels = {
      labelsX: indices([0, 1, 2, 0, 1, 1], [6]),
      labelsY: indices([2, 2, 0, 1, 0], [5]),
    };
    for (const mode of inTurn([{}, { reach: 0.8 }], debias ? 1 : 0, 2)) {
      const f = (px: sp.Tensor<'float64'>, py: sp.Tensor<'float64'>, w: sp.Tensor) =>
        sp.sinkhornDivergence(px, py, {
          ...exact,
          ...mode,
          ...labels,
          labelCost: w,
          blur: 0.4,
          debias,
        });
      const inputs = [x, y, labelCost];
      expect(sp.gradcheck(f as never, inputs, { atol: 1e-7, rtol: 1e-5 })).toBe(true);
    }
  });

  // The gradient of |x - y| divides by the distance alone.
  test.each(inTurn([{}, { reach: 0.8 }, { reach: { x: 0.6 } }], 2, 3))('p 1, %o', (mode) => {
    const { x, y } = tensors(draw(4, 3, 2, 7), 'float64', true);
    const labelCost = floats(uniforms(3, 4), 'float64', [2, 2], true);
    const labels = { labelsX: indices([0, 1, 1, 0], [4]), labelsY: indices([1, 0, 1], [3]) };
    for (const debias of [true, false]) {
      const options = { ...exact, ...mode, ...labels, p: 1, blur: 0.3, debias } as const;
      const f = (px: sp.Tensor<'float64'>, py: sp.Tensor<'float64'>, w: sp.Tensor) =>
        sp.sinkhornDivergence(px, py, { ...options, labelCost: w });
      const inputs = [x, y, labelCost];
      expect(sp.gradcheck(f as never, inputs, { atol: 1e-7, rtol: 1e-5 })).toBe(true);
    }
  });

  test('p 1: a pair', () => {
    const x = floats([0, 0], 'float32', [1, 2], true);
    const y = floats([3, 4], 'float32', [1, 2]);
    const label = indices([0], [1]);
    const labels = { labelsX: label, labelsY: label, labelCost: floats([5], 'float32', [1, 1]) };
    sp.sinkhornDivergence(x, y, { ...labels, p: 1, debias: false }).backward();
    expect([...read(gradOf(x))].map((g) => Number(g.toFixed(6)))).toEqual([-0.6, -0.8]);
  });

  test('add their cost to that of the points', () => {
    const { x, y } = tensors(draw(6, 5, 2, 7));
    const w = uniforms(3, 9);
    const [lx, ly] = [
      [0, 1, 2, 0, 1, 1],
      [2, 2, 0, 1, 0],
    ];
    const cost = Float64Array.from({ length: 30 }, (_, e) => {
      const [i, j] = [Math.floor(e / 5), e % 5];
      const [p, q] = [read(x).subarray(2 * i, 2 * i + 2), read(y).subarray(2 * j, 2 * j + 2)];
      return ((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) / 2 + w[3 * lx[i] + ly[j]];
    });
    const labels = {
      labelsX: indices(lx, [6]),
      labelsY: indices(ly, [5]),
      labelCost: floats(w, 'float64', [3, 3]),
    };
    const options = { ...exact, ...labels, blur: 0.3, debias: false };
    const got = sp.sinkhornDivergence(x, y, options).item();
    const given = sp.sinkhorn(floats(cost, 'float64', [6, 5]), {
      epsilon: 0.09,
      tolerance: 1e-12,
    });
    expect(got).toBeCloseTo(given.value.item(), 11);
  });
});

describe('a given cost', () => {
  test.each([
    ['balanced', {}],
    ['unbalanced', { rhoA: 0.5, rhoB: 1.5 }],
    ['semi-unbalanced', { rhoB: 0.5 }],
  ])('%s: cost, a, b', (_, rho) => {
    const { a, b } = tensors(draw(5, 4, 2, 8, 2), 'float64', true);
    const cost = floats(uniforms(5, 40), 'float64', [2, 5, 4], true);
    const f = (c: sp.Tensor<'float64'>, wa: sp.Tensor, wb: sp.Tensor) =>
      sp.sinkhorn(c, { epsilon: 0.2, tolerance: 1e-12, a: wa, b: wb, ...rho }).value;
    expect(sp.gradcheck(f as never, [cost, a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
  });

  test('the gradient is the plan, in the dtype of the cost', () => {
    const cost = floats(uniforms(5, 30 * 21), 'bfloat16', [30, 21], true);
    const { value, plan } = sp.sinkhorn(cost, { epsilon: 0.1, tolerance: 1e-5 });
    value.backward();
    const p = read(plan() as never);
    for (const [i, g] of read(gradOf(cost)).entries())
      expect(Math.abs(g - p[i])).toBeLessThan(p[i] * 2 ** -8 + 1e-7);
  });
});

test.each(['float32', 'bfloat16', 'float16'] as const)(
  '%s: like float64 on the same points',
  (dtype) => {
    const clouds = draw(40, 50, 3, 2);
    const { x, y, a, b } = tensors(clouds, dtype, true);
    const wide = tensors(clouds, 'float64', true);
    const options = { blur: 0.2, tolerance: 1e-6, onInfo: () => {} };
    sp.sinkhornDivergence(x, y, { ...options, a, b }).backward();
    sp.sinkhornDivergence(wide.x, wide.y, { ...options, a: wide.a, b: wide.b }).backward();
    const ulp = dtype === 'bfloat16' ? 2 ** -8 : dtype === 'float16' ? 2 ** -11 : 0;
    for (const [got, expected] of [
      [x, wide.x],
      [y, wide.y],
      [a, wide.a],
      [b, wide.b],
    ]) {
      const g = read(gradOf(got));
      for (const [i, e] of read(gradOf(expected)).entries())
        expect(Math.abs(g[i] - e)).toBeLessThan(2e-5 + Math.abs(e) * ulp);
    }
  },
);

test('points that coincide have gradient 0 where |x - y| has none', () => {
  const x = sp.tensor(
    [
      [0, 0],
      [1, 0],
    ],
    { dtype: 'float64', requiresGrad: true },
  );
  const options = { p: 1, debias: false, blur: 1e-3 } as const;
  sp.sinkhornDivergence(x, x.detach(), options).backward();
  expect([...read(gradOf(x as never))].every((g) => Math.abs(g) < 1e-12)).toBe(true);
});

test('backward twice over one forward; plan() after backward', () => {
  const { x, y } = tensors(draw(5, 4, 2, 3), 'float64', true);
  const loss = sp.sinkhornDivergence(x, y, { blur: 0.3 });
  loss.backward(undefined, { retainGraph: true });
  const once = [...read(gradOf(x))];
  loss.backward();
  expect([...read(gradOf(x))]).toEqual(once.map((g) => 2 * g));
  const cost = floats(uniforms(5, 20), 'float64', [5, 4], true);
  const { value, plan } = sp.sinkhorn(cost);
  value.backward();
  expect(plan().sum().item()).toBeCloseTo(1, 12);
});
