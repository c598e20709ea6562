// Optimisers against torch.optim (golden.json, by make_golden.py), and what they promise beyond.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectWithin } from '../harness/compare.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, floats, read } from '../harness/tensors.js';

interface Golden {
  shapes: number[][];
  start: number[];
  gradients: number[][];
  cases: {
    name: 'SGD' | 'Adam' | 'AdamW';
    options: object;
    dtype: 'float32' | 'float64';
    after: Record<string, number[]>;
  }[];
  clip: { maxNorm: number; norm: number; grad: number[] }[];
}

const golden: Golden = JSON.parse(readFileSync(new URL('golden.json', import.meta.url), 'utf8'));
const { shapes } = golden;

function pieces(values: readonly number[]): number[][] {
  return [values.slice(0, 12), values.slice(12)];
}
function parameters(dtype: 'float32' | 'float64' | 'bfloat16' | 'float16'): AnyTensor[] {
  return pieces(golden.start).map((v, i) => floats(v, dtype, shapes[i], true));
}
function setGradients(params: AnyTensor[], values: readonly number[]): void {
  for (const [i, v] of pieces(values).entries()) {
    params[i].grad = floats(v, params[i].dtype as 'float32', shapes[i]);
  }
}
const joined = (params: AnyTensor[]) => params.flatMap((p) => [...read(p)]);

describe('as torch.optim', () => {
  for (const { name, options, dtype, after } of golden.cases) {
    test(`${name} ${JSON.stringify(options)} ${dtype}`, () => {
      const params = parameters(dtype);
      const optimizer = new sp.optim[name](params, options);
      for (const [step, gradient] of golden.gradients.entries()) {
        setGradients(params, gradient);
        optimizer.step();
        const expected = after[step + 1];
        // The same operations in the same order; torch's vector code fuses some of them.
        const unit = dtype === 'float32' ? 1e-6 : 1e-14;
        if (expected) {
          const allowed = (i: number) => unit * Math.max(1, Math.abs(expected[i]));
          expectWithin(joined(params), expected, allowed, `after ${step + 1}`);
        }
      }
      expect(optimizer.steps).toBe(50);
    });
  }
});

test('dampening without momentum changes nothing', () => {
  const after = [0, 0.5].map((dampening) => {
    const params = parameters('float32');
    const optimizer = new sp.optim.SGD(params, { lr: 0.05, dampening });
    for (const gradient of golden.gradients.slice(0, 3)) {
      setGradients(params, gradient);
      optimizer.step();
    }
    return joined(params);
  });
  expect(after[1]).toEqual(after[0]);
});

describe('16-bit parameters', () => {
  for (const dtype of ['bfloat16', 'float16'] as const) {
    test(`${dtype} follow a float32 master copy`, () => {
      const params = parameters(dtype);
      const masters = params.map((p) => floats(read(p), 'float32', p.shape, true));
      const optimizer = new sp.optim.AdamW(params, { lr: 1e-4 });
      const reference = new sp.optim.AdamW(masters, { lr: 1e-4 });
      for (const gradient of golden.gradients) {
        setGradients(params, gradient);
        for (const [i, p] of params.entries()) {
          masters[i].grad = floats(read(p.grad as AnyTensor), 'float32', p.shape);
        }
        optimizer.step();
        reference.step();
      }
      const state = optimizer.state();
      expect(state['0.master'].dtype).toBe('float32');
      for (const [i, p] of params.entries()) {
        expect([...read(state[`${i}.master`] as AnyTensor)]).toEqual([...read(masters[i])]);
        expect([...read(p)]).toEqual([...read(masters[i].to(dtype) as AnyTensor)]);
      }
    });
  }

  test('values written to a parameter are taken over, those of its checkpoint leave the master', () => {
    const x = sp.tensor([1], { dtype: 'bfloat16', requiresGrad: true });
    const optimizer = new sp.optim.SGD([x], { lr: 2 ** -10 });
    x.grad = sp.ones([1], { dtype: 'bfloat16' });
    optimizer.step();
    x.copy_(x.clone());
    optimizer.step();
    expect(optimizer.state()['0.master'].item()).toBe(1 - 2 ** -9);
    x.copy_(sp.tensor([64], { dtype: 'bfloat16' }));
    optimizer.step();
    expect(optimizer.state()['0.master'].item()).toBe(Math.fround(64 - 2 ** -10));
  });
});

