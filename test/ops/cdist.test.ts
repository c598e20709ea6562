// cdist against its definition: norms, batches, close points, gradients, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { type OperationCase, testOperation } from '../harness/operation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { cdist } from '../reference/cdist.js';

const norms = [1, 2, 1.5, 3, Infinity];
const shapes: [number[], number[], boolean?][] = [
  [[1, 1], [1, 1]],
  [[4, 3], [5, 3]],
  [[2, 3, 9], [2, 4, 9]],
  [[2, 1, 3, 2], [3, 4, 2]],
  [[130, 70], [140, 70], true],
  [[7, 300], [9, 300], true],
]; // biome-ignore format: pairs

const operation =
  (p: number) =>
  ([x, y, large]: (typeof shapes)[number]): OperationCase => ({
    name: `[${x}] to [${y}], p = ${p}`,
    inputs: { x, y },
    run: ({ x, y }) => sp.cdist(x, y, { p }) as AnyTensor,
    runAsync: ({ x, y }) => sp.cdist.async(x, y, { p }) as Promise<AnyTensor>,
    reference: (a) => cdist(a.x, a.y, p),
    terms: 32,
    gradientScale: 1,
    large,
  });

describe.each(norms)('p = %s', (p) => testOperation(shapes.map(operation(p))));

test('close points far from the origin lose no digits', () => {
  const random = new Random(3);
  const near = (n: number) =>
    roundAll(
      random.fill(n * 8, () => 1000 + random.normal(0, 1e-2)),
      'float32',
    );
  const [x, y] = [near(40), near(30)];
  x.set([-1000, 5000, 0, 0, 1, 2, 3, 4]);
  y.set(x.subarray(8, 16), 16);
  const d = read(sp.cdist(floats(x, 'float32', [40, 8]), floats(y, 'float32', [30, 8])) as never);
  const exact = cdist({ shape: [40, 8], values: [...x] }, { shape: [30, 8], values: [...y] }, 2);
  expectWithin(d, exact.values, (i) => 4e-6 * exact.values[i], 'distance');
  expect(d[1 * 30 + 2]).toBe(0);
});

test('the gradient at distance 0 is 0; p = 0 counts', () => {
  for (const p of [0, 1, 1.5, 2, Infinity]) {
    const x = sp.tensor([[1, 2], [3, 4]], { requiresGrad: true }); // biome-ignore format: a matrix
    x.cdist(sp.tensor([[1, 2]]), { p })
      .sum()
      .backward();
    expect(gradOf(x as never).toArray()[0]).toEqual([0, 0]);
  }
  expect(sp.cdist(sp.tensor([[1, 2, 3]]), sp.tensor([[1, 5, 6]]), { p: 0 }).item()).toBe(2);
  // Every largest difference has the whole gradient.
  const t = sp.tensor([[0, 0]], { requiresGrad: true });
  t.cdist(sp.tensor([[2, -2]]), { p: Infinity }).backward();
  expect(gradOf(t as never).toArray()).toEqual([[-1, 1]]);
});

test('NaN and infinity stay in their rows; a pair does not depend on its batch', () => {
  const x = sp.randn([3, 20, 6]);
  const y = sp.randn([3, 25, 6]);
  const alone = sp.cdist(x.slice(0, 1, 2), y.slice(0, 1, 2));
  expectSameBits(bits(alone as never), bits(sp.cdist(x, y).slice(0, 1, 2) as never), 'pair 1');
  const odd = sp.tensor([[1, NaN], [1, 2], [Infinity, 2]]); // biome-ignore format: a matrix
  expect(sp.cdist(odd, sp.tensor([[1, 2]])).toArray()).toEqual([[NaN], [0], [Infinity]]);
  expect(sp.cdist(sp.ones([0, 3]), sp.ones([2, 3])).shape).toEqual([0, 2]);
  expect(sp.cdist(sp.ones([2, 0]), sp.ones([2, 0])).toArray()).toEqual([[0, 0], [0, 0]]); // biome-ignore format: a matrix
});

test('refusals', () => {
  const refused = refuser('cdist');
  const x = sp.ones([4, 3]);
  refused(() => sp.cdist(x, sp.ones([4, 2])), 'ERR_SHAPE', 'the 3 numbers of x');
  refused(() => sp.cdist(sp.ones([3]), x), 'ERR_SHAPE', 'x to have shape [..., points, D]');
  refused(() => sp.cdist(sp.ones([2, 4, 3]), sp.ones([3, 4, 3])), 'ERR_SHAPE', 'broadcast');
  refused(() => sp.cdist(x, x, { p: -1 }), 'ERR_INVALID_VALUE', 'p');
  refused(() => sp.cdist(x, x, { p: NaN }), 'ERR_INVALID_VALUE', 'p');
  refused(() => sp.cdist(x, x.to('float64') as never), 'ERR_DTYPE', 'float32 and float64');
  refused(() => sp.cdist(x.to('int64'), x.to('int64')), 'ERR_DTYPE', 'int64');
});
