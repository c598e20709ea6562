// cuda.graph: one call is one step, whether it runs the function, records it or replays it.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { needsCuda } from '../harness/device.js';
import { failureOf, refuser } from '../harness/refusal.js';

const cuda = { device: 'cuda' } as const;
const refusedBy = (fn: () => unknown, word: RegExp) => {
  const step = sp.cuda.graph(fn as () => sp.Tensor);
  refuser('cuda.graph')(step, 'ERR_GRAPH', word);
  step.dispose();
};

/** Losses and weights of some steps on a small network, by graph or without. */
function train(byGraph: boolean, steps: number) {
  sp.manualSeed(3);
  const x = sp.randn([8, 16], cuda);
  const y = sp.randint(0, 10, [8], { dtype: 'int32', ...cuda });
  const w1 = sp.randn([16, 32], { requiresGrad: true, ...cuda });
  const w2 = sp.randn([32, 10], { requiresGrad: true, ...cuda });
  const optimizer = new sp.optim.SGD([w1, w2], { lr: 0.05, momentum: 0.9 });
  const once = () => {
    optimizer.zeroGrad();
    const logits = sp.matmul(sp.matmul(x, w1).relu(), w2);
    const loss = sp.crossEntropy(logits as sp.Tensor, y as sp.Tensor);
    loss.backward();
    optimizer.step();
    return { loss, logits };
  };
  const step = byGraph ? sp.cuda.graph(once) : once;
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    x.copy_(sp.randn([8, 16], cuda));
    losses.push((step().loss as sp.Tensor).item());
  }
  return { losses, w1: w1.dataSync(), w2: w2.dataSync() };
}

