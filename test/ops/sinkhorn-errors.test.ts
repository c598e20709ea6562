// What bad arguments, degenerate clouds and unreachable tolerances get.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { isOnCpu, needsCpu } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { floats, gradOf, indices, read } from '../harness/tensors.js';
import { draw, tensors } from '../harness/transport.js';

const x = sp.rand([4, 3]);
const y = sp.rand([5, 3]);
const refuses = refuser('sinkhornDivergence');
const by =
  (options: object, p: sp.Tensor = x, q: sp.Tensor = y) =>
  () =>
    sp.sinkhornDivergence(p as never, q as never, options as never);

describe('arguments', () => {
  test('shapes', () => {
    refuses(by({}, x, sp.rand([5, 2])), 'ERR_SHAPE', 'y', /\[5, 3\]/, /\[5, 2\]/);
    refuses(by({}, sp.rand([3]), y), 'ERR_SHAPE', 'x', /\[3\]/);
    refuses(by({}, sp.rand([2, 4, 3]), y), 'ERR_SHAPE', 'y');
    refuses(by({}, sp.rand([2, 4, 3]), sp.rand([3, 4, 3])), 'ERR_SHAPE', 'y');
    refuses(by({}, sp.zeros([0, 3]), y), 'ERR_SHAPE', 'at least one point');
    refuses(by({}, x, sp.zeros([0, 3])), 'ERR_SHAPE', 'at least one point');
    refuses(by({}, sp.zeros([4, 0]), sp.zeros([5, 0])), 'ERR_SHAPE', 'feature');
    refuses(by({ a: sp.ones([5]) }), 'ERR_SHAPE', /\ba\b/, /\[4\]/, /\[5\]/);
    refuses(by({ b: sp.ones([4]) }), 'ERR_SHAPE', /\bb\b/, /\[5\]/, /\[4\]/);
  });

  test('dtypes, options, values', () => {
    refuses(by({}, x, y.to('float64')), 'ERR_DTYPE', 'float64');
    refuses(by({}, x.to('int32'), y.to('int32')), 'ERR_DTYPE', 'int32');
    refuses(by({ a: sp.ones([4], { dtype: 'int32' }) }), 'ERR_DTYPE', /\ba\b/);
    refuses(by({ Blur: 1 }), 'ERR_UNKNOWN_OPTION', "'blur'");
    refuses(by({ blur: 0 }), 'ERR_INVALID_VALUE', 'blur');
    refuses(by({ blur: -1 }), 'ERR_INVALID_VALUE', 'blur');
    refuses(by({ p: 3 }), 'ERR_INVALID_VALUE', /\bp\b/, '3');
    refuses(by({ reach: 0 }), 'ERR_INVALID_VALUE', 'reach');
    refuses(by({ reach: { z: 1 } }), 'ERR_UNKNOWN_OPTION', "'z'");
    refuses(by({ cost: 'cos' }), 'ERR_INVALID_VALUE', "'cosine'");
    refuses(by({ solver: 'sor' }), 'ERR_INVALID_VALUE', "'auto'");
    refuses(by({ scaling: 1 }), 'ERR_INVALID_VALUE', 'scaling');
    refuses(by({ debias: 1 }), 'ERR_INVALID_TYPE', 'debias');
    refuses(by({ tolerance: -1 }), 'ERR_INVALID_VALUE', 'tolerance');
    refuses(by({ maxIterations: 0 }), 'ERR_INVALID_VALUE', 'maxIterations');
    refuses(by({ onInfo: 1 }), 'ERR_INVALID_TYPE', 'onInfo');
    refuses(by({ strict: 'yes' }), 'ERR_INVALID_TYPE', 'strict');
    refuses(by({ workspaceBytes: -1 }), 'ERR_INVALID_VALUE', 'workspaceBytes');
  });

  test('packed problems', () => {
    refuses(by({ cuSeqlensX: [0, 4] }), 'ERR_INVALID_VALUE', 'together');
    refuses(by({ cuSeqlensX: [0, 3], cuSeqlensY: [0, 5] }), 'ERR_INVALID_VALUE', 'cuSeqlensX');
    refuses(
      by({ cuSeqlensX: [0, 2, 2, 4], cuSeqlensY: [0, 1, 2, 5] }),
      'ERR_INVALID_VALUE',
      'rise',
    );
    refuses(by({ cuSeqlensX: [0, 2, 4], cuSeqlensY: [0, 5] }), 'ERR_SHAPE', 'one length');
    refuses(by({ cuSeqlensX: 4, cuSeqlensY: [0, 5] }), 'ERR_INVALID_TYPE', 'cuSeqlensX');
    const { plan } = sp.sinkhornPotentials(x, y, { cuSeqlensX: [0, 2, 4], cuSeqlensY: [0, 3, 5] });
    refuser('sinkhornPotentials.plan')(plan, 'ERR_SHAPE', 'packed');
  });

  test('labels', () => {
    const labelsX = indices([0, 1, 0, 1], [4]);
    const labelsY = indices([0, 1, 0, 1, 2], [5]);
    const labelCost = sp.zeros([2, 2]);
    refuses(by({ labelsX }), 'ERR_INVALID_VALUE', 'together');
    refuses(by({ labelsX, labelsY, labelCost }), 'ERR_OUT_OF_RANGE', 'labelsY', /got 2 at 4/);
    refuses(by({ labelsX, labelsY, labelCost: sp.zeros([2, 3]) }), 'ERR_SHAPE', 'labelCost');
  });

  test('of sinkhorn and of apply', () => {
    const refuse = refuser('sinkhorn');
    const solve =
      (cost: sp.Tensor, options: object = {}) =>
      () =>
        sp.sinkhorn(cost, options);
    refuse(solve(sp.rand([3])), 'ERR_SHAPE', 'cost', /\[3\]/);
    refuse(solve(sp.zeros([0, 3])), 'ERR_SHAPE', 'at least one');
    refuse(solve(sp.rand([3, 4]).to('int32')), 'ERR_DTYPE', 'int32');
    refuse(solve(sp.rand([3, 4]), { epsilon: 0 }), 'ERR_INVALID_VALUE', 'epsilon');
    refuse(solve(sp.rand([3, 4]), { rhoA: 0 }), 'ERR_INVALID_VALUE', 'rhoA');
    refuse(solve(sp.rand([3, 4]), { eps: 1 }), 'ERR_UNKNOWN_OPTION', "'epsilon'");
    refuse(solve(sp.rand([3, 4]), { a: sp.ones([4]) }), 'ERR_SHAPE', /\ba\b/);
    refuse(
      solve(
        sp.tensor([
          [0, 1],
          [2, Infinity],
        ]),
      ),
      'ERR_INVALID_VALUE',
      'cost',
      /\[1, 1\]/,
    );
    refuse(
      solve(
        sp.tensor([
          [0, NaN],
          [2, 1],
        ]),
      ),
      'ERR_INVALID_VALUE',
      'NaN',
      /\[0, 1\]/,
    );
    const apart = { a: sp.tensor([1, 1]), b: sp.tensor([1, 2]) };
    refuse(solve(sp.rand([2, 2]), apart), 'ERR_INVALID_VALUE', 'same mass', '2 and 3', 'rhoA');
    const { apply } = sp.sinkhorn(sp.rand([3, 4]));
    const refuseApply = refuser('sinkhorn.apply');
    refuseApply(() => apply(sp.rand([3])), 'ERR_SHAPE', /\[4\]/, /\[3\]/);
    refuseApply(() => apply(sp.rand([4]), { axis: 2 as never }), 'ERR_INVALID_VALUE', 'axis');
    refuseApply(() => apply(sp.rand([4], { dtype: 'float64' })), 'ERR_DTYPE', 'float64');
  });
});

