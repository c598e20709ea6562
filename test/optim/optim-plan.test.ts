// Launch decisions of the CUDA optimisers and generators: blocks for elements, arrays of blocks.
import { expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

function plan(sizes: number[], block: number, sums = false) {
  const out = new Float64Array(3);
  launch(native.optimiserPlan, { sizes, block, sums, out });
  const [array, begin, blocks] = out;
  return { array, begin, blocks };
}

test('a block finds its array and where in it', () => {
  const sizes = [1, 1024, 1025, 5000];
  expect(plan(sizes, 0)).toEqual({ array: 0, begin: 0, blocks: 9 });
  expect(plan(sizes, 1)).toMatchObject({ array: 1, begin: 0 });
  expect(plan(sizes, 3)).toMatchObject({ array: 2, begin: 1024 });
  expect(plan(sizes, 8)).toMatchObject({ array: 3, begin: 4096 });
  expect(plan(sizes, 3, true)).toEqual({ array: 3, begin: 0, blocks: 4 });
});

test('arrays beyond 2^31 elements', () => {
  const sizes = [2 ** 32 + 1, 7, 2 ** 33];
  expect(plan(sizes, 2 ** 22)).toEqual({ array: 0, begin: 2 ** 32, blocks: 2 ** 22 + 2 + 2 ** 23 });
  expect(plan(sizes, 2 ** 22 + 1)).toMatchObject({ array: 1, begin: 0 });
  expect(plan(sizes, 3 * 2 ** 22 + 1)).toMatchObject({ array: 2, begin: 2 ** 33 - 1024 });
  expect(plan(sizes, 2 ** 19, true)).toMatchObject({ array: 0, begin: 2 ** 32 });
});

test('random numbers: four of a thread, two of 8 bytes', () => {
  const blocks = (n: number, each: number) => {
    const out = new Float64Array(1);
    launch(native.randomPlan, { n, each, out });
    return out[0];
  };
  expect([blocks(0, 4), blocks(1, 4), blocks(1024, 4), blocks(1025, 4)]).toEqual([0, 1, 1, 2]);
  expect(blocks(2 ** 32 + 1, 4)).toBe(2 ** 22 + 1);
  expect(blocks(2 ** 32 + 1, 2)).toBe(2 ** 23 + 1);
});