describe.skipIf(needsCuda('graphs of a device'))('cuda.graph', () => {
  test('a training step gives the same bits as without it', () => {
    const plain = train(false, 6);
    const graphed = train(true, 6);
    expect(graphed.losses).toEqual(plain.losses);
    expectSameBits(graphed.w1, plain.w1, 'w1');
    expectSameBits(graphed.w2, plain.w2, 'w2');
  });

  test('results are the same tensors each time, without history; gradients follow', () => {
    const x = sp.zeros([3], cuda);
    const w = sp.ones([3], { requiresGrad: true, ...cuda });
    const step = sp.cuda.graph(() => {
      w.zeroGrad();
      const y = x.mul(w);
      y.sum().backward();
      return [y, { twice: y.mul(2) }] as const;
    });
    const first = step();
    for (let i = 1; i <= 4; i++) {
      x.copy_(sp.full([3], i, cuda));
      const result = step();
      expect(result).toBe(first);
      expect(first[0].toArray()).toEqual([i, i, i]);
      expect(first[1].twice.toArray()).toEqual([2 * i, 2 * i, 2 * i]);
      expect(first[0].requiresGrad).toBe(false);
      expect(w.grad!.toArray()).toEqual([i, i, i]);
      w.zeroGrad();
    }
    step.dispose();
  });

  test('gradients: dropped ones come again, and those from before are refused', () => {
    const w = sp.ones([2], { requiresGrad: true, ...cuda });
    const x = sp.ones([2], cuda);
    const step = sp.cuda.graph(() => w.mul(x).sum().backward());
    step();
    w.zeroGrad();
    step();
    w.zeroGrad();
    x.copy_(sp.full([2], 5, cuda));
    step();
    expect(w.grad!.toArray()).toEqual([5, 5]);
    const other = sp.cuda.graph(() => w.mul(x).sum().backward());
    other();
    refuser('cuda.graph')(other, 'ERR_GRAPH', /zeroGrad/);
    const clean = sp.cuda.graph(() => {
      w.zeroGrad();
      w.mul(x).sum().backward();
      w.zeroGrad();
      return x;
    });
    for (let i = 0; i < 3; i++) {
      expect(clean().toArray()).toEqual([5, 5]);
      expect(w.grad).toBe(null);
    }
    expect(x.isDisposed).toBe(false);
  });

  test('a gradient from before a step is refused where the function would add to it', () => {
    const w = sp.ones([2], { requiresGrad: true, ...cuda });
    const x = sp.ones([2], cuda);
    const step = sp.cuda.graph(() => w.mul(x).sum().backward());
    for (let i = 0; i < 3; i++) {
      step();
      if (i < 2) w.zeroGrad();
    }
    const refuses = refuser('cuda.graph');
    refuses(step, 'ERR_GRAPH', /leaf of shape \[2\] to have no gradient.*zeroGrad/);
    w.grad = sp.ones([2], cuda);
    refuses(step, 'ERR_GRAPH', /zeroGrad/);
    expect(w.grad.toArray()).toEqual([1, 1]);
    w.grad = null;
    step();
    expect(w.grad).not.toBe(null);
  });

  test('gradients that a step writes itself, or clips, come again', () => {
    const w = sp.ones([4], { requiresGrad: true, ...cuda });
    const x = sp.ones([4], cuda);
    const given = sp.cuda.graph(() => {
      w.grad = x.mul(2);
    });
    const clipped = sp.cuda.graph(() => {
      w.zeroGrad();
      w.mul(x).sum().backward();
      const seen = w.grad;
      sp.clipGradNorm([w as sp.Tensor], 1);
      return seen!;
    });
    for (let i = 1; i <= 4; i++) {
      x.copy_(sp.full([4], i, cuda));
      given();
      expect(w.grad!.toArray()).toEqual([2 * i, 2 * i, 2 * i, 2 * i]);
      w.zeroGrad();
      expect(clipped().toArray()).toEqual([i, i, i, i]);
      for (const g of w.grad!.toArray()) expect(g).toBeCloseTo(0.5, 5);
      w.zeroGrad();
    }
    const dropping = sp.cuda.graph(() => w.zeroGrad());
    for (let i = 0; i < 4; i++) {
      w.grad = sp.ones([4], cuda);
      dropping();
      expect(w.grad).toBe(null);
    }
  });

  test('a backward that has saved a result or a gradient of an earlier step is refused', () => {
    const w = sp.ones([2], { requiresGrad: true, ...cuda });
    const x = sp.ones([2], cuda);
    const step = sp.cuda.graph(() => {
      w.zeroGrad();
      const y = w.mul(x);
      y.sum().backward();
      return y;
    });
    for (let i = 0; i < 2; i++) step();
    for (const pick of [(y: sp.Tensor) => y, () => w.grad!]) {
      const v = sp.ones([2], { requiresGrad: true, ...cuda });
      const loss = v.mul(pick(step() as sp.Tensor) as sp.Tensor).sum();
      step();
      expect(() => loss.backward()).toThrow(/overwritten since/);
    }
  });

  test('keeps the memory that it uses, whatever is disposed', () => {
    const x = sp.ones([1000], cuda);
    const step = sp.cuda.graph(() => x.mul(2).add(1).sum());
    expect([step().item(), step().item()]).toEqual([3000, 3000]);
    x.dispose();
    const others = Array.from({ length: 20 }, (_, i) => sp.full([1000], i, cuda));
    expect(step().item()).toBe(3000);
    expect(others.map((t) => t.sum().item())).toEqual(others.map((_, i) => 1000 * i));
    step.dispose();
    step.dispose();
    expect(failureOf(step).message).toMatch(/graph has been disposed/);
  });

  test('gives its memory back', () => {
    const before = sp.cuda.memory().live;
    const x = sp.ones([1000], cuda);
    {
      using step = sp.cuda.graph(() => x.mul(2));
      const y = step();
      step();
      step();
      y.dispose();
    }
    x.dispose();
    expect(sp.cuda.memory().live).toBe(before);
  });

  test('refuses what it could not repeat, in the first step already', () => {
    const x = sp.ones([2], cuda);
    refusedBy(() => x.mul(x.sum().item()), /read of values/);
    refusedBy(() => x.to('cpu'), /read of values/);
    refusedBy(() => x.mul(sp.tensor([1, 2], cuda)), /upload of values.*copy_/);
    refusedBy(() => x.copy_(sp.ones([2], { device: 'cpu' })), /upload of values/);
    refusedBy(() => sp.dropout(x, { p: 0.5, training: true } as object), /random numbers/);
    refusedBy(() => sp.cuda.synchronize() as never, /wait/);
    refusedBy(() => sp.cuda.graph(() => x.mul(2))(), /graph inside a graph/);
    expect(() => sp.cuda.graph((async () => x) as never)()).toThrow(/synchronous/);
    expect(() => sp.cuda.graph((() => 3) as never)()).toThrow(/fn's result to be a Tensor/);
    refuser('cuda.graph')(
      sp.cuda.graph(() => sp.ones([1], { device: 'cpu' })),
      'ERR_DEVICE',
      'on cuda:0',
    );
    expect(x.add(1).toArray()).toEqual([2, 2]);
  });

  test('a failure while recording ends it, and the device goes on', () => {
    const x = sp.ones([2], cuda);
    let calls = 0;
    const step = sp.cuda.graph(() => {
      if (++calls === 2) throw new Error('in the second step');
      return x.mul(2);
    });
    step();
    expect(step).toThrow('in the second step');
    refuser('cuda.graph')(step, 'ERR_GRAPH', /could not be recorded/);
    expect(x.add(1).toArray()).toEqual([2, 2]);
    let size = 1;
    const growing = sp.cuda.graph(() => sp.zeros([size++], cuda));
    growing();
    refuser('cuda.graph')(growing, 'ERR_SHAPE', /same shapes/);
    expect(x.add(1).toArray()).toEqual([2, 2]);
  });

  test('bad targets inside a graph are errors at the next read, and replays go on', () => {
    const logits = sp.zeros([2, 3], cuda);
    const target = sp.zeros([2], { dtype: 'int32', ...cuda });
    const step = sp.cuda.graph(() => sp.crossEntropy(logits as sp.Tensor, target as sp.Tensor));
    const good = step().item();
    step();
    target.copy_(sp.tensor(new Int32Array([1, 3]), { device: 'cpu' }));
    const loss = step();
    refuser('crossEntropy')(() => loss.item(), 'ERR_OUT_OF_RANGE', /\b3\b.*row 1/);
    target.copy_(sp.tensor(new Int32Array([1, 2]), { device: 'cpu' }));
    expect(step().item()).toBe(good);
  });

  test('a graph that saved what a replay writes refuses its backward', () => {
    const w = sp.ones([2], { requiresGrad: true, ...cuda });
    const source = sp.full([2], 3, cuda);
    const step = sp.cuda.graph(() => {
      w.copy_(source);
      return w.mul(1);
    });
    step();
    step();
    const loss = w.mul(w).sum();
    step();
    expect(() => loss.backward()).toThrow(/overwritten since/);
  });
});
