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
  const out = new Float64Array(9);
  launch(native.sinkhornKnoppLaunches, { n, m, ...sizes, ...device, out });
  const [lanes, threads, each, blocks, count, chunks, held, kept, shared] = out;
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
