// t.to(dtype) between all dtypes, t.to(device), clone.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { dtypes, numbers, variable } from '../harness/arrays.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, round } from '../harness/rounding.js';
import type { AnyTensor } from '../harness/tensors.js';

const isFloat = (dtype: sp.DType): dtype is FloatDType => dtype.includes('float');
const ranges: Partial<Record<sp.DType, [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  // The largest int64 reads as 2^63.
  int64: [-(2 ** 63), 2 ** 63],
  uint8: [0, 255],
};

/** The definition: floats round to nearest even, integers wrap, floats beyond an integer's range saturate. */
function converted(value: number, from: sp.DType, to: sp.DType): number {
  if (to === 'bool') return value !== 0 ? 1 : 0;
  if (isFloat(to)) return to === 'float64' ? value : round(Math.fround(value), to);
  const [low, high] = ranges[to]!;
  if (!isFloat(from)) {
    const wrapped = BigInt.asUintN(to === 'uint8' ? 8 : to === 'int32' ? 32 : 64, BigInt(value));
    return Number(
      to === 'int32'
        ? BigInt.asIntN(32, wrapped)
        : to === 'int64'
          ? BigInt.asIntN(64, wrapped)
          : wrapped,
    );
  }
  // + 0 turns -0 into 0.
  return Number.isNaN(value) ? 0 : Math.min(high, Math.max(low, Math.trunc(value))) + 0;
}

const special = [
  0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, 254.9, 255.5, 256, 300, -1.5, 65504, 65519, 65520,
];
const extreme = [1e-8, 2 ** -24, 2 ** -25, 2 ** 31, -(2 ** 31), 3e9, 2 ** 63, 1e20, -1e20, 3.4e38];
const floatValues = [...special, ...extreme, Infinity, -Infinity, Number.NaN];
const random = new Random(2);
const many = [...random.normals(3000, 100)];

function sourceValues(dtype: sp.DType): number[] {
  if (isFloat(dtype)) return [...floatValues, ...many];
  if (dtype === 'bool') return [0, 1, 1, 0, 1];
  const [low, high] = ranges[dtype]!;
  return [0, 1, -1, 127, 128, 255, 256, 300, 65_537, 2 ** 31 - 1, -(2 ** 31), 2 ** 40 + 7].filter(
    (v) => v >= low && v <= high,
  );
}

describe('to', () => {
  for (const from of dtypes) {
    for (const to of dtypes) {
      test(`${from} -> ${to}`, () => {
        const x = sp.tensor(sourceValues(from), { dtype: from });
        // What the source really holds: its own rounding is not under test here.
        const held = numbers(x as AnyTensor);
        const y = x.to(to);
        expect(y.dtype).toBe(to);
        expect(numbers(y as AnyTensor)).toEqual(held.map((v) => converted(v, from, to)));
      });
    }
  }

  test('all 65536 values of each 16-bit float come back as they were', () => {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const every = Uint16Array.from({ length: 65_536 }, (_, i) => i);
      const x = sp.tensor(every, { dtype });
      const back = x.to('float32').to(dtype).dataSync({ raw: true });
      const wide = x.dataSync();
      // NaNs may become quiet, which sets the highest bit of the fraction.
      const quiet = dtype === 'float16' ? 0x200 : 0x40;
      const expected = every.map((bits, i) => (Number.isNaN(wide[i]) ? bits | quiet : bits));
      expect(back).toEqual(expected);
    }
  });

  test('is the tensor itself where nothing changes', () => {
    const x = sp.ones([2]);
    expect(x.to('float32')).toBe(x);
    expect(x.to(x.device)).toBe(x);
  });

  test('gradients are cast back; none through integers', () => {
    const x = variable([3]);
    const y = x.to('float32').mul(2).to('bfloat16');
    y.backward(sp.ones([3], { dtype: 'bfloat16' }));
    expect([x.grad!.dtype, numbers(x.grad as AnyTensor)]).toEqual(['float64', [2, 2, 2]]);
    expect(x.to('int32').requiresGrad).toBe(false);
  });

  test('errors', () => {
    const refused = refuser('to');
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    const x = sp.ones([1]) as any;
    refused(() => x.to('float'), 'ERR_DTYPE', /a dtype \(float32, .* got 'float'/);
    refused(() => x.to('bfloat_16'), 'ERR_DTYPE', /did you mean 'bfloat16'/);
    refused(() => x.to(5), 'ERR_INVALID_TYPE', /got 5/);
    if (!sp.cuda.isAvailable()) refused(() => x.to('cuda'), 'ERR_NO_CUDA', /'cuda' cannot be used/);
    refused(() => x.to('cuda:x'), 'ERR_DEVICE', /got 'cuda:x'/);
  });
});

test('clone has memory of its own and passes gradients', () => {
  for (const dtype of dtypes) {
    const x = sp.ones([3], { dtype });
    const y = x.clone();
    x.copy_(sp.zeros([3], { dtype }));
    expect(numbers(y as AnyTensor)).toEqual([1, 1, 1]);
  }
  sp.gradcheck((t: sp.Tensor) => sp.clone(t).mul(3), [variable([2])]);
});