test.skipIf(isOnCpu)('what a device has not', () => {
  const init = { f: sp.zeros([4]), g: sp.zeros([5]) };
  refuses(by({ init }), 'ERR_DEVICE', 'init');
  refuser("sinkhornDivergence with gradient 'unrolled'")(
    by({ gradient: 'unrolled' }),
    'ERR_DEVICE',
    'no CUDA form',
  );
});

describe('values', () => {
  test('weights', () => {
    refuses(by({ a: sp.tensor([1, -1, 1, 1]) }), 'ERR_INVALID_VALUE', /\ba\b/, '-1 at 1');
    refuses(by({ b: sp.tensor([1, NaN, 1, 1, 1]) }), 'ERR_INVALID_VALUE', /\bb\b/, 'NaN at 1');
    refuses(by({ b: sp.tensor([1, Infinity, 1, 1, 1]) }), 'ERR_INVALID_VALUE', 'Infinity');
    refuses(by({ a: sp.zeros([4]) }), 'ERR_INVALID_VALUE', /\ba\b/, 'positive sum');
    const apart = { a: sp.ones([4]), b: sp.ones([5]) };
    refuses(by(apart), 'ERR_INVALID_VALUE', 'same mass', '4 and 5', 'reach');
    expect(by({ ...apart, reach: 1 })().item()).toBeGreaterThan(0);
    expect(by({ ...apart, reach: { y: 1 } })().item()).toBeGreaterThan(0);
  });

  test('points', () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const p = sp.tensor([
        [1, 2, 3],
        [4, bad, 6],
      ]);
      refuses(by({}, p), 'ERR_INVALID_VALUE', /\bx\b/, 'point 1');
      refuses(by({}, x, p), 'ERR_INVALID_VALUE', /\by\b/, 'point 1');
    }
  });
});

