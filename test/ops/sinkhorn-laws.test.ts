// What holds of optimal transport whatever the numbers: symmetries, limits, batches, memory, threads.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { inTurn, needsCpu } from '../harness/device.js';
import { type AnyTensor, bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { draw, exact, type Options, tensors, uniforms } from '../harness/transport.js';

const value = (x: AnyTensor, y: AnyTensor, options: Options = {}) =>
  sp.sinkhornDivergence(x, y, { ...exact, blur: 0.2, ...options }).item() as number;
const cloud = (values: ArrayLike<number>, n: number, d = 3) => floats(values, 'float64', [n, d]);

describe.each([{}, { p: 1 as const }, { reach: 0.6 }, { cost: 'cosine' as const }])(
  '%o',
  (mode) => {
    test('S(a,a) = 0 with gradients 0, in every dtype', () => {
      for (const dtype of ['float64', 'float32', 'bfloat16', 'float16'] as const) {
        const { x, a } = tensors(draw(9, 5, 3, 1), dtype, true);
        const loss = sp.sinkhornDivergence(x, x.clone(), { ...mode, a, b: a.clone() });
        expect(loss.item()).toBe(0);
        loss.backward();
        expect([...read(gradOf(x)), ...read(gradOf(a))].every((g) => g === 0)).toBe(true);
      }
    });

    test('S >= 0, S(a,b) = S(b,a)', () => {
      for (let seed = 1; seed < 6; seed++) {
        const { x, y, a, b } = tensors(draw(6, 8, 3, seed));
        const forth = value(x, y, { ...mode, a, b });
        expect(forth).toBeGreaterThan(0);
        expect(value(y, x, { ...mode, a: b, b: a })).toBeCloseTo(forth, 11);
      }
    });

    test('the order of points does not matter, nor a point in two parts, nor a weight of 0', () => {
      const { x, y, a, b } = tensors(draw(6, 4, 3, 2));
      const expected = value(x, y, { ...mode, a, b });
      const order = indices([3, 1, 5, 0, 2, 4], [6]) as sp.Tensor<'int32'>;
      const [px, pa] = [sp.indexSelect(x, 0, order), sp.indexSelect(a, 0, order)];
      expect(value(px as AnyTensor, y, { ...mode, a: pa, b })).toBeCloseTo(expected, 11);
      const [points, weights] = [read(x), read(a)];
      const split = cloud([...points, ...points.subarray(0, 3)], 7);
      const halves = [weights[0] / 2, ...weights.subarray(1), weights[0] / 2];
      const parts = { ...mode, a: floats(halves, 'float64', [7]), b };
      expect(value(split, y, parts)).toBeCloseTo(expected, 11);
      const none = { ...mode, a: floats([...weights, 0], 'float64', [7]), b };
      expect(value(cloud([...points, 9, -9, 9], 7), y, none)).toBeCloseTo(expected, 11);
    });
  },
);

test('translations: of both nothing, of one half its square; scalings', () => {
  const { x, y } = tensors(draw(7, 5, 3, 3));
  const shifted = (t: AnyTensor, by: number[]) =>
    cloud(
      read(t).map((v, i) => v + by[i % 3]),
      t.shape[0] as number,
    );
  const t = [100, -20, 3];
  expect(value(shifted(x, t), shifted(y, t))).toBeCloseTo(value(x, y), 10);
  expect(value(x, shifted(x, [0.3, 0, -0.4]))).toBeCloseTo(0.125, 10);
  const twice = (v: AnyTensor) =>
    cloud(
      read(v).map((e) => 2 * e),
      v.shape[0] as number,
    );
  expect(value(twice(x), twice(y), { blur: 0.4 })).toBeCloseTo(4 * value(x, y), 10);
});

test('a large offset costs float32 nothing but the rounding of the points', () => {
  const far = draw(50, 40, 3, 4);
  for (const t of [far.x, far.y]) for (let i = 0; i < t.length; i++) t[i] += 1e4;
  const { x, y } = tensors(far, 'float32');
  const wide = tensors(far, 'float64');
  const options = { blur: 0.05, tolerance: 1e-5, onInfo: () => {} };
  const expected = sp.sinkhornDivergence(wide.x, wide.y, options).item();
  expect(Math.abs(sp.sinkhornDivergence(x, y, options).item() / expected - 1)).toBeLessThan(1e-4);
});

test('limits: large epsilon, large reach, bounds at small epsilon', () => {
  const { x, y, a, b } = tensors(draw(7, 5, 3, 1));
  const mean = (t: AnyTensor, w: AnyTensor, k: number) =>
    read(w).reduce((sum, v, i) => sum + v * read(t)[3 * i + k], 0);
  const apart = [0, 1, 2].reduce((sum, k) => sum + (mean(x, a, k) - mean(y, b, k)) ** 2, 0) / 2;
  expect(value(x, y, { a, b, blur: 100 })).toBeCloseTo(apart, 4);
  const balanced = value(x, y, { a, b });
  expect(value(x, y, { a, b, reach: 1000 })).toBeCloseTo(balanced, 5);
  expect(value(x, y, { a, b, reach: Infinity })).toBe(balanced);
  const entropy = -read(b).reduce((sum, w) => sum + w * Math.log(w), 0);
  for (const blur of [0.3, 0.1, 0.05]) {
    const over = value(x, y, { a, b, blur, debias: false, tolerance: 1e-8 }) - 0.101767840028144;
    expect(over).toBeGreaterThan(0);
    expect(over).toBeLessThan(blur ** 2 * entropy);
  }
});

test('of a cost: OT(sC + t) at s epsilon is s OT(C) + t; axes may change places', () => {
  const cost = uniforms(2, 35);
  const solved = (c: ArrayLike<number>, shape: number[], epsilon: number) =>
    sp.sinkhorn(floats(c, 'float64', shape), { epsilon, tolerance: 1e-12 });
  const plain = solved(cost, [7, 5], 0.1);
  const scaled = solved(
    cost.map((c) => 3 * c - 1),
    [7, 5],
    0.3,
  );
  expect(scaled.value.item()).toBeCloseTo(3 * plain.value.item() - 1, 10);
  const across = Float64Array.from({ length: 35 }, (_, e) => cost[5 * (e % 7) + Math.floor(e / 7)]);
  expect(solved(across, [5, 7], 0.1).value.item()).toBeCloseTo(plain.value.item(), 10);
});

describe('the marginals', () => {
  test.each(['float64', 'float32'] as const)('hold as the error says, %s', (dtype) => {
    const { x, y, a, b } = tensors(draw(30, 40, 3, 5), dtype);
    const result = sp.sinkhornPotentials(x, y, { a, b, blur: 0.1, tolerance: 1e-3 });
    const plan = read(result.plan() as AnyTensor);
    const off = (n: number, at: (i: number, j: number) => number, m: number, w: AnyTensor) =>
      Array.from({ length: n }, (_, i) => {
        let sum = -read(w)[i];
        for (let j = 0; j < m; j++) sum += plan[at(i, j)];
        return Math.abs(sum);
      }).reduce((sum, e) => sum + e, 0);
    const rows = off(30, (i, j) => 40 * i + j, 40, a);
    const columns = off(40, (j, i) => 40 * i + j, 30, b);
    expect(Math.max(rows, columns)).toBeCloseTo(result.error, 5);
    expect(result.error).toBeLessThanOrEqual(1e-3);
  });

  test('of relaxed problems are a e^(-f/rho)', () => {
    const { x, y, a, b } = tensors(draw(10, 12, 3, 5));
    const options = { ...exact, a, b, blur: 0.2, reach: { x: 0.5 } };
    const { f, plan } = sp.sinkhornPotentials(x, y, options);
    const [rows, columns] = [plan().sum({ dim: 1 }), plan().sum({ dim: 0 })];
    for (const [i, v] of read(rows as AnyTensor).entries())
      expect(v).toBeCloseTo(read(a)[i] * Math.exp(-read(f)[i] / 0.25), 10);
    for (const [j, v] of read(columns as AnyTensor).entries())
      expect(v).toBeCloseTo(read(b)[j], 10);
  });
});

const both = (x: AnyTensor, y: AnyTensor, options: Options) => {
  x.zeroGrad();
  y.zeroGrad();
  const loss = sp.sinkhornDivergence(x, y, options);
  loss.sum().backward();
  return [bits(loss as AnyTensor), bits(gradOf(x)), bits(gradOf(y))] as const;
};

describe('the same bits', () => {
  const shapes = [
    [70, 300, 3],
    [40, 33, 20],
  ] as const;
  const modes: Options[] = [{}, { p: 1, reach: 0.7 }, { solver: 'geomloss' }];

  test.each(shapes)('for any number of threads and workspace, %d x %d, D %d', (n, m, d) => {
    const before = sp.getThreads();
    for (const dtype of inTurn(['float32', 'float64'] as const, d % 2 ? 0 : 1, 2)) {
      const { x, y } = tensors(draw(n, m, d, 3), dtype, true);
      for (const mode of modes) {
        const options = { blur: 0.3, maxIterations: 30, onInfo: () => {}, ...mode };
        sp.setThreads(1);
        const one = both(x, y, options);
        sp.setThreads(3);
        for (const workspaceBytes of [2 ** 25, 0]) {
          const other = both(x, y, { ...options, workspaceBytes });
          for (const k of [0, 1, 2]) expectSameBits(other[k], one[k], 'value and gradients');
        }
        sp.setThreads(before);
      }
    }
  });

  test('for packed problems, a batch, and one by one', () => {
    const sizes = [
      [5, 30],
      [17, 4],
      [1, 1],
      [26, 9],
    ];
    const [xs, ys, lossesOf, gradients] = [[], [], [], []] as number[][];
    for (const [k, [n, m]] of sizes.entries()) {
      const { x, y } = tensors(draw(n, m, 3, k + 1), 'float32', true);
      const loss = sp.sinkhornDivergence(x, y, { blur: 0.2 });
      loss.backward();
      lossesOf.push(loss.item());
      gradients.push(...read(gradOf(x)));
      xs.push(...read(x));
      ys.push(...read(y));
    }
    const x = floats(xs, 'float32', [xs.length / 3, 3], true);
    const y = floats(ys, 'float32', [ys.length / 3, 3]);
    const ends = (k: number) => [
      0,
      ...sizes.map((_, i) => sizes.slice(0, i + 1).reduce((s, z) => s + z[k], 0)),
    ];
    const cuSeqlensX = indices(ends(0), [5]);
    const packed = { blur: 0.2, cuSeqlensX, cuSeqlensY: ends(1) };
    const loss = sp.sinkhornDivergence(x, y, packed);
    loss.sum().backward();
    expect([...read(loss)]).toEqual(lossesOf);
    expect([...read(gradOf(x))]).toEqual(gradients);
    expect(cuSeqlensX.isDisposed).toBe(false);
    const { f, apply } = sp.sinkhornPotentials(x, y, packed);
    expect(f.shape).toEqual([49]);
    expect(apply(y).shape).toEqual([49, 3]);
    const clouds = draw(6, 7, 2, 4, 3);
    const batch = tensors(clouds, 'float32');
    const all = [...read(sp.sinkhornDivergence(batch.x, batch.y, { blur: 0.2 }))];
    const each = [0, 1, 2].map((k) => {
      const part = (t: AnyTensor, n: number) =>
        floats(read(t).subarray(k * n * 2, (k + 1) * n * 2), 'float32', [n, 2]);
      return sp.sinkhornDivergence(part(batch.x, 6), part(batch.y, 7), { blur: 0.2 }).item();
    });
    expect(all).toEqual(each);
  });

  test('asynchronously', async () => {
    const { x, y } = tensors(draw(20, 15, 3, 3), 'float32', true);
    const infos: sp.TransportInfo[] = [];
    const onInfo = (info: sp.TransportInfo) => infos.push(info);
    const [now, later] = [
      sp.sinkhornDivergence(x, y, { onInfo }),
      await sp.sinkhornDivergence.async(x, y, { onInfo }),
    ];
    expectSameBits(bits(later as AnyTensor), bits(now as AnyTensor), 'value');
    expect(infos[1]).toEqual(infos[0]);
    await later.backwardAsync();
    expect(x.grad).not.toBeNull();
    const cost = floats(uniforms(1, 20), 'float32', [4, 5]);
    const { value: v, plan, iterations } = await sp.sinkhorn.async(cost);
    expect(iterations).toBeGreaterThan(0);
    expect(v.item()).toBe(sp.sinkhorn(cost).value.item());
    expect(plan().shape).toEqual([4, 5]);
    expect((await sp.sinkhornPotentials.async(x, y)).converged).toBe(true);
  });
});

const measures = needsCpu('scratch memory of the host');
test.skipIf(measures)('scratch memory keeps to the workspace and O((N + M) D)', () => {
  const n = 1500;
  const x = floats(uniforms(1, n * 4), 'float32', [n, 4], true);
  const y = floats(uniforms(2, n * 4), 'float32', [n, 4]);
  const options = { maxIterations: 2, onInfo: () => {}, debias: false };
  sp.memory({ resetPeak: true });
  for (const workspaceBytes of [0, 2 ** 20]) {
    sp.sinkhornDivergence(x, y, { ...options, workspaceBytes }).backward();
    expect(sp.memory({ resetPeak: true }).cpu.scratchPeak).toBeLessThan(2 ** 20 + 300 * 2 * n);
  }
});

test.skipIf(measures)('gradients in label costs: within the workspace, the same bits', () => {
  const [batch, v] = [24, 90];
  const { x, y } = tensors(draw(5, 4, 2, 3, batch), 'float32');
  const label = (n: number, seed: number) =>
    indices(
      uniforms(seed, batch * n).map((u) => Math.floor(u * v)),
      [batch, n],
    );
  const labels = { labelsX: label(5, 1), labelsY: label(4, 2) };
  const run = (workspaceBytes: number) => {
    const labelCost = floats(uniforms(5, v * v), 'float32', [v, v], true);
    const loss = sp.sinkhornDivergence(x, y, { ...labels, labelCost, blur: 0.5, workspaceBytes });
    sp.memory({ resetPeak: true });
    loss.sum().backward();
    return { grad: bits(gradOf(labelCost)), peak: sp.memory().cpu.scratchPeak };
  };
  const before = sp.getThreads();
  sp.setThreads(3);
  const [all, some] = [run(2 ** 25), run(2 ** 20)];
  sp.setThreads(1);
  const one = run(0);
  sp.setThreads(before);
  for (const other of [some, one]) expectSameBits(other.grad, all.grad, 'gradient');
  const matrix = 8 * v * v;
  expect(all.peak).toBeGreaterThan(batch * matrix);
  expect(some.peak).toBeLessThan(2 ** 20 + 2 * matrix);
  expect(one.peak).toBeLessThan(6 * matrix);
});

const grows =
  'scratch memory of a debiased solve and its gradients grows with the points, not the pairs';
test.skipIf(measures)(grows, () => {
  const n = 6000;
  for (const d of [3, 5]) {
    const x = floats(uniforms(1, n * d), 'float32', [n, d], true);
    const y = floats(uniforms(2, n * d), 'float32', [n, d], true);
    sp.memory({ resetPeak: true });
    const options = { maxIterations: 1, onInfo: () => {}, workspaceBytes: 0 };
    sp.sinkhornDivergence(x, y, options).backward();
    // 4 MiB bound the sums by chunks of rows; an array of the pairs has 144 MB.
    expect(sp.memory({ resetPeak: true }).cpu.scratchPeak).toBeLessThan(2 ** 22 + 300 * 2 * n);
  }
});
