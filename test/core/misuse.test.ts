// What a first user gets wrong with the tape and with tensors: an error that says so, never a
// silent zero, a wrong number or a crash.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { failureOf, refuser } from '../harness/refusal.js';

const vector = (...values: number[]) => sp.tensor(values, { dtype: 'float64', requiresGrad: true });
const codeOf = (call: () => unknown) => failureOf(call).code;

function doubling(backward: (saved: unknown, g: sp.Tensor) => unknown) {
  return sp.defineOp({
    name: 'double',
    inputs: ['x'],
    forward: ({ x }) => ({ output: x.mul(2) }),
    backward: backward as never,
  });
}

describe('creation', () => {
  test('an array inside itself does not end the process', () => {
    const circle: unknown[] = [];
    circle[0] = circle;
    refuser('tensor')(() => sp.tensor(circle as never), 'ERR_SHAPE', /at most 8 axes/);
  });

  test('mixed values are numbers, as their type says', () => {
    const mixed = sp.tensor([true, 2]);
    expect([mixed.dtype, mixed.toArray()]).toEqual(['float32', [1, 2]]);
    expect(sp.tensor([1n, 2]).dtype).toBe('float32');
    expect(sp.tensor([true, false]).dtype).toBe('bool');
    expect(sp.tensor([1n, 2n]).dtype).toBe('int64');
  });

  test('arguments in the wrong place are refused in the name of the function', () => {
    refuser('full')(() => sp.full([2], 1, null as never), 'ERR_INVALID_TYPE', /options/);
    refuser('eye')(() => sp.eye(2, '3' as never), 'ERR_INVALID_TYPE', /expected m/);
    expect(sp.eye(1, undefined as never, { dtype: 'int32' }).dtype).toBe('int32');
    refuser('arange')(() => sp.arange(0, 5, 1, 2 as never), 'ERR_INVALID_TYPE', /got 4 numbers/);
    refuser('arange')(() => sp.arange(0, 1, 0.5, { dtype: 'int32' }), 'ERR_INVALID_VALUE');
    refuser('linspace')(() => sp.linspace(0, 2n as never, 3), 'ERR_INVALID_TYPE');
  });

  test('where refuses a number that its dtype cannot hold, as maskedFill does', () => {
    const x = sp.tensor([1], { dtype: 'uint8' });
    const isOne = x.eq(1);
    for (const value of [300, -1]) {
      refuser('where')(() => sp.where(isOne, value, x), 'ERR_INVALID_VALUE', /expected a/);
      refuser('where')(() => sp.where(isOne, x, value), 'ERR_INVALID_VALUE', /expected b/);
      refuser('maskedFill')(() => x.maskedFill(isOne, value), 'ERR_INVALID_VALUE');
    }
    expect(sp.where(isOne, 255, x).toArray()).toEqual([255]);
  });

  test('no operation makes a tensor of more than 8 axes', () => {
    const ids = sp.zeros([1, 1, 1, 1, 1, 1, 1, 1], { dtype: 'int32' });
    refuser('oneHot')(() => sp.oneHot(ids, 2), 'ERR_SHAPE', /at most 8 axes/);
    refuser('embedding')(() => sp.embedding(sp.ones([2, 2]), ids), 'ERR_SHAPE', /at most 8 axes/);
  });
});

describe('options and functions', () => {
  test('reading', async () => {
    const x = sp.tensor([1]);
    refuser('dataSync')(() => x.dataSync({ row: true } as never), 'ERR_UNKNOWN_OPTION', /'raw'/);
    await expect(x.data(null as never)).rejects.toMatchObject({ code: 'ERR_INVALID_TYPE' });
    refuser('memory')(() => sp.memory({ reset: true } as never), 'ERR_UNKNOWN_OPTION');
  });

  test('of operations that look at theirs first, or have none', () => {
    const x = sp.ones([2]);
    refuser('pad')(() => x.pad([1, 0], { val: 7 } as never), 'ERR_UNKNOWN_OPTION', /'value'/);
    const options = { training: false, rate: 1 } as never;
    refuser('dropout')(() => x.dropout(options), 'ERR_UNKNOWN_OPTION', /p, training/);
    const add = sp.add as (...args: unknown[]) => sp.Tensor;
    refuser('add')(() => add(x, x, { alpha: 2 }), 'ERR_UNKNOWN_OPTION', /expected no options/);
  });

  test('a function, a boolean, a device', () => {
    refuser('noGrad')(() => sp.noGrad(5 as never), 'ERR_INVALID_TYPE', /expected fn/);
    refuser('scope')(() => sp.scope(5 as never), 'ERR_INVALID_TYPE', /expected fn/);
    refuser('requiresGrad_')(() => sp.tensor([1]).requiresGrad_('no' as never), 'ERR_INVALID_TYPE');
    refuser('setDefaultDevice')(() => sp.setDefaultDevice(undefined as never), 'ERR_DEVICE');
    const loss = vector(1).sum();
    const retainGraph = 'no' as never;
    refuser('backward')(() => loss.backward(null, { retainGraph }), 'ERR_INVALID_TYPE');
  });

  test('gradcheck', () => {
    const refuses = refuser('gradcheck');
    refuses(() => sp.gradcheck(5 as never, [vector(1)]), 'ERR_INVALID_TYPE', /expected fn/);
    refuses(() => sp.gradcheck((x) => x, vector(1) as never), 'ERR_INVALID_TYPE', /an array/);
    refuses(() => sp.gradcheck(() => undefined as never, [vector(1)]), 'ERR_INVALID_TYPE');
    refuses(() => sp.gradcheck((async () => 1) as never, [vector(1)]), 'ERR_INVALID_TYPE');
    refuses(() => sp.gradcheck((x) => x, [vector(1)], { eps: 0 }), 'ERR_INVALID_VALUE', /eps/);
  });
});

