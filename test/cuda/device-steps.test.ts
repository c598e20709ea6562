// What a training step asks of the driver: nothing waits on the host, and an optimiser's launches do
// not grow with its parameters.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { runtime } from '../../src/runtime.js';
import { needsCuda } from '../harness/device.js';

const cuda = { device: 'cuda' } as const;
const { deviceCalls: calls, devicePending: pending } = runtime as unknown as {
  deviceCalls(): number;
  devicePending?(): number;
};

const parameters = (count: number) =>
  Array.from({ length: count }, (_, i) => sp.randn([6, 5 + i], { requiresGrad: true, ...cuda }));

describe.skipIf(needsCuda('what a step asks of the driver'))('a training step', () => {
  // The emulated device runs work late, and by chance one job in sixteen early.
  test.skipIf(!pending)('waits for nothing, forward, backward or in the optimiser', () => {
    const [w, scale] = parameters(2);
    const x = sp.randn([8, 6], cuda);
    const target = sp.zeros([8], { dtype: 'int32', ...cuda });
    const optimizer = new sp.optim.AdamW([w, scale], { lr: 0.01 });
    const step = () =>
      sp.scope(() => {
        const h = sp.layerNorm(sp.matmul(x, w)).gelu();
        const loss = sp.crossEntropy(h as never, target as never).add(scale.pow(2).mean());
        loss.backward();
        sp.optim.clipGradNorm([w, scale], 1);
        optimizer.step();
        optimizer.zeroGrad();
      });
    step();
    const late = sp.zeros([4], cuda);
    sp.cuda.synchronize();
    for (let i = 0; i < 3000; i++) runtime.deviceCopy(late.raw as never, late.raw as never);
    step();
    expect(pending!()).toBeGreaterThan(1000);
    sp.cuda.synchronize();
    expect(pending!()).toBe(0);
  });

  test.each(['AdamW', 'SGD'] as const)(
    '%s has as many launches for 30 parameters as for 2',
    (name) => {
      const launches = (count: number) => {
        const all = parameters(count);
        const optimizer = new sp.optim[name](all, { lr: 0.1 });
        const backward = () => {
          optimizer.zeroGrad();
          for (const p of all) p.mul(p).sum().backward();
        };
        backward();
        optimizer.step();
        backward();
        const before = calls();
        optimizer.step();
        return calls() - before;
      };
      const few = launches(2);
      expect(few).toBeGreaterThan(0);
      expect(launches(30)).toBe(few);
    },
  );
});
