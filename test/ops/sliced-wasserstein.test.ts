// Transport along directions: as emd1d of the projections, gradients, random directions, bad input.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import golden from '../harness/golden/exact-transport.json' with { type: 'json' };
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { draw, tensors, uniforms } from '../harness/transport.js';

type T64 = sp.Tensor<'float64'>;
type Options = sp.SlicedWassersteinOptions;

/** The directions of make_exact_transport.py. */
function directionsOf(seed: number, d: number): T64 {
  const u = uniforms(seed + 10, 20 * d).map((v) => v - 0.5);
  return sp.normalize(floats(u, 'float64', [20, d]), { dim: 1 }) as T64;
}

test.each(golden.sliced)('of POT, p $p, $n and $m points, D $d', ({ n, m, d, p, seed, value }) => {
  const { x, y, a, b } = tensors(draw(n, m, d, seed));
  const directions = directionsOf(seed, d);
  expect(sp.slicedWasserstein(x, y, { a, b, p, directions }).item()).toBeCloseTo(value, 12);
});

test('is the mean of emd1d, in every dtype, for more lines than are held at once', () => {
  for (const dtype of ['float64', 'float32', 'bfloat16', 'float16'] as const) {
    const { x, y, a, b } = tensors(draw(30, 21, 4, 2), dtype);
    const options = { seed: 3, projections: 70 };
    const got = sp.slicedWasserstein(x, y, { ...options, a, b }).item();
    // The same directions, from the generator itself.
    sp.manualSeed(3);
    const wide = dtype === 'float64' ? 'float64' : 'float32';
    const theta = sp.normalize(sp.randn([70, 4], { dtype: wide }), { dim: 1 }).to('float64');
    const along = (t: AnyTensor) => sp.matmul(t.to('float64') as T64, theta, { transposeB: true });
    const [px, py] = [along(x), along(y)];
    const each = (w: AnyTensor, n: number) => sp.expand(w.to('float64'), [70, n]) as T64;
    const lines = sp.emd1d(sp.transpose(px, 0, 1) as T64, sp.transpose(py, 0, 1) as T64, {
      a: each(a, 30),
      b: each(b, 21),
    });
    expect(got).toBeCloseTo(lines.mean().item(), dtype === 'float64' ? 13 : 7);
  }
});

test('far from the origin float32 keeps its digits', () => {
  const far = draw(50, 40, 3, 4);
  for (const t of [far.x, far.y]) for (let i = 0; i < t.length; i++) t[i] += 1e4;
  const { x, y } = tensors(far, 'float32');
  const directions = directionsOf(1, 3);
  const exact = sp.slicedWasserstein(x.to('float64'), y.to('float64'), { directions }).item();
  const got = sp.slicedWasserstein(x, y, { directions: directions.to('float32') }).item();
  expect(Math.abs(got / exact - 1)).toBeLessThan(1e-5);
});

describe('gradients', () => {
  const unit = (w: T64) => w.div(w.sum({ dim: -1, keepDim: true })) as T64;
  test.each(isOnCpu ? [1, 1.5, 2] : [1.5])('of points and weights, p %d', (p) => {
    const { x, y, a, b } = tensors(
      isOnCpu ? draw(6, 5, 3, 9, 2) : draw(3, 2, 3, 9, 2),
      'float64',
      true,
    );
    const directions = directionsOf(2, 3);
    const f = (...[px, py, wa, wb]: T64[]) =>
      sp.slicedWasserstein(px, py, { p, directions, a: unit(wa), b: unit(wb) });
    expect(sp.gradcheck(f as never, [x, y, a, b], { atol: 1e-7, rtol: 1e-5 })).toBe(true);
  });

  test('in 16 bits, and of raw calls that forward was not told of', () => {
    const { x, y } = tensors(draw(20, 30, 2, 3), 'bfloat16', true);
    const directions = sp.normalize(sp.randn([40, 2]), { dim: 1 });
    sp.slicedWasserstein(x, y, { directions }).mul(3).backward();
    const wide = [x, y].map((t) => floats(read(t), 'float64', t.shape, true));
    const exact = { directions: directions.to('float64') };
    sp.slicedWasserstein(wide[0], wide[1], exact).mul(3).backward();
    for (const [k, t] of [x, y].entries()) {
      const expected = read(gradOf(wide[k]));
      for (const [i, g] of read(gradOf(t)).entries()) expect(g).toBeCloseTo(expected[i], 3);
    }
    const { saved } = sp.raw.slicedWasserstein.forward({ x, y, directions }) as { saved: unknown };
    const all = sp.raw.slicedWasserstein.backward(saved, sp.tensor(3), { y: true });
    const { y: dy } = all as Record<string, AnyTensor>;
    expectSameBits(bits(dy), bits(gradOf(y)), 'gradient');
  });

  test('descent brings one cloud to the other', () => {
    const { x, y } = tensors(draw(40, 40, 2, 6), 'float64', true);
    const value = () => sp.slicedWasserstein(x, y, { seed: 1 });
    const before = value().item();
    const optimiser = new sp.optim.SGD([x], { lr: 20 });
    for (let k = 0; k < (isOnCpu ? 50 : 9); k++) {
      optimiser.zeroGrad();
      sp.slicedWasserstein(x, y, { projections: 30, seed: k }).backward();
      optimiser.step();
    }
    expect(value().item()).toBeLessThan(before / (isOnCpu ? 20 : 2));
  });
});

