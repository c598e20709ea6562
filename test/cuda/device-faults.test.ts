// Errors that the device finds: bad values, and failures after which it is lost.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { runtime } from '../../src/runtime.js';
import { runChild } from '../addon/child.js';
import { needsCuda } from '../harness/device.js';

const cuda = { device: 'cuda' } as const;

function messageOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
  return 'no error';
}

const badLoss = (device: sp.Device) => {
  const target = sp.tensor(new Int32Array([0, 7, 2, 9]), { device });
  return sp.crossEntropy(sp.zeros([4, 5], { device }), target as sp.Tensor);
};

describe.skipIf(needsCuda('errors of values'))('a value that only the device sees', () => {
  const expected = messageOf(() => badLoss('cpu'));

  test('is an error at the next read, in the same words as on the CPU', async () => {
    expect(expected).toMatch(/^ERR_OUT_OF_RANGE crossEntropy: .*7.*row 1/);
    for (const read of [
      (loss: sp.Tensor) => loss.item(),
      (loss: sp.Tensor) => loss.dataSync(),
      () => sp.cuda.synchronize(),
      () => sp.cuda.synchronize('cuda'),
      () => sp.zeros([1], cuda).toArray(),
    ]) {
      const loss = badLoss('cuda');
      expect(messageOf(() => read(loss))).toBe(expected);
    }
    await expect(badLoss('cuda').data()).rejects.toThrow(RangeError);
    badLoss('cuda');
    await expect(sp.cuda.synchronizeAsync()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
  });

  test('is told once, and the device goes on', () => {
    const loss = badLoss('cuda');
    expect(messageOf(() => loss.item())).toBe(expected);
    expect(messageOf(() => sp.cuda.synchronize())).toBe('no error');
    expect(sp.ones([3], cuda).sum().item()).toBe(3);
  });

  test('names the first one of several operations', () => {
    badLoss('cuda');
    sp.embedding(sp.zeros([3, 2], cuda), sp.tensor(new Int32Array([5]), cuda));
    expect(messageOf(() => sp.cuda.synchronize())).toBe(expected);
    expect(messageOf(() => sp.cuda.synchronize())).toBe('no error');
  });

  test('in an asynchronous form too', async () => {
    const target = sp.tensor(new Int32Array([9]), cuda);
    const loss = await sp.crossEntropy.async(sp.zeros([1, 5], cuda), target as sp.Tensor);
    await expect(loss.data()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
  });
});

const hasInjection = 'deviceInject' in runtime;

describe.skipIf(needsCuda('a lost device') || !hasInjection)('a device that fails', () => {
  test.each(['illegal address', 'launch failure', 'device reset'])(
    'by %s rejects all that is pending and asks for a restart; the CPU goes on',
    (failNext) => {
      const out = runChild(`
        import * as sp from 'surprisal';
        import { createRequire } from 'node:module';
        const addon = createRequire(import.meta.url)(process.env.SURPRISAL_NATIVE);
        const t = sp.ones([1000], { device: 'cuda' });
        sp.cuda.synchronize();
        addon.deviceInject({ failNext: ${JSON.stringify(failNext)} });
        const pending = [t.add(1).data(), t.data(), sp.cuda.synchronizeAsync()];
        const ends = await Promise.allSettled(pending);
        const later = [() => t.add(1).item(), () => sp.zeros([1], { device: 'cuda' }),
          () => t.dataSync(), () => sp.cuda.synchronize(), () => sp.tensor([1], { device: 'cuda' })];
        const messages = ends.map((e) => e.reason?.message ?? e.status);
        for (const call of later) {
          try { messages.push(call()); } catch (error) { messages.push(error.message); }
        }
        t.dispose();
        console.log(JSON.stringify([messages, sp.ones([3], { device: 'cpu' }).sum().item()]));
      `);
      const [messages, sum] = JSON.parse(out);
      expect(sum).toBe(3);
      expect(new Set(messages).size).toBe(1);
      expect(messages[0]).toMatch(/cuda:0 has failed and is lost to this process.*restart/);
    },
  );
});
