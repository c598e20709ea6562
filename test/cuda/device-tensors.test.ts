// Tensors on a device: making, moving, reading, mixing with tensors from elsewhere. They run where
// 'cuda' is there: a GPU, or the emulator's addon.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { isEmulated, needsCuda, device as standard } from '../harness/device.js';
import { failureOf, refuser } from '../harness/refusal.js';

const cuda = { device: 'cuda' } as const;

describe.skipIf(needsCuda('tensors on a device'))('tensors on a device', () => {
  test('are made there by every creation function', () => {
    const made = [
      sp.tensor([1, 2], cuda),
      sp.tensor(new Uint16Array([0x3f80]), { dtype: 'bfloat16', ...cuda }),
      sp.zeros([2], cuda),
      sp.full([2], 7, { dtype: 'int64', ...cuda }),
      sp.eye(2, cuda),
      sp.arange(3, cuda),
      sp.linspace(0, 1, 3, cuda),
      sp.rand([2], cuda),
      sp.randn([2], cuda),
      sp.randint(5, [2], cuda),
    ];
    for (const t of made) expect(t.device).toBe('cuda:0');
    expect(made.slice(0, 7).map((t) => t.toArray())).toEqual([
      [1, 2],
      [1],
      [0, 0],
      [7n, 7n],
      [
        [1, 0],
        [0, 1],
      ],
      [0, 1, 2],
      [0, 0.5, 1],
    ]);
  });

  test('setDefaultDevice counts for tensors that name no device', () => {
    sp.setDefaultDevice('cuda');
    try {
      expect(sp.zeros([1]).device).toBe('cuda:0');
      expect(sp.zeros([1], { device: 'cpu' }).device).toBe('cpu');
      sp.setDefaultDevice('cpu');
      expect(sp.zeros([1]).device).toBe('cpu');
    } finally {
      sp.setDefaultDevice(standard);
    }
  });

  test.each([
    'float32',
    'float64',
    'float16',
    'bfloat16',
    'int32',
    'int64',
    'uint8',
    'bool',
  ] as const)('move there and back with every bit: %s', async (dtype) => {
    const t = sp.tensor([0, 1, 1, 0, 1], { dtype, device: 'cpu' });
    const there = t.to('cuda');
    expect([there.device, there.dtype, there.shape]).toEqual(['cuda:0', dtype, [5]]);
    expect(there.to('cuda:0')).toBe(there);
    expect(there.to('cpu').dataSync()).toEqual(t.dataSync());
    expect(there.dataSync()).toEqual(t.dataSync());
    expect(await there.data()).toEqual(t.dataSync());
    expect(there.toArray()).toEqual(t.toArray());
    const raw = { raw: true } as const;
    expect(await there.data(raw)).toEqual(t.dataSync(raw));
    expect(there.dataSync(raw)).toEqual(t.dataSync(raw));
  });

  test('empty tensors, scalars and items', async () => {
    const none = sp.zeros([0, 3], cuda);
    expect(none.to('cpu').shape).toEqual([0, 3]);
    expect((await none.data()).length).toBe(0);
    expect(none.add(1).toArray()).toEqual([]);
    expect(sp.tensor(true, cuda).item()).toBe(true);
    expect(sp.tensor(3n, cuda).item()).toBe(3n);
    expect(sp.tensor(-0.5, { dtype: 'float16', ...cuda }).item()).toBe(-0.5);
  });

  test('casts happen on the device', () => {
    const t = sp.tensor([1.5, -2, 300], cuda).to('bfloat16');
    expect([t.device, t.dtype]).toEqual(['cuda:0', 'bfloat16']);
    expect(t.to('uint8').toArray()).toEqual([1, 0, 255]);
  });

  test('moves are differentiable: each gradient lies where its tensor does', () => {
    const x = sp.tensor([1, 2, 3], { requiresGrad: true, device: 'cpu' });
    const w = sp.tensor([2, 2, 2], { requiresGrad: true, ...cuda });
    const y = x.to('cuda').mul(w).to('cpu');
    y.mul(y).sum().backward();
    expect([x.grad!.device, w.grad!.device]).toEqual(['cpu', 'cuda:0']);
    expect(x.grad!.toArray()).toEqual([8, 16, 24]);
    expect(w.grad!.toArray()).toEqual([4, 16, 36]);
    const z = sp.tensor([0.5, -1], { dtype: 'float64', requiresGrad: true, device: 'cpu' });
    sp.gradcheck((t: sp.Tensor) => t.to('cuda').mul(3).to('cpu').exp(), [z]);
  });

  test('views share memory, clones do not', () => {
    const t = sp.zeros([4], cuda);
    const view = t.reshape([2, 2]);
    const copy = t.clone();
    t.copy_(sp.ones([4], cuda));
    expect([view.sum().item(), copy.sum().item(), t.detach().sum().item()]).toEqual([4, 0, 4]);
    expect(copy.device).toBe('cuda:0');
  });

  test('copy_ writes across devices', () => {
    const here = sp.zeros([3], { device: 'cpu' });
    const there = sp.zeros([3], cuda);
    there.copy_(sp.tensor([1, 2, 3], { device: 'cpu' }));
    here.copy_(there);
    expect(here.toArray()).toEqual([1, 2, 3]);
    expect(() => there.copy_(sp.zeros([2], { device: 'cpu' }))).toThrow(/copy_: expected src/);
  });

  test('print with their device', () => {
    expect(String(sp.tensor([1, 2], cuda))).toBe('Tensor [2] float32 cuda:0\n[1, 2]');
  });

  test('data() gives the values of the time of the call', async () => {
    const t = sp.zeros([50_000], cuda);
    const reads: Promise<Float32Array>[] = [];
    for (let i = 0; i < 20; i++) {
      t.copy_(sp.full([50_000], i, cuda));
      reads.push(t.data());
    }
    t.dispose();
    const all = await Promise.all(reads);
    for (const [i, values] of all.entries()) expect(values.every((v) => v === i)).toBe(true);
  });

  test('data() leaves the event loop free, and so does what follows', async () => {
    const t = sp.zeros([1_000_000], cuda);
    // Work for a while: on the emulator some tenths of a second.
    const rounds = isEmulated ? 100 : 5000;
    const small = sp.ones([isEmulated ? 5000 : 1_000_000], cuda);
    sp.cuda.synchronize();
    const start = performance.now();
    for (let i = 0; i < rounds; i++) small.copy_(sp.scope(() => small.mul(1)));
    t.copy_(sp.ones([1_000_000], cuda));
    const enqueued = performance.now();
    const reading = t.data();
    t.mul(2);
    t.copy_(sp.zeros([1_000_000], cuda));
    const called = performance.now() - enqueued;
    let turns = 0;
    const turn = () => {
      turns++;
      next = setImmediate(turn);
    };
    let next = setImmediate(turn);
    const values = await reading;
    clearImmediate(next);
    const whole = performance.now() - start;
    expect(turns).toBeGreaterThan(0);
    expect(called, `ms of the calls, of ${whole} in all`).toBeLessThan(whole / 2);
    expect(values.every((v) => v === 1)).toBe(true);
    expect(t.sum().item()).toBe(0);
  });

  test('the same seed draws the same numbers as on the CPU', () => {
    const drawn = (device: sp.Device) => {
      sp.manualSeed(5);
      const tensors = [sp.rand([1001], { device }), sp.randint(9, [77], { device })];
      return tensors.map((t) => t.dataSync());
    };
    expect(drawn('cuda')).toEqual(drawn('cpu'));
  });
});

