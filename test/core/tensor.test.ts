// Making, reading, printing and ending tensors; what bad input gets.
import { inspect } from 'node:util';
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

describe('creation', () => {
  test.each([
    [new Float32Array([1.5, -2]), 'float32', [1.5, -2]],
    [new Float64Array([1.5, -2]), 'float64', [1.5, -2]],
    [new Int32Array([1, -2]), 'int32', [1, -2]],
    [new BigInt64Array([1n, -(2n ** 63n)]), 'int64', [1n, -(2n ** 63n)]],
    [new Uint8Array([1, 255]), 'uint8', [1, 255]],
  ] as const)('a typed array keeps its type: %o', (data, dtype, values) => {
    const t = sp.tensor(data);
    expect(t.dtype).toBe(dtype);
    expect(t.shape).toEqual([2]);
    expect(t.toArray()).toEqual(values);
    const read = t.dataSync();
    expect(read.constructor).toBe(data.constructor);
    expect(read).not.toBe(data);
  });

  test('copies: later writes to the source or to what was read change nothing', async () => {
    const source = new Float32Array([1, 2]);
    const t = sp.tensor(source);
    source[0] = 9;
    const read = await t.data();
    read[1] = 9;
    expect(t.toArray()).toEqual([1, 2]);
  });

  test('numbers, nested arrays, bigints, booleans', () => {
    expect(sp.tensor(3).shape).toEqual([]);
    expect(sp.tensor(3).item()).toBe(3);
    expect(
      sp.tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]).shape,
    ).toEqual([2, 3]);
    expect(sp.tensor([1n]).dtype).toBe('int64');
    expect(sp.tensor([1n]).item()).toBe(1n);
    expect(sp.tensor([true, false]).dtype).toBe('bool');
    expect(sp.tensor([true, false]).toArray()).toEqual([true, false]);
    expect(sp.tensor(true).item()).toBe(true);
    expect(sp.tensor([]).shape).toEqual([0]);
    expect(sp.tensor([[], []]).shape).toEqual([2, 0]);
    expect(sp.tensor([1, 2, 3, 4], { shape: [2, 2] }).toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  test('another dtype converts values', () => {
    expect(sp.tensor(new Float32Array([1, 2]), { dtype: 'int64' }).toArray()).toEqual([1n, 2n]);
    expect(sp.tensor([1, 2], { dtype: 'float64' }).dataSync()).toEqual(new Float64Array([1, 2]));
    expect(sp.tensor([0, 2], { dtype: 'bool' }).toArray()).toEqual([false, true]);
    expect(sp.tensor([1.00390625], { dtype: 'bfloat16' }).item()).toBe(1);
    expect(sp.tensor([65504, 1e6], { dtype: 'float16' }).toArray()).toEqual([65504, Infinity]);
  });

  test('Uint16Array holds raw bits of the 16-bit floats', () => {
    const bits = new Uint16Array([0x3f80, 0xc000, 0x7f80]);
    const b = sp.tensor(bits, { dtype: 'bfloat16' });
    expect(b.toArray()).toEqual([1, -2, Infinity]);
    expect(b.dataSync({ raw: true })).toEqual(bits);
    const half = sp.tensor(new Uint16Array([0x3c00, 0x0001]), { dtype: 'float16' });
    expect(half.toArray()).toEqual([1, 2 ** -24]);
    expect(half.dataSync()).toBeInstanceOf(Float32Array);
    expect(codeOf(() => sp.tensor(bits))).toBe('ERR_DTYPE');
  });

  test('zeros, ones, full, eye, arange, linspace', () => {
    expect(sp.zeros([2, 2]).toArray()).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(sp.ones([2], { dtype: 'int64' }).toArray()).toEqual([1n, 1n]);
    expect(sp.full([2], -1.5, { dtype: 'bfloat16' }).toArray()).toEqual([-1.5, -1.5]);
    expect(sp.eye(2).toArray()).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(sp.eye(2, 3, { dtype: 'int32' }).toArray()).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
    expect(sp.arange(3).toArray()).toEqual([0, 1, 2]);
    expect(sp.arange(5, 0, -2, { dtype: 'int32' }).toArray()).toEqual([5, 3, 1]);
    expect(sp.linspace(0, 1, 3).toArray()).toEqual([0, 0.5, 1]);
    expect(sp.linspace(2, 5, 1).toArray()).toEqual([2]);
    expect(sp.zeros([0, 5]).size).toBe(0);
  });

  test.each([
    [
      'ragged arrays',
      () => sp.tensor([[1, 2], [3]] as number[][]),
      /equal length 2 along axis 1, got 1/,
    ],
    ['a string inside', () => sp.tensor([1, 'x'] as never), /got 'x'/],
    [
      'too few values',
      () => sp.tensor([1, 2, 3], { shape: [2, 2] }),
      /hold 4 values \(shape \[2, 2\]\), got 3/,
    ],
    ['a negative size', () => sp.zeros([2, -1]), /integers >= 0, got \[2, -1\]/],
    ['a fraction as size', () => sp.zeros([1.5]), /integers >= 0/],
    ['a number as shape', () => sp.zeros(3 as never), /array of sizes, got 3/],
    ['too many elements', () => sp.zeros([2 ** 30, 2 ** 30]), /2\^53/],
    ['nine axes', () => sp.zeros([1, 1, 1, 1, 1, 1, 1, 1, 1]), /at most 8 axes/],
    [
      'an unknown dtype',
      () => sp.zeros([1], { dtype: 'bf16' as never }),
      /'float32' or .* got 'bf16'/,
    ],
    [
      'a misspelt option',
      () => sp.zeros([1], { requireGrad: true } as never),
      /did you mean 'requiresGrad'/,
    ],
    [
      'an int that is a fraction',
      () => sp.tensor([1.5], { dtype: 'int32' }),
      /integers in .*got 1.5/,
    ],
    ['a value over 255', () => sp.tensor([256], { dtype: 'uint8' }), /\[0, 255\], got 256/],
    ['an unsafe int64', () => sp.tensor([2 ** 60], { dtype: 'int64' }), /bigint beyond 2\^53/],
    [
      'gradients of integers',
      () => sp.zeros([1], { dtype: 'int32', requiresGrad: true }),
      /float dtype with requiresGrad/,
    ],
    ['a DataView', () => sp.tensor(new DataView(new ArrayBuffer(4)) as never), /got a DataView/],
    ['an infinite linspace', () => sp.linspace(0, Infinity, 3), /end to be a number, got Infinity/],
  ])('%s is refused', (_, fn, message) => {
    expect(fn).toThrow(message);
    expect(codeOf(fn)).toMatch(/^ERR_/);
  });

  test.skipIf(sp.cuda.isAvailable())('cuda is refused with the reason', () => {
    expect(() => sp.zeros([1], { device: 'cuda' })).toThrow(/'cuda' cannot be used: /);
    expect(codeOf(() => sp.zeros([1], { device: 'cuda:1' }))).toBe('ERR_NO_CUDA');
    expect(codeOf(() => sp.setDefaultDevice('cuda'))).toBe('ERR_NO_CUDA');
    expect(codeOf(() => sp.ones([1]).to('cuda'))).toBe('ERR_NO_CUDA');
    expect(codeOf(() => sp.cuda.memory())).toBe('ERR_NO_CUDA');
    expect(sp.cuda.status().reason).not.toBe('');
    expect(sp.devices()).toEqual(['cpu']);
    sp.cuda.synchronize();
  });

  test('names of devices are checked', () => {
    expect(codeOf(() => sp.zeros([1], { device: 'gpu' as never }))).toBe('ERR_DEVICE');
    expect(codeOf(() => sp.zeros([1], { device: 'cuda:99' }))).toBe('ERR_NO_CUDA');
    expect(codeOf(() => sp.setDefaultDevice(undefined as never))).toBe('ERR_DEVICE');
    expect(sp.zeros([1], { device: 'cpu' }).device).toBe('cpu');
  });
});

describe('buffers of every kind', () => {
  test('odd offsets into a larger buffer', () => {
    const buffer = new ArrayBuffer(64);
    new Float32Array(buffer).set([0, 1, 2, 3, 4, 5]);
    expect(sp.tensor(new Float32Array(buffer, 4, 3)).toArray()).toEqual([1, 2, 3]);
    expect(sp.tensor(Buffer.from([7, 8, 9]).subarray(1)).toArray()).toEqual([8, 9]);
  });

  test('shared memory is copied', () => {
    const shared = new Float32Array(new SharedArrayBuffer(8));
    shared.set([1, 2]);
    const t = sp.tensor(shared);
    shared[0] = 5;
    expect(t.toArray()).toEqual([1, 2]);
  });

  test('a detached buffer is refused', () => {
    const data = new Float32Array([1, 2]);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(() => sp.tensor(data)).toThrow(/buffer was transferred away/);
    expect(() => sp.tensor(data, { shape: [2] })).toThrow(/transferred away/);
  });

  test('a shrunk buffer is refused when the shape says more', () => {
    const buffer = new (
      ArrayBuffer as unknown as {
        new (n: number, o: object): ArrayBuffer & { resize(n: number): void };
      }
    )(16, { maxByteLength: 32 });
    const whole = new Float32Array(buffer);
    const part = new Float32Array(buffer, 0, 4);
    buffer.resize(8);
    expect(sp.tensor(whole).shape).toEqual([2]);
    expect(() => sp.tensor(part, { shape: [4] })).toThrow(/hold 4 values/);
  });
});

describe('reading', () => {
  test('item wants one element', () => {
    expect(() => sp.zeros([2]).item()).toThrow(/tensor of 1 element, got shape \[2\]/);
    expect(sp.zeros([1, 1]).item()).toBe(0);
  });

  test('prints short', () => {
    expect(inspect(sp.tensor([[1, 2]]))).toBe(`Tensor [1, 2] float32 ${device}\n[[1, 2]]`);
    expect(String(sp.arange(100))).toContain('...');
    const t = sp.ones([2], { requiresGrad: true });
    expect(inspect(t)).toContain('requiresGrad');
    t.dispose();
    expect(inspect(t)).toBe(`Tensor [2] float32 ${device} (disposed)`);
  });

  test('properties', () => {
    const t = sp.zeros([2, 3], { dtype: 'float64' });
    expect([t.shape, t.dtype, t.device, t.rank, t.size, t.requiresGrad, t.grad]).toEqual([
      [2, 3],
      'float64',
      device,
      2,
      6,
      false,
      null,
    ]);
  });
});

describe('copy_', () => {
  test('writes in place', () => {
    const t = sp.zeros([2]);
    expect(t.copy_(sp.tensor([1, 2]))).toBe(t);
    expect(t.toArray()).toEqual([1, 2]);
  });

  test('refuses other shapes and dtypes', () => {
    expect(() => sp.zeros([2]).copy_(sp.zeros([3]))).toThrow(
      /copy_: expected src to have shape \[2\], got \[3\]/,
    );
    expect(() => sp.zeros([2]).copy_(sp.zeros([2], { dtype: 'float64' }))).toThrow(/share a dtype/);
  });

  test('is refused while a pending backward needs the tensor, and allowed after', () => {
    const x = sp.ones([2], { requiresGrad: true });
    const y = sp.ones([2], { requiresGrad: true });
    const loss = x.mul(y).sum();
    expect(() => x.copy_(sp.zeros([2]))).toThrow(/pending backward needs this tensor/);
    expect(codeOf(() => y.copy_(sp.zeros([2])))).toBe('ERR_IN_USE');
    loss.backward();
    expect(x.copy_(sp.zeros([2])).toArray()).toEqual([0, 0]);
  });

  test('is refused on the result of a pending graph', () => {
    const x = sp.ones([2], { requiresGrad: true });
    const y = x.mul(2);
    expect(() => y.copy_(sp.zeros([2]))).toThrow(/result of mul in a pending graph/);
  });

  test('through a view, the backward notices', () => {
    const x = sp.ones([2], { requiresGrad: true });
    const loss = x.mul(x).sum();
    const storage = x.storage!;
    storage.version++;
    expect(() => loss.backward()).toThrow(/overwritten since/);
  });
});

describe('methods', () => {
  test('every core operation of one tensor or more is a method too', () => {
    const names =
      'add sub mul div neg pow sqrt rsqrt exp log log1p sin cos abs sign clamp maximum minimum where eq ne lt le ' +
      'gt ge logicalAnd logicalOr logicalNot isNaN matmul sum mean var std max min argmax argmin logsumexp softmax ' +
      'logSoftmax norm normalize relu gelu silu sigmoid tanh softplus dropout reshape transpose permute squeeze ' +
      'unsqueeze expand split slice pad tril triu gather indexSelect scatterAdd embedding maskedFill oneHot ' +
      'layerNorm rmsNorm';
    const prototype = sp.Tensor.prototype as unknown as Record<string, unknown>;
    for (const name of names.split(' ')) {
      expect(typeof (sp as unknown as Record<string, unknown>)[name], name).toBe('function');
      expect(typeof prototype[name], name).toBe('function');
    }
    const picked = sp.tensor([true, false]).where(1, sp.zeros([2]));
    expect(picked.toArray()).toEqual([1, 0]);
  });
});

describe('threads', () => {
  test('setThreads checks its argument', () => {
    const before = sp.getThreads();
    sp.setThreads(1);
    expect(sp.getThreads()).toBe(1);
    sp.setThreads(before);
    for (const bad of [0, -1, 1.5, NaN, '2', 1000]) {
      expect(() => sp.setThreads(bad as number)).toThrow(/setThreads: expected threads/);
    }
  });
});
