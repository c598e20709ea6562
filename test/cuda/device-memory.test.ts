// Memory of a device: what is freed when, what happens when it runs out. Loops that never yield run
// in processes of their own.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { type Field, launch, native, submit } from '../../src/native.js';
import { runtime } from '../../src/runtime.js';
import { runChild } from '../addon/child.js';
import { needsCuda } from '../harness/device.js';
import { failureOf } from '../harness/refusal.js';

const cuda = { device: 'cuda' } as const;
const live = () => sp.cuda.memory('cuda').live;
const { deviceInject: inject } = runtime as unknown as {
  deviceInject?(how: { capacity: number }): void;
};

function model() {
  const x = sp.randn([32, 64], cuda);
  const w = sp.randn([64, 64], { requiresGrad: true, ...cuda });
  const b = sp.zeros([64], { requiresGrad: true, ...cuda });
  const loss = () => sp.matmul(x, w).add(b).relu().mul(2).mean();
  return { x, w, b, loss };
}

describe.skipIf(needsCuda('memory of a device'))('memory of a device', () => {
  test('is counted exactly, and given back by dispose, using and scope', () => {
    const before = live();
    const t = sp.zeros([1000], cuda);
    expect(live() - before).toBe(4000);
    const view = t.reshape([10, 100]);
    t.dispose();
    expect(live() - before).toBe(4000);
    view.dispose();
    view.dispose();
    expect(live()).toBe(before);
    {
      using u = sp.ones([500], cuda);
      expect(u.sum().item()).toBe(500);
    }
    sp.scope(() => sp.ones([100], cuda).add(1).sum().item());
    expect(live() - before).toBeLessThanOrEqual(4);
    const peak = sp.cuda.memory({ resetPeak: true }).peak;
    expect(peak - before).toBeGreaterThanOrEqual(4000);
    expect(sp.memory()['cuda:0'].live).toBe(live());
  });

  test('a disposed tensor says so', async () => {
    const t = sp.ones([2], { requiresGrad: true, ...cuda });
    const y = t.mul(t);
    t.dispose();
    expect(failureOf(() => t.dataSync()).message).toMatch(/has been disposed/);
    await expect(t.data()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(failureOf(() => t.add(1)).message).toMatch(/disposed/);
    expect(failureOf(() => t.to('cpu')).message).toMatch(/disposed/);
    expect(failureOf(() => sp.zeros([2], cuda).copy_(t)).message).toMatch(/disposed/);
    expect(failureOf(() => y.sum().backward()).message).toMatch(/that mul saved has been disposed/);
  });

  test('training steps leave nothing behind', () => {
    const { w, b, loss } = model();
    const optimizer = new sp.optim.SGD([w, b], { lr: 0.01 });
    const step = () =>
      sp.scope(() => {
        loss().backward();
        optimizer.step();
        optimizer.zeroGrad();
      });
    step();
    const before = live();
    // What is left shows to the byte, after any step. An emulated device takes 40 ms for one.
    for (let i = 0; i < (inject ? 40 : 500); i++) {
      step();
      expect(live()).toBe(before);
    }
  });

  test('a backward disposes what it used up', () => {
    const { w, b, loss } = model();
    const before = live();
    const l = loss();
    l.backward();
    l.dispose();
    w.zeroGrad();
    b.zeroGrad();
    const left = live() - before;
    // Results that the graph did not save are the user's, or the garbage collector's.
    expect(left).toBeLessThanOrEqual(4 * 32 * 64 * 4);
  });
});

/** The fields of scatterAdd as it takes them. */
const orderOf = (fields: Record<string, Field>) =>
  native.scatterAdd.fields.map((name) => fields[name]);

describe.skipIf(needsCuda('memory kept for the next tensors'))('recycled memory', () => {
  const recycled = () => sp.cuda.memory().recycled;
  const churn = () => {
    for (let i = 0; i < 8; i++) sp.zeros([2 ** 18], cuda).dispose();
    const all = Array.from({ length: 8 }, () => sp.zeros([2 ** 18], cuda));
    for (const t of all) t.dispose();
  };

  test('is given back by trim', () => {
    churn();
    expect(recycled()).toBeGreaterThanOrEqual(8 * 2 ** 20);
    sp.cuda.trim('cuda:0');
    expect(recycled()).toBe(0);
    churn();
    sp.cuda.trim();
    expect(recycled()).toBe(0);
    const t = sp.ones([3], cuda);
    expect(t.sum().item()).toBe(3);
    const failure = failureOf(() => sp.cuda.graph(() => sp.cuda.trim())());
    expect(failure.message).toMatch(/a trim; trim after the step/);
  });

  test('is not more than its limit', () => {
    try {
      churn();
      sp.cuda.limitRecycled(2 ** 21);
      expect(recycled()).toBeLessThanOrEqual(2 ** 21);
      const { reserved } = sp.cuda.memory();
      churn();
      expect(recycled()).toBeLessThanOrEqual(2 ** 21);
      expect(sp.cuda.memory().reserved - reserved).toBeLessThanOrEqual(2 ** 21);
      sp.cuda.limitRecycled(0, 'cuda');
      churn();
      expect(recycled()).toBe(0);
      expect(sp.ones([3], cuda).sum().item()).toBe(3);
      for (const bad of [-1, Number.NaN, '5']) {
        const failure = failureOf(() => sp.cuda.limitRecycled(bad as never));
        expect(failure.message).toMatch(/expected bytes to be a number that is not negative, got/);
      }
    } finally {
      sp.cuda.limitRecycled(Number.POSITIVE_INFINITY);
    }
  });
});

describe.skipIf(needsCuda('no memory left') || !inject)('when memory runs out', () => {
  afterEach(() => inject!({ capacity: 8 * 2 ** 30 }));
  const used = () => {
    const { free, total } = sp.cuda.memory();
    return total - free;
  };

  test('an error tells how much, and the next operation works', () => {
    const t = sp.ones([1000], cuda);
    inject!({ capacity: used() + 2 ** 20 });
    const failure = failureOf(() => sp.zeros([2 ** 24], cuda));
    expect(failure).toBeInstanceOf(sp.OutOfMemoryError);
    expect(failure).toMatchObject({ code: 'ERR_OUT_OF_MEMORY', requested: 2 ** 26 });
    expect((failure as unknown as sp.OutOfMemoryError).total).toBeGreaterThan(0);
    expect(failure.message).toMatch(/requested 67108864 bytes on cuda:0, \d+ of \d+ free/);
    expect(t.add(1).sum().item()).toBe(2000);
    expect(failureOf(() => sp.zeros([2 ** 50], cuda)).code).toBe('ERR_OUT_OF_MEMORY');
  });

  /** Adds ones to `sum` by an operation that sorts its index in scratch memory. */
  function adder() {
    const n = 1000;
    const [index, src] = [sp.zeros([n], { dtype: 'int32', ...cuda }), sp.ones([n], cuda)];
    const sum = sp.zeros([4], cuda);
    const shapes = { shape: [4], indexShape: [n], dim: 0 };
    const fields = { src: src.raw, index: index.raw, out: sum.raw, ...shapes };
    return { n, sum, fields, add: () => launch(native.scatterAdd, fields) };
  }
  const garbage = () => {
    for (let i = 0; i < 40; i++) sp.zeros([2 ** 18], cuda);
  };
  /** No memory but what garbage collection may find. */
  function fill() {
    sp.cuda.trim();
    garbage();
    inject!({ capacity: used() });
  }

  test('an operation whose scratch memory finds none collects garbage and goes on, once', async () => {
    const { n, sum, fields, add } = adder();
    fill();
    add();
    inject!({ capacity: 8 * 2 ** 30 });
    expect(sum.toArray()).toEqual([n, 0, 0, 0]);
    fill();
    await submit([{ kernel: native.scatterAdd, fields: orderOf(fields) }]);
    inject!({ capacity: 8 * 2 ** 30 });
    expect(sum.toArray()).toEqual([2 * n, 0, 0, 0]);
    sp.cuda.trim();
    inject!({ capacity: used() });
    expect(failureOf(add)).toBeInstanceOf(sp.OutOfMemoryError);
    inject!({ capacity: 8 * 2 ** 30 });
    expect(sum.toArray()).toEqual([2 * n, 0, 0, 0]);
  });

  test('one that has begun is not called again, nor is any inside a capture', () => {
    const { sum, add } = adder();
    const { deviceRepeatable: repeatable } = runtime as unknown as { deviceRepeatable(): number };
    sum.add(1);
    expect(repeatable()).toBe(-1);
    sp.cuda.trim();
    inject!({ capacity: used() });
    expect(failureOf(add)).toBeInstanceOf(sp.OutOfMemoryError);
    expect(repeatable()).toBe(0);
    inject!({ capacity: 8 * 2 ** 30 });
    const step = sp.cuda.graph(() => {
      add();
      return sum.add(0);
    });
    step();
    fill();
    expect(failureOf(step)).toBeInstanceOf(sp.OutOfMemoryError);
    inject!({ capacity: 8 * 2 ** 30 });
    step.dispose();
    expect(sum.toArray()[1]).toBe(0);
  });

  test('in the middle of a backward nothing leaks, and the next step works', () => {
    sp.cuda.trim(); // of what other tests have dropped
    const x = sp.ones([2 ** 12], { requiresGrad: true, ...cuda });
    // The gradient of one of the intermediate results finds no memory any more.
    const step = (failing: number) =>
      sp.scope(() => {
        const steps = [x.exp()];
        steps.push(steps[0].mul(0.5));
        steps.push(steps[1].sin());
        steps.push(steps[2].exp());
        steps[failing]?.registerHook(() => {
          runtime.deviceTrim(0);
          inject!({ capacity: 0 });
        });
        steps[3].sum().backward();
      });
    const taken = () => {
      using grad = x.grad!;
      x.zeroGrad();
      return grad.dataSync();
    };
    step(-1);
    const expected = taken();
    const before = live();
    for (const failing of [3, 2, 1, 0]) {
      expect(failureOf(() => step(failing))).toBeInstanceOf(sp.OutOfMemoryError);
      inject!({ capacity: 8 * 2 ** 30 });
      expect(x.grad).toBe(null);
      expect(live(), `after a failure at ${failing}`).toBe(before);
      step(-1);
      expect(taken()).toEqual(expected);
    }
  });
});

// What the children print is the peak of device memory in MB.
const peak = `console.log(sp.cuda.memory().peak / 2 ** 20)`;

describe.skipIf(needsCuda('loops that never yield'))('loops that never yield', () => {
  test('tensors made and dropped are found by garbage collection', () => {
    const out = runChild(`
      import * as sp from 'surprisal';
      for (let i = 0; i < 1000; i++) sp.zeros([1_000_000], { device: 'cuda' });
      ${peak};
    `);
    expect(Number(out)).toBeLessThan(1500);
  });

  test.skipIf(!inject)('out of memory collects what was dropped, and tries again', () => {
    process.env.SURPRISAL_EMULATOR_MEMORY = String(200 * 2 ** 20);
    try {
      const out = runChild(`
        import * as sp from 'surprisal';
        for (let i = 0; i < 300; i++) sp.zeros([2_000_000], { device: 'cuda' });
        ${peak};
      `);
      expect(Number(out)).toBeLessThanOrEqual(200);
    } finally {
      delete process.env.SURPRISAL_EMULATOR_MEMORY;
    }
  });

  test('graphs dropped without a backward are freed too', () => {
    const out = runChild(`
      import * as sp from 'surprisal';
      const x = sp.ones([500_000], { requiresGrad: true, device: 'cuda' });
      for (let i = 0; i < 300; i++) x.mul(x).exp().sum();
      ${peak};
    `);
    expect(Number(out)).toBeLessThan(1500);
  });
});
