// What the CUDA form of emd1d and slicedWasserstein launches for which sizes.
import { expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

interface Sizes {
  n: number;
  m?: number;
  batch?: number;
  projections?: number;
  element?: number;
}

function launches({ n, m = n, ...given }: Sizes) {
  const sizes = { batch: 1, projections: 50, element: 4, ...given };
  const out = new Float64Array(8);
  launch(native.emd1dLaunches, { n, m, ...sizes, out });
  const [room, tiles, threads, merges, lineThreads, lanesX, lanesY, lines] = out;
  return { room, tiles, threads, merges, lineThreads, lanes: [lanesX, lanesY], lines };
}

test.each([
  [1, 2, 1, 32, 0],
  [100, 128, 1, 64, 0],
  [2048, 2048, 1, 512, 0],
  [2049, 2048, 2, 512, 1],
  [4097, 2048, 3, 512, 2],
  [1e6, 2048, 489, 512, 9],
])('%d points: room for %d, %d tiles, %d threads, %d merges', (n, room, tiles, threads, merges) => {
  expect(launches({ n })).toMatchObject({ room, tiles, threads, merges });
});

test('a block has a line, and points that meet many of the other side a warp', () => {
  expect(launches({ n: 20, m: 64 })).toMatchObject({ lineThreads: 32, lanes: [1, 1] });
  expect(launches({ n: 20, m: 500 })).toMatchObject({ lineThreads: 128, lanes: [32, 1] });
  expect(launches({ n: 1e5, m: 10 })).toMatchObject({ lineThreads: 256, lanes: [1, 32] });
});

test('as many lines at once as scratch memory has room for', () => {
  expect(launches({ n: 1000 }).lines).toBe(50);
  expect(launches({ n: 10, projections: 1000 }).lines).toBe(256);
  expect(launches({ n: 1e5, projections: 1000 }).lines).toBeLessThan(30);
  expect(launches({ n: 1e8 }).lines).toBe(1);
});
