// The tape: accumulation, hooks, asynchronous forms, misuse.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { needsCpu } from '../harness/device.js';

const vector = (...values: number[]) => sp.tensor(values, { dtype: 'float64', requiresGrad: true });

const square = sp.defineOp<(x: sp.Tensor) => sp.Tensor>({
  name: 'square',
  inputs: ['x'],
  forward: ({ x }) => ({ output: x.mul(x), saved: { x } }),
  backward: ({ x }, grad) => ({ x: grad.mul(x).mul(2) }),
});

describe('backward', () => {
  test('accumulates over calls and over uses', () => {
    const x = vector(1, 2);
    x.mul(x).add(x).sum().backward();
    expect(x.grad!.toArray()).toEqual([3, 5]);
    x.sum().backward();
    expect(x.grad!.toArray()).toEqual([4, 6]);
    x.zeroGrad();
    expect(x.grad).toBeNull();
  });

  test('a gradient that the user holds is never overwritten', () => {
    const x = vector(1, 2);
    x.sum().backward();
    const held = x.grad!;
    x.sum().backward();
    expect(held.toArray()).toEqual([1, 1]);
    expect(x.grad!.toArray()).toEqual([2, 2]);
  });

  test('two leaves never share one gradient buffer', () => {
    const x = vector(1, 2);
    const y = vector(1, 2);
    x.add(y).sum().backward();
    x.sum().backward();
    expect(x.grad!.toArray()).toEqual([2, 2]);
    expect(y.grad!.toArray()).toEqual([1, 1]);
  });

  test('the upstream gradient is copied, not adopted', () => {
    const x = vector(1, 2);
    const upstream = sp.tensor([3, 4], { dtype: 'float64' });
    x.add(0).backward(upstream);
    x.add(0).backward(upstream);
    expect(upstream.toArray()).toEqual([3, 4]);
    expect(x.grad!.toArray()).toEqual([6, 8]);
  });

  test('a root that is a leaf', () => {
    const x = sp.tensor(2, { requiresGrad: true });
    x.backward();
    expect(x.grad!.item()).toBe(1);
  });

  test('a diamond is walked once', () => {
    const x = vector(3);
    const calls = vi.fn();
    const a = square(x);
    a.registerHook(calls);
    a.add(a.mul(2)).sum().backward();
    expect(calls).toHaveBeenCalledTimes(1);
    expect(x.grad!.toArray()).toEqual([18]);
  });

  test('gradients have the dtype of their input', () => {
    for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const) {
      const x = sp.ones([3], { dtype, requiresGrad: true });
      x.mul(2).sum().backward();
      expect(x.grad!.dtype).toBe(dtype);
      expect(x.grad!.toArray()).toEqual([2, 2, 2]);
    }
  });

  test('a leaf that the loss depends on gets zeros', () => {
    const blocked = sp.defineOp({
      name: 'blocked',
      inputs: ['x', 'y'],
      forward: ({ x, y }) => ({ output: x.add(y) }),
      backward: (_, grad) => ({ x: grad, y: null }),
    });
    const [x, y] = [vector(1), vector(2)];
    blocked(x, y).sum().backward();
    expect(y.grad!.toArray()).toEqual([0]);
    expect(y.grad!.dtype).toBe('float64');
  });

  test('retainGraph allows a second walk with the same result', () => {
    const x = vector(1, 2);
    const loss = square(x).sum();
    loss.backward(null, { retainGraph: true });
    loss.backward();
    expect(x.grad!.toArray()).toEqual([4, 8]);
    expect(() => loss.backward()).toThrow(/graph of .* has been used by an earlier backward/);
  });

  test.each([
    ['no gradient required', () => sp.ones([]).backward(), /requires a gradient/],
    [
      'several elements without a gradient',
      () => vector(1, 2).mul(1).backward(),
      /expected a gradient for a tensor of shape \[2\]/,
    ],
    [
      'a gradient of another shape',
      () =>
        vector(1, 2)
          .mul(1)
          .backward(sp.ones([3], { dtype: 'float64' })),
      /grad to be like .*\[2\].*, got .*\[3\]/,
    ],
    [
      'a gradient of another dtype',
      () =>
        vector(1, 2)
          .mul(1)
          .backward(sp.ones([2])),
      /grad to be like a float64/,
    ],
    [
      'an unknown option',
      () =>
        vector(1)
          .sum()
          .backward(null, { retain: true } as never),
      /did you mean 'retainGraph'/,
    ],
  ])('%s is refused', (_, fn, message) => {
    expect(fn).toThrow(message);
  });

  test('a disposed saved tensor is an error, never a wrong number', () => {
    const x = vector(1, 2);
    const y = x.mul(1);
    const loss = square(y).sum();
    y.dispose();
    expect(() => loss.backward()).toThrow(/that square saved has been disposed/);
  });

  test('noGrad records nothing and gives the same value', () => {
    const x = vector(1, 2);
    const y = sp.noGrad(() => square(x));
    expect(y.requiresGrad).toBe(false);
    expect(y.toArray()).toEqual(square(x).toArray());
    expect(() => sp.noGrad(async () => 1)).toThrow(/synchronous/);
    expect(x.mul(1).requiresGrad).toBe(true);
  });

  test('gradients are not differentiable again', () => {
    const x = vector(1, 2);
    const [g] = sp.grad(square(x).sum(), [x]);
    expect(g!.requiresGrad).toBe(false);
    expect(() => g!.sum().backward()).toThrow(/requires a gradient/);
  });

  test('detach stops, requiresGrad_ starts', () => {
    const x = vector(2);
    const y = square(x).detach();
    expect(y.requiresGrad).toBe(false);
    y.requiresGrad_();
    square(y).sum().backward();
    expect(x.grad).toBeNull();
    expect(y.grad!.toArray()).toEqual([8]);
    expect(() => square(x).requiresGrad_()).toThrow(/expected a leaf, got the result of square/);
    expect(() => sp.ones([1], { dtype: 'int32' }).requiresGrad_()).toThrow(
      /float tensor, got int32/,
    );
  });
});

