// The package with two devices, in processes whose emulator has two.
import { describe, expect, test } from 'vitest';
import { runtime } from '../../src/runtime.js';
import { runChild } from '../addon/child.js';
import { needsCuda } from '../harness/device.js';

/** What a program prints that has `sp`, the devices `zero` and `one`, and the addon. */
function run(program: string): string[] {
  const before = process.env.SURPRISAL_EMULATOR_DEVICES;
  process.env.SURPRISAL_EMULATOR_DEVICES = '2';
  try {
    return runChild(`
      import * as sp from 'surprisal';
      import { createRequire } from 'node:module';
      const addon = createRequire(import.meta.url)(process.env.SURPRISAL_NATIVE);
      const zero = { device: 'cuda:0' }, one = { device: 'cuda:1' };
      ${program}
    `)
      .trim()
      .split('\n');
  } finally {
    if (before === undefined) delete process.env.SURPRISAL_EMULATOR_DEVICES;
    else process.env.SURPRISAL_EMULATOR_DEVICES = before;
  }
}

const training = `
  const step = (place, wrap) => {
    sp.manualSeed(1);
    const x = sp.randn([8, 6], place);
    const y = sp.tensor(new Int32Array([0, 1, 2, 3, 4, 0, 1, 2]), place);
    const w = sp.randn([6, 5], { requiresGrad: true, ...place });
    const optimizer = new sp.optim.AdamW([w], { lr: 0.1 });
    const one = wrap(() => {
      optimizer.zeroGrad();
      const loss = sp.crossEntropy(sp.matmul(x, w), y);
      loss.backward();
      optimizer.step();
      return loss;
    });
    const losses = [];
    for (let i = 0; i < 4; i++) losses.push(one().item());
    return [w.device, w.grad.device, ...losses, ...w.dataSync()].join();
  };`;

describe.skipIf(needsCuda('two devices') || !('deviceInject' in runtime))('two devices', () => {
  test('the second one trains like the first, graphs included', () => {
    const out = run(`${training}
      const plain = (fn) => fn;
      const second = step(one, plain);
      const graph = (fn) => sp.cuda.graph(fn, one);
      console.log(second.startsWith('cuda:1,cuda:1,'));
      console.log(step(zero, plain).replaceAll('cuda:0', 'cuda:1') === second);
      console.log(step(one, graph) === second);
      sp.setDefaultDevice('cuda:1');
      console.log(step({}, plain) === second, step({}, (fn) => sp.cuda.graph(fn)) === second);
      console.log(sp.cuda.memory('cuda:1').live > sp.cuda.memory('cuda:0').live);
    `);
    expect(out).toEqual(['true', 'true', 'true', 'true true', 'true']);
  });

  test('moves between them are differentiable; mixing them is refused', () => {
    const out = run(`
      const x = sp.tensor([1, 2, 3], { requiresGrad: true, ...zero });
      const w = sp.tensor([2, 2, 2], { requiresGrad: true, ...one });
      x.to('cuda:1').mul(w).to('cuda:0').mul(x).sum().backward();
      console.log(x.grad.device, x.grad.toArray().join(), w.grad.device, w.grad.toArray().join());
      const [a, b] = [x.detach(), w.detach()];
      a.copy_(b);
      console.log(a.device, a.toArray().join());
      const say = (call) => { try { call(); } catch (e) { console.log(e.code, e.message); } };
      say(() => a.add(b));
      say(() => sp.matmul(a.reshape([1, 3]), b.reshape([3, 1])));
      say(() => sp.raw.mul.forward({ a, b }));
      say(() => sp.cuda.graph(() => b.mul(2), zero)());
      say(() => sp.zeros([1], { device: 'cuda:2' }));
    `);
    expect(out).toEqual([
      'cuda:0 4,8,12 cuda:1 1,4,9',
      'cuda:0 2,2,2',
      'ERR_DEVICE add: expected b to be on cuda:0 like a, got cuda:1',
      'ERR_DEVICE matmul: expected b to be on cuda:0 like a, got cuda:1',
      'ERR_DEVICE mul: expected b to be on cuda:0 like a, got cuda:1',
      expect.stringMatching(/^ERR_DEVICE cuda\.graph: .* cuda:0 like the graph, got cuda:1/),
      "ERR_NO_CUDA zeros: 'cuda:2' cannot be used: there is cuda:0, cuda:1",
    ]);
  });

  test('a stream is that of its device', () => {
    const out = run(`
      const stream = addon.deviceMakeStream(1);
      const t = sp.cuda.withStream(stream, () => sp.ones([9], one).add(1), one);
      console.log(t.sum().item(), sp.ones([9], zero).sum().item());
      try { sp.cuda.withStream(stream, () => 1, zero); } catch (e) { console.log(e.message); }
      console.log(sp.ones([9], zero).mul(3).sum().item());
    `);
    expect(out).toEqual(['18 9', 'cuda: no stream of cuda:0: it is one of cuda:1', '27']);
  });

  test('one that has failed leaves the other alive', () => {
    const out = run(`
      const [a, b] = [sp.ones([1000], zero), sp.ones([1000], one)];
      sp.cuda.synchronize();
      addon.deviceInject({ failNext: 'illegal address' });
      const pending = [b.mul(2).data()];
      const results = await Promise.allSettled(pending);
      console.log(results[0].reason.message.slice(0, 48));
      for (const call of [() => b.add(1), () => sp.cuda.synchronize('cuda:1')])
        try { call(); } catch (e) { console.log(e.message.slice(0, 48)); }
      console.log(a.mul(2).sum().item(), sp.zeros([3], zero).add(1).sum().item());
    `);
    const lost = 'cuda:1 has failed and is lost to this process, w';
    expect(out).toEqual([lost, lost, lost, '2000 3']);
  });
});
