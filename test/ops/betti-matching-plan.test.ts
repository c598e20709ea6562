// What the crop kernel of Betti matching takes, and where its lists lie.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const names = ['fits', 'blocks', 'threads', 'bytes', 'listsShared', 'capacity'] as const;
const devices = {
  h100: { shared: 227 * 1024, sharedPerSm: 228 * 1024, processors: 132 },
  a100: { shared: 163 * 1024, sharedPerSm: 164 * 1024, processors: 108 },
  small: { shared: 99 * 1024, sharedPerSm: 100 * 1024, processors: 84 },
  t4: { shared: 64 * 1024, sharedPerSm: 64 * 1024, processors: 40 },
};

function plan(
  spatial: number[],
  device: keyof typeof devices = 'h100',
  images = 256,
  padded = false,
) {
  const out = new Float64Array(names.length);
  const fields = { spatial, padded, images, head: 96, ...devices[device], out };
  launch(native.bettiMatchingPlan, fields);
  return Object.fromEntries(names.map((name, i) => [name, out[i]])) as Record<
    (typeof names)[number],
    number
  >;
}

describe('crops that fit', () => {
  test.each([
    [[1], true],
    [[1, 1], true],
    [[64, 64], true],
    [[1, 64, 64], true],
    [[64, 1, 64], true],
    [[66, 66], true],
    [[67, 66], false],
    [[30, 142], true],
    [[30, 143], false],
    [[1539], true],
    [[1540], false],
    [[2, 2, 2], false],
    [[100_000, 100_000], false],
    [[2 ** 40], false],
  ] as [number[], boolean][])('%j: %s', (spatial, fits) => {
    expect(plan(spatial).fits).toBe(Number(fits));
  });

  test('padding makes them larger', () => {
    expect(plan([64, 64], 'h100', 1, true).fits).toBe(1);
    expect(plan([65, 64], 'h100', 1, true).fits).toBe(0);
    // An axis of length 1 becomes one of 3.
    expect(plan([8, 8, 1], 'h100', 1, true).fits).toBe(0);
  });
});

describe('shared memory', () => {
  test('lists stay there where two blocks fit a processor', () => {
    expect(plan([48, 48])).toMatchObject({ fits: 1, listsShared: 1, blocks: 256, threads: 256 });
    expect(plan([48, 48]).bytes).toBeLessThan(114 * 1024 - 1024);
    expect(plan([64, 64])).toMatchObject({ fits: 1, listsShared: 0 });
    expect(plan([48, 48], 'a100')).toMatchObject({ fits: 1, listsShared: 0 });
  });
  test('or where there are few images', () => {
    expect(plan([64, 64], 'h100', 132)).toMatchObject({ listsShared: 1, blocks: 132 });
    expect(plan([64, 64], 'h100', 133)).toMatchObject({ listsShared: 0, blocks: 133 });
    // 66 x 66 with lists is more than an A100 has.
    expect(plan([64, 64], 'a100', 4, true)).toMatchObject({ fits: 1, listsShared: 0, blocks: 4 });
  });
  test('on smaller devices', () => {
    expect(plan([64, 64], 'small')).toMatchObject({ fits: 1, listsShared: 0 });
    expect(plan([48, 48], 't4').fits).toBe(1);
    expect(plan([64, 64], 't4').fits).toBe(0);
  });
  test('no more blocks than are resident', () => {
    expect(plan([48, 48], 'h100', 100_000).blocks).toBe(2 * 132);
    expect(plan([64, 64], 'h100', 100_000).blocks).toBe(2 * 132);
    expect(plan([8, 8], 'h100', 100_000).blocks).toBe(8 * 132);
    expect(plan([8, 8], 'h100', 0).blocks).toBe(0);
  });
  test('lists hold every entry there could be', () => {
    for (const [a, b] of [
      [1, 1],
      [1, 9],
      [9, 1],
      [2, 3],
      [17, 30],
      [64, 64],
    ]) {
      const vertices = Math.ceil(a / 2) * b;
      const squares = (a - 1) * (b - 1);
      expect(plan([a, b]).capacity).toBeGreaterThanOrEqual(vertices + squares);
      expect(plan([a, b]).capacity).toBeGreaterThanOrEqual(a * b);
    }
  });
});
