// GeomLoss's steps, values and gradients, POT's values, and the faults of peers that are not ours.
// harness/golden/make_transport.py wrote the answers.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { isEmulated } from '../harness/device.js';
import { floats, gradOf, read } from '../harness/tensors.js';
import { draw, exact, tensors } from '../harness/transport.js';
import { costOf } from '../reference/sinkhorn.js';

interface GeomLoss {
  p: 1 | 2;
  blur: number;
  scaling: number;
  reach: number | null;
  debias: boolean;
  batch: number;
  n: number;
  m: number;
  d: number;
  seed: number;
  value: number[];
  x: number[];
  a: number[];
}
interface Pot {
  epsilon: number;
  rho: number | null;
  n: number;
  m: number;
  d: number;
  seed: number;
  value: number;
  linear: number;
}
const golden: { geomloss: GeomLoss[]; pot: Pot[] } = JSON.parse(
  readFileSync(new URL('../harness/golden/transport.json', import.meta.url), 'utf8'),
);

const optionsOf = ({ p, blur, scaling, reach, debias }: GeomLoss) =>
  ({ solver: 'geomloss', p, blur, scaling, reach: reach ?? undefined, debias }) as const;

describe.each(golden.geomloss)(
  'GeomLoss, p $p, blur $blur, scaling $scaling, reach $reach, debias $debias, batch $batch',
  (one) => {
    const { batch, n, m, d, seed, reach, blur, p } = one;

    test('value and gradients', () => {
      const { x, y, a, b } = tensors(draw(n, m, d, seed, batch), 'float64', true);
      const loss = sp.sinkhornDivergence(x, y, { ...optionsOf(one), a, b });
      for (const [i, v] of one.value.entries()) expect(read(loss)[i]).toBeCloseTo(v, 9);
      loss.sum().backward();
      // Its backward forgets that the weight of a relaxed row is rho + eps, not rho + eps/2.
      const [rho, eps] = [(reach ?? 1) ** p, blur ** p];
      const factor = reach === null ? 1 : (rho + eps) / (rho + eps / 2);
      for (const [i, g] of one.x.entries()) expect(read(gradOf(x))[i]).toBeCloseTo(g * factor, 8);
      // Ours have zero weighted mean where the marginals hold.
      const da = read(gradOf(a));
      for (let k = 0; k < batch; k++) {
        const own = one.a.slice(k * n, (k + 1) * n);
        const w = read(a).subarray(k * n, (k + 1) * n);
        const mean = reach === null ? own.reduce((sum, g, i) => sum + g * w[i], 0) : 0;
        for (const [i, g] of own.entries()) expect(da[k * n + i]).toBeCloseTo(g * factor - mean, 8);
      }
    });

    test('float32', () => {
      const { x, y, a, b } = tensors(draw(n, m, d, seed, batch), 'float32');
      const got = read(sp.sinkhornDivergence(x, y, { ...optionsOf(one), a, b }));
      for (const [i, v] of one.value.entries()) expect(got[i]).toBeCloseTo(v, 5);
    });
  },
);

test('GeomLoss at scaling 0.5 is not converged, which it does not say; this does', () => {
  const { x, y } = tensors(draw(96, 96, 3, 1));
  const infos: sp.TransportInfo[] = [];
  const onInfo = (info: sp.TransportInfo) => infos.push(info);
  const steps = sp.sinkhornDivergence(x, y, { solver: 'geomloss', onInfo }).item();
  const converged = sp.sinkhornDivergence(x, y, { onInfo }).item();
  expect(infos.map((info) => info.converged)).toEqual([false, true]);
  expect(infos[0].error).toBeGreaterThan(0.05);
  expect(steps / converged).toBeLessThan(0.98);
});

describe.each(golden.pot)('POT, epsilon $epsilon, rho $rho', (one) => {
  test('value and <P,C>', () => {
    const clouds = draw(one.n, one.m, one.d, one.seed);
    const { a, b } = tensors(clouds);
    const cost = costOf('sqeuclidean', clouds.x, clouds.y, one.d).flatMap((row) => [...row]);
    const rho = one.rho ?? undefined;
    const result = sp.sinkhorn(floats(cost, 'float64', [one.n, one.m]), {
      epsilon: one.epsilon,
      a,
      b,
      rhoA: rho,
      rhoB: rho,
      tolerance: 1e-12,
    });
    const plan = read(result.plan());
    const linear = plan.reduce((sum, p, i) => sum + p * cost[i], 0);
    expect(linear).toBeCloseTo(one.linear, 7);
    // POT gives no value with relaxed marginals.
    if (one.rho === null) expect(result.value.item()).toBeCloseTo(one.value, 9);
  });
});

test('small epsilon gives numbers where unstabilised Sinkhorn gives NaN', () => {
  const { x, y, a, b } = tensors(draw(9, 7, 3, 8), 'float32', true);
  const maxIterations = isEmulated ? 300 : 100000;
  const options = { ...exact, tolerance: 1e-3, a, b, blur: 1e-3, maxIterations };
  const loss = sp.sinkhornDivergence(x, y, options);
  loss.backward();
  expect(Number.isFinite(loss.item())).toBe(true);
  expect([...read(gradOf(x)), ...read(gradOf(a))].every(Number.isFinite)).toBe(true);
});
