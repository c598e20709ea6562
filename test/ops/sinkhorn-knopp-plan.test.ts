// What the CUDA form of sinkhornKnopp launches for which sizes.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const h100 = { processors: 132, shared: 227 * 1024 };
const a100 = { processors: 108, shared: 163 * 1024 };

interface Sizes {
  n: number;
  m?: number;
  batch?: number;
  iterations?: number;
  gradient?: boolean;
  element?: number;
}

function launches({ n, m = n, ...given }: Sizes, device = h100) {
  const sizes = { batch: 1, iterations: 20, gradient: false, element: 4, ...given };
  const out = new Float64Array(15);
  launch(native.sinkhornKnoppLaunches, { n, m, ...sizes, ...device, out });
  const [lanes, threads, each, blocks, count, chunks, held, kept, shared] = out;
  const [scratch, logBlocks, logCount, logTogether, most, logScratch] = out.subarray(9);
  expect(shared).toBeLessThanOrEqual(device.shared);
  // Blocks that wait for each other fit the device at once.
  if (blocks > 1) expect(blocks * count).toBeLessThanOrEqual(device.processors);
  expect(count % (threads / each)).toBe(0);
  expect(threads % 32).toBe(0);
  return {
    lanes: lanes === 1,
    threads,
    each,
    blocks,
    count,
    chunks,
    held: held === 1,
    kept: kept === 1,
    scratch,
    logs: { blocks: logBlocks, count: logCount, together: logTogether === 1 },
    logScratch,
    most,
  };
}

test('a thread has a matrix of up to 4 x 4 while its steps fit in shared memory', () => {
  expect(launches({ n: 4, batch: 1e6 }).lanes).toBe(true);
  expect(launches({ n: 3, m: 4, gradient: true }).lanes).toBe(true);
  expect(launches({ n: 4, gradient: true, iterations: 100 }).lanes).toBe(true);
  expect(launches({ n: 4, gradient: true, iterations: 200 }).lanes).toBe(false);
  expect(launches({ n: 4, iterations: 200 }).lanes).toBe(true);
  expect(launches({ n: 5 }).lanes).toBe(false);
});

describe('lanes of a warp', () => {
  test.each([
    [5, 8, 128],
    [8, 8, 128],
    [16, 16, 128],
    [32, 32, 128],
  ])('%d: %d of a block of %d', (n, each, threads) => {
    expect(launches({ n, batch: 1000 })).toMatchObject({ each, threads, held: true, kept: true });
  });
  test('fewer in a block where backward keeps much, and in scratch where it keeps too much', () => {
    expect(launches({ n: 32, gradient: true, batch: 99 })).toMatchObject({
      threads: 64,
      kept: true,
    });
    const long = launches({ n: 32, gradient: true, iterations: 1000, batch: 1e6 });
    expect(long).toMatchObject({ held: true, kept: false });
    expect(long.count).toBeLessThanOrEqual(132 * 8 * 4);
  });
});

describe('blocks', () => {
  test.each([
    [40, 64],
    [100, 128],
    [200, 256],
  ])('%d: one of %d threads', (n, threads) => {
    expect(launches({ n })).toMatchObject({ threads, blocks: 1, held: true });
  });
  test('large matrices lie in the shared memory of as many as hold them, or of all', () => {
    expect(launches({ n: 1024 })).toMatchObject({ blocks: 64, chunks: 1, held: true });
    const many = launches({ n: 1024, batch: 1000 });
    expect(many).toMatchObject({ held: true });
    expect(many.blocks).toBeLessThan(64);
    expect(many.count * many.blocks).toBeGreaterThan(66);
    expect(launches({ n: 1024, batch: 1000 }, a100).held).toBe(true);
    expect(launches({ n: 8192 })).toMatchObject({ blocks: 128, held: false, count: 1 });
  });
});

describe('scratch memory', () => {
  const MiB = 2 ** 20;
  // 256 MiB, counters and extents.
  const limit = 257 * MiB;
  test.each([
    [{ n: 32, gradient: true, iterations: 1000, batch: 1e6 }],
    [{ n: 8, gradient: true, iterations: 1e4, batch: 1e6 }],
    [{ n: 100, gradient: true, iterations: 1e4, batch: 1e4 }],
    [{ n: 300, gradient: true, iterations: 1e4, batch: 1e4, element: 8 }],
    [{ n: 1024, gradient: true, iterations: 1000, batch: 1000 }],
    [{ n: 1024, batch: 1000, element: 8 }],
  ] as [Sizes][])('%o: no more matrices at once than it has room for', (sizes) => {
    const now = launches(sizes);
    expect(now.count).toBeGreaterThan(now.threads / now.each - 1);
    expect(now.most).toBeLessThan(limit);
    expect(launches(sizes, a100).most).toBeLessThan(limit);
  });
  test('one matrix is always in work, whatever it takes', () => {
    const long = launches({ n: 200, gradient: true, iterations: 1e6, batch: 50 });
    expect([long.count, long.logs.count]).toEqual([1, 1]);
    expect(long.most).toBeGreaterThan(limit);
    const lanes = launches({ n: 8, gradient: true, iterations: 1e7, batch: 50 });
    expect([lanes.count, lanes.threads]).toEqual([4, 32]);
  });
  test.each([
    { n: 4, batch: 1e6 },
    { n: 100, batch: 50 },
    { n: 300, m: 4000, batch: 3 },
  ])('of a forward does not depend on the number of iterations, %o', (sizes) => {
    const [few, many] = [1, 1e6].map((iterations) => launches({ ...sizes, iterations }));
    expect([many.scratch, many.logScratch, many.most]).toEqual([
      few.scratch,
      few.logScratch,
      few.most,
    ]);
    const back = launches({ ...sizes, iterations: 1000, gradient: true });
    expect(back.logScratch).toBeGreaterThan(few.logScratch);
  });
  test('where steps take the room of most, as many blocks as hold it share each of the others', () => {
    const long = launches({ n: 512, gradient: true, iterations: 2000, batch: 1000 });
    expect(long.count).toBeLessThan(40);
    expect(long.blocks * long.count).toBeGreaterThan(66);
  });
  test('is that of the greediest stage, not of all', () => {
    const wide = launches({ n: 20000, element: 8 });
    const { scratch, most } = launches({ n: 20000 });
    expect(most).toBe(wide.scratch);
    expect(scratch).toBeGreaterThan(1.6e9);
    expect(most).toBeLessThan(3.3e9);
  });
});

test('by logarithms a block has a small matrix; large ones are shared by all blocks', () => {
  const logs = (sizes: Sizes) => launches(sizes).logs;
  expect(logs({ n: 4, batch: 1e6 })).toEqual({ blocks: 264, count: 264, together: false });
  expect(logs({ n: 100, batch: 3 })).toEqual({ blocks: 3, count: 3, together: false });
  expect(logs({ n: 1024 })).toEqual({ blocks: 128, count: 1, together: true });
  expect(logs({ n: 4096, batch: 8 })).toEqual({ blocks: 264, count: 8, together: true });
  const back = logs({ n: 4096, batch: 8, gradient: true });
  expect(back).toEqual({ blocks: 264, count: 1, together: true });
});