describe('grad', () => {
  test('leaves and intermediate results, without touching grad', () => {
    const x = vector(1, 2);
    const y = square(x);
    const loss = y.mul(3).sum();
    const [gx, gy] = sp.grad(loss, [x, y]);
    expect(gx!.toArray()).toEqual([6, 12]);
    expect(gy!.toArray()).toEqual([3, 3]);
    expect(x.grad).toBeNull();
  });

  test('several outputs with their gradients', () => {
    const x = vector(1, 2);
    const g = sp.tensor([1, 10], { dtype: 'float64' });
    const [gx] = sp.grad([square(x), x.sum()], [x], { gradOutputs: [g, null] });
    expect(gx!.toArray()).toEqual([3, 41]);
  });

  test('work that leads to no input is not done', () => {
    const backward = vi.fn(() => ({}));
    const dead = sp.defineOp({
      name: 'dead',
      inputs: ['x'],
      forward: ({ x }) => ({ output: x.mul(1) }),
      backward,
    });
    const [x, y] = [vector(1), vector(2)];
    sp.grad(dead(y).add(square(x)).sum(), [x]);
    expect(backward).not.toHaveBeenCalled();
  });

  test('an unused input is an error, or null when allowed', () => {
    const [x, y] = [vector(1), vector(2)];
    expect(() => sp.grad(square(x).sum(), [y])).toThrow(/inputs\[0\] was not used/);
    expect(sp.grad(square(x).sum(), [y, x], { allowUnused: true })[0]).toBeNull();
  });
});

