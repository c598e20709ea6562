// Potentials of an earlier solve as the start of another one.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, floats, gradOf, read } from '../harness/tensors.js';
import { draw, type Options, tensors } from '../harness/transport.js';

const options: Options = { blur: 0.05, tolerance: 1e-4 };

function moved(t: AnyTensor): AnyTensor {
  const values = read(t).map((v, i) => v + 0.002 * Math.sin(i));
  return floats(values, t.dtype as 'float32', [...t.shape]);
}

describe.each(['float32', 'float64'] as const)('%s', (dtype) => {
  const { x, y } = tensors(draw(60, 50, 3, 2), dtype);
  const first = sp.sinkhornPotentials(x, y, options);

  test('of the same problem nothing is left to do', () => {
    expect(sp.sinkhornPotentials(x, y, { ...options, init: first }).iterations).toBeLessThan(4);
  });

  test('of points that moved a little: fewer iterations, the same optimum', () => {
    const near = moved(x);
    const narrow = { f: first.f.to('bfloat16'), g: first.g.to('float16') };
    for (const init of [first, narrow]) {
      const cold = sp.sinkhornPotentials(near, y, options);
      const warm = sp.sinkhornPotentials(near, y, { ...options, init });
      expect(warm.converged).toBe(true);
      expect(warm.iterations).toBeLessThan((init === first ? 0.6 : 1) * cold.iterations);
      const [one, other] = [cold, warm].map(({ plan }) => read(plan() as AnyTensor));
      expect(one.reduce((sum, p, e) => sum + Math.abs(p - other[e]), 0)).toBeLessThan(0.01);
    }
  });
});

test('of a divergence: fewer iterations of (x,y), values and gradients alike', () => {
  const { x, y } = tensors(draw(60, 50, 3, 2), 'float64', true);
  const init = sp.sinkhornPotentials(moved(x), y, options);
  const seen: number[] = [];
  const onInfo = (info: sp.TransportInfo) => seen.push(info.iterations);
  const given = { ...options, tolerance: 1e-7, onInfo };
  const run = (more: Options) => {
    x.zeroGrad();
    const loss = sp.sinkhornDivergence(x, y, { ...given, ...more });
    loss.backward();
    return [loss.item() as number, ...read(gradOf(x))];
  };
  const [cold, warm] = [run({ debias: false }), run({ debias: false, init })];
  expect(seen[1]).toBeLessThan(0.8 * seen[0]);
  for (const [i, v] of cold.entries()) expect(warm[i]).toBeCloseTo(v, 7);
  const [debiased, own] = [run({}), run({ init })];
  for (const [i, v] of debiased.entries()) expect(own[i]).toBeCloseTo(v, 7);
});

test('of a cost, a batch, packed problems, relaxed marginals; asynchronously', async () => {
  const { x, y } = tensors(draw(20, 18, 2, 4, 3), 'float32');
  const cost = sp.cdist(x, y);
  for (const rho of [{}, { rhoA: 0.5 }, { rhoA: 1, rhoB: 2 }]) {
    const given = { epsilon: 0.02, tolerance: 1e-5, ...rho };
    const cold = sp.sinkhorn(cost, given);
    const warm = await sp.sinkhorn.async(cost, { ...given, init: cold });
    expect(warm.iterations).toBeLessThan(cold.iterations);
    for (const [i, v] of read(cold.value as AnyTensor).entries())
      expect(read(warm.value as AnyTensor)[i]).toBeCloseTo(v, 4);
  }
  const ends = { cuSeqlensX: [0, 30, 60], cuSeqlensY: [0, 24, 54] };
  const [px, py] = [x.reshape([60, 2]), y.reshape([54, 2])];
  const packed = sp.sinkhornPotentials(px, py, { ...options, ...ends });
  const again = sp.sinkhornPotentials(px, py, { ...options, ...ends, init: packed });
  expect(again.iterations).toBeLessThan(packed.iterations);
});

test('unrolled gradients begin there, too, and hold it constant', () => {
  const { x, y } = tensors(draw(5, 4, 2, 3), 'float64', true);
  const init = sp.sinkhornPotentials(x, y, { blur: 0.3 });
  const f = (p: sp.Tensor<'float64'>, q: sp.Tensor<'float64'>) =>
    sp.sinkhornDivergence(p, q, {
      blur: 0.3,
      init,
      gradient: 'unrolled',
      maxIterations: 2,
      tolerance: 0,
      debias: false,
    });
  expect(sp.gradcheck(f as never, [x, y], { atol: 1e-8, rtol: 1e-6 })).toBe(true);
  const exact = sp.sinkhornDivergence(x, y, { blur: 0.3, debias: false, tolerance: 1e-12 }).item();
  expect(Math.abs(f(x as never, y as never).item() - exact)).toBeLessThan(1e-6);
});

test('its tensors are of no use after the solve', () => {
  const { x, y } = tensors(draw(5, 4, 2, 3), 'float64', true);
  const { f, g } = sp.sinkhornPotentials(x, y);
  const loss = sp.sinkhornDivergence(x, y, { init: { f, g } });
  const result = sp.sinkhornPotentials(x, y, { init: { f, g } });
  f.copy_(sp.zeros([5], { dtype: 'float64' }));
  g.dispose();
  loss.backward();
  expect(result.plan().shape).toEqual([5, 4]);
});

test('refused', () => {
  const [x, y] = [sp.rand([4, 3]), sp.rand([5, 3])];
  const refuses = refuser('sinkhornDivergence');
  const by =
    (init: unknown, more: object = {}) =>
    () =>
      sp.sinkhornDivergence(x, y, { init, ...more } as never);
  const [f, g] = [sp.zeros([4]), sp.zeros([5])];
  refuses(by(3), 'ERR_INVALID_TYPE', 'init', '3');
  refuses(by(null), 'ERR_INVALID_TYPE', 'init');
  refuses(by({ f }), 'ERR_INVALID_TYPE', 'init.g');
  refuses(by({ f: [1, 2, 3, 4], g }), 'ERR_INVALID_TYPE', 'init.f');
  refuses(by({ f: g, g }), 'ERR_SHAPE', 'init.f', /\[4\]/, /\[5\]/);
  refuses(by({ f, g: f }), 'ERR_SHAPE', 'init.g', /\[5\]/, /\[4\]/);
  refuses(by({ f: f.to('int32'), g }), 'ERR_DTYPE', 'init.f', 'int32');
  refuses(by({ f, g: sp.tensor([0, 1, NaN, 0, 0]) }), 'ERR_INVALID_VALUE', 'init.g', 'NaN at 2');
  refuses(by({ f: sp.full([4], Infinity), g }), 'ERR_INVALID_VALUE', 'init.f', 'Infinity at 0');
  refuses(by({ f, g }, { solver: 'geomloss' }), 'ERR_INVALID_VALUE', 'geomloss');
  refuses(by({ f, g }, { inti: 1 }), 'ERR_UNKNOWN_OPTION', "'init'");
  const cost = sp.rand([4, 5]);
  refuser('sinkhorn')(() => sp.sinkhorn(cost, { init: { f: g, g } }), 'ERR_SHAPE', 'init.f');
  refuser('sinkhornPotentials')(
    () => sp.sinkhornPotentials(x, y, { init: { f: g, g } }),
    'ERR_SHAPE',
    'init.f',
  );
});