describe('the same bits', () => {
  const both = (x: AnyTensor, y: AnyTensor, options: Options) => {
    x.zeroGrad();
    const loss = sp.slicedWasserstein(x, y, options);
    loss.sum().backward();
    return [bits(loss as AnyTensor), bits(gradOf(x))] as const;
  };

  test('for one seed, any number of threads, batched or alone', async () => {
    const before = sp.getThreads();
    for (const batch of [1, 3]) {
      const { x, y, a, b } = tensors(
        isOnCpu ? draw(70, 90, 3, 5, batch) : draw(20, 30, 3, 5, batch),
        'float32',
        true,
      );
      const options = { a: a.detach(), b: b.detach(), seed: 7 };
      sp.setThreads(1);
      const one = both(x, y, options);
      sp.setThreads(3);
      const other = both(x, y, options);
      for (const k of [0, 1]) expectSameBits(other[k], one[k], 'value and gradient');
      const later = await sp.slicedWasserstein.async(x, y, options);
      expectSameBits(bits(later as AnyTensor), one[0], 'value');
      sp.setThreads(before);
    }
    const { x, y } = tensors(draw(8, 9, 2, 5, 3), 'float32');
    const all = read(sp.slicedWasserstein(x, y, { seed: 2 }) as AnyTensor);
    const part = (t: AnyTensor, n: number) =>
      floats(read(t).subarray(2 * n, 4 * n), 'float32', [n, 2]);
    expect(sp.slicedWasserstein(part(x, 8), part(y, 9), { seed: 2 }).item()).toBe(all[1]);
  });

  test('after manualSeed, which without a seed goes on', () => {
    const { x, y } = tensors(draw(8, 9, 2, 5), 'float32');
    sp.manualSeed(5);
    const [first, second] = [0, 1].map(() => sp.slicedWasserstein(x, y).item());
    expect(second).not.toBe(first);
    sp.manualSeed(5);
    expect(sp.slicedWasserstein(x, y).item()).toBe(first);
    expect(sp.slicedWasserstein(x, y, { seed: 5 }).item()).toBe(first);
  });
});

test('equal clouds, one point, one feature, none in the batch', () => {
  const { x } = tensors(draw(8, 9, 3, 5), 'float32', true);
  const loss = sp.slicedWasserstein(x, x.clone());
  expect(loss.item()).toBe(0);
  loss.backward();
  expect(read(gradOf(x)).every((g) => g === 0)).toBe(true);
  const [p, q] = [sp.tensor([[0, 0]]), sp.tensor([[3, 4]])];
  expect(sp.slicedWasserstein(p, q, { directions: sp.tensor([[1, 0]]) }).item()).toBe(9);
  const [u, v] = [sp.rand([5, 1]), sp.rand([6, 1])];
  const flat = sp.emd1d(sp.squeeze(u, 1), sp.squeeze(v, 1)).item();
  expect(sp.slicedWasserstein(u, v).item()).toBeCloseTo(flat, 6);
  expect(sp.slicedWasserstein(sp.zeros([0, 3, 2]), sp.zeros([0, 2, 2])).shape).toEqual([0]);
});

test('bad input', () => {
  const refuses = refuser('slicedWasserstein');
  const [x, y] = [sp.rand([4, 3]), sp.rand([5, 3])];
  const by =
    (options: object, p: sp.Tensor = x, q: sp.Tensor = y) =>
    () =>
      sp.slicedWasserstein(p as never, q as never, options);
  refuses(by({}, sp.rand([3])), 'ERR_SHAPE', 'x', /\[B, N, D\]/);
  refuses(by({}, sp.zeros([0, 3])), 'ERR_SHAPE', 'at least one point');
  refuses(by({}, x, sp.rand([5, 2])), 'ERR_SHAPE', 'y', /\[5, 3\]/);
  refuses(by({ a: sp.ones([5]) }), 'ERR_SHAPE', /\ba\b/);
  refuses(by({ projections: 0 }), 'ERR_INVALID_VALUE', 'projections');
  refuses(by({ seed: -1 }), 'ERR_INVALID_VALUE', 'seed');
  refuses(by({ p: 0 }), 'ERR_INVALID_VALUE', /\bp\b/);
  refuses(by({ slices: 3 }), 'ERR_UNKNOWN_OPTION', "'slices'");
  refuses(by({ directions: sp.rand([4, 2]) }), 'ERR_SHAPE', 'directions', /\[4, 3\]/);
  refuses(by({ directions: sp.zeros([0, 3]) }), 'ERR_SHAPE', 'at least one direction');
  refuses(by({ directions: sp.rand([4, 3], { dtype: 'float64' }) }), 'ERR_DTYPE', 'float32');
  refuses(by({ directions: sp.rand([4, 3]), seed: 1 }), 'ERR_INVALID_VALUE', 'both');
  refuses(by({ directions: sp.full([1, 3], NaN) }), 'ERR_INVALID_VALUE', 'directions', 'NaN');
  refuses(by({ a: sp.ones([4]) }), 'ERR_INVALID_VALUE', 'same mass');
});
