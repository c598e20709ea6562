// Plans after the call that made them: overwritten clouds, scopes, 16-bit vectors.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { isOnCpu } from '../harness/device.js';

const clouds = () => ({ x: sp.rand([6, 2]), y: sp.rand([5, 2]) });

type Plan = Pick<sp.TransportPlan, 'f' | 'plan' | 'apply'>;
type Solver = [string, (x: sp.Tensor, y: sp.Tensor) => Plan];
const potentials: Solver = ['sinkhornPotentials', (x, y) => sp.sinkhornPotentials(x, y as never)];
const ofCost: Solver = [
  'sinkhorn',
  (x, y) => sp.sinkhorn(sp.matmul(x, y as never, { transposeB: true }) as never),
];
const exact: Solver[] = isOnCpu ? [['emd', (x, y) => sp.emd({ x, y } as never)]] : [];

describe('what a plan is made of', () => {
  const makers: [string, (t: Record<string, sp.Tensor>) => sp.TransportPlan, string[]][] = [
    [
      'sinkhornPotentials',
      ({ x, y, a, b }) => sp.sinkhornPotentials(x, y, { a, b }),
      ['x', 'y', 'a', 'b'],
    ],
    ['sinkhorn', ({ cost, a, b }) => sp.sinkhorn(cost, { a, b }), ['cost', 'a', 'b']],
  ];
  const draw = (): Record<string, sp.Tensor> => ({
    ...clouds(),
    cost: sp.rand([6, 5]),
    a: sp.full([6], 1 / 6),
    b: sp.full([5], 1 / 5),
  });

  test.each(makers)('%s: overwritten is an error, not another plan', (_, solve, keys) => {
    for (const key of keys) {
      const t = draw();
      const p = solve(t);
      t[key].copy_(sp.rand(t[key].shape).add(3));
      for (const use of [() => p.plan(), () => p.apply(sp.ones([5]))]) {
        expect(use).toThrow(expect.objectContaining({ code: 'ERR_GRAPH' }));
        expect(use).toThrow(/saved has been overwritten since/);
      }
    }
  });

  test('labels, and what is disposed', () => {
    const { x, y } = clouds();
    const labelsX = sp.zeros([6], { dtype: 'int32' });
    const labelsY = sp.zeros([5], { dtype: 'int32' });
    const labelCost = sp.zeros([2, 2]);
    const p = sp.sinkhornPotentials(x, y, { labelsX, labelsY, labelCost });
    labelsX.copy_(sp.ones([6], { dtype: 'int32' }));
    expect(() => p.plan()).toThrow(/sinkhornPotentials.plan: .*overwritten/);
    const q = sp.sinkhornPotentials(x, y);
    y.dispose();
    expect(() => q.apply(sp.ones([5]))).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });

  test('a backward through the plan', () => {
    const { x, y } = clouds();
    const points = y.clone().requiresGrad_();
    const plan = sp.sinkhornPotentials(x, y);
    const moved = sp.barycentricMap(plan, points);
    x.copy_(sp.rand([6, 2]).add(3));
    expect(() => moved.sum().backward()).toThrow(
      /backward: a tensor of shape \[6, 2\] that barycentricMap saved has been overwritten/,
    );
  });
});

describe('leaves a scope with all that it needs', () => {
  const v = sp.ones([5]);
  test.each([potentials, ofCost, ...exact])('%s', (_, solve) => {
    const { x, y } = clouds();
    const outside = solve(x, y);
    const wanted = [outside.plan().toArray(), outside.apply(v).toArray()];
    const results = [
      sp.scope(() => solve(x, y)),
      sp.scope(() => solve(x.clone() as sp.Tensor, y.clone() as sp.Tensor)),
      sp.scope(() => ({ ...solve(x, y) })),
      sp.scope((keep) => {
        const { plan, apply } = solve(x.clone() as sp.Tensor, y);
        keep([plan, apply]);
        return { plan, apply };
      }),
    ];
    for (const { plan, apply } of results)
      expect([plan().toArray(), apply(v).toArray()]).toEqual(wanted);
    expect(sp.scope(() => solve(x, y).f).isDisposed).toBe(false);
  });

  test('a map and its gradient', () => {
    const { x, y } = clouds();
    const points = y.clone().requiresGrad_();
    const grad = () => {
      const g = points.grad!.toArray();
      points.zeroGrad();
      return g;
    };
    sp.barycentricMap(sp.sinkhornPotentials(x, y), points).sum().backward();
    const wanted = grad();
    const moved = sp.scope(() =>
      sp.barycentricMap(sp.sinkhornPotentials(x.clone() as never, y), points),
    );
    moved.sum().backward();
    expect(grad()).toEqual(wanted);
  });
});

describe.each(['bfloat16', 'float16'] as const)('%s points', (dtype) => {
  test.each([potentials, ...exact])('%s', async (_, solve) => {
    const [x, y] = [sp.rand([6, 2]).to(dtype), sp.rand([5, 2]).to(dtype)];
    const plan = solve(x, y);
    const wide = plan.apply(y.to('float32'));
    expect(plan.apply(y).toArray()).toEqual(wide.toArray());
    expect([plan.apply(y).dtype, wide.shape]).toEqual(['float32', [6, 2]]);
    const points = y.clone().requiresGrad_();
    const moved = sp.barycentricMap(plan as never, points as never);
    const same = y.to('float32').detach().requiresGrad_();
    const wanted = sp.barycentricMap(plan as never, same as never);
    expect([moved.dtype, moved.toArray()]).toEqual(['float32', wanted.toArray()]);
    moved.pow(2).sum().backward();
    wanted.pow(2).sum().backward();
    expect(points.grad!.dtype).toBe(dtype);
    expect(points.grad!.toArray()).toEqual(same.grad!.to(dtype).toArray());
    const later = await sp.barycentricMap.async(plan as never, points as never);
    expect(later.toArray()).toEqual(wanted.toArray());
    expect(() => plan.apply(sp.ones([5], { dtype: 'float64' }))).toThrow(/float64/);
  });
});