describe('scope', () => {
  test('keeps the tensors of a set', () => {
    const kept = sp.scope(() => new Set([sp.tensor([1])]));
    expect([...kept][0].isDisposed).toBe(false);
  });

  test('leaves a gradient that was assigned in it', () => {
    const x = sp.tensor([1], { requiresGrad: true });
    sp.scope(() => {
      x.grad = sp.tensor([4]);
    });
    expect(x.grad!.toArray()).toEqual([4]);
  });
});

describe('custom operations', () => {
  test.each([
    ['undefined, from braces without a return', () => undefined, 'ERR_INVALID_TYPE'],
    ['a number', () => 5, 'ERR_INVALID_TYPE'],
    ['the bare gradient', (_: unknown, g: sp.Tensor) => g.mul(2), 'ERR_INVALID_TYPE'],
    ['an array', (_: unknown, g: sp.Tensor) => [g.mul(2)], 'ERR_INVALID_TYPE'],
    ['another name', (_: unknown, g: sp.Tensor) => ({ X: g.mul(2) }), 'ERR_INVALID_VALUE'],
  ])('a backward that returns %s is an error, not a zero', (_, backward, code) => {
    const loss = doubling(backward)(vector(1, 2)).sum();
    refuser('double')(() => loss.backward(), code, /gradients .*\{ x \}/);
  });

  test('a gradient or a hook result that has been disposed is an error', () => {
    const gone = doubling((_, g) => {
      const x = g.mul(2);
      x.dispose();
      return { x };
    });
    refuser('double')(() => gone(vector(1)).sum().backward(), 'ERR_DISPOSED', /gradient of x/);
    const hooks = [
      (g: sp.Tensor) => g.dispose(),
      (g: sp.Tensor) => {
        const other = g.mul(2);
        other.dispose();
        return other;
      },
    ];
    for (const hook of hooks) {
      const x = vector(1);
      x.registerHook(hook);
      refuser('registerHook')(() => x.mul(2).backward(), 'ERR_DISPOSED');
      expect(x.grad).toBeNull();
    }
  });

  test.each([
    ['a map', (x: sp.Tensor) => new Map([['x', x]])],
    ['a set', (x: sp.Tensor) => new Set([x])],
    ['an object without a prototype', (x: sp.Tensor) => Object.assign(Object.create(null), { x })],
    [
      'an object of a class, in a circle',
      (x: sp.Tensor) => {
        class Saved {
          x = x;
          self = this;
        }
        return new Saved();
      },
    ],
  ])('tensors saved in %s are guarded', (_, save) => {
    const op = sp.defineOp({
      name: 'double',
      inputs: ['x'],
      forward: ({ x }) => ({ output: x.mul(2), saved: save(x) }),
      backward: (_, g) => ({ x: g.mul(2) }),
    });
    const x = vector(1, 2);
    const loss = op(x).sum();
    expect(codeOf(() => x.copy_(sp.tensor([3, 4], { dtype: 'float64' })))).toBe('ERR_IN_USE');
    loss.backward();
    expect(x.grad!.toArray()).toEqual([2, 2]);
  });

  test('definitions', () => {
    const forward = ({ x }: { x: sp.Tensor }) => ({ output: x });
    const refuses = refuser('defineOp');
    const inputs = ['x'];
    refuses(() => sp.defineOp({ name: 'f', inputs: ['x', 'x'], forward }), 'ERR_INVALID_VALUE');
    const backward = 5 as never;
    refuses(() => sp.defineOp({ name: 'f', inputs, forward, backward }), 'ERR_INVALID_TYPE');
    const f = sp.defineOp({ name: 'f', inputs, forward: () => ({ outputs: null as never }) });
    refuser('f')(() => f(vector(1)), 'ERR_INVALID_TYPE', /outputs/);
  });
});

describe('backward', () => {
  test('of a disposed loss', () => {
    const loss = vector(1).mul(2);
    loss.dispose();
    expect(codeOf(() => loss.backward())).toBe('ERR_DISPOSED');
  });

  test('gradOutputs are one per output', () => {
    const x = vector(2);
    const one = sp.tensor([1], { dtype: 'float64' });
    for (const gradOutputs of [[], [one, one], 5 as never]) {
      const error = failureOf(() => sp.grad(x.mul(x), [x], { gradOutputs }));
      expect(error.message).toMatch(/^grad: expected gradOutputs to be one tensor for each of 1/);
    }
  });

  test('one function registered twice: a handle removes its own registration, once', () => {
    const x = vector(1);
    const tenfold = (g: sp.Tensor) => g.mul(10);
    const first = x.registerHook(tenfold);
    x.registerHook(tenfold);
    first.remove();
    first.remove();
    x.mul(2).backward();
    expect(x.grad!.toArray()).toEqual([20]);
  });

  test('copy_ is refused where a saved view shares the memory', () => {
    const x = vector(2, 3);
    const view = x.reshape([1, 2]);
    const loss = view.mul(view).sum();
    expect(codeOf(() => x.copy_(sp.ones([2], { dtype: 'float64' })))).toBe('ERR_IN_USE');
    loss.backward();
    expect(x.grad!.toArray()).toEqual([4, 6]);
  });

  test('one tensor in many pending graphs: each use costs the same', () => {
    const x = vector(1);
    const uses = (count: number) => {
      const start = performance.now();
      for (let i = 0; i < count; i++) x.mul(x);
      return performance.now() - start;
    };
    uses(2000);
    const first = uses(4000);
    uses(16_000);
    expect(uses(4000)).toBeLessThan(3 * first + 50);
  });
});
