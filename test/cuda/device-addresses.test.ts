// Memory that begins at any element: what other libraries hand out, and what comes of a pointer.
// Kernels that move packs of elements must then take them one by one. Results are those of memory
// that begins at 16 bytes, to the bit where elements do not meet in sums.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { dtypes, expectSame, numbers, sample, toTensor } from '../harness/arrays.js';
import { needsCuda } from '../harness/device.js';
import type { AnyTensor } from '../harness/tensors.js';
import * as reference from '../reference/arrays.js';

const bytesOf = { float64: 8, int64: 8, float32: 4, int32: 4, float16: 2, bfloat16: 2 };
const widthOf = (dtype: sp.DType) => (bytesOf as Partial<Record<sp.DType, number>>)[dtype] ?? 1;

/** Zeros of the shape that begin `elements` behind an address of 16 bytes. */
function empty(shape: readonly number[], dtype: sp.DType, elements = 1): AnyTensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const owner = sp.zeros([size + elements + 16], { dtype, device: 'cuda' });
  const address = owner.pointer + BigInt(elements * widthOf(dtype));
  return sp.cuda.fromPointer(address, { shape: [...shape], dtype, owner }) as AnyTensor;
}

/** The same values there. */
function moved(t: AnyTensor, elements = 1): AnyTensor {
  const out = empty(t.shape, t.dtype, elements);
  out.copy_(t as never);
  return out;
}

describe.skipIf(needsCuda('device memory at any address'))('memory at any address', () => {
  test('is what it says', () => {
    const t = moved(toTensor(sample([3, 5], 'float32'), 'float32'));
    expect(t.pointer % 16n).toBe(4n);
    expectSame(t, sample([3, 5], 'float32'), 'float32');
  });

  test('cast', () => {
    for (const [from, to] of [
      ['float32', 'bfloat16'],
      ['uint8', 'float32'],
      ['float64', 'int32'],
    ] as const) {
      for (const n of [1, 255, 257, 1000]) {
        const a = sample([n], from);
        expectSame(moved(toTensor(a, from)).to(to) as AnyTensor, a, to);
        const out = empty([n], to);
        launch(native.cast, { a: toTensor(a, from).raw, out: out.raw });
        expectSame(out, a, to);
      }
    }
  });

  test('fill, random numbers', () => {
    for (const dtype of dtypes) {
      for (const n of [1, 1023, 5000]) {
        const out = empty([n + 1], dtype);
        launch(native.fill, {
          out: sp.cuda.fromPointer(out.pointer, { shape: [n], dtype }).raw,
          value: 1,
        });
        expect(numbers(out)).toEqual([...new Array(n).fill(1), 0]);
      }
    }
    for (const [kernel, dtype, more] of [
      [native.randomUniform, 'float32', {}],
      [native.randomNormal, 'bfloat16', {}],
      [native.randomUniform, 'float64', {}],
      [native.randomIntegers, 'int32', { low: -5, high: 9 }],
    ] as const) {
      const [out, expected] = [empty([1027], dtype), sp.zeros([1027], { dtype, device: 'cuda' })];
      for (const t of [out, expected]) launch(kernel, { out: t.raw, seed: 3, offset: 1, ...more });
      expect(numbers(out)).toEqual(numbers(expected as AnyTensor));
    }
  });

  test('copies that move elements', () => {
    for (const dtype of ['float32', 'bfloat16', 'float64', 'uint8'] as const) {
      const a = sample([6, 40, 32], dtype);
      const t = moved(toTensor(a, dtype));
      expectSame(t.permute([1, 0, 2]) as AnyTensor, reference.permute(a, [1, 0, 2]), dtype);
      expectSame(t.permute([0, 2, 1]) as AnyTensor, reference.permute(a, [0, 2, 1]), dtype);
      const row = moved(toTensor(sample([32], dtype), dtype));
      expect(numbers(row.expand([50, 32]) as AnyTensor).slice(-32)).toEqual(numbers(row));
      expect(numbers(sp.tril(t) as AnyTensor)).toEqual(
        numbers(sp.tril(toTensor(a, dtype)) as AnyTensor),
      );
    }
  });

  test('elementwise functions, dropout', () => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const [x, y] = [1, 2].map((seed) => toTensor(sample([3000], dtype, seed), dtype));
      const expected = numbers(x.add(y as never) as AnyTensor);
      expect(numbers(moved(x).add(y as never) as AnyTensor)).toEqual(expected);
      expect(numbers(x.add(moved(y, 3) as never) as AnyTensor)).toEqual(expected);
      const drop = (t: AnyTensor) => {
        sp.manualSeed(4);
        return numbers(sp.dropout(t, { p: 0.5 }) as AnyTensor);
      };
      expect(drop(moved(x))).toEqual(drop(x));
    }
  });

  test('sums, extremes, products, embeddings', () => {
    for (const dtype of ['float32', 'bfloat16', 'float64'] as const) {
      const a = toTensor(sample([9, 301], dtype), dtype);
      for (const run of [
        (x: AnyTensor) => x.sum({ dim: 1 }),
        (x: AnyTensor) => x.max({ dim: 0 }),
        (x: AnyTensor) => x.sum(),
        (x: AnyTensor) => x.matmul(x.transpose() as never),
        (x: AnyTensor) => x.indexSelect(0, sp.tensor([8, 0, 3], { dtype: 'int32' }) as never),
      ]) {
        expect(numbers(run(moved(a)) as AnyTensor)).toEqual(numbers(run(a) as AnyTensor));
      }
    }
  });

  test('losses, softmax, norms', () => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      for (const [rows, columns] of [
        [3, 60],
        [1, 1030],
      ]) {
        const x = toTensor(sample([rows, columns], dtype), dtype);
        const small = x.mul(0.05) as AnyTensor;
        const target = sp.tensor([1, columns - 1, 0].slice(0, rows), { dtype: 'int32' });
        for (const run of [
          (t: AnyTensor) => sp.softmax(t as never),
          (t: AnyTensor) => sp.layerNorm(t as never),
          (t: AnyTensor) => sp.crossEntropy(t as never, target as never, { reduction: 'none' }),
        ]) {
          const results = [small, moved(small)].map((t) => {
            const input = sp.clone(t as never) as AnyTensor;
            const leaf = (t === small ? input : moved(input)) as AnyTensor & { grad: AnyTensor };
            leaf.requiresGrad_();
            const y = run(leaf) as AnyTensor;
            y.backward(sp.ones(y.shape, { dtype: y.dtype }) as never);
            return [...numbers(y), ...numbers(leaf.grad)];
          });
          const unit = dtype === 'float32' ? 1e-5 : 2e-2;
          for (const [i, value] of results[1].entries())
            expect(Math.abs(value - results[0][i])).toBeLessThan(unit);
        }
      }
    }
  });

  test('optimisers', () => {
    const run = (where: (t: AnyTensor) => AnyTensor) => {
      const w = where(toTensor(sample([700], 'float32'), 'float32'));
      w.requiresGrad_();
      const step = new sp.optim.AdamW([w as never], { lr: 0.01 });
      for (let i = 0; i < 2; i++) {
        w.mul(w as never)
          .sum()
          .backward();
        step.step();
        step.zeroGrad();
      }
      return numbers(w);
    };
    expect(run(moved)).toEqual(run((t) => t));
  });
});
