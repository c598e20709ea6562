// What the CUDA form of emd1d and slicedWasserstein launches for which sizes.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { expectSameBits } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, gradOf } from '../harness/tensors.js';
import { draw, tensors } from '../harness/transport.js';
import { withWorkspace } from '../harness/workspace.js';

interface Sizes {
  n: number;
  m?: number;
  batch?: number;
  projections?: number;
  width?: number;
  element?: number;
  scratch?: number;
}

function launches({ n, m = n, ...given }: Sizes) {
  const sizes = { batch: 1, projections: 50, element: 4, ...given };
  const out = new Float64Array(10);
  launch(native.emd1dLaunches, { n, m, ...sizes, out });
  const [room, tiles, threads, merges, lineThreads, lanesX, lanesY] = out;
  const [lines, problems, bytes] = out.subarray(7);
  const lanes = [lanesX, lanesY];
  return { room, tiles, threads, merges, lineThreads, lanes, lines, problems, bytes };
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

test('no more problems at once than it has room for', () => {
  expect(launches({ n: 512, batch: 1000 })).toMatchObject({ problems: 1000 });
  for (const element of [4, 8]) {
    for (const projections of [1, 50]) {
      for (const [n, batch] of [
        [512, 1e5],
        [3, 1e8],
        [1e5, 1000],
      ]) {
        const one = launches({ n, batch, projections, element, width: 40 });
        expect([one.lines, one.problems < batch]).toEqual([1, true]);
        expect(one.bytes).toBeLessThanOrEqual(2 ** 28);
        expect(one.bytes).toBeGreaterThan(2 ** 27);
      }
    }
  }
  expect(launches({ n: 1e8, batch: 9 }).problems).toBe(1);
  expect(launches({ n: 100, batch: 9, scratch: 1 })).toMatchObject({ problems: 1, lines: 1 });
});

describe.skipIf(isOnCpu)('a batch that takes several turns', () => {
  const within = <R>(bytes: number, run: () => R) => withWorkspace(bytes, ['emd1d'], run);
  const [batch, n, m] = [5, 6, 4];

  test.each([1, 3])('has the same bits, %d features', (d) => {
    const options = d > 1 ? { seed: 3, projections: 11 } : {};
    const run = () => {
      const { x, y, a, b } = tensors(draw(n, m, d, 4, batch), 'float32', true);
      const flat = (t: sp.Tensor) => (d > 1 ? t : sp.squeeze(t, 2));
      const op = (d > 1 ? sp.slicedWasserstein : sp.emd1d) as typeof sp.slicedWasserstein;
      const value = op(flat(x) as never, flat(y) as never, { ...options, a, b });
      value.sum().backward();
      return [value as AnyTensor, ...[x, y, a, b].map(gradOf)].map(bits);
    };
    const all = run();
    const sizes = { n, m, batch, width: d, projections: d > 1 ? 11 : 1 };
    const { bytes } = launches({ ...sizes, batch: 2, projections: 1 });
    expect(launches({ ...sizes, scratch: bytes }).problems).toBe(2);
    for (const workspace of [1, bytes])
      for (const [k, part] of within(workspace, run).entries())
        expectSameBits(part, all[k], `${workspace} bytes, output ${k}`);
  });

  test('tells of bad values by their places in all of it', () => {
    const refuses = refuser('emd1d');
    const run = (change: { x?: number; a?: number }) => () =>
      within(1, () => {
        const [x, a] = [new Float32Array(batch * n).fill(1), new Float32Array(batch * n).fill(1)];
        if (change.x !== undefined) x[3 * n + 1] = change.x;
        if (change.a !== undefined) a[2 * n + 1] = change.a;
        const shape = [batch, n];
        const weights = { a: sp.tensor(a, { shape }), b: sp.full([batch, m], n / m) };
        sp.emd1d(sp.tensor(x, { shape }) as sp.Tensor, sp.zeros([batch, m]), weights);
      });
    // Points before weights, whichever turn has them.
    refuses(run({ x: Number.NaN, a: -1 }), 'ERR_INVALID_VALUE', 'x', `NaN at point ${3 * n + 1}`);
    refuses(run({ a: -1 }), 'ERR_INVALID_VALUE', `-1 at ${2 * n + 1}`);
    refuses(run({ a: 9 }), 'ERR_INVALID_VALUE', 'same mass', 'in problem 2');
  });
});
