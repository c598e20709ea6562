// The CUDA normalisations' plans: who holds a row, how the rows of weight gradients are cut.
import { expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const dtypes = ['float32', 'float64', 'float16', 'bfloat16'];
const names = [
  'lanes',
  'threads',
  'cluster',
  'parts',
  'blocks',
  'chunk',
  'chunks',
  'tiles',
  'weightBlocks',
  'combineBlocks',
  'team',
] as const;

type Plan = Record<(typeof names)[number], number>;

function plan(rows: number, width: number, dtype: string, more = {}): Plan {
  const out = new Float64Array(names.length);
  const query = { rows, width, dtype: dtypes.indexOf(dtype), clusters: true };
  launch(native.normPlan, { ...query, dx: false, ...more, out });
  return Object.fromEntries(names.map((name, i) => [name, out[i]])) as Plan;
}

test.each([
  // width, dtype, lanes, threads, blocks of a cluster
  [64, 'bfloat16', 8, 256, 1],
  [768, 'bfloat16', 32, 256, 1],
  [768, 'float32', 0, 64, 1],
  [4096, 'bfloat16', 0, 64, 1],
  [4096, 'float32', 0, 128, 1],
  [8000, 'float64', 0, 256, 2],
  [12288, 'bfloat16', 0, 256, 1],
])('rows of %s %s', (width, dtype, lanes, threads, cluster) => {
  expect(plan(8192, width, dtype)).toMatchObject({ lanes, threads, cluster, parts: 1 });
});

test('rows that no block holds, without clusters', () => {
  expect(plan(3, 20_000, 'bfloat16', { clusters: false })).toMatchObject({
    cluster: 1,
    parts: 2,
    blocks: 6,
  });
});

test.each([
  // rows, width, dtype, chunk, chunks, tiles
  [1, 1, 'float32', 64, 1, 1],
  [8192, 4096, 'bfloat16', 64, 128, 16],
  [8192, 4096, 'float32', 64, 128, 32],
  [8192, 4097, 'float32', 64, 128, 33],
  [1_000_000, 768, 'bfloat16', 1954, 512, 3],
  [0, 4, 'float32', 64, 0, 1],
])('weight gradients of (%s, %s) %s', (rows, width, dtype, chunk, chunks, tiles) => {
  const p = plan(rows, width, dtype);
  expect(p).toMatchObject({ team: 0, chunk, chunks, tiles, weightBlocks: tiles * chunks });
  expect(p.combineBlocks).toBe(Math.ceil(width / 32));
});

test.each([
  // rows, width, dtype, threads a row, chunk, chunks
  [8192, 4096, 'bfloat16', 256, 32, 256],
  [8192, 4096, 'float32', 256, 32, 256],
  [100, 256, 'float16', 32, 32, 4],
  [1_000_000, 768, 'bfloat16', 64, 977, 1024],
])(
  'dx and weight gradients of (%s, %s) %s in one pass',
  (rows, width, dtype, team, chunk, chunks) => {
    const p = plan(rows, width, dtype, { dx: true });
    expect(p).toMatchObject({ team, chunk, chunks, tiles: 1, weightBlocks: chunks });
  },
);

test.each([
  [8192, 4096, 'float64', {}],
  [8192, 4100, 'bfloat16', {}],
  [8192, 255, 'bfloat16', {}],
  [8192, 257, 'bfloat16', {}],
  [8192, 248, 'bfloat16', {}],
  [0, 4096, 'bfloat16', {}],
])('not in one pass: (%s, %s) %s %o', (rows, width, dtype, more) => {
  expect(plan(rows, width, dtype, { dx: true, ...more }).team).toBe(0);
});

test('beyond 2^31 elements and rows', () => {
  expect(plan(2 ** 20, 4096, 'bfloat16').blocks).toBe(2 ** 20);
  expect(plan(2 ** 32, 64, 'bfloat16').blocks).toBe(2 ** 27);
  const { chunk, chunks } = plan(2 ** 32, 64, 'bfloat16', { dx: true });
  expect(chunk * chunks).toBeGreaterThanOrEqual(2 ** 32);
});