describe.skipIf(needsCuda('mixed devices'))('tensors on different devices', () => {
  const here = sp.ones([2, 3], { device: 'cpu' });
  const label = sp.zeros([2], { dtype: 'int32', device: 'cpu' });

  test('are refused by every operation, by name', () => {
    const there = sp.ones([2, 3], cuda);
    refuser('crossEntropy')(
      () => sp.crossEntropy(there as sp.Tensor, label),
      'ERR_DEVICE',
      'expected target to be on cuda:0 like logits, got cpu',
    );
    refuser('crossEntropy')(
      () =>
        sp.crossEntropy(there as sp.Tensor, label.to('cuda'), {
          tokenWeight: sp.ones([2], { device: 'cpu' }),
        }),
      'ERR_DEVICE',
      'expected tokenWeight to be on cuda:0 like logits, got cpu',
    );
    refuser('add')(
      () => here.add(there),
      'ERR_DEVICE',
      'expected b to be on cpu like a, got cuda:0',
    );
    refuser('concat')(
      () => sp.concat([there, there, here]),
      'ERR_DEVICE',
      'expected list[2] to be on cuda:0 like list[0], got cpu',
    );
    refuser('mul')(
      () => sp.raw.mul.forward({ a: there, b: here }),
      'ERR_DEVICE',
      'expected b to be on cuda:0 like a, got cpu',
    );
    expect(there.add(1).mul(2).toArray()).toEqual(Array(2).fill([4, 4, 4]));
  });

  test('are refused in asynchronous forms', async () => {
    await expect(sp.matmul.async(sp.ones([2, 2], cuda), here)).rejects.toMatchObject({
      code: 'ERR_DEVICE',
    });
  });

  test('are refused as gradients', () => {
    const x = sp.ones([2], { requiresGrad: true, ...cuda });
    const bad = sp.ones([2], { device: 'cpu' });
    expect(failureOf(() => x.mul(2).backward(bad)).message).toMatch(
      /backward: expected grad to be like a float32 tensor of shape \[2\] on cuda:0, got a float32 tensor of shape \[2\]/,
    );
    refuser('grad')(
      () => {
        x.grad = bad as typeof x;
      },
      'ERR_DEVICE',
      'expected grad to be on cuda:0',
    );
    const y = x.mul(2);
    y.registerHook(() => bad);
    refuser('registerHook')(() => y.sum().backward(), 'ERR_SHAPE', 'on cuda:0');
    const wrong = sp.defineOp<(t: sp.Tensor) => sp.Tensor>({
      name: 'wrong',
      inputs: ['t'],
      forward: ({ t }) => ({ output: t.mul(2) }),
      backward: () => ({ t: bad }),
    });
    refuser('wrong')(() => wrong(x).sum().backward(), 'ERR_SHAPE', 'on cuda:0, got');
  });

  test('a custom operation makes its own tensors on the default device', () => {
    const places: string[] = [];
    const op = sp.defineOp<(t: sp.Tensor) => sp.Tensor>({
      name: 'op',
      inputs: ['t'],
      forward({ t }) {
        places.push(sp.zeros([1]).device, t.mul(2).device, t.sum().device);
        return { output: t.mul(3) };
      },
      backward(_, g) {
        places.push(sp.zeros([1]).device, g.device);
        return { t: g.mul(3) };
      },
    });
    const x = sp.ones([2], { requiresGrad: true, ...cuda });
    op(x).sum().backward();
    expect(places).toEqual([standard, 'cuda:0', 'cuda:0', standard, 'cuda:0']);
    expect(x.grad!.toArray()).toEqual([3, 3]);
  });
});

