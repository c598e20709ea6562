// Losses of segmentations that take few large images one after the other, each on all threads, and
// many side by side: equal bits either way.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { type AnyTensor, bits, floats } from '../harness/tensors.js';

const [rows, columns] = [130, 140];
const size = rows * columns;
const random = new Random(5);
/** Blobs of three classes, a few pixels wide. */
const field = random.normals(Math.ceil(2 * size));
const smooth = Array.from(field, (_, i) => {
  let sum = 0;
  for (const d of [0, 1, 2, 3, columns, columns + 2, 2 * columns, 3 * columns]) {
    sum += field[(i + d) % field.length];
  }
  return sum;
});
const ids = smooth.map((v) => (v < 0 ? 0 : v < 2 ? 1 : 2));
const labels = sp.tensor(ids, { shape: [2, rows, columns], dtype: 'int32' });
const logits = floats(
  Array.from({ length: 4 * size }, (_, i) => {
    const [at, channel] = [
      Math.floor(i / (2 * size)) * size + (i % size),
      Math.floor(i / size) % 2,
    ];
    return channel === 0 ? 0.5 : smooth[(at + 3) % (2 * size)];
  }),
  'float32',
  [2, 2, rows, columns],
);
const two = sp.minimum(labels, 1);

test.each([
  ['regionWiseMap', () => sp.regionWiseMap(sp.eq(two, 1).reshape([2, 1, rows, columns]))],
  ['warpingLoss', () => sp.warpingLoss(logits as never, two, { reduction: 'none' })],
  ['skeletonize', () => sp.skeletonize(labels, { perClass: true })],
] as [string, () => AnyTensor][])('%s', (name, make) => {
  const before = sp.getThreads();
  try {
    const [one, ...others] = [1, 3, 4, 9].map((threads) => {
      sp.setThreads(threads);
      return make();
    });
    expect([...one.dataSync()].some((x) => Number(x) > 0)).toBe(true);
    for (const other of others) expectSameBits(bits(other as never), bits(one as never), name);
  } finally {
    sp.setThreads(before);
  }
});
