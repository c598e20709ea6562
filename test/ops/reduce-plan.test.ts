// plan() of the CUDA reductions: which kernel, how many threads a row, how a long axis is cut.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const dtypes = ['float32', 'float64', 'float16', 'bfloat16', 'int32', 'int64', 'uint8', 'bool'];
const names = [
  'form',
  'outer',
  'n',
  'inner',
  'lanes',
  'rows',
  'chunk',
  'chunks',
  'staged',
  'blocks',
  'shared',
  'combineLanes',
  'combineBlocks',
] as const;

type Plan = Record<(typeof names)[number], number>;

function plan(shape: number[], dims: number[], dtype = 'float32'): Plan {
  const out = new Float64Array(names.length);
  const axes = dims.reduce((mask, d) => mask | (1 << d), 0);
  launch(native.reducePlan, { shape, axes, dtype: dtypes.indexOf(dtype), out });
  return Object.fromEntries(names.map((name, i) => [name, out[i]])) as Plan;
}

const row = 0;
const column = 1;

describe('rows', () => {
  test.each([
    // n, dtype, lanes, rows of a block
    [1, 'float32', 1, 4096],
    [8, 'float32', 1, 512],
    [9, 'float32', 2, 455],
    [1000, 'float32', 128, 4],
    [1000, 'bfloat16', 128, 8],
    [1000, 'float64', 128, 2],
    [4096, 'float32', 256, 1],
    [16384, 'uint8', 256, 1],
  ])('of %s %s', (n, dtype, lanes, rows) => {
    const p = plan([10_000, n], [1], dtype);
    expect(p).toMatchObject({ form: row, lanes, rows, chunks: 1, combineLanes: 0 });
    expect(p.blocks).toBe(Math.ceil(10_000 / rows));
    expect(p.shared).toBe(16384 + 16 + 192);
  });
  test('beyond 16 KB are cut into even chunks, combined by a second launch', () => {
    const p = plan([3, 8193], [1], 'bfloat16');
    expect(p).toMatchObject({ form: row, rows: 1, chunk: 4160, chunks: 2, blocks: 6 });
    expect(p).toMatchObject({ combineLanes: 1, combineBlocks: 1 });
    const all = plan([100_000_000], [0]);
    expect(all).toMatchObject({ n: 1e8, chunks: 3052, blocks: 3052, combineLanes: 256 });
  });
  test('how a row is cut does not depend on how many there are', () => {
    for (const n of [1, 33, 1000, 4097, 1_000_000]) {
      for (const dtype of dtypes) {
        const { lanes, rows, chunk, chunks, combineLanes } = plan([1, n], [1], dtype);
        const many = plan([100_000, n], [1], dtype);
        expect(many).toMatchObject({ lanes, rows, chunk, chunks, combineLanes });
      }
    }
  });
  test('more than 2^31 elements, below 2^31 blocks', () => {
    const p = plan([2 ** 32, 2], [1], 'uint8');
    expect(p.blocks).toBe(2 ** 32 / 8192);
    expect(plan([2 ** 36], [0], 'uint8').chunks).toBeLessThanOrEqual(4096);
  });
});

describe('columns', () => {
  test.each([
    // n, inner, dtype, threads a column, staged
    [8192, 4096, 'bfloat16', 2, true],
    [8192, 4096, 'float32', 2, true],
    [8192, 4095, 'float32', 2, false],
    [4, 512, 'float32', 1, true],
    [1_000_000, 3, 'float32', 64, false],
    [1_000_000, 16, 'float32', 16, true],
    [1_000_000, 16, 'bfloat16', 16, false],
  ])('(%s, %s) of %s', (n, inner, dtype, lanes, staged) => {
    const p = plan([n, inner], [0], dtype);
    expect(p).toMatchObject({ form: column, n, inner, lanes, staged: Number(staged) });
    const columns = 256 / lanes;
    expect(p.blocks).toBe(Math.ceil(inner / columns) * p.chunks);
    expect(p.chunk * columns).toBeLessThanOrEqual(32768 * Math.ceil(n / 4096 / 128));
    expect(p.chunk % (8 * lanes)).toBe(0);
  });
});

describe('axes', () => {
  test('of one fate are merged, those of size 1 dropped', () => {
    expect(plan([2, 1, 3, 4], [0, 1, 2])).toMatchObject({ outer: 1, n: 6, inner: 4 });
    expect(plan([5, 1], [1])).toMatchObject({ outer: 5, n: 1, inner: 1, form: row });
  });
  test('other reduced axes are left to the second launch', () => {
    const p = plan([8, 64, 28, 28], [0, 2, 3], 'bfloat16');
    expect(p).toMatchObject({ form: row, outer: 512, n: 784, combineLanes: 2, combineBlocks: 1 });
  });
  test('nothing to reduce', () => {
    expect(plan([0, 3], [0])).toMatchObject({ form: row, outer: 3, n: 0, combineLanes: 0 });
  });
});