describe('state', () => {
  for (const name of ['SGD', 'AdamW'] as const) {
    test(`${name} goes on from a saved state as if nothing had happened`, () => {
      const options = name === 'SGD' ? { lr: 0.1, momentum: 0.9 } : { lr: 0.1 };
      const params = parameters('bfloat16');
      const optimizer = new sp.optim[name](params, options);
      const run = (o: typeof optimizer, p: AnyTensor[], from: number, to: number) => {
        for (const gradient of golden.gradients.slice(from, to)) {
          setGradients(p, gradient);
          o.step();
        }
      };
      run(optimizer, params, 0, 5);
      const state = Object.fromEntries(
        Object.entries(optimizer.state()).map(([k, t]) => [k, t.clone()]),
      );
      const copies = params.map((p) => p.clone().detach().requiresGrad_()) as AnyTensor[];
      const resumed = new sp.optim[name](copies, options);
      resumed.loadState(state);
      expect(resumed.steps).toBe(5);
      run(optimizer, params, 5, 9);
      run(resumed, copies, 5, 9);
      expect(joined(copies)).toEqual(joined(params));
    });
  }

  test('a state of other parameters is refused', () => {
    const refused = refuser('Adam');
    const params = parameters('float32');
    const optimizer = new sp.optim.Adam(params);
    setGradients(params, golden.gradients[0]);
    optimizer.step();
    const state = optimizer.state();
    const other = new sp.optim.Adam([params[0]]);
    refused(() => other.loadState(state), 'ERR_INVALID_VALUE', /'1\.step' too/);
    const { '0.expAvg': gone, ...rest } = state;
    expect(gone.shape).toEqual(shapes[0]);
    refused(() => optimizer.loadState(rest), 'ERR_INVALID_VALUE', /to hold '0\.expAvg'/);
    refused(
      () => optimizer.loadState({ ...state, '0.expAvg': sp.zeros([4, 3]) }),
      'ERR_SHAPE',
      /state\['0\.expAvg'\] to have shape \[3, 4\] \(that of parameter 0\), got \[4, 3\]/,
    );
  });
});

describe('learning rate', () => {
  const step = (lr: sp.optim.LearningRate) => {
    const p = sp.ones([1], { requiresGrad: true });
    const optimizer = new sp.optim.SGD([p], { lr });
    p.grad = sp.ones([1]);
    return { p, optimizer };
  };

  test('a schedule sees the steps done so far; lr may be assigned', () => {
    const seen: number[] = [];
    const { p, optimizer } = step((n) => {
      seen.push(n);
      return 0.5;
    });
    optimizer.step();
    optimizer.step();
    expect(seen).toEqual([0, 1]);
    expect(p.item()).toBe(0);
    optimizer.lr = 0.25;
    optimizer.step();
    expect(p.item()).toBe(-0.25);
  });

  test('a group has options of its own', () => {
    const a = sp.ones([1], { requiresGrad: true });
    const b = sp.ones([1], { requiresGrad: true });
    const groups = [{ params: [a] }, { params: [b], lr: 0.5, weightDecay: 1 }];
    const optimizer = new sp.optim.SGD(groups, { lr: 0.25 });
    for (const p of [a, b]) p.grad = sp.ones([1]);
    optimizer.step();
    expect([a.item(), b.item()]).toEqual([0.75, 0]);
    optimizer.lr = 0;
    optimizer.step();
    expect([a.item(), b.item()]).toEqual([0.75, -0.5]);
  });

  test('schedules', () => {
    const { cosineSchedule, linearSchedule, linearWarmup, stepSchedule } = sp.optim;
    const cosine = cosineSchedule({ lr: 1, steps: 14, warmup: 4, minLr: 0.2 });
    expect([0, 1, 3].map(cosine)).toEqual([0.25, 0.5, 1]);
    expect(cosine(9)).toBeCloseTo(0.6, 12);
    expect([14, 100].map(cosine)).toEqual([0.2, 0.2]);
    const linear = linearSchedule({ lr: 1, steps: 10 });
    expect([0, 5, 10, 11].map(linear)).toEqual([1, 0.5, 0, 0]);
    expect([0, 1, 5].map(linearWarmup(1, 4))).toEqual([0.25, 0.5, 1]);
    expect([0, 2, 3].map(stepSchedule({ lr: 8, every: 3, gamma: 0.5 }))).toEqual([8, 8, 4]);
  });
});

