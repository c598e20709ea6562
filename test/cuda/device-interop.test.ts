// Memory and streams that are shared with other libraries of the process.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { runtime } from '../../src/runtime.js';
import { needsCuda } from '../harness/device.js';
import { failureOf, refuser } from '../harness/refusal.js';

const cuda = { device: 'cuda' } as const;
type Output = { output: sp.Tensor };
const { deviceMakeStream: makeStream } = runtime as unknown as { deviceMakeStream?(): bigint };

test.skipIf(!runtime.deviceToDLPack)('DLPack on the CPU: a copy comes back', () => {
  for (const versioned of [false, true]) {
    const t = sp.tensor([[1, 2, 3]], { dtype: 'bfloat16', device: 'cpu' });
    const back = sp.fromDLPack(sp.toDLPack(t, { versioned }), { versioned });
    expect([back.device, back.dtype, back.shape]).toEqual(['cpu', 'bfloat16', [1, 3]]);
    expect(back.toArray()).toEqual([[1, 2, 3]]);
  }
  refuser('fromDLPack')(() => sp.fromDLPack(5 as never), 'ERR_INVALID_TYPE', /bigint\), got 5/);
  refuser('fromDLPack')(() => sp.fromDLPack(0n), 'ERR_INVALID_TYPE', /got 0n/);
  refuser('toDLPack')(() => sp.toDLPack(3 as never), 'ERR_INVALID_TYPE', /t to be a Tensor/);
});

describe.skipIf(needsCuda('memory of other libraries'))('on a device', () => {
  test.each([false, true])(
    'DLPack shares memory, which lives as long as one uses it: %s',
    (versioned) => {
      const before = sp.cuda.memory().live;
      const t = sp.arange(6, cuda).reshape([2, 3]);
      const back = sp.fromDLPack(sp.toDLPack(t, { versioned }), { versioned });
      expect([back.device, back.dtype, back.shape]).toEqual(['cuda:0', 'float32', [2, 3]]);
      expect(back.pointer).toBe(t.pointer);
      t.copy_(sp.ones([2, 3], cuda));
      t.dispose();
      const others = Array.from({ length: 10 }, () => sp.zeros([2, 3], cuda));
      expect(back.sum().item()).toBe(6);
      for (const other of others) other.dispose();
      back.dispose();
      runtime.deviceSweep();
      expect(sp.cuda.memory().live - before).toBeLessThanOrEqual(64);
    },
  );

  test('what DLPack lends read-only is not written', () => {
    const t = sp.ones([4], cuda);
    const versioned = { versioned: true };
    const lend = () => sp.fromDLPack(runtime.deviceToDLPack!(t.raw, [4], true, true), versioned);
    const lent = lend();
    const view = lent.reshape([2, 2]);
    refuser('copy_')(() => lent.copy_(sp.zeros([4], cuda)), 'ERR_INVALID_VALUE', /reading only/);
    refuser('copy_')(() => view.copy_(sp.zeros([2, 2], cuda)), 'ERR_INVALID_VALUE', /writable/);
    const leaf = lend().requiresGrad_();
    const make = () => new sp.optim.SGD([leaf], { lr: 1 });
    refuser('SGD')(make, 'ERR_INVALID_VALUE', /params\[0\] to be writable/);
    refuser('toDLPack')(() => sp.toDLPack(lent), 'ERR_INVALID_VALUE', /set versioned/);
    const again = sp.fromDLPack(sp.toDLPack(lent, versioned), versioned);
    refuser('copy_')(() => again.copy_(sp.zeros([4], cuda)), 'ERR_INVALID_VALUE', /writable/);
    lent.clone().copy_(sp.zeros([4], cuda));
    expect(lent.add(again).toArray()).toEqual([2, 2, 2, 2]);
    t.copy_(sp.zeros([4], cuda)); // ours all the same
    expect(lent.sum().item()).toBe(0);
  });

  test('every dtype travels by DLPack', () => {
    for (const dtype of ['float64', 'float16', 'int32', 'int64', 'uint8', 'bool'] as const) {
      const t = sp.tensor([1, 0], { dtype, ...cuda });
      const back = sp.fromDLPack(sp.toDLPack(t));
      expect([back.dtype, back.toArray()]).toEqual([dtype, t.toArray()]);
    }
  });

  test('raw pointers: a tensor over memory of somebody else', () => {
    const owner = sp.arange(6, cuda);
    const t = sp.cuda.fromPointer(owner.pointer + 8n, { shape: [2, 2], dtype: 'float32', owner });
    expect(t.toArray()).toEqual([
      [2, 3],
      [4, 5],
    ]);
    t.copy_(sp.zeros([2, 2], cuda));
    expect(owner.toArray()).toEqual([0, 1, 0, 0, 0, 0]);
    const result = sp.raw.mul.forward({ a: t, b: t }) as { output: sp.Tensor };
    expect(result.output.device).toBe('cuda:0');
    t.dispose();
    expect(owner.sum().item()).toBe(1);
    const refused = refuser('cuda.fromPointer');
    const shape = [1];
    const like = { shape, dtype: 'float32' } as const;
    refused(() => sp.cuda.fromPointer(16 as never, like), 'ERR_INVALID_TYPE', /bigint/);
    refused(() => sp.cuda.fromPointer(0n, like), 'ERR_INVALID_VALUE', /address/);
    refused(() => sp.cuda.fromPointer(18n, like), 'ERR_INVALID_VALUE', /multiple of 4/);
    expect(failureOf(() => sp.ones([1], { device: 'cpu' }).pointer).message).toMatch(/CUDA device/);
  });

  test.skipIf(!makeStream)('work goes to the stream of the caller', () => {
    const stream = makeStream!();
    const own = sp.cuda.stream();
    const x = sp.ones([1000], cuda);
    const y = sp.cuda.withStream(stream, () => {
      expect(sp.cuda.stream()).toBe(stream);
      const other = makeStream!();
      const sum = sp.cuda.withStream(other, () => {
        expect(sp.cuda.stream()).toBe(other);
        return x.add(1);
      });
      expect(sp.cuda.stream()).toBe(stream);
      return (sp.raw.mul.forward({ a: sum, b: sp.full([1000], 3, cuda) }) as Output).output;
    });
    expect(sp.cuda.stream()).toBe(own);
    expect(y.sum().item()).toBe(6000);
    expect(() =>
      sp.cuda.withStream(stream, () => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(sp.cuda.stream()).toBe(own);
    expect(failureOf(() => sp.cuda.withStream(stream, async () => 1)).message).toMatch(
      /synchronous/,
    );
    refuser('cuda')(() => sp.cuda.withStream(8n, () => 1), 'ERR_INVALID_VALUE', /no stream of/);
    expect(sp.cuda.stream()).toBe(own);
  });
});