describe('hooks', () => {
  test('see the complete gradient, may replace it, can be removed', () => {
    const x = vector(1, 2);
    const y = square(x);
    const seen: unknown[] = [];
    y.registerHook((g) => {
      seen.push(g.toArray());
      return g.mul(10);
    });
    const handle = x.registerHook((g) => void seen.push(g.toArray()));
    y.add(y).sum().backward(null, { retainGraph: true });
    expect(seen).toEqual([
      [2, 2],
      [40, 80],
    ]);
    handle.remove();
    y.add(y).sum().backward();
    expect(seen).toHaveLength(3);
  });

  test('post hooks see the accumulated gradient, and may drop it', () => {
    const x = vector(1, 2);
    const seen: unknown[] = [];
    x.registerPostAccumulateGradHook((t) => {
      seen.push(t.grad!.toArray());
      t.zeroGrad();
    });
    square(x).sum().backward();
    square(x).sum().backward();
    expect(seen).toEqual([
      [2, 4],
      [2, 4],
    ]);
    expect(x.grad).toBeNull();
  });

  test('a hook result of the wrong shape is refused', () => {
    const x = vector(1, 2);
    x.registerHook(() => sp.ones([3]));
    expect(() => square(x).sum().backward()).toThrow(
      /expected the hook to return .*\[2\].*, got .*\[3\]/,
    );
  });

  test('a hook that throws ends the backward cleanly', () => {
    const x = vector(1, 2);
    const loss = square(x).sum();
    x.registerHook(() => {
      throw new Error('from the hook');
    }).remove;
    expect(() => loss.backward()).toThrow('from the hook');
    expect(() => loss.backward()).toThrow(/earlier backward/);
    expect(vector(1).mul(2).requiresGrad).toBe(true);
  });

  test('a hook may run another backward, but not through the same graph', () => {
    const x = vector(3);
    const other = vector(5);
    const loss = square(x).sum();
    const inner = square(other).sum();
    x.registerHook(() => {
      inner.backward();
      expect(() => loss.backward()).toThrow(/already running/);
    });
    loss.backward();
    expect(other.grad!.toArray()).toEqual([10]);
    expect(x.grad!.toArray()).toEqual([6]);
  });

  test('a hook may dispose its tensor and hold its gradient', () => {
    const x = vector(1, 2);
    let held: sp.Tensor | undefined;
    const y = x.mul(2);
    y.registerHook((g) => {
      held = g;
      y.dispose();
    });
    y.mul(3).sum().backward();
    expect(held!.toArray()).toEqual([3, 3]);
    expect(x.grad!.toArray()).toEqual([6, 6]);
  });

  test('wrong places and arguments are refused', () => {
    expect(() => sp.ones([1]).registerHook(() => {})).toThrow(/requires a gradient/);
    expect(() => vector(1).registerHook(3 as never)).toThrow(/hook to be a function, got 3/);
    expect(() => square(vector(1)).registerPostAccumulateGradHook(() => {})).toThrow(
      /expected a leaf/,
    );
  });
});

describe('asynchronous forms', () => {
  test('give the same bits and gradients', async () => {
    const x = sp.randn([64, 64], { requiresGrad: true });
    const y = sp.randn([64, 64]);
    const now = sp.matmul(x, y).exp().sum();
    const later = await sp.sum.async(await sp.exp.async(await sp.matmul.async(x, y)));
    expect(later.dataSync()).toEqual(now.dataSync());
    now.backward();
    const expected = x.grad!.dataSync();
    x.zeroGrad();
    await later.backwardAsync();
    expect(x.grad!.dataSync()).toEqual(expected);
  });

  test.skipIf(needsCpu('operations only enqueue'))('the event loop turns meanwhile', async () => {
    const a = sp.randn([700, 700]);
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    let c: sp.Tensor = a;
    for (let i = 0; i < 10; i++) c = await sp.matmul.async(c, a);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
  });

  test.skipIf(needsCpu('operations only enqueue'))('an input in use is not lost', async () => {
    const a = sp.randn([300, 300]);
    const expected = sp.matmul(a, a).dataSync();
    const pending = sp.matmul.async(a, a);
    expect(() => a.copy_(sp.zeros([300, 300]))).toThrow(/asynchronous operation is using/);
    a.dispose();
    const other = sp.zeros([300, 300]);
    expect((await pending).dataSync()).toEqual(expected);
    other.dispose();
  });

  test('errors arrive as rejections', async () => {
    await expect(sp.matmul.async(sp.ones([2, 3]), sp.ones([2, 3]))).rejects.toThrow(
      /matmul: expected/,
    );
  });

  test('a hook that throws in backwardAsync rejects', async () => {
    const x = vector(1);
    x.registerHook(() => {
      throw new Error('async hook');
    });
    await expect(square(x).sum().backwardAsync()).rejects.toThrow('async hook');
  });
});

describe('gradcheck', () => {
  test('passes what is right and refuses what is wrong', () => {
    const x = vector(0.3, -0.7);
    expect(sp.gradcheck(square, [x])).toBe(true);
    const wrong = sp.defineOp<(x: sp.Tensor) => sp.Tensor>({
      name: 'wrong',
      inputs: ['x'],
      forward: ({ x }) => ({ output: x.mul(x), saved: { x } }),
      backward: ({ x }, grad) => ({ x: grad.mul(x) }),
    });
    expect(() => sp.gradcheck(wrong, [x])).toThrow(
      /element 0 of input 0 has gradient .* differences give/,
    );
    expect(() => sp.gradcheck(square, [sp.ones([2], { requiresGrad: true })])).toThrow(
      /float64, got float32/,
    );
    expect(() => sp.gradcheck(square, [sp.ones([2], { dtype: 'float64' })])).toThrow(
      /input that requires a gradient/,
    );
  });
});