describe('clipGradNorm', () => {
  for (const { maxNorm, norm, grad } of golden.clip) {
    test(`as torch at ${maxNorm}`, () => {
      const p = sp.zeros([17], { requiresGrad: true });
      p.grad = sp.tensor(golden.gradients[0]);
      expectWithin([sp.clipGradNorm([p], maxNorm).item()], [norm], () => 2e-6 * norm, 'norm');
      expectWithin(read(p.grad as AnyTensor), grad, (i) => 1e-6 * Math.abs(grad[i]), 'gradient');
    });
  }

  test('of many gradients, long ones among them, is the norm of all elements', () => {
    for (const dtype of ['float32', 'bfloat16', 'float64'] as const) {
      const sizes = [20_001, 1, 1000, ...new Array(60).fill(37)];
      const params = sizes.map((n, i) => {
        const p = sp.zeros([n], { dtype, requiresGrad: true });
        sp.manualSeed(i);
        p.grad = sp.randn([n], { dtype });
        return p as sp.Tensor;
      });
      const before = params.map((p) => read(p.grad as AnyTensor));
      const norm = Math.sqrt(before.flatMap((g) => [...g]).reduce((sum, x) => sum + x * x, 0));
      const unit = dtype === 'float64' ? 1e-12 : 1e-6;
      expect(Math.abs((sp.clipGradNorm(params, 3).item() as number) - norm)).toBeLessThan(
        unit * norm,
      );
      const rounding = dtype === 'bfloat16' ? 2 ** -8 : unit;
      for (const [i, p] of params.entries()) {
        const expected = before[i].map((x) => (x * 3) / (norm + 1e-6));
        const error = (j: number) => rounding * Math.abs(expected[j]);
        expectWithin(read(p.grad as AnyTensor), expected, error, 'gradient');
      }
    }
  });

  test('does not write into a gradient that somebody holds', () => {
    const p = sp.zeros([2], { requiresGrad: true });
    p.mul(sp.tensor([3, 4]))
      .sum()
      .backward();
    const held = p.grad;
    expect(sp.clipGradNorm([p], 1).item()).toBe(5);
    expect(held?.toArray()).toEqual([3, 4]);
    expect(p.grad?.toArray()[0]).toBeCloseTo(0.6, 5);
  });

  test('the norm does not depend on the number of threads', () => {
    const p = sp.zeros([300_001], { requiresGrad: true });
    sp.manualSeed(1);
    p.grad = sp.randn([300_001]);
    const threads = sp.getThreads();
    const norms = [1, 2, 3].map((n) => {
      sp.setThreads(n);
      return sp.clipGradNorm([p], Infinity).item();
    });
    sp.setThreads(threads);
    expect(new Set(norms).size).toBe(1);
  });
});

describe('what is refused', () => {
  const p = sp.ones([2], { requiresGrad: true });
  test('options and parameters', () => {
    const sgd = refuser('SGD');
    const adamW = refuser('AdamW');
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    const SGD = sp.optim.SGD as any;
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    const AdamW = sp.optim.AdamW as any;
    sgd(() => new SGD([p], { momentun: 0.9 }), 'ERR_UNKNOWN_OPTION', /did you mean 'momentum'/);
    sgd(() => new SGD([p], { lr: -1 }), 'ERR_INVALID_VALUE', /lr to be a number >= 0, got -1/);
    sgd(() => new SGD([p], { nesterov: true }), 'ERR_INVALID_VALUE', /momentum > 0/);
    sgd(() => new SGD([]), 'ERR_INVALID_TYPE', /params to be an array/);
    sgd(() => new SGD([p, p]), 'ERR_INVALID_VALUE', /params\[1\] twice/);
    sgd(() => new SGD([p.mul(2)]), 'ERR_GRAPH', /to be a leaf, got the result of mul/);
    sgd(() => new SGD([sp.ones([1], { dtype: 'int32' })]), 'ERR_DTYPE', /float tensor, got int32/);
    adamW(() => new AdamW([p], { betas: [0.9, 1] }), 'ERR_INVALID_VALUE', /betas\[1\].*< 1, got 1/);
    adamW(() => new AdamW([p], { betas: 0.9 }), 'ERR_INVALID_TYPE', /betas to be two numbers/);
  });

  test('a backward through values that a step has overwritten', () => {
    const w = sp.ones([2], { requiresGrad: true });
    const x = sp.ones([2], { requiresGrad: true });
    const loss = w.mul(x).sum();
    loss.backward(null, { retainGraph: true });
    new sp.optim.SGD([w]).step();
    expect(() => loss.backward()).toThrow(/overwritten/);
  });

  test('options that are undefined mean the default; the rate of a group is checked at once', () => {
    const params = [sp.zeros([1], { requiresGrad: true })];
    const betas = undefined as never;
    expect(new sp.optim.Adam(params, { lr: undefined as never, betas }).lr).toBe(1e-3);
    const refuses = refuser('AdamW');
    refuses(() => new sp.optim.AdamW([{ params, lr: -1 }]), 'ERR_INVALID_VALUE', /lr/);
    refuses(() => new sp.optim.AdamW([null as never]), 'ERR_INVALID_TYPE', /params\[0\]/);
    const adam = new sp.optim.AdamW(params);
    refuses(() => adam.loadState(undefined as never), 'ERR_INVALID_TYPE', /state/);
    const cosine = () => sp.optim.cosineSchedule(undefined as never);
    refuser('cosineSchedule')(cosine, 'ERR_INVALID_TYPE', /options/);
  });
});
