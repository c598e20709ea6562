import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { device } from '../harness/device.js';

const codeOf = (fn: () => unknown) => {
  try {
    fn();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return 'no error';
};

describe('lifetime', () => {
  test('use after dispose says so', async () => {
    const t = sp.ones([2]);
    t.dispose();
    t.dispose();
    expect(t.isDisposed).toBe(true);
    expect(() => t.dataSync()).toThrow(/float32 tensor of shape \[2\] has been disposed/);
    expect(codeOf(() => t.item())).toBe('ERR_DISPOSED');
    await expect(t.data()).rejects.toThrow(/disposed/);
    expect(() => t.add(1)).toThrow(/disposed/);
    expect(() => t.detach()).toThrow(/disposed/);
  });

  test('using disposes at the end of the block', () => {
    let outside: sp.Tensor;
    {
      using t = sp.ones([2]);
      outside = t;
      expect(t.isDisposed).toBe(false);
    }
    expect(outside.isDisposed).toBe(true);
  });

  test('a view keeps shared memory alive', () => {
    const t = sp.arange(6);
    const view = t.reshape([2, 3]);
    t.dispose();
    expect(view.toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
  });

  test('a scope ends what was made in it, except results, graphs and what is kept', () => {
    const w = sp.ones([2], { requiresGrad: true });
    const made: sp.Tensor[] = [];
    const { loss, kept } = sp.scope((keep) => {
      const a = w.mul(3);
      const b = a.mul(a);
      const extra = sp.ones([5]);
      made.push(a, b, extra, keep(sp.zeros([1])));
      return { loss: b.sum(), kept: [extra] };
    });
    expect(made.map((t) => t.isDisposed)).toEqual([false, true, false, false]);
    expect(kept[0].toArray()).toEqual([1, 1, 1, 1, 1]);
    loss.backward();
    expect(w.grad!.toArray()).toEqual([18, 18]);
  });

  test('a scope leaves the gradients of outer tensors alone', () => {
    const w = sp.ones([2], { requiresGrad: true });
    sp.scope(() => {
      w.mul(2).sum().backward();
    });
    expect(w.grad!.toArray()).toEqual([2, 2]);
    sp.scope(() => {
      w.mul(2).sum().backward();
    });
    expect(w.grad!.toArray()).toEqual([4, 4]);
  });

  test('nested scopes hand results outwards', () => {
    let inner: sp.Tensor | undefined;
    sp.scope(() => {
      inner = sp.scope(() => sp.ones([3]));
      expect(inner.isDisposed).toBe(false);
    });
    expect(inner!.isDisposed).toBe(true);
  });

  test('a scope refuses promises and survives errors', () => {
    expect(() => sp.scope(async () => 1)).toThrow(/synchronous/);
    let t: sp.Tensor | undefined;
    expect(() =>
      sp.scope(() => {
        t = sp.ones([1]);
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(t!.isDisposed).toBe(true);
  });

  test('memory counts live bytes, exactly on dispose, and the peak', () => {
    const use = (options = {}) => sp.memory(options)[device as 'cpu'];
    const before = use({ resetPeak: true }).live;
    const t = sp.zeros([1000, 1000]);
    expect(use().live - before).toBe(4_000_000);
    const small = sp.zeros([10]);
    expect(use().live - before).toBe(4_000_040);
    t.dispose();
    small.dispose();
    const after = use();
    expect(after.live).toBe(before);
    expect(after.peak - before).toBe(4_000_040);
  });

  test('a disposed buffer is reused, and zeros are zeros again', () => {
    const bufferOf = (t: sp.Tensor) => (t.raw as Float32Array).buffer;
    const t = sp.ones([1 << 20]);
    const buffer = bufferOf(t);
    t.dispose();
    const again = sp.zeros([1 << 20]);
    expect(bufferOf(again)).toBe(buffer);
    expect(again.dataSync().every((v) => v === 0)).toBe(true);
  });

  test('out of memory is an error after which the process goes on', () => {
    let error: unknown;
    try {
      sp.zeros([2 ** 45]);
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(sp.OutOfMemoryError);
    expect(error).toMatchObject({ code: 'ERR_OUT_OF_MEMORY', requested: 2 ** 47 });
    expect(sp.ones([2]).toArray()).toEqual([1, 1]);
  });
});
