// Memory comes back without anybody's help: loops that never yield, in processes of their own.
import { expect, test } from 'vitest';
import { runChild } from './child.js';

const sanitized = process.env.SURPRISAL_SANITIZE !== undefined;
const peakMegabytes = 'process.resourceUsage().maxRSS / 1024';

test.skipIf(sanitized)(
  '12 GB of tensors made and dropped without yielding stay under 600 MB',
  () => {
    const out = runChild(`
    import * as sp from 'surprisal';
    for (let i = 0; i < 1500; i++) sp.ones([2_000_000]);
    console.log(${peakMegabytes});
  `);
    expect(Number(out)).toBeLessThan(600);
  },
);

test.skipIf(sanitized)('graphs dropped without a backward are freed too', () => {
  const out = runChild(`
    import * as sp from 'surprisal';
    const x = sp.ones([1_000_000], { requiresGrad: true });
    for (let i = 0; i < 500; i++) x.mul(x).exp().sum();
    console.log(${peakMegabytes});
  `);
  expect(Number(out)).toBeLessThan(600);
});

test.skipIf(sanitized)('a training step allocates nothing after its first rounds', () => {
  const out = runChild(`
    import * as sp from 'surprisal';
    const x = sp.randn([256, 512]);
    const w = sp.randn([4000, 512], { requiresGrad: true });
    const target = sp.randint(0, 4000, [256], { dtype: 'int32' });
    const adam = new sp.optim.AdamW([w]);
    const step = () => sp.scope(() => {
      sp.linearCrossEntropy(x, w, target).backward();
      adam.step();
      adam.zeroGrad();
    });
    for (let i = 0; i < 5; i++) step();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 20; i++) step();
    console.log((process.memoryUsage().rss - before) / 2 ** 20, sp.memory().cpu.live / 2 ** 20);
  `);
  const [growth, live] = out.split(' ').map(Number);
  expect(growth).toBeLessThan(16);
  // The weight and its two moments; inputs and what is left of the last step on top.
  expect(live).toBeLessThan(3 * 8 + 8);
});

test('disposed and collected tensors leave the count of live bytes', () => {
  const out = runChild(
    `
    import * as sp from 'surprisal';
    const before = sp.memory().cpu.live;
    for (let i = 0; i < 1000; i++) sp.ones([5000]);
    for (let i = 0; i < 5; i++) {
      globalThis.gc();
      await new Promise((done) => setTimeout(done, 20));
    }
    console.log(sp.memory().cpu.live - before);
  `,
    ['--expose-gc'],
  );
  expect(Number(out)).toBeLessThan(1000 * 5000 * 4 * 0.01);
});
