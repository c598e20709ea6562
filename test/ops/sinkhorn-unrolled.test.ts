// gradient: 'unrolled': values after so many plain steps against plain loops, gradients against
// central differences of those values.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { inTurn } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { draw, type Options, tensors, uniforms } from '../harness/transport.js';
import { alternate, costOf } from '../reference/sinkhorn.js';

type Wide = sp.Tensor<'float64'>;

/** So many steps, whatever the error. */
const steps = (maxIterations: number) =>
  ({ gradient: 'unrolled', maxIterations, tolerance: 0 }) as const;
const counts = [1, 3, 10];
const modes: readonly [string, Options][] = [
  ['balanced', {}],
  ['unbalanced', { reach: 0.7 }],
  ['semi-unbalanced in x', { reach: { x: 0.6 } }],
  ['semi-unbalanced in y', { reach: { y: 0.6 } }],
];
const costs: readonly Options[] = [
  { cost: 'sqeuclidean', blur: 0.3 },
  { cost: 'euclidean', blur: 0.2 },
  { cost: 'cosine', blur: 0.1 },
];
const bounds = { atol: 1e-8, rtol: 1e-6 };

describe.each(counts)('after %d steps', (count) => {
  test.each(modes)('%s: the value of plain loops, and differences', (mode, reach) => {
    for (const [k, cost] of inTurn([...costs.entries()], count % 3, 3)) {
      const clouds = draw(5, 4, 2, 9 + k);
      const { x, y, a, b } = tensors(clouds, 'float64', true);
      const options = { ...cost, ...reach, ...steps(count) };
      const f =
        (debias: boolean) =>
        (...[px, py, wa, wb]: Wide[]) =>
          sp.sinkhornDivergence(px, py, { ...options, debias, a: wa, b: wb });
      const power = cost.cost === 'sqeuclidean' ? 2 : 1;
      const strength = (key: 'x' | 'y') => {
        const { reach: r = Infinity } = reach;
        return ((typeof r === 'object' ? r[key] : r) ?? Infinity) ** power;
      };
      const expected = alternate(
        {
          cost: costOf(cost.cost as never, clouds.x, clouds.y, 2),
          a: clouds.a,
          b: clouds.b,
          epsilon: (cost.blur as number) ** power,
          rhoA: strength('x'),
          rhoB: strength('y'),
        },
        count,
      );
      expect(f(false)(x as Wide, y as Wide, a as Wide, b as Wide).item(), mode).toBeCloseTo(
        expected.value,
        12,
      );
      const debias = (count + k) % 2 === 0;
      expect(sp.gradcheck(f(debias) as never, [x, y, a, b], bounds)).toBe(true);
    }
  });

  test.each([
    ['balanced', {}],
    ['unbalanced', { rhoA: 0.5, rhoB: 1.5 }],
    ['semi-unbalanced', { rhoB: 0.5 }],
  ])('a given cost, %s: value, f, g and a loss of the plan', (_, rho) => {
    const { a, b } = tensors(draw(5, 4, 2, 8, 2), 'float64', true);
    const cost = floats(uniforms(5, 40), 'float64', [2, 5, 4], true);
    const other = floats(uniforms(6, 40), 'float64', [2, 5, 4]);
    const [u, v] = [
      floats(uniforms(7, 10), 'float64', [2, 5]),
      floats(uniforms(8, 8), 'float64', [2, 4]),
    ];
    const solved = (c: Wide, wa: Wide, wb: Wide) =>
      sp.sinkhorn(c, { epsilon: 0.2, a: wa, b: wb, ...rho, ...steps(count) });
    const losses = [
      (r: sp.SinkhornResult) => r.value,
      (r: sp.SinkhornResult) => sp.add(r.f.mul(u).sum(), r.g.mul(v).sum()),
      (r: sp.SinkhornResult) => r.plan().mul(other).sum(),
    ];
    for (const loss of losses) {
      const f = (...[c, wa, wb]: Wide[]) => loss(solved(c, wa, wb));
      // f and g alone know one constant, which the mass decides; plans and values do not.
      const inputs = loss === losses[1] ? [cost] : [cost, a, b];
      const g = loss === losses[1] ? (c: Wide) => f(c, a as Wide, b as Wide) : f;
      expect(sp.gradcheck(g as never, inputs, bounds)).toBe(true);
    }
  });
});

test('a loss of the plan needs what the envelope does not know', () => {
  const cost = floats(uniforms(3, 30), 'float64', [5, 6], true);
  const { f, plan, value } = sp.sinkhorn(cost, { epsilon: 0.1, ...steps(7) });
  expect([f.requiresGrad, plan().requiresGrad]).toEqual([true, true]);
  const p = read(plan() as AnyTensor);
  const own = read(sp.sinkhorn(cost.detach(), { epsilon: 0.1, ...steps(7) }).plan() as AnyTensor);
  for (const [e, v] of p.entries()) expect(v).toBeCloseTo(own[e], 12);
  value.backward();
  expect(gradOf(cost)).toBeDefined();
  expect(sp.sinkhorn(cost, { epsilon: 0.1 }).plan().requiresGrad).toBe(false);
});

