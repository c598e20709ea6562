// Launch decisions of the CUDA indexing operations.
import { expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

function rowPlan(rows: number, units: number, perLane: number) {
  const out = new Float64Array(4);
  launch(native.indexingRowPlan, { rows, units, perLane, out });
  const [lanes, chunk, chunks, blocks] = out;
  return { lanes, chunk, chunks, blocks };
}

function sumPlan(lines: number, n: number, size: number, processors = 132) {
  const out = new Float64Array(4);
  launch(native.indexingSumPlan, { lines, n, size, processors, out });
  const [destinations, chunks, shared, compares] = out;
  return { destinations, chunks, shared, compares: compares === 1 };
}

test('short rows share a warp, long ones get up to a block, then several', () => {
  for (const [units, lanes] of [
    [0, 1],
    [1, 1],
    [2, 2],
    [3, 4],
    [32, 32],
    [33, 32],
    [128, 32],
    [129, 64],
    [1024, 256],
    [100_000, 256],
  ]) {
    const p = rowPlan(1000, units, 4);
    expect(p.lanes).toBe(lanes);
    expect(p.chunk).toBe(lanes * 4);
    expect(p.chunks).toBe(Math.max(1, Math.ceil(units / p.chunk)));
    expect(p.blocks).toBe(Math.ceil(1000 / (256 / lanes)) * p.chunks);
  }
  expect(rowPlan(0, 16, 4).blocks).toBe(0);
});

test('more destinations a block where that leaves every processor two blocks', () => {
  expect(sumPlan(1, 1000, 100_000)).toMatchObject({ destinations: 256, chunks: 391 });
  expect(sumPlan(1, 1000, 2048 * 264)).toMatchObject({ destinations: 2048, chunks: 264 });
  expect(sumPlan(300, 1000, 5000)).toMatchObject({ destinations: 2048, chunks: 3 });
  expect(sumPlan(1, 1000, 0).chunks).toBe(1); // the indices are still checked
  // Fits a block of every device, with its counts by warp.
  expect(sumPlan(1, 1000, 1 << 24).shared).toBe(8 * 2048 * 4 + 96);
});

test('scatterAdd compares indices in short lines and sorts long ones', () => {
  expect(sumPlan(1, 32, 10).compares).toBe(true);
  expect(sumPlan(1, 33, 10).compares).toBe(false);
  expect(sumPlan(1, 1000, 128_000).compares).toBe(true); // 500 blocks would read 1000 indices twice
  expect(sumPlan(1, 1001, 128_000).compares).toBe(false);
});

test('beyond 2^31 elements, rows and destinations', () => {
  expect(rowPlan(2 ** 20, 4096, 4)).toMatchObject({ lanes: 256, chunks: 4, blocks: 2 ** 22 });
  expect(rowPlan(2 ** 32 + 1, 1, 4).blocks).toBe(2 ** 24 + 1);
  expect(rowPlan(2, 2 ** 32, 4)).toMatchObject({ chunks: 2 ** 22, blocks: 2 ** 23 });
  expect(sumPlan(1, 2 ** 33, 2 ** 33)).toMatchObject({ destinations: 2048, chunks: 2 ** 22 });
  expect(sumPlan(2 ** 32, 2, 300)).toMatchObject({ chunks: 2, compares: true });
});
