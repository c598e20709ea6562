// Averages of a plan's rows and columns: against the plan itself, gradients, plans of every kind.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { draw, tensors, uniforms } from '../harness/transport.js';

type T64 = sp.Tensor<'float64'>;

/** By the plan. */
function expected(plan: AnyTensor, points: AnyTensor, axis: 0 | 1): Float64Array {
  const p = axis === 1 ? plan : (sp.transpose(plan, -1, -2) as AnyTensor);
  const mass = sp.sum(p, { dim: -1, keepDim: true });
  return read(sp.div(sp.matmul(p, points as never), mass as never) as AnyTensor);
}

function compare(got: AnyTensor, wanted: ArrayLike<number>, digits: number): void {
  expect(got.size).toBe(wanted.length);
  for (const [i, v] of read(got).entries()) expect(v).toBeCloseTo(wanted[i], digits);
}

/** Of a cost that the host makes: `cdist` and `emd` have no CUDA form. */
const distances = (x: T64, y: T64) => sp.cdist(x.to('cpu'), y.to('cpu')).to(x.device);
const ways = [
  [
    'sinkhornPotentials',
    (x: T64, y: T64, w: object) => sp.sinkhornPotentials(x, y, { ...w, blur: 0.2 }),
  ],
  ['with reach', (x: T64, y: T64, w: object) => sp.sinkhornPotentials(x, y, { ...w, reach: 0.5 })],
  ['sinkhorn', (x: T64, y: T64, w: object) => sp.sinkhorn(distances(x, y), w)],
  ['emd', (x: T64, y: T64, w: object) => sp.emd({ x, y }, w)],
] as const;

describe.each(ways.filter(([way]) => isOnCpu || way !== 'emd'))('%s', (_, solve) => {
  test.each([1, 3])('averages rows and columns of the plan, batch %d', (batch) => {
    const { x, y, a, b } = tensors(draw(9, 7, 3, 2, batch));
    const plan = solve(x as T64, y as T64, { a, b });
    const whole = plan.plan() as AnyTensor;
    compare(sp.barycentricMap(plan, y as T64) as AnyTensor, expected(whole, y, 1), 12);
    compare(sp.barycentricMap(plan, x as T64, { axis: 0 }) as AnyTensor, expected(whole, x, 0), 12);
  });

  test('is differentiable in the points', () => {
    const { x, y } = tensors(draw(6, 5, 2, 4));
    const plan = solve(x as T64, y as T64, {});
    for (const axis of [0, 1] as const) {
      const n = axis === 1 ? 5 : 6;
      const points = floats(uniforms(3, 3 * n), 'float64', [n, 3], true);
      const f = (v: T64) => sp.barycentricMap(plan, v, { axis }).pow(2);
      expect(sp.gradcheck(f as never, [points] as never)).toBe(true);
    }
  });
});

test.skipIf(!isOnCpu)('of a permutation is the permutation, of a point everything', () => {
  const { x } = tensors(draw(8, 8, 2, 3), 'float32');
  const order = sp.tensor([3, 1, 4, 0, 5, 7, 2, 6], { dtype: 'int32' });
  const y = sp.indexSelect(x, 0, order);
  const plan = sp.emd({ x, y });
  compare(sp.barycentricMap(plan, y as never) as AnyTensor, read(x), 7);
  compare(sp.barycentricMap(plan, x as never, { axis: 0 }) as AnyTensor, read(y as AnyTensor), 7);
  const one = sp.sinkhornPotentials(sp.zeros([1, 2]), x as never);
  const mean = read(sp.mean(x, { dim: 0 }) as AnyTensor);
  compare(sp.barycentricMap(one as never, x as never) as AnyTensor, mean, 5);
});

test('packed problems, float32, in background, points without mass', async () => {
  const { x, y } = tensors(draw(9, 7, 3, 2), 'float32');
  const packed = { cuSeqlensX: [0, 4, 9], cuSeqlensY: [0, 5, 7] };
  const plan = sp.sinkhornPotentials(x, y, { ...packed, blur: 0.3 });
  const got = sp.barycentricMap(plan, y as never) as AnyTensor;
  const part = (t: AnyTensor, i: number, j: number) => sp.slice(t, 0, i, j);
  const second = sp.sinkhornPotentials(part(x, 4, 9), part(y, 5, 7), { blur: 0.3 });
  const alone = sp.barycentricMap(second, part(y, 5, 7) as never);
  compare(part(got, 4, 9) as AnyTensor, read(alone as AnyTensor), 6);
  const later = await sp.barycentricMap.async(plan, y as never);
  expectSameBits(bits(later as AnyTensor), bits(got), 'map');
  if (!isOnCpu) return;
  const points = y.detach().requiresGrad_();
  const a = floats([0, 0.5, 0.5], 'float32', [3]);
  const some = sp.emd({ x: part(x, 0, 3), y: points }, { a });
  const sent = sp.barycentricMap(some, points as never);
  expect([...read(sent as AnyTensor).subarray(0, 3)]).toEqual([0, 0, 0]);
  sent.sum().backward();
  expect([...read(gradOf(points as AnyTensor))].every(Number.isFinite)).toBe(true);
});

test('bad input', () => {
  const refuses = refuser('barycentricMap');
  const plan = sp.sinkhornPotentials(sp.rand([4, 2]), sp.rand([5, 2]));
  const by =
    (points: unknown, options: object = {}, given: unknown = plan) =>
    () =>
      sp.barycentricMap(given as never, points as never, options);
  refuses(by(sp.rand([4, 3])), 'ERR_SHAPE', 'points', /\[5, 3\]/, /\[4, 3\]/);
  refuses(by(sp.rand([5, 3]), { axis: 0 }), 'ERR_SHAPE', 'points', /\[4, 3\]/);
  refuses(by(sp.rand([5])), 'ERR_SHAPE', 'points', /\[5, 1\]/);
  refuses(by(sp.rand([5, 3], { dtype: 'float64' })), 'ERR_DTYPE', 'float32');
  refuses(by(sp.rand([5, 3]), { axis: 2 }), 'ERR_INVALID_VALUE', 'axis');
  refuses(by(sp.rand([5, 3]), { dim: 1 }), 'ERR_UNKNOWN_OPTION', "'dim'");
  refuses(by(sp.rand([5, 3]), {}, {}), 'ERR_INVALID_TYPE', 'plan');
  refuses(by(sp.rand([5, 3]), {}, Math.max), 'ERR_INVALID_TYPE', 'plan');
  refuses(by([1, 2]), 'ERR_INVALID_TYPE', 'points');
});
