// Every kernel of the Sinkhorn divergence at the smallest sizes that take it, as in device-small, and
// all that it refuses.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { agrees, placed, refusedAlike } from '../harness/beside-cpu.js';
import { needsCuda } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { roundAll } from '../harness/rounding.js';

type Device = 'cpu' | 'cuda';

describe.skipIf(needsCuda('kernels at small sizes'))('small', () => {
  describe('sinkhorn', () => {
    const silent = { onInfo: () => {} };
    // One block a term by one warp and by several, scores in its shared memory; teams of blocks,
    // with few features, with scores in global memory, and without.
    const sizes = [
      [9, 7, 3, {}],
      [40, 70, 20, {}],
      [200, 340, 2, { maxIterations: 4 }],
      [200, 340, 17, { maxIterations: 4 }],
      [200, 340, 17, { maxIterations: 3, workspaceBytes: 0 }],
    ] as const;
    test.each(sizes)('of %d and %d points, D %d, %o', (n, m, d, options) => {
      agrees('float32', [{ shape: [n, d] }, { shape: [m, d] }], (x, y) =>
        sp.sinkhornDivergence(x, y, { ...silent, ...options, blur: Math.sqrt(d) / 2 }),
      );
    });

    test('packed, of both signs of relaxation, all costs', () => {
      const inputs = [{ shape: [21, 3] }, { shape: [30, 3] }];
      const packed = { cuSeqlensX: [0, 5, 21], cuSeqlensY: [0, 26, 30] };
      for (const options of [
        { p: 1 as const, blur: 0.5, reach: 1 },
        { cost: 'cosine' as const, blur: 0.2, reach: { y: 0.5 }, debias: false },
        { solver: 'geomloss' as const, blur: 0.3 },
      ])
        for (const dtype of ['float64', 'bfloat16'] as const)
          agrees(dtype, inputs, (x, y) =>
            sp.sinkhornDivergence(x, y, { ...silent, ...packed, ...options }),
          );
    });

    test('labels, weights, a given cost', () => {
      const positive = (x: number) => Math.abs(x) + 0.1;
      const shapes = [[12, 2], [9, 2], [12], [9], [3, 3]];
      agrees(
        'float64',
        shapes.map((shape) => ({ shape, map: positive })),
        (x, y, a, b, w, device) => {
          const labels = (n: number) =>
            sp.tensor(
              Array.from({ length: n }, (_, i) => (i * 7) % 3),
              { dtype: 'int32', device },
            );
          const options = { labelsX: labels(12), labelsY: labels(9), labelCost: w, a, b, reach: 1 };
          return sp.sinkhornDivergence(x, y, { ...silent, ...options, blur: 0.6 } as never);
        },
      );
      for (const dtype of ['float32', 'float16'] as const)
        agrees(
          dtype,
          [{ shape: [2, 130, 9] }],
          (cost) => sp.sinkhorn(cost, { epsilon: 0.3 }).value,
        );
    });

    test('labels of a batch in which a measure is compared with itself', () => {
      const inputs = [{ shape: [2, 5, 2] }, { shape: [1, 5, 2] }, { shape: [3, 3], map: Math.abs }];
      agrees('float64', inputs, (x, other, labelCost, device) => {
        const y = sp.concat([x.slice(0, 0, 1), other]);
        const labels = sp.tensor([0, 1, 2, 1, 0], { dtype: 'int32', device }).expand([2, 5]);
        const options = { labelsX: labels, labelsY: labels, labelCost, blur: 0.6 };
        return sp.sinkhornDivergence(x, y, { ...silent, ...options } as never);
      });
    });

    test('how the iterations ended', () => {
      for (const options of [
        { blur: 0.4 },
        { blur: 0.4, reach: { x: 1 } },
        { blur: 0.1, maxIterations: 7 },
        { blur: 0.4, solver: 'geomloss' as const },
      ]) {
        const infos: sp.TransportInfo[] = [];
        for (const device of ['cpu', 'cuda'] as const) {
          const [x, y] = [12, 17].map((n) =>
            placed(new Random(n).normals(2 * n), 'float64', [n, 2], device),
          );
          sp.sinkhornDivergence(x, y, { ...options, onInfo: (info) => infos.push(info) });
        }
        const [{ error, ...ended }, got] = infos;
        expect(got).toMatchObject(ended);
        expect(Math.abs(got.error - error)).toBeLessThan(1e-9);
      }
    });

    test('plans and their products', () => {
      agrees('float32', [{ shape: [40, 2] }, { shape: [33, 2] }, { shape: [33, 5] }], (x, y, v) => {
        const plan = sp.sinkhornPotentials(x, y, { blur: 0.7, p: 1 });
        const parts = [plan.plan().reshape([-1]), plan.apply(v.detach()).reshape([-1])];
        return sp.concat([...parts, x.mul(0).add(y.sum()).mul(v.sum()).reshape([-1])]);
      });
    });

    /** As far as iterations that end at their tolerance agree. */
    function near(
      x: number[],
      y: number[],
      options: object,
      map = (v: number) => v,
      allowed = 1e-8,
    ): void {
      const inputs = [x, y].map((shape) => ({ shape, map }));
      const value = (...points: sp.Tensor[]) =>
        sp.sinkhornDivergence(points[0] as never, points[1] as never, { ...silent, ...options });
      agrees('float64', inputs, value, false, allowed);
    }

    test('points in one place, none in their own, few features of many', () => {
      const place = (x: number) => (x > 0 ? 1 : 0);
      for (const [n, d, map, options] of [
        [3, 2, () => 1, { p: 1 as const }],
        [3, 2, () => 0, { cost: 'cosine' as const, debias: false }],
        [2, 1, place, { p: 1 as const, blur: 0.3, solver: 'geomloss' as const }],
        [4, 270, (x: number) => x / 8, { blur: 1 }],
        // Scores that are nothing beside epsilon.
        [9, 2, (x: number) => x, { blur: 60 }],
        [9, 2, (x: number) => x, { blur: 60, reach: 50, p: 1 as const }],
      ] as [number, number, (x: number) => number, object][])
        near([n, d], [n + 1, d], options, map);
    });

    test('labels in float32, a cost of several blocks', () => {
      const positive = (x: number) => Math.abs(x) + 0.1;
      const inputs = [
        [12, 2],
        [9, 2],
        [3, 3],
      ].map((shape) => ({ shape, map: positive }));
      agrees('float32', inputs, (x, y, w, device) => {
        const labels = (n: number) => {
          const values = Array.from({ length: n }, (_, i) => i % 3);
          return sp.tensor(values, { dtype: 'int32', device });
        };
        const options = { labelsX: labels(12), labelsY: labels(9), labelCost: w, blur: 0.6 };
        return sp.sinkhornDivergence(x, y, { ...silent, ...options } as never);
      });
      const value = (cost: sp.Tensor) => sp.sinkhorn(cost, { epsilon: 0.5, maxIterations: 20 });
      agrees('float64', [{ shape: [70, 60] }], (cost) => value(cost).value);
      agrees('float64', [{ shape: [5, 6], map: (x) => -positive(x) }], (cost) => value(cost).value);
    });

    // Just beyond the first sizes whose scores are made by tensor cores.
    test.each([
      ['rows', 130, 2030, 36, 9, { blur: 0.5, debias: false, maxIterations: 1 }],
      ['rows again', 130, 2030, 16, 0, { blur: 0.1, debias: false, maxIterations: 1 }],
      ['both sums, triangles', 514, 513, 16, 0, { solver: 'geomloss', blur: 1, scaling: 0.1 }],
    ] as const)('tensor cores: %s', (_, n, m, d, centre, options) => {
      const clouds = [n, m].map((count) => {
        const values = new Random(count).uniforms(count * d).map((v) => v + centre);
        // Which one half of a tensor core's operand holds, or two.
        return roundAll(values, centre ? 'float32' : 'bfloat16');
      });
      const solved = (device: Device, dtype: 'float32' | 'float64') => {
        const [x, y] = clouds.map((v) => placed(v, dtype, [v.length / d, d], device));
        if ('solver' in options)
          return [sp.sinkhornDivergence(x as never, y as never, { ...silent, ...options })];
        const { f, g } = sp.sinkhornPotentials(x as never, y as never, options);
        return [f, g];
      };
      const got = solved('cuda', 'float32').map((t) => numbers(t as never));
      for (const [k, result] of solved('cpu', 'float64').entries()) {
        const expected = numbers(result as never);
        const size = Math.max(...expected.map(Math.abs));
        for (const [i, v] of expected.entries())
          expect(Math.abs(got[k][i] - v)).toBeLessThan(1e-5 * size + 1e-5);
      }
    });

    test('what is refused, in the words of the CPU', () => {
      const cloud = (n: number, device: Device, at = -1, bad = 0) =>
        placed(
          new Random(n).normals(3 * n).map((v, i) => (i === at ? bad : v)),
          'float64',
          [n, 3],
          device,
        ) as sp.Tensor;
      const list = (values: number[], device: Device) =>
        sp.tensor(values, { dtype: 'float64', device }) as sp.Tensor;
      const solve = (device: Device, options: object, x = cloud(4, device), y = cloud(5, device)) =>
        sp.sinkhornDivergence(x as never, y as never, options as never);
      const ints = (values: number[], device: Device) =>
        sp.tensor(values, { dtype: 'int32', device });
      const labels = (device: Device, x: number, cost: number) => ({
        labelsX: ints([0, 1, 0, x], device),
        labelsY: ints([0, 1, 0, 1, x > 1 ? 1 : -x], device),
        labelCost: list([0, 1, cost, 0], device).reshape([2, 2]),
      });
      const packed = { cuSeqlensX: [0, 2, 4], cuSeqlensY: [0, 2, 5] };
      const cost = (device: Device, shape: number[], at: number, bad: number) =>
        sp.sinkhorn(
          list(
            Array.from({ length: 12 }, (_, i) => (i === at ? bad : i)),
            device,
          ).reshape(shape),
          { epsilon: 1 },
        );
      const calls: ((device: Device) => unknown)[] = [
        (on) => solve(on, {}, cloud(4, on, 4, Number.NaN)),
        (on) => solve(on, {}, cloud(4, on), cloud(5, on, 14, Number.POSITIVE_INFINITY)),
        (on) => solve(on, { a: list([1, -1, 1, 1], on) }),
        (on) => solve(on, { b: list([1, 1, Number.NaN, 1, 1], on) }),
        (on) => solve(on, { a: list([0, 0, 0, 0], on) }),
        (on) => solve(on, { b: list([0, 0, 0, 0, 0], on), debias: false }),
        (on) => solve(on, { a: list([1, 1, 1, 1], on), b: list([1, 1, 1, 1, 1], on) }),
        (on) => solve(on, { ...packed, a: list([1, 1, 1, 1], on), b: list([1, 1, 1, 1, 1], on) }),
        (on) => solve(on, labels(on, 2, 1)),
        (on) => solve(on, labels(on, 1, 1)),
        (on) => solve(on, labels(on, 0, Number.NaN)),
        // Refused when its gradient has been asked for too.
        (on) => {
          const given = labels(on, 1, 0.5);
          given.labelCost.requiresGrad_();
          const value = solve(on, given, cloud(4, on, 4, Number.NaN), cloud(5, on));
          (value as sp.Tensor<'float64'>).backward();
        },
        (on) => cost(on, [3, 4], 5, Number.POSITIVE_INFINITY),
        (on) => cost(on, [2, 2, 3], 8, Number.NaN),
        (on) => solve(on, { solver: 'geomloss', blur: 1e-3, scaling: 0.99, maxIterations: 20 }),
      ];
      refusedAlike(calls);
      const fine = numbers(solve('cuda', {}) as never)[0];
      expect(fine).toBeCloseTo(numbers(solve('cpu', {}) as never)[0], 9);
    });

    test('weights of which some are 0, a measure and itself, plans of all costs', () => {
      const positive = (v: number) => Math.abs(v) + 0.1;
      const points = [{ shape: [5, 2] }, { shape: [6, 2] }];
      const some = (w: sp.Tensor, device: Device) => {
        const kept = w.mul(
          sp
            .arange(w.size, { device })
            .clamp(1, 4)
            .sub(1)
            .to(w.dtype as never),
        );
        return kept.div(kept.sum());
      };
      for (const options of [{ blur: 0.5 }, { blur: 40 }, { blur: 0.5, reach: { x: 1 } }])
        agrees('float64', [...points, { shape: [5], map: positive }], (x, y, w, device) => {
          const b = some(sp.ones([6], { dtype: 'float64', device }), device);
          return sp.sinkhornDivergence(x, y, { ...silent, ...options, a: some(w, device), b });
        });
      agrees('float64', [points[0], { shape: [5], map: positive }], (x, w) => {
        const own = { a: w, b: w.detach(), blur: 0.5 };
        return sp.sinkhornDivergence(x, x.detach(), { ...silent, ...own }).mul(w.sum());
      });
      for (const options of [{ p: 1 as const }, {}, { cost: 'cosine' as const }])
        agrees('float64', points, (x, y) => {
          const plan = sp.sinkhornPotentials(x, y, { ...options, blur: 0.7 }).plan();
          return plan.mul(x.mul(0).sum().add(y.mul(0).sum()).add(1));
        });
      near([3, 1], [3, 1], { solver: 'geomloss', blur: 10 }, (v) => v / 100);
    });

    test('rates that rise, fall and stand still', () => {
      for (const options of [
        { blur: 0.05, tolerance: 1e-15, maxIterations: 500 },
        { blur: 0.02, maxIterations: 400, debias: false },
      ])
        near([7, 2], [6, 2], options, undefined, 1e-3);
    });
  });
});
