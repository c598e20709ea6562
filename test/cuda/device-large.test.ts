// Tensors of more than 2^31 elements, where every product of sizes must have 64 bits. They need a
// GPU with 40 GB; on the emulator, or with less memory, the same lines run in small, so that they
// are right when there is one.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { needsCuda } from '../harness/device.js';
import type { AnyTensor } from '../harness/tensors.js';

const cuda = { device: 'cuda' } as const;
const isMissing = needsCuda('tensors beyond 2^31 elements');
const [device] = sp.cuda.status().devices;
const isLarge = !isMissing && !sp.cuda.status().emulated && device.memory > 40e9;
if (!isMissing && !isLarge)
  console.info(`device-large: in small, as ${device.name} is emulated or has less than 40 GB`);

// All rows are one row: whatever is computed of the last must be that of the first.
const [rows, width] = isLarge ? [32769, 65537] : [9, 257];
const n = isLarge ? 2 ** 31 + 257 : 4099;
const row = Float32Array.from({ length: width }, (_, j) => (j * 7) % 251);

const equalRows = (dtype: sp.DType, scale = 1): AnyTensor =>
  sp.scope(() =>
    sp.expand(
      sp
        .tensor(row.map((x) => x * scale) as Float32Array<ArrayBuffer>, cuda)
        .to(dtype)
        .reshape([1, width]) as AnyTensor,
      [rows, width],
    ),
  ) as AnyTensor;
const rowOf = (t: AnyTensor, i: number) => numbers(sp.slice(t, 0, i, i + 1) as AnyTensor);

/** The first and last elements, and those about element 2^31. */
function ends(t: AnyTensor): number[] {
  const middle = isLarge ? 2 ** 31 : 2048;
  return [0, middle - 2, n - 4].flatMap((at) => numbers(sp.slice(t, 0, at, at + 4) as AnyTensor));
}
const twelve = (x: number) => new Array(12).fill(x);

/** A test whose tensors are gone after it. */
const check = (name: string, work: () => void) => test(name, () => sp.scope(work), 240_000);

describe.skipIf(isMissing)(`${rows * width} elements`, () => {
  check('fill, cast, add and sum of uint8 and bfloat16', () => {
    const bytes = sp.full([n], 3, { dtype: 'uint8', ...cuda });
    expect(ends(bytes)).toEqual(twelve(3));
    expect(Number(sp.sum(bytes).item())).toBe(3 * n);
    const halves = bytes.to('bfloat16');
    expect(ends(halves)).toEqual(twelve(3));
    const sums = halves.add(halves);
    halves.dispose();
    expect(ends(sums)).toEqual(twelve(6));
    expect(Number(sums.to('uint8').sum().item())).toBe(6 * n);
  });

  check('the place of the largest', () => {
    const parts = [
      sp.zeros([n - 2], { dtype: 'uint8', ...cuda }),
      sp.ones([2], { dtype: 'uint8', ...cuda }),
    ];
    const x = sp.concat(parts);
    expect(Number(sp.argmax(x).item())).toBe(n - 2);
    expect(Number(sp.max(x).item())).toBe(1);
  });

  check('rows and columns: sums, slices, transpositions, triangles', () => {
    const x = equalRows('uint8');
    expect(rowOf(x, rows - 1)).toEqual([...row]);
    const total = row.reduce((a, b) => a + b, 0);
    const byRow = numbers(sp.sum(x, { dim: 1 }) as AnyTensor);
    expect(byRow.findIndex((sum) => sum !== total)).toBe(-1);
    const byColumn = numbers(sp.sum(x, { dim: 0 }) as AnyTensor);
    expect(byColumn.findIndex((sum, j) => sum !== rows * row[j])).toBe(-1);
    const thirds = sp.slice(x, 1, 1, width, 3) as AnyTensor;
    expect(rowOf(thirds, rows - 1)).toEqual([...row].filter((_, j) => j % 3 === 1));
    thirds.dispose();
    const transposed = sp.transpose(x) as AnyTensor;
    expect(rowOf(transposed, width - 1).every((value) => value === row[width - 1])).toBe(true);
    transposed.dispose();
    expect(rowOf(sp.tril(x) as AnyTensor, rows - 1)).toEqual(
      [...row].map((value, j) => (j < rows ? value : 0)),
    );
  });

  check('rows by their numbers', () => {
    const x = equalRows('bfloat16');
    const ids = sp.tensor(new BigInt64Array([0n, BigInt(rows - 1)]), cuda);
    const picked = sp.indexSelect(x, 0, ids as never) as AnyTensor;
    expect(rowOf(picked, 1)).toEqual([...row]);
    const at = sp.tensor(new BigInt64Array([BigInt(width - 1)]), cuda).reshape([1, 1]);
    const column = sp.gather(x, 1, sp.expand(at, [rows, 1]) as never) as AnyTensor;
    expect(numbers(column).every((value) => value === row[width - 1])).toBe(true);
  });

  check('softmax and norm of rows', () => {
    const x = equalRows('bfloat16', 2 ** -6);
    for (const f of [sp.softmax, sp.rmsNorm]) {
      const y = f(x) as AnyTensor;
      expect(rowOf(y, rows - 1)).toEqual(rowOf(y, 0));
      expect(rowOf(y, 0).some((value) => value > 0)).toBe(true);
      y.dispose();
    }
  });

  check('cross-entropy and its gradient', () => {
    const logits = equalRows('bfloat16', 2 ** -6)
      .detach()
      .requiresGrad_();
    const target = sp.full([rows], width - 1, { dtype: 'int64', ...cuda });
    const losses = sp.crossEntropy(logits, target as never, { reduction: 'none' }) as AnyTensor;
    const values = numbers(losses);
    expect(values[0]).toBeGreaterThan(0);
    expect(values.every((value) => value === values[0])).toBe(true);
    const gradient = sp.grad(losses.sum() as never, [logits])[0] as AnyTensor;
    expect(rowOf(gradient, rows - 1)).toEqual(rowOf(gradient, 0));
    expect(rowOf(gradient, rows - 1)[width - 1]).toBeLessThan(-0.5);
  });

  check('a product of a large matrix', () => {
    const x = equalRows('bfloat16', 2 ** -6);
    const w = sp.randn([width, 8], { dtype: 'bfloat16', ...cuda });
    const y = sp.matmul(x, w as never) as AnyTensor;
    expect(rowOf(y, rows - 1)).toEqual(rowOf(y, 0));
    expect(rowOf(y, 0).some((value) => value !== 0)).toBe(true);
  });

  check('random numbers, and a step of an optimiser', () => {
    const weights = sp
      .rand([n], { dtype: 'bfloat16', ...cuda })
      .detach()
      .requiresGrad_();
    const drawn = ends(weights);
    expect(new Set(drawn.slice(8)).size).toBeGreaterThan(1);
    expect(Math.abs(sp.mean(weights.detach().to('float32')).item() - 0.5)).toBeLessThan(0.02);
    const rule = new sp.optim.SGD([weights], { lr: 0.5 });
    weights.sum().backward();
    rule.step();
    const after = ends(weights);
    after.forEach((value, i) => {
      expect(Math.abs(value - (drawn[i] - 0.5))).toBeLessThanOrEqual(2 ** -9);
    });
  });
});
