// plan() of the CUDA softmax: who holds a row, and how columns are shared out.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const dtypes = ['float32', 'float64', 'float16', 'bfloat16'];
const names = ['rowLanes', 'threads', 'cluster', 'parts', 'lanes', 'held', 'blocks'] as const;

type Plan = Record<(typeof names)[number], number>;

interface Query {
  outer?: number;
  n: number;
  inner?: number;
  dtype?: string;
  clusters?: boolean;
}

function plan({ dtype = 'bfloat16', ...query }: Query): Plan {
  const out = new Float64Array(names.length);
  const defaults = { outer: 1000, inner: 1, clusters: true };
  launch(native.softmaxPlan, { ...defaults, ...query, dtype: dtypes.indexOf(dtype), out });
  return Object.fromEntries(names.map((name, i) => [name, out[i]])) as Plan;
}

describe('rows', () => {
  test.each([
    // n, dtype, lanes, threads, blocks of a cluster
    [1, 'bfloat16', 8, 256, 1],
    [256, 'bfloat16', 8, 256, 1],
    [256, 'float32', 32, 256, 1],
    [257, 'bfloat16', 32, 256, 1],
    [1024, 'bfloat16', 32, 256, 1],
    [1032, 'bfloat16', 0, 64, 1],
    [4096, 'bfloat16', 0, 64, 1],
    [8192, 'bfloat16', 0, 128, 1],
    [16384, 'bfloat16', 0, 256, 1],
    [16392, 'bfloat16', 0, 256, 2],
    [128256, 'bfloat16', 0, 256, 8],
    [8192, 'float32', 0, 256, 1],
    [50257, 'float32', 0, 256, 8],
    [4096, 'float64', 0, 256, 1],
  ])('of %s %s', (n, dtype, rowLanes, threads, cluster) => {
    const p = plan({ n, dtype });
    expect(p).toMatchObject({ rowLanes, threads, cluster, parts: 1, lanes: 0 });
    expect(p.blocks).toBe(rowLanes ? Math.ceil((1000 * rowLanes) / 256) : 1000 * cluster);
  });
  test("that begin anywhere have no slot more: it is a neighbour's", () => {
    for (const [n, rowLanes] of [
      [249, 8],
      [255, 8],
      [1023, 32],
      [1025, 0],
    ])
      expect(plan({ n })).toMatchObject({ rowLanes });
  });
  test('that no cluster holds, or no cluster can be had for, are cut into parts', () => {
    expect(plan({ n: 256_000 })).toMatchObject({ cluster: 1, parts: 16, blocks: 16_000 });
    expect(plan({ n: 20_000, clusters: false })).toMatchObject({ cluster: 1, parts: 2 });
  });
  test('do not depend on how many there are', () => {
    for (const n of [3, 1000, 5000, 100_000, 1_000_000]) {
      const { blocks: _, ...one } = plan({ outer: 1, n });
      expect(plan({ outer: 100_000, n })).toMatchObject(one);
    }
  });
});

describe('columns', () => {
  test.each([
    // n, inner, threads a column, held
    [1, 3, 1, 1],
    [16, 100, 1, 1],
    [17, 100, 2, 1],
    [128, 100, 8, 1],
    [129, 100, 8, 0],
    [1000, 2, 64, 1],
    [100_000, 2, 128, 0],
  ])('of %s, %s side by side', (n, inner, lanes, held) => {
    const p = plan({ n, inner });
    expect(p).toMatchObject({ lanes, held });
    expect(p.blocks).toBe(Math.ceil((1000 * inner) / (256 / lanes)));
  });
});

test('beyond 2^31 elements, rows and columns', () => {
  expect(plan({ outer: 2 ** 20, n: 4096 }).blocks).toBe(2 ** 20);
  expect(plan({ outer: 2 ** 32, n: 64 }).blocks).toBe(2 ** 27);
  const long = plan({ outer: 1, n: 2 ** 32 + 1 });
  expect(long.parts).toBeGreaterThan(0);
  expect(long.blocks).toBeLessThan(2 ** 31);
  expect(plan({ outer: 2, n: 7, inner: 2 ** 32 }).blocks).toBeLessThan(2 ** 31);
});
