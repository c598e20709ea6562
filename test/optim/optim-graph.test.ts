import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { needsCuda } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, read } from '../harness/tensors.js';

describe.skipIf(needsCuda('optimisers in a graph'))('in a graph', () => {
  const device = 'cuda';
  const shapes = [[5, 3], [70], [1]];

  /** Weights after some steps, each with inputs and (between two) weights written from outside. */
  function train(byGraph: boolean, name: 'SGD' | 'AdamW', dtype: 'float32' | 'bfloat16') {
    sp.manualSeed(5);
    const params = shapes.map((s) => sp.randn(s, { dtype, device, requiresGrad: true }));
    const inputs = shapes.map((s) => sp.zeros(s, { dtype, device }));
    const { cosineSchedule } = sp.optim;
    const options = name === 'SGD' ? { momentum: 0.9 } : {};
    const optimizer = new sp.optim[name](
      [
        { params: params.slice(0, 2), lr: cosineSchedule({ lr: 0.5, steps: 6 }) },
        { params: [params[2]] },
      ],
      { ...options, lr: 0.25, weightDecay: 0.1 },
    );
    const once = () => {
      optimizer.zeroGrad();
      for (const [i, p] of params.entries())
        p.mul(inputs[i] as sp.Tensor)
          .sum()
          .backward();
      const norm = sp.clipGradNorm(params as sp.Tensor[], 3);
      optimizer.step();
      return norm;
    };
    const step = byGraph ? sp.cuda.graph(once, { device }) : once;
    const norms: unknown[] = [];
    for (let i = 0; i < 6; i++) {
      for (const [k, x] of inputs.entries())
        x.copy_(sp.randn(shapes[k], { dtype, device }) as never);
      if (i === 3) params[1].copy_(sp.ones(shapes[1], { dtype, device }) as never);
      if (i === 4) optimizer.lr = 0.125;
      norms.push(step().item());
    }
    const state = optimizer.state();
    const numbers = Object.entries(state).map(([k, t]) => [k, Array.from(t.dataSync() as never)]);
    return { norms, weights: params.map((p) => [...read(p as AnyTensor)]), numbers };
  }

  for (const name of ['SGD', 'AdamW'] as const) {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      test(`${name}, ${dtype}: schedules, clipping and written weights as without one`, () => {
        expect(train(true, name, dtype)).toEqual(train(false, name, dtype));
      });
    }
  }

  const optimizers = {
    SGD: (p: sp.Tensor[]) => new sp.optim.SGD(p, { lr: 0.1 }),
    'SGD with momentum': (p: sp.Tensor[]) => new sp.optim.SGD(p, { lr: 0.1, momentum: 0.9 }),
    Adam: (p: sp.Tensor[]) => new sp.optim.Adam(p, { lr: 0.1 }),
    AdamW: (p: sp.Tensor[]) => new sp.optim.AdamW(p, { lr: 0.1 }),
  };
  type Name = keyof typeof optimizers;

  /** An optimiser and a step of it, by graph or not, that makes each weight smaller. */
  function descent(byGraph: boolean, name: Name, dtype: 'float32' | 'bfloat16') {
    const params = shapes.map((s) => sp.full(s, 2, { dtype, device, requiresGrad: true }));
    const optimizer = optimizers[name](params as sp.Tensor[]);
    const once = () => {
      optimizer.zeroGrad();
      for (const p of params)
        p.mul(p as sp.Tensor)
          .sum()
          .backward();
      optimizer.step();
    };
    if (!byGraph) return { params, optimizer, once, step: once, end: () => {} };
    const step = sp.cuda.graph(once, { device });
    return { params, optimizer, once, step, end: () => step.dispose() };
  }
  const valuesOf = (t: sp.Tensor) => Array.from(t.dataSync() as Iterable<number | bigint>, Number);
  const copied = (state: Record<string, sp.Tensor>) =>
    Object.fromEntries(Object.entries(state).map(([k, t]) => [k, t.clone()]));
  const numbers = ({ params, optimizer }: ReturnType<typeof descent>) => [
    optimizer.steps,
    ...params.flatMap((p) => [...read(p as AnyTensor)]),
    ...Object.values(optimizer.state()).flatMap(valuesOf),
  ];

  /** Weights and states of some steps; before each of `loads` the state after three is loaded. */
  function reloaded(byGraph: boolean, name: Name, dtype: 'float32' | 'bfloat16', loads: number[]) {
    const source = descent(false, name, dtype);
    for (let i = 0; i < 3; i++) source.step();
    const state = copied(source.optimizer.state());
    const own = descent(byGraph, name, dtype);
    const seen: unknown[] = [];
    for (let i = 0; i < 6; i++) {
      if (loads.includes(i)) own.optimizer.loadState(state);
      own.step();
      // Their memory must not be that of a gradient of the first step, which a graph has given back.
      seen.push(numbers(own), copied(own.optimizer.state()));
    }
    own.end();
    own.optimizer.loadState(state);
    for (let i = 0; i < 2; i++) own.once();
    seen.push(numbers(own));
    for (const t of Object.values(state)) t.dispose();
    return seen.map((s) => (Array.isArray(s) ? s : Object.values(s as object).map(valuesOf)));
  }

  for (const name of Object.keys(optimizers) as Name[]) {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      test(`${name}, ${dtype}: a loaded state is that of the replays`, () => {
        for (const loads of [[0], [1], [2], [4], [1, 3, 5]])
          expect(reloaded(true, name, dtype, loads), `${loads}`).toEqual(
            reloaded(false, name, dtype, loads),
          );
      });
    }

    test(`${name}: a state from before all steps is that of the replays`, () => {
      const run = (byGraph: boolean) => {
        const own = descent(byGraph, name, 'bfloat16');
        const none = own.optimizer.state();
        for (let i = 0; i < 3; i++) own.step();
        own.optimizer.loadState(none);
        expect(Object.keys(own.optimizer.state())).toEqual(['steps']);
        for (let i = 0; i < 2; i++) own.step();
        return numbers(own);
      };
      expect(run(true)).toEqual(run(false));
    });
  }

  test('what a graph of steps cannot repeat is refused, and changes nothing', () => {
    const p = sp.ones([4], { device, requiresGrad: true });
    const optimizer = new sp.optim.SGD([p], { lr: 0.1, momentum: 0.9, dampening: 0.5 });
    const none = optimizer.state();
    const once = () => {
      optimizer.zeroGrad();
      p.mul(p as sp.Tensor)
        .sum()
        .backward();
      optimizer.step();
    };
    const step = sp.cuda.graph(once, { device });
    for (let i = 0; i < 3; i++) step();
    const before = [optimizer.steps, ...read(p as AnyTensor)];
    optimizer.loadState({ ...none, steps: sp.tensor(3n) });
    refuser('SGD')(step, 'ERR_GRAPH', /first step.*make it anew/);
    expect([optimizer.steps, ...read(p as AnyTensor)]).toEqual(before);
    const loading = sp.cuda.graph(() => optimizer.loadState(none), { device });
    refuser('cuda.graph')(loading, 'ERR_GRAPH', /loading of a state.*between the steps/);
  });

  test('an average that lives outside follows; a tensor made in a step ends with it', () => {
    const run = (byGraph: boolean) => {
      const { params, once } = descent(false, 'Adam', 'float32');
      const averages = params.map((p) => p.detach().clone());
      let lost: sp.Tensor | undefined;
      const whole = () => {
        once();
        for (const [i, a] of averages.entries())
          a.copy_(a.mul(0.75).add(params[i].detach().mul(0.25) as never) as never);
        lost = params[0].mul(2) as sp.Tensor;
      };
      const step = byGraph ? sp.cuda.graph(whole, { device }) : whole;
      for (let i = 0; i < 5; i++) {
        step();
        if (byGraph) expect(() => lost!.dataSync()).toThrow(/has been disposed/);
      }
      return averages.map((a) => [...read(a as AnyTensor)]);
    };
    expect(run(true)).toEqual(run(false));
  });

  test('parameters that get their first gradient later are refused', () => {
    const [a, b] = [0, 1].map(() => sp.ones([2], { device, requiresGrad: true }));
    const optimizer = new sp.optim.SGD([a, b]);
    let both = false;
    const step = sp.cuda.graph(
      () => {
        optimizer.zeroGrad();
        (both ? a.add(b as sp.Tensor) : a).sum().backward();
        optimizer.step();
      },
      { device },
    );
    step();
    both = true;
    refuser('SGD')(step, 'ERR_GRAPH', /the same parameters to have gradients in every step/);
  });
});