describe('labels', () => {
  test.each([true, false])('points and label costs, debias %s', (debias) => {
    const { x, y } = tensors(draw(6, 5, 2, 7), 'float64', true);
    const labelCost = floats(uniforms(3, 9), 'float64', [3, 3], true);
    const labels = {
      labelsX: indices([0, 1, 2, 0, 1, 1], [6]),
      labelsY: indices([2, 2, 0, 1, 0], [5]),
    };
    for (const mode of [{}, { p: 1 as const, reach: 0.8 }]) {
      const f = (px: Wide, py: Wide, w: sp.Tensor) =>
        sp.sinkhornDivergence(px, py, {
          ...mode,
          ...labels,
          ...steps(4),
          labelCost: w,
          blur: 0.4,
          debias,
        });
      expect(sp.gradcheck(f as never, [x, y, labelCost], bounds)).toBe(true);
    }
  });
});

const sizes = [
  [60, 70, 3],
  [30, 300, 20],
] as const;

test.each(sizes)('float32 like float64 on the same points, %d x %d, D %d', (n, m, d) => {
  const clouds = draw(n, m, d, 2);
  for (const mode of [{ debias: true }, { p: 1, reach: 1 }] as const) {
    const options = { blur: 0.4, ...mode, ...steps(5) };
    const gradients = (['float32', 'bfloat16', 'float64'] as const).map((dtype) => {
      // float64 last, on what the others were rounded to.
      const own = dtype === 'bfloat16' ? draw(n, m, d, 2) : clouds;
      const { x, y, a, b } = tensors(own, dtype, true);
      sp.sinkhornDivergence(x, y, { ...options, a, b }).backward();
      return { dtype, of: [x, y, a, b].map((t) => read(gradOf(t))) };
    });
    const [narrow, half, wide] = gradients;
    for (const [k, expected] of wide.of.entries()) {
      const size = Math.max(...expected.map(Math.abs));
      const off = (got: Float64Array) => Math.max(...got.map((g, i) => Math.abs(g - expected[i])));
      expect(off(narrow.of[k])).toBeLessThan(1e-4 * size);
      expect(off(half.of[k])).toBeLessThan(0.1 * size);
    }
  }
});

test('where the steps have converged it is the gradient of the optimum', () => {
  const { x, y, a, b } = tensors(draw(7, 6, 2, 4), 'float64', true);
  const grads = ([{ gradient: 'unrolled' }, { gradient: 'envelope' }] as const).map((which) => {
    for (const t of [x, y, a, b]) t.zeroGrad();
    const options = { tolerance: 1e-11, blur: 0.5, a, b, maxIterations: 200, ...which };
    sp.sinkhornDivergence(x, y, { ...options, strict: true }).backward();
    return [x, y, a, b].flatMap((t) => [...read(gradOf(t))]);
  });
  for (const [i, g] of grads[0].entries()) expect(g).toBeCloseTo(grads[1][i], 9);
});

test('S(a,a) = 0 after any number of steps', () => {
  const { x } = tensors(draw(9, 5, 3, 1), 'float32', true);
  const loss = sp.sinkhornDivergence(x, x.clone(), { blur: 0.1, ...steps(2) });
  expect(loss.item()).toBe(0);
  loss.backward();
  expect(Math.max(...read(gradOf(x)).map(Math.abs))).toBeLessThan(1e-7);
});

