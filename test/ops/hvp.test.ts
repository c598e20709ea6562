// Second derivatives against differences of the gradient, symmetry, reports, bad input.
import { afterEach, describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { draw, exact, type Options, tensors, uniforms } from '../harness/transport.js';

type T64 = sp.Tensor<'float64'>;
const directions = (shape: readonly number[], seed = 9) =>
  floats(
    uniforms(
      seed,
      shape.reduce((s, n) => s * n, 1),
    ).map((u) => u - 0.5),
    'float64',
    shape,
  ) as T64;

/** (∇S(x + hv) - ∇S(x - hv)) / 2h */
function differences(x: T64, y: T64, v: T64, options: Options): Float64Array {
  const at = (h: number) => {
    const moved = (x.detach().add(v.mul(h)) as T64).detach().requiresGrad_();
    sp.sinkhornDivergence(moved, y, { ...exact, ...options })
      .sum()
      .backward();
    return read(gradOf(moved as AnyTensor));
  };
  const h = 1e-5;
  const [forth, back] = [at(h), at(-h)];
  return forth.map((g, i) => (g - back[i]) / (2 * h));
}

/** Without damping, solved to the end. */
const fine = { tolerance: 1e-13, maxIterations: 100000, damping: 0, solveTolerance: 1e-10 };

describe('is the difference of gradients', () => {
  test.each([
    ['debiased', {}],
    ['biased', { debias: false }],
    ['with reach', { reach: 0.7 }],
    ['with reach in x', { reach: { x: 0.6 }, debias: false }],
    ['with reach in y', { reach: { y: 0.6 } }],
  ] as [string, { debias?: boolean }][])('%s', (_, mode) => {
    for (const [n, m, d, batch] of [
      [6, 5, 2, 1],
      [5, 8, 3, 2],
      [4, 4, 40, 1],
      [1, 3, 2, 1],
    ]) {
      const { x, y, a, b } = tensors(draw(n, m, d, 4, batch));
      const v = directions(x.shape);
      const options = { ...mode, a, b, blur: d > 3 ? 1 : 0.3 };
      const wanted = differences(x as T64, y as T64, v, options);
      const got = sp.hvp(x as T64, y as T64, v, { ...fine, ...options });
      const size = Math.max(...wanted.map(Math.abs));
      for (const [i, h] of read(got.product as AnyTensor).entries())
        expect(Math.abs(h - wanted[i]) / size).toBeLessThan(1e-6);
      expect(got.residual).toBeLessThanOrEqual(1e-10);
    }
  });

  test('with the default damping nearly, and at a great offset', () => {
    const { x, y } = tensors(draw(12, 9, 2, 3));
    const v = directions(x.shape);
    const wanted = differences(x as T64, y as T64, v, { blur: 0.2 });
    const size = Math.max(...wanted.map(Math.abs));
    for (const offset of [0, 1e4]) {
      const [p, q] = [x.add(offset), y.add(offset)] as T64[];
      const got = sp.hvp(p, q, v, { blur: 0.2 });
      expect(got.converged).toBe(true);
      for (const [i, h] of read(got.product as AnyTensor).entries())
        expect(Math.abs(h - wanted[i]) / size).toBeLessThan(1e-2);
    }
  });
});

test('is symmetric, and linear', () => {
  const { x, y } = tensors(draw(9, 7, 3, 6));
  const [u, v] = [directions(x.shape, 1), directions(x.shape, 2)];
  const along = (p: T64, w: T64) => {
    const { product } = sp.hvp(x as T64, y as T64, w, { ...fine, blur: 0.2 });
    return read(product as AnyTensor).reduce((s, h, i) => s + h * read(p as AnyTensor)[i], 0);
  };
  expect(along(u, v)).toBeCloseTo(along(v, u), 8);
  expect(along(u, v.mul(3).add(u) as T64)).toBeCloseTo(3 * along(u, v) + along(u, u), 8);
});

test('a common translation of equal clouds is a bowl', () => {
  // S(x + t, x) = |t|²/2: along the translation the second derivative is the weights.
  const { x } = tensors(draw(8, 8, 2, 5));
  const v = sp.ones([8, 2], { dtype: 'float64' });
  const got = sp.hvp(x as T64, x as T64, v, { ...fine, blur: 0.3 });
  for (const h of read(got.product as AnyTensor)) expect(h).toBeCloseTo(1 / 8, 8);
});

test('float32, 16 bits, in background, a direction of 0', async () => {
  const { x, y } = tensors(draw(20, 15, 3, 3), 'float32');
  const v = directions(x.shape).to('float32');
  const options = { blur: 0.3, solveTolerance: 1e-4 };
  const got = sp.hvp(x, y, v as never, options);
  const wide = [x, y, v].map((t) => t.to('float64')) as T64[];
  const exactly = read(sp.hvp(wide[0], wide[1], wide[2], options).product as AnyTensor);
  const size = Math.max(...exactly.map(Math.abs));
  for (const [i, h] of read(got.product as AnyTensor).entries())
    expect(Math.abs(h - exactly[i]) / size).toBeLessThan(1e-2);
  const later = await sp.hvp.async(x, y, v as never, options);
  expectSameBits(bits(later.product as AnyTensor), bits(got.product as AnyTensor), 'product');
  expect(later.iterations).toBe(got.iterations);
  const none = sp.hvp(x, y, sp.zeros(x.shape) as never, options);
  expect(read(none.product as AnyTensor).every((h) => h === 0)).toBe(true);
  expect([none.iterations, none.residual]).toEqual([0, 0]);
  const half = [x, y, v].map((t) => t.to('bfloat16')) as never[];
  expect(sp.hvp(half[0], half[1], half[2], options).product.dtype).toBe('bfloat16');
});

test('says where it ended early', () => {
  const { x, y } = tensors(draw(30, 30, 2, 3));
  const v = directions(x.shape);
  const short = sp.hvp(x as T64, y as T64, v, { blur: 0.1, solveIterations: 2 });
  expect([short.converged, short.iterations]).toEqual([false, 2]);
  expect(short.residual).toBeGreaterThan(1e-6);
  expect(short.potentials.converged).toBe(true);
  const strict = { blur: 0.1, solveIterations: 2, strict: true };
  refuser('hvp')(() => sp.hvp(x as T64, y as T64, v, strict), 'ERR_NOT_CONVERGED', 'residual');
});

test('bad input', () => {
  const refuses = refuser('hvp');
  const [x, y] = [sp.rand([4, 3]), sp.rand([5, 3])];
  const by =
    (v: unknown, options: object = {}, q: sp.Tensor = y) =>
    () =>
      sp.hvp(x, q as never, v as never, options);
  refuses(by(y), 'ERR_SHAPE', /\bv\b/, /\[4, 3\]/);
  refuses(by(x, {}, sp.rand([5, 2])), 'ERR_SHAPE', 'y');
  refuses(by(x.to('float64')), 'ERR_DTYPE', 'float64');
  refuses(by(3), 'ERR_INVALID_TYPE', /\bv\b/);
  refuses(by(x, { p: 1 }), 'ERR_UNKNOWN_OPTION', "'p'");
  refuses(by(x, { damping: -1 }), 'ERR_INVALID_VALUE', 'damping');
  refuses(by(x, { solveTolerance: 0 }), 'ERR_INVALID_VALUE', 'solveTolerance');
  refuses(by(x, { solveIterations: 0.5 }), 'ERR_INVALID_VALUE', 'solveIterations');
  refuses(by(x, { debias: 1 }), 'ERR_INVALID_TYPE', 'debias');
  refuses(by(x, { blur: 1n }), 'ERR_INVALID_TYPE', 'blur', '1n');
  refuses(by(x, { reach: 1n }), 'ERR_INVALID_TYPE', 'reach', '1n');
  refuses(by(sp.full([4, 3], NaN)), 'ERR_INVALID_VALUE', /\bv\b/, 'NaN');
});

test('.async takes its input as it is at the call', async () => {
  const drawn = tensors(draw(12, 9, 2, 3));
  const [x, y, a, b] = [drawn.x, drawn.y, drawn.a, drawn.b] as T64[];
  const v = directions(x.shape);
  const options = { a, b, blur: 0.3 };
  const wanted = bits(sp.hvp(x, y, v, options).product as AnyTensor);
  const written = sp.hvp.async(x, y, v, options);
  for (const t of [x, y, a, b]) t.copy_(sp.rand(t.shape, { dtype: 'float64' }));
  expectSameBits(bits((await written).product as AnyTensor), wanted, 'written to');
  const again = tensors(draw(12, 9, 2, 3));
  const own = [again.x, again.y, again.a, again.b] as T64[];
  const later = sp.hvp.async(own[0], own[1], v, { a: own[2], b: own[3], blur: 0.3 });
  for (const t of own) t.dispose();
  expectSameBits(bits((await later).product as AnyTensor), wanted, 'disposed');
});

test('the residual is the system’s, and one problem does not wait for another', () => {
  // Two problems, of which one is solved at once: its steps are its own.
  const [one, two] = [draw(12, 9, 2, 3), draw(12, 9, 2, 4)].map((c) => tensors(c));
  const v = directions([12, 2]);
  const options = { blur: 0.2, solveTolerance: 1e-9 };
  const both = (p: unknown, q: unknown) => sp.stack([p, q] as never) as T64;
  const zero = sp.zeros([12, 2], { dtype: 'float64' });
  const batch = sp.hvp(both(one.x, two.x), both(one.y, two.y), both(v, zero), options);
  const alone = sp.hvp(one.x as T64, one.y as T64, v, options);
  expectSameBits(
    bits(sp.slice(batch.product, 0, 0, 1) as AnyTensor),
    bits(alone.product as AnyTensor),
    'product',
  );
  // Beyond float64: where rounding ends it, it says so and soon.
  const hard = sp.hvp(one.x as T64, one.y as T64, v, {
    blur: 0.05,
    damping: 0,
    solveTolerance: 1e-300,
  });
  expect(hard.converged).toBe(false);
  expect(hard.residual).toBeGreaterThan(1e-300);
  expect(hard.iterations).toBeLessThan(500);
  // Products in float32 are right to 1e-7: what is left of the system cannot be less than that.
  const [x, y, w] = [one.x, one.y, v].map((t) => t.to('float32')) as never[];
  const narrow = sp.hvp(x, y, w, { blur: 0.2, solveTolerance: 1e-12 });
  expect(narrow.converged).toBe(false);
  expect(narrow.residual).toBeGreaterThan(1e-9);
});

test('an empty batch is solved', () => {
  const [x, y] = [sp.zeros([0, 4, 2]), sp.zeros([0, 3, 2])];
  const got = sp.hvp(x, y as never, x as never);
  expect(got.product.shape).toEqual([0, 4, 2]);
  expect([got.iterations, got.residual, got.converged]).toEqual([0, 0, true]);
  expect(got.potentials).toEqual({ iterations: 0, error: 0, converged: true });
});

describe('holds nothing of its own afterwards', () => {
  const live = () => {
    if (isOnCpu) return sp.memory().cpu.live;
    sp.cuda.synchronize(); // what has been given back is free
    return sp.cuda.memory().live;
  };
  const { x, y } = tensors(draw(6, 5, 2, 3), 'float32') as Record<'x' | 'y', sp.Tensor>;
  const v = directions(x.shape).to('float32');
  const options = { blur: 0.3, solveTolerance: 1e-3 };
  /** Fails the read after `good` ones. */
  const failing = (good: number) => {
    let reads = 0;
    for (const method of ['data', 'dataSync'] as const) {
      const own = sp.Tensor.prototype[method] as (...given: unknown[]) => unknown;
      vi.spyOn(sp.Tensor.prototype, method).mockImplementation(function (
        this: sp.Tensor,
        ...given: unknown[]
      ) {
        if (reads++ === good) throw new Error('no read');
        return own.apply(this, given) as never;
      } as never);
    }
  };
  afterEach(() => void vi.restoreAllMocks());

  test('at once', () => {
    const run = () => sp.hvp(x, y as never, v as never, options).product.dispose();
    run();
    const before = live();
    run();
    expect(live()).toBeLessThanOrEqual(before);
    // v, x, y and v once more are read before the first product.
    failing(5);
    expect(run).toThrow('no read');
    expect(live()).toBeLessThanOrEqual(before);
  });

  test('in the background', async () => {
    const run = async () =>
      (await sp.hvp.async(x, y as never, v as never, options)).product.dispose();
    await run();
    const before = live();
    await run();
    // The loop lets go of what a call was given soon, but not at once.
    const released = () => vi.waitFor(() => expect(live()).toBeLessThanOrEqual(before));
    await released();
    failing(5);
    await expect(run()).rejects.toThrow('no read');
    await released();
  });
});