describe('degenerate clouds', () => {
  const finite = (p: sp.Tensor, q: sp.Tensor, options: sp.SinkhornDivergenceOptions, v: number) => {
    const leaf = p.clone().requiresGrad_();
    const loss = sp.sinkhornDivergence(leaf as never, q as never, options);
    expect(loss.item()).toBeCloseTo(v, 5);
    loss.backward();
    expect([...read(gradOf(leaf as never))].every(Number.isFinite)).toBe(true);
  };
  const modes = (['auto', 'geomloss'] as const).flatMap((solver) => [
    { solver },
    { solver, p: 1 as const },
    { solver, reach: 1 },
  ]);
  test.each(modes)('one place, %o', (mode) => {
    finite(sp.ones([3, 2]), sp.ones([4, 2]), mode, 0);
    finite(sp.ones([1, 2]), sp.ones([1, 2]), mode, 0);
    finite(sp.ones([1, 2]), sp.ones([3, 2]), mode, 0);
    finite(sp.ones([3, 2]).mul(1e-20), sp.zeros([3, 2]), mode, 0);
  });
  test.each(modes.filter((mode) => !('reach' in mode)))('one point and another, %o', (mode) => {
    // GeomLoss's distance of a point to itself is 1e-4.
    const own = mode.solver === 'geomloss' ? 1e-4 : 0;
    finite(sp.zeros([1, 2]), sp.tensor([[3, 4]]), mode, 'p' in mode ? 5 - own : 12.5);
  });
  test('cosine of the origin', () => {
    finite(sp.zeros([1, 2]), sp.tensor([[3, 4]]), { cost: 'cosine', debias: false }, 1);
  });
  test('a geomloss distance below its floor', () => {
    const p = sp.tensor([[0, 0]], { dtype: 'float64', requiresGrad: true });
    const q = sp.tensor([[1e-6, 0]], { dtype: 'float64' });
    sp.sinkhornDivergence(p, q, { p: 1, solver: 'geomloss' }).backward();
    expect(read(gradOf(p as never))[0]).toBe(0);
  });
});

describe('not converged', () => {
  const { x: px, y: py } = tensors(draw(40, 30, 3, 2));
  const hard = { blur: 0.02, maxIterations: 5 };

  test('the dual bound is returned, onInfo called, strict throws', () => {
    const infos: sp.TransportInfo[] = [];
    const onInfo = (info: sp.TransportInfo) => infos.push(info);
    const short = sp.sinkhornDivergence(px, py, { ...hard, debias: false, onInfo }).item();
    const long = sp.sinkhornDivergence(px, py, { blur: 0.02, debias: false, onInfo }).item();
    expect(infos.map((info) => info.converged)).toEqual([false, true]);
    expect(infos[0].iterations).toBe(5);
    expect(infos[0].error).toBeGreaterThan(1e-3);
    expect(short).toBeLessThan(long);
    const failure = refuses(by({ ...hard, strict: true }, px, py), 'ERR_NOT_CONVERGED', '0.001');
    expect(failure.message).toMatch(/within 5 iterations, got \d/);
    refuser('sinkhornPotentials')(
      () => sp.sinkhornPotentials(px, py, { ...hard, strict: true }),
      'ERR_NOT_CONVERGED',
    );
    const result = sp.sinkhornPotentials(px, py, hard);
    expect(result.converged).toBe(false);
    const cost = floats(draw(5, 5, 5, 1).x, 'float64', [5, 5]);
    expect(sp.sinkhorn(cost, { epsilon: 1e-4, maxIterations: 3 }).converged).toBe(false);
  });

  // On a device nothing waits for the end of the iterations unless it is asked for.
  const asks = needsCpu('a warning where nothing was asked for');
  test.skipIf(asks)('one process warning without onInfo', async () => {
    const seen: string[] = [];
    const listen = (warning: Error & { code?: string }) => seen.push(warning.code ?? '');
    process.on('warning', listen);
    vi.resetModules(); // a copy of the library that has not warned yet
    const own: typeof sp = await import('../../src/index.js');
    const [x, y] = [own.randn([30, 3]), own.randn([30, 3])];
    own.sinkhornDivergence(x, y, hard);
    own.sinkhornDivergence(x, y, hard);
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('warning', listen);
    expect(seen.filter((code) => code === 'SURPRISAL_NOT_CONVERGED').length).toBe(1);
  });

  test('a tolerance below the rounding of float32 ends the iterations, and says so', () => {
    const { x: fx, y: fy } = tensors(draw(40, 30, 3, 2), 'float32');
    const options = { blur: 0.1, tolerance: 1e-12 };
    let info: sp.TransportInfo | undefined;
    const onInfo = (i: sp.TransportInfo) => {
      info = i;
    };
    sp.sinkhornDivergence(fx, fy, { ...options, onInfo });
    expect(info?.converged).toBe(false);
    expect(info?.iterations).toBeLessThan(2000);
    expect(info?.error).toBeLessThan(1e-4);
    refuses(by({ ...options, strict: true }, fx, fy), 'ERR_NOT_CONVERGED', 'rounding');
  });
});