describe.skipIf(needsCuda('files and devices'))('files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-cuda-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('are written from a device and read to the default device', async () => {
    const values = { a: sp.arange(6, cuda).reshape([2, 3]), b: sp.tensor([true, false], cuda) };
    const path = join(folder, 'x.safetensors');
    await sp.saveSafetensors(path, values);
    await sp.saveNpy(join(folder, 'a.npy'), values.a);
    sp.setDefaultDevice('cuda');
    try {
      const back = await sp.loadSafetensors(path);
      const a = await sp.loadNpy(join(folder, 'a.npy'));
      expect([back.a.device, back.b.device, a.device]).toEqual(['cuda:0', 'cuda:0', 'cuda:0']);
      expect(back.a.toArray()).toEqual(values.a.toArray());
      expect(back.b.toArray()).toEqual([true, false]);
      expect(a.toArray()).toEqual(values.a.toArray());
    } finally {
      sp.setDefaultDevice(standard);
    }
  });
});

test('cuda.status explains itself', () => {
  const status = sp.cuda.status();
  expect(status.available).toBe(sp.cuda.isAvailable());
  expect(status.available).toBe(status.devices.length > 0);
  expect(sp.devices()).toEqual(['cpu', ...status.devices.map((d) => d.device)]);
  if (status.available) {
    expect(status.reason).toBe('');
    expect(status.devices[0]).toMatchObject({ device: 'cuda:0', capability: expect.any(String) });
    return;
  }
  expect(status.reason).toMatch(/nvcc|driver|nvidia-smi/);
  const failure = failureOf(() => sp.zeros([1], cuda));
  expect(failure.message).toBe(`zeros: 'cuda' cannot be used: ${status.reason}`);
});
