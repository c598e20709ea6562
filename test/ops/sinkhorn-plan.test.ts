// What the CUDA form launches for which sizes, on an H100 unless said.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const h100 = { processors: 132, shared: 227 * 1024 };
const a100 = { processors: 108, shared: 163 * 1024 };

interface Sizes {
  n: number;
  m?: number;
  batch?: number;
  depth?: number;
  debias?: boolean;
  element?: number;
  workspace?: number;
  dots?: boolean;
}

function launches({ n, m = n, ...given }: Sizes, device = h100) {
  const sizes = { batch: 1, depth: 3, debias: true, dots: false, element: 4, workspace: 2 ** 28 };
  Object.assign(sizes, given);
  const pairs = n * m + (sizes.debias ? n * n + m * m : 0);
  const heldBytes = sizes.batch * pairs * sizes.element;
  const out = new Float64Array(9);
  launch(native.sinkhornLaunches, { n, m, ...sizes, heldBytes, ...device, out });
  const [threads, cross, self, together, heldShared, held, shared, products, inTurn] = out;
  expect(shared).toBeLessThanOrEqual(device.shared);
  // Blocks that wait for each other fit the device at once.
  if (together) expect(sizes.batch * (cross + 2 * self)).toBeLessThanOrEqual(device.processors);
  else expect([cross, self]).toEqual([1, sizes.debias ? 1 : 0]);
  if (inTurn) expect([self, together]).toEqual([0, 1]);
  return {
    threads,
    cross,
    self,
    together: together === 1,
    heldShared: heldShared === 1,
    held: held === 1,
    products: products === 1,
    inTurn: inTurn === 1,
  };
}

describe('small problems, and batches', () => {
  test.each([
    [8, 1, 32],
    [32, 4096, 32],
    [64, 256, 128],
    [128, 1, 128],
    [200, 1, 256],
    [256, 1000, 256],
  ])('%d points, batch %d: a block of %d threads a term', (n, batch, threads) => {
    const got = launches({ n, batch });
    expect(got).toMatchObject({ threads, together: false, heldShared: n <= 200 });
  });

  test('scores are held in shared memory while they fit', () => {
    for (const [n, device, held] of [
      [192, a100, true],
      [200, a100, false],
      [230, h100, true],
      [240, h100, false],
    ] as const)
      expect(launches({ n }, device).heldShared).toBe(held);
    expect(launches({ n: 170, element: 8 }).heldShared).toBe(false);
    expect(launches({ n: 64, m: 700, debias: false }).heldShared).toBe(true);
  });
});

describe('large problems', () => {
  test.each([
    [300, true, 64, 38, 22],
    [1000, true, 64, 88, 22],
    [1000, false, 64, 125, 0],
    [2800, true, 256, 88, 22],
    [2900, true, 128, 132, 0],
    [4000, false, 128, 132, 0],
    [50000, true, 256, 132, 0],
    [50000, false, 256, 132, 0],
  ])('%d points, debiased %s: blocks of %d threads', (n, debias, threads, cross, self) => {
    const got = launches({ n, debias });
    expect(got).toMatchObject({ threads, cross, self, together: true, heldShared: false });
    expect(got.inTurn).toBe(debias && n >= 2900);
  });

  test('of a batch share the device while each gets some blocks', () => {
    expect(launches({ n: 2000, batch: 22 })).toMatchObject({ cross: 4, self: 1, together: true });
    expect(launches({ n: 2000, batch: 23 })).toMatchObject({ cross: 1, self: 1, together: false });
    expect(launches({ n: 2000, batch: 66, debias: false })).toMatchObject({ cross: 2 });
  });

  test('many features: scores are held where the workspace allows', () => {
    expect(launches({ n: 2000, depth: 15 }).held).toBe(false);
    expect(launches({ n: 2000, depth: 16 }).held).toBe(true);
    expect(launches({ n: 2000, depth: 16, workspace: 2 ** 25 }).held).toBe(false);
    expect(launches({ n: 8192, depth: 64, debias: false }).held).toBe(true);
    expect(launches({ n: 8193, depth: 64, debias: false }).held).toBe(false);
  });

  test('scores that are products, in many features: by tensor cores', () => {
    const dots = (n: number, depth: number, rest = {}, device = h100) =>
      launches({ n, depth, dots: true, workspace: 2 ** 40, ...rest }, device);
    expect(dots(512, 64)).toMatchObject({ products: false, held: true });
    expect(dots(513, 15).products).toBe(false);
    expect(dots(513, 16)).toMatchObject({ products: true, held: false, threads: 256 });
    expect(dots(513, 16)).toMatchObject({ cross: 25, self: 22, inTurn: false });
    expect(dots(50000, 64)).toMatchObject({ products: true, cross: 132, self: 0, inTurn: true });
    expect(dots(50000, 64, { dots: false })).toMatchObject({ products: false });
    expect(dots(50000, 64, { element: 8 }).products).toBe(false);
    expect(dots(2000, 64, { batch: 40 })).toMatchObject({ products: true, together: false });
    // The rows of a tile stay in shared memory.
    for (const [device, depth] of [
      [h100, 320],
      [a100, 192],
    ] as const) {
      expect(dots(4000, depth, {}, device).products).toBe(true);
      expect(dots(4000, depth + 1, {}, device).products).toBe(false);
    }
  });
});
