// Launch decisions of the CUDA forms of cast, strided copies and elementwise functions.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';
import { stridesOf } from '../../src/shape.js';

const dtypes = ['float32', 'float64', 'float16', 'bfloat16', 'int32', 'int64', 'uint8', 'bool'];

describe('cast', () => {
  const plan = (from: string, to: string, n = 1 << 20, aligned = true) => {
    const out = new Float64Array(3);
    const numbers = { n, from: dtypes.indexOf(from), to: dtypes.indexOf(to) };
    launch(native.castPlan, { ...numbers, aligned, out });
    return { pack: out[0], packs: out[1], blocks: out[2] };
  };

  test.each([
    ['float32', 'bfloat16', 4],
    ['bfloat16', 'float32', 4],
    ['float16', 'bfloat16', 8],
    ['uint8', 'bool', 16],
    ['uint8', 'float64', 2],
    ['float64', 'float16', 2],
  ])('%s to %s moves %d elements an access', (from, to, pack) => {
    const { pack: chosen, packs, blocks } = plan(from, to);
    expect(chosen).toBe(pack);
    expect(blocks).toBe(2 ** 20 / (256 * pack * packs));
  });

  test('any address, any size', () => {
    expect(plan('float32', 'bfloat16', 1000, false)).toEqual({ pack: 1, packs: 1, blocks: 4 });
    expect(plan('float32', 'bfloat16', 1).blocks).toBe(1);
    expect(plan('float32', 'bfloat16', 0).blocks).toBe(0);
    expect(plan('float32', 'bfloat16', 2 ** 40).blocks).toBe(2 ** 28);
  });
});

describe('strided copy', () => {
  const hows = ['packs', 'spread', 'tiles'];
  /** `strides` of the source; the result is contiguous. */
  const plan = (shape: number[], aStrides: number[], width = 2, aAddress = 0, outAddress = 0) => {
    const out = new Float64Array(4);
    const outStrides = stridesOf(shape);
    const addresses = { aAddress, outAddress };
    launch(native.stridedCopyPlan, { shape, aStrides, outStrides, width, ...addresses, out });
    return { how: hows[out[0]], pack: out[1], across: out[2], blocks: out[3] };
  };

  test('heads in front of tokens: rows of 64 move in 16 bytes', () => {
    const shape = [4, 12, 128, 64];
    const strides = [12 * 128 * 64, 64, 12 * 64, 1];
    expect(plan(shape, strides)).toMatchObject({ how: 'packs', pack: 8 });
    expect(plan(shape, strides).blocks).toBe((4 * 12 * 128 * 64) / 8 / 1024);
    expect(plan(shape, strides, 8)).toMatchObject({ how: 'packs', pack: 2 });
  });

  test('a pack divides sizes, strides and addresses', () => {
    const rows = (n: number, pitch: number, a = 0, out = 0) => plan([10, n], [pitch, 1], 2, a, out);
    expect(rows(64, 72).pack).toBe(8);
    expect(rows(64, 68).pack).toBe(4);
    expect(rows(64, 67).pack).toBe(1);
    expect(rows(12, 64).pack).toBe(4);
    expect(rows(64, 72, 8).pack).toBe(4);
    expect(rows(64, 72, 0, 2).pack).toBe(1);
  });

  test('transpositions go through tiles, narrow ones do not', () => {
    expect(plan([1000, 300], [1, 1000])).toEqual({
      how: 'tiles',
      pack: 1,
      across: 0,
      blocks: 16 * 5,
    });
    expect(plan([1000, 300], [1, 1000], 8).blocks).toBe(32 * 10);
    expect(plan([7, 1000, 300], [300000, 1, 1000])).toMatchObject({ how: 'tiles', across: 1 });
    expect(plan([1000, 3], [1, 1000]).how).toBe('packs');
    expect(plan([3, 1000], [1, 3]).how).toBe('packs');
  });

  test('beyond 2^31 elements', () => {
    expect(plan([2 ** 26, 64], [72, 1]).blocks).toBe(2 ** 32 / 8 / 1024);
    expect(plan([3, 2 ** 31 + 1], [2 ** 32, 1], 1)).toMatchObject({
      pack: 1,
      blocks: 3 * 2 ** 21 + 1,
    });
    expect(plan([2 ** 20, 2 ** 20], [1, 2 ** 20])).toMatchObject({ how: 'tiles', blocks: 2 ** 28 });
  });

  test('a repeated element is read once', () => {
    expect(plan([100, 64], [1, 0])).toMatchObject({ how: 'spread', pack: 8, blocks: 1 });
    expect(plan([100, 63], [1, 0])).toMatchObject({ how: 'packs', pack: 1 });
  });
});

