// Custom operations: their forms, what they save, their misuse.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';

const vector = (...values: number[]) => sp.tensor(values, { dtype: 'float64', requiresGrad: true });

const square = sp.defineOp<(x: sp.Tensor) => sp.Tensor>({
  name: 'square',
  inputs: ['x'],
  forward: ({ x }) => ({ output: x.mul(x), saved: { x } }),
  backward: ({ x }, grad) => ({ x: grad.mul(x).mul(2) }),
});

describe('defineOp', () => {
  test('several outputs by name, option tensors, needs', () => {
    const needed: sp.Needs[] = [];
    const affine = sp.defineOp({
      name: 'affine',
      inputs: ['x'],
      optionTensors: ['bias'],
      forward: ({ x, bias }) => ({
        outputs: { twice: x.mul(2), shifted: bias ? x.add(bias) : x.mul(1) },
        saved: null,
      }),
      backward: (_, { twice, shifted }, needs) => {
        needed.push(needs);
        return { x: twice.mul(2).add(shifted), bias: shifted };
      },
    });
    const [x, bias] = [vector(1, 2), vector(10, 20)];
    const { twice, shifted } = affine(x, { bias });
    expect(shifted.toArray()).toEqual([11, 22]);
    twice.sum().backward(null, { retainGraph: true });
    expect(x.grad!.toArray()).toEqual([2, 2]);
    expect(bias.grad!.toArray()).toEqual([0, 0]);
    shifted.sum().backward();
    expect(bias.grad!.toArray()).toEqual([1, 1]);
    expect(needed[0]).toEqual({ x: true, bias: true });
  });

  test('outputs by position', () => {
    const pair = sp.defineOp({
      name: 'pair',
      inputs: ['x'],
      forward: ({ x }) => ({ outputs: [x.mul(2), x.mul(3)] }),
      backward: (_, [a, b]) => ({ x: a.mul(2).add(b.mul(3)) }),
    });
    const x = vector(1);
    const [a, b] = pair(x);
    a.mul(b).sum().backward();
    expect(x.grad!.toArray()).toEqual([12]);
  });

  test('an identity forward does not tie the input to the tape twice', () => {
    const identity = sp.defineOp({
      name: 'identity',
      inputs: ['x'],
      forward: ({ x }) => ({ output: x }),
      backward: (_, grad) => ({ x: grad.mul(5) }),
    });
    const x = vector(1);
    identity(x).sum().backward();
    expect(x.grad!.toArray()).toEqual([5]);
    expect(x.isLeaf).toBe(true);
  });

  test('what backward saved and held is left alone', () => {
    let saved: sp.Tensor | undefined;
    const keeps = sp.defineOp({
      name: 'keeps',
      inputs: ['x'],
      forward: ({ x }) => {
        saved = x.mul(7);
        return { output: x.mul(2), saved: { saved } };
      },
      backward: (_, grad) => ({ x: grad.mul(2) }),
    });
    keeps(vector(1)).sum().backward();
    expect(saved!.toArray()).toEqual([7]);
  });

  test('check runs first, and every misuse has its message', () => {
    const picky = sp.defineOp({
      name: 'picky',
      inputs: ['x', 'y'],
      options: ['power'],
      check: (t) => {
        if (t.x.size === 0) throw new RangeError('picky: empty');
      },
      forward: ({ x }) => ({ output: x.mul(1) }),
      backward: () => ({ x: sp.ones([9]), z: null }),
    });
    expect(() => picky()).toThrow('picky: expected x to be a Tensor, got undefined');
    expect(() => picky(vector(1), [1])).toThrow('picky: expected y to be a Tensor, got [1]');
    expect(() => picky(vector(1), vector(1), { powr: 1 })).toThrow("(did you mean 'power'?)");
    expect(() => picky(vector(1), vector(1), {}, 3)).toThrow(/got 4 arguments/);
    expect(() => picky(vector(), vector(1))).toThrow('picky: empty');
    expect(() => picky(vector(1), vector(1)).sum().backward()).toThrow(
      /picky: expected backward to give x a float64 gradient of shape \[1\], got a float32 tensor of shape \[9\]/,
    );
    const wrong = sp.defineOp({ name: 'wrong', inputs: ['x'], forward: () => 3 as never });
    expect(() => wrong(vector(1))).toThrow(/forward to return \{ output, saved \}/);
    expect(() => sp.defineOp({} as never)).toThrow(/expected \{ name, inputs/);
  });

  test('an operation without a backward is not differentiable', () => {
    const op = sp.defineOp({
      name: 'flat',
      inputs: ['x'],
      forward: ({ x }) => ({ output: x.mul(0) }),
    });
    expect(op(vector(1)).requiresGrad).toBe(false);
  });

  test('the kernels of built-ins serve another tape', () => {
    const x = sp.tensor([1, 2]);
    const y = sp.tensor([3, 4]);
    const { output, saved } = sp.raw.mul.forward({ a: x, b: y }, {}, { a: true, b: true }) as {
      output: sp.Tensor;
      saved: unknown;
    };
    expect(output.toArray()).toEqual([3, 8]);
    const { a } = sp.raw.mul.backward(saved, sp.ones([2]), { a: true });
    expect((a as sp.Tensor).toArray()).toEqual([3, 4]);
    expect(output.requiresGrad).toBe(false);
  });

  test('the form of the hooks of torch: gradient clipping by a hook on a custom operation', () => {
    const x = vector(100, 0.1);
    x.registerHook((g) => g.clamp(-1, 1));
    square(x).sum().backward();
    expect(x.grad!.toArray()).toEqual([1, 0.2]);
  });
});