describe('the same bits', () => {
  test.each(sizes)('any number of threads and workspace, %d x %d, D %d', (n, m, d) => {
    const before = sp.getThreads();
    const { x, y } = tensors(draw(n, m, d, 3), 'float32', true);
    const run = (workspaceBytes: number) => {
      for (const t of [x, y]) t.zeroGrad();
      const loss = sp.sinkhornDivergence(x, y, { blur: 0.3, ...steps(3), workspaceBytes });
      loss.backward();
      return [loss as AnyTensor, gradOf(x), gradOf(y)].map(bits);
    };
    sp.setThreads(1);
    const one = run(2 ** 25);
    sp.setThreads(3);
    for (const workspace of [2 ** 25, 3 * 3 * 16 * (n + m)]) {
      for (const [k, other] of run(workspace).entries()) expectSameBits(other, one[k], 'all');
    }
    sp.setThreads(before);
  });

  test('packed problems, alone, and asynchronously', async () => {
    const { x, y } = tensors(draw(9, 8, 2, 5), 'float32', true);
    const packed = { cuSeqlensX: [0, 4, 9], cuSeqlensY: [0, 5, 8] };
    const options = { blur: 0.3, ...steps(3) };
    const loss = sp.sinkhornDivergence(x, y, { ...options, ...packed });
    loss.sum().backward();
    const [first, all] = [read(loss), read(gradOf(x))];
    x.zeroGrad();
    const later = await sp.sinkhornDivergence.async(x, y, { ...options, ...packed });
    await later.sum().backwardAsync();
    expect([...read(later)]).toEqual([...first]);
    expect([...read(gradOf(x))]).toEqual([...all]);
    const own = floats(read(x).subarray(0, 8), 'float32', [4, 2], true);
    const other = floats(read(y).subarray(0, 10), 'float32', [5, 2]);
    const alone = sp.sinkhornDivergence(own, other, options);
    alone.backward();
    expect(alone.item()).toBe(first[0]);
    expect([...read(gradOf(own))]).toEqual([...all.subarray(0, 8)]);
  });
});

test('one point, a weight of 0, one place', () => {
  for (const [n, m] of [
    [1, 1],
    [1, 3],
  ]) {
    const { x, y } = tensors(draw(n, m, 2, 3), 'float64', true);
    const f = (p: Wide, q: Wide) => sp.sinkhornDivergence(p, q, { blur: 0.3, ...steps(2) });
    expect(sp.gradcheck(f as never, [x, y], bounds)).toBe(true);
  }
  const { x, y } = tensors(draw(3, 2, 2, 3), 'float32', true);
  const a = floats([0.5, 0, 0.5], 'float32', [3], true);
  sp.sinkhornDivergence(x, y, { a, blur: 0.05, ...steps(3) }).backward();
  expect([...read(gradOf(x)).subarray(2, 4)]).toEqual([0, 0]);
  expect([...read(gradOf(a))].every(Number.isFinite)).toBe(true);
  const same = sp.ones([3, 2]).requiresGrad_();
  sp.sinkhornDivergence(same, sp.ones([4, 2]), steps(3)).backward();
  expect([...read(gradOf(same as AnyTensor))].every((g) => g === 0)).toBe(true);
});

test('stops at the tolerance; the default is 100 steps; nothing is recorded without a gradient', () => {
  const { x, y } = tensors(draw(8, 7, 2, 3), 'float64', true);
  const seen: sp.TransportInfo[] = [];
  const onInfo = (info: sp.TransportInfo) => seen.push(info);
  const options = { gradient: 'unrolled', debias: false, onInfo } as const;
  sp.sinkhornDivergence(x, y, { ...options, blur: 0.5, tolerance: 1e-4 }).backward();
  sp.sinkhornDivergence(x, y, { ...options, blur: 0.01, tolerance: 1e-9 }).backward();
  expect(seen[0].converged).toBe(true);
  expect(seen[0].iterations).toBeLessThan(100);
  expect(seen[1]).toMatchObject({ converged: false, iterations: 100 });
  const none = { ...options, workspaceBytes: 0 };
  expect(sp.noGrad(() => sp.sinkhornDivergence(x, y, none)).item()).toBeGreaterThan(0);
  const f = (p: Wide) => sp.sinkhornDivergence(p, y as Wide, { ...none, ...steps(3) });
  expect(() => f(x as Wide)).toThrow('workspaceBytes');
});

test('refused', () => {
  const refuses = refuser('sinkhornDivergence');
  const x = sp.rand([10, 3]).requiresGrad_();
  const by = (options: object) => () => sp.sinkhornDivergence(x, x.clone(), options as never);
  refuses(by({ gradient: 'exact' }), 'ERR_INVALID_VALUE', "'unrolled'");
  refuses(by({ gradient: 'unrolled', solver: 'geomloss' }), 'ERR_INVALID_VALUE', 'geomloss');
  // 1000 steps of 20 points, three terms, 16 bytes.
  const much = { gradient: 'unrolled', maxIterations: 1000, workspaceBytes: 959_999 };
  refuses(by(much), 'ERR_INVALID_VALUE', 'at least 960000', '1000 unrolled', '959999', 'maxIter');
  expect(by({ ...much, workspaceBytes: 960_000, tolerance: 0.1 })().item()).toBeDefined();
  refuser('sinkhorn')(
    () => sp.sinkhorn(x, { gradient: 'both' as never }),
    'ERR_INVALID_VALUE',
    'gradient',
  );
  const saved = sp.raw.sinkhorn.forward({ cost: x }, { gradient: 'unrolled' });
  refuser('sinkhorn')(
    () => sp.raw.sinkhorn.backward(saved.saved, { value: sp.ones([]) }, { cost: true }),
    'ERR_GRAPH',
    'needs',
  );
});
