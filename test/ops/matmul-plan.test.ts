// Launch decisions of the CUDA matrix products: which kernel, which tile, how many parts of a sum.
import { expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const [float32, float64, float16, bfloat16] = [0, 1, 2, 3]; // DType in native/core/dtype.h
const [plain, tensorCores, warpgroups] = [0, 1, 2];

interface Problem {
  dtype?: number;
  m: number;
  n: number;
  k: number;
  batch?: number;
  transposeA?: boolean;
  processors?: number;
  /** wgmma can be had, and the copy engine can fetch both operands. */
  wide?: boolean;
}

function plan(problem: Problem) {
  const out = new Float64Array(6);
  const defaults = { dtype: bfloat16, batch: 1, transposeA: false, processors: 132, wide: false };
  launch(native.matmulPlan, { ...defaults, ...problem, out });
  const [kernel, tileM, tileN, parts, part, blocks] = out;
  return { kernel, tile: [tileM, tileN], parts, part, blocks };
}

test('the kernel is a matter of the dtype', () => {
  const size = { m: 4096, n: 4096, k: 4096 };
  for (const [dtype, kernel] of [
    [float32, plain],
    [float64, plain],
    [float16, tensorCores],
    [bfloat16, tensorCores],
  ])
    expect(plan({ ...size, dtype }).kernel).toBe(kernel);
});

test('wgmma wherever it can be had, whatever m: a row has the same bits in any batch', () => {
  for (const dtype of [float16, bfloat16])
    for (const m of [1, 64, 300, 8192])
      expect(plan({ dtype, m, n: 4096, k: 4096, wide: true }).kernel).toBe(warpgroups);
  for (const dtype of [float32, float64])
    expect(plan({ dtype, m: 4096, n: 4096, k: 4096, wide: true }).kernel).toBe(plain);
});

test('pairs of blocks for large outputs, as many as fit the device', () => {
  for (const [m, n, batch, tile, blocks] of [
    [8192, 4096, 1, [256, 256], 132],
    [2048, 1280, 1, [256, 256], 80], // 40 tiles
    [1024, 1024, 1, [64, 128], 128],
    [1024, 1024, 3, [256, 256], 96],
    [128, 1 << 20, 1, [64, 128], 264], // one of two blocks would have no rows
    [1 << 20, 128, 1, [64, 128], 264],
    [1, 1, 1, [64, 128], 1],
  ] as [number, number, number, number[], number][]) {
    expect(plan({ m, n, k: 4096, batch, wide: true })).toMatchObject({ tile, blocks });
  }
  expect(plan({ m: 8192, n: 8192, k: 64, wide: true, processors: 131 }).blocks).toBe(130);
  expect(plan({ m: 8192, n: 8192, k: 64, wide: true, processors: 1 }).blocks).toBe(2);
});

test('large tiles where they give every processor a block', () => {
  for (const [m, n, batch, tile] of [
    [8192, 4096, 1, 128],
    [1536, 1408, 1, 128], // 12 x 11 tiles: 132
    [1408, 1408, 1, 64],
    [128, 128, 132, 128],
    [64, 1 << 20, 1, 64], // half of a large tile would be padding
    [1 << 20, 64, 1, 64],
    [1, 1, 1, 64],
  ]) {
    const p = plan({ m, n, k: 512, batch });
    expect(p.tile).toEqual([tile, tile]);
    expect(p.blocks).toBe(Math.ceil(m / tile) * Math.ceil(n / tile) * batch);
  }
  // Twice the bytes: the sums of a large tile would not fit the registers.
  expect(plan({ dtype: float64, m: 8192, n: 8192, k: 64 }).tile).toEqual([64, 64]);
});

test('without a transposed left operand, the parts depend on n and k only', () => {
  for (const [n, k, parts] of [
    [4096, 65536, 1],
    [65, 65536, 1],
    [64, 4096, 1],
    [64, 4097, 2],
    [1, 1 << 20, 64],
    [1, 65536, 16],
  ]) {
    for (const m of [1, 100, 8192])
      for (const batch of [1, 3])
        for (const processors of [1, 132])
          expect(plan({ m, n, k, batch, processors }).parts).toBe(parts);
  }
});

test('sums over the batch are cut until every processor has a part', () => {
  for (const [m, n, k, parts] of [
    [512, 512, 65536, 8], // 16 tiles
    [512, 512, 4096, 4], // no part below 1024
    [512, 512, 1000, 1],
    [4096, 4096, 65536, 1],
    [64, 64, 1 << 20, 64],
  ])
    expect(plan({ m, n, k, transposeA: true }).parts).toBe(parts);
});

test('parts cover k, in whole steps', () => {
  for (const k of [0, 1, 63, 64, 65, 4097, 10_000, 123_457]) {
    for (const problem of [
      { m: 40, n: 40, k, transposeA: true },
      { m: 40, n: 3, k },
      { m: 40, n: 3, k, wide: true },
    ]) {
      const p = plan(problem);
      expect(p.part % 64).toBe(0);
      expect(p.parts * p.part).toBeGreaterThanOrEqual(k);
      expect((p.parts - 1) * p.part).toBeLessThan(Math.max(1, k));
      expect(p.blocks).toBe(p.parts);
    }
  }
});

test('beyond 2^31 elements', () => {
  const tiles = (m: number, n: number, [rows, columns]: number[]) =>
    Math.ceil(m / rows) * Math.ceil(n / columns);
  for (const dtype of [float32, bfloat16]) {
    const { tile, parts, blocks } = plan({ m: 2 ** 20, n: 4100, k: 64, dtype });
    expect(blocks).toBe(tiles(2 ** 20, 4100, tile) * parts);
    const long = plan({ m: 8, n: 8, k: 2 ** 32 + 1, dtype });
    expect(long.parts * long.part).toBeGreaterThanOrEqual(2 ** 32 + 1);
  }
  const persistent = plan({ m: 2 ** 20, n: 2 ** 20, k: 64, wide: true });
  expect(persistent.blocks).toBeLessThanOrEqual(2 * 132);
});