test('triangle: packs where rows are whole ones, any size', () => {
  const plan = (shape: number[], width: number, aligned = true) => {
    const out = new Float64Array(3);
    const [rows, cols] = shape.slice(-2);
    const size = shape.reduce((a, b) => a * b, 1);
    launch(native.trianglePlan, { size, rows, cols, width, aligned, out });
    return [...out];
  };
  expect(plan([10, 33, 64], 2)).toEqual([8, 10 * 33 * 8, 3]);
  expect(plan([10, 33, 63], 2)).toEqual([1, 10 * 33 * 63, 21]);
  expect(plan([10, 33, 64], 2, false)).toEqual([1, 10 * 33 * 64, 21]);
  expect(plan([2 ** 17, 2 ** 17], 2)).toEqual([8, 2 ** 31, 2 ** 21]);
  expect(plan([65, 2 ** 15, 2 ** 15 + 1], 1)[1]).toBe(65 * (2 ** 30 + 2 ** 15));
});

describe('elementwise', () => {
  const plan = (
    shape: number[],
    aShape: number[],
    bShape: number[],
    carrier: 'f32' | 'f64',
    aligned = true,
  ) => {
    const dtype = carrier === 'f32' ? 0 : 1;
    const plan = new Float64Array(3);
    launch(native.elementwisePlan, { shape, aShape, bShape, dtype, aligned, plan });
    return { packs: plan[0] === 1, broadcast: plan[1] === 1, blocks: plan[2] };
  };

  test('float32 in packs, float64 and odd addresses one by one', () => {
    const full = [64, 129];
    const packed = { packs: true, broadcast: false, blocks: Math.ceil((64 * 129) / 2048) };
    const plain = { packs: false, broadcast: false, blocks: Math.ceil((64 * 129) / 256) };
    expect(plan(full, full, full, 'f32')).toEqual(packed);
    expect(plan(full, full, [1], 'f32')).toEqual(packed);
    expect(plan(full, full, full, 'f32', false)).toEqual(plain);
    expect(plan(full, full, full, 'f64')).toEqual(plain);
  });

  test('beyond 2^31 elements', () => {
    const n = 2 ** 32 + 1;
    expect(plan([n], [n], [n], 'f32').blocks).toBe(2 ** 21 + 1);
    expect(plan([n], [n], [1], 'f64').blocks).toBe(2 ** 24 + 1);
    expect(plan([2 ** 20, 4096], [2 ** 20, 4096], [4096], 'f32')).toEqual({
      packs: true,
      broadcast: true,
      blocks: 2 ** 21,
    });
  });

  test('broadcast operands: in packs where rows are whole packs', () => {
    const bias = (n: number) => plan([32, n], [32, n], [n], 'f32');
    expect(bias(128)).toEqual({ packs: true, broadcast: true, blocks: 2 });
    expect(bias(126)).toEqual({
      packs: false,
      broadcast: true,
      blocks: Math.ceil((32 * 126) / 256),
    });
    // The axes of a column merge into one of 4096 rows; of the rest, the last.
    expect(plan([8, 512, 4], [8, 512, 4], [8, 512, 1], 'f32').packs).toBe(true);
    expect(plan([8, 4, 3], [8, 4, 3], [8, 1, 1], 'f32')).toMatchObject({ packs: true });
  });
});
