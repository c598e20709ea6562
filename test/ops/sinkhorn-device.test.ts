// sinkhornDivergence on a device where tensor cores make the scores: sizes just beyond the first that
// get them.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits } from '../harness/compare.js';
import { isOnCpu, needsCuda } from '../harness/device.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { bits, read } from '../harness/tensors.js';
import { uniforms } from '../harness/transport.js';

const missing = isOnCpu || needsCuda('where tensor cores make the scores of sinkhornDivergence');

type Options = sp.SinkhornDivergenceOptions;
interface Case {
  n: number;
  m: number;
  d: number;
  dtype: FloatDType;
  /** Where the points lie. */
  centre?: number;
  size?: number;
}

/** Points of both sides, as `dtype` holds them. */
function points({ n, m, d, dtype, centre = 0.5, size = 1 }: Case): number[][] {
  const at = (seed: number, count: number) =>
    Array.from(
      roundAll(
        uniforms(seed, count * d).map((v) => (v - 0.5 + centre) * size),
        dtype,
      ),
    );
  return [at(3, n), at(4, m)];
}

/** The potentials of both sides. Costs of labels, even of 0, are not made by tensor cores. */
function solved(c: Case, dtype: FloatDType, device: sp.Device, options: Options, labelled = false) {
  const [x, y] = points(c);
  const tensor = (values: number[], count: number) =>
    sp.tensor(values, { dtype, device }).reshape([count, c.d]) as sp.Tensor;
  const zeros = (shape: number[], of: 'int32' | 'float32') =>
    sp.zeros(shape, { dtype: of, device });
  const labels = labelled && {
    labelsX: zeros([c.n], 'int32'),
    labelsY: zeros([c.m], 'int32'),
    labelCost: zeros([1, 1], 'float32'),
  };
  const plan = sp.sinkhornPotentials(tensor(x, c.n), tensor(y, c.m), {
    tolerance: 0,
    ...options,
    ...labels,
  } as never);
  return [...read(plan.f as never), ...read(plan.g as never)];
}

const worst = (a: number[], b: number[]) =>
  a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);

describe.skipIf(missing)('tensor cores', () => {
  const thin = { n: 130, m: 2100, d: 16, dtype: 'float32' } as const;
  const cases: [string, Case, Options][] = [
    ['two halves', { ...thin, d: 36, centre: 9 }, { blur: 0.5 }],
    ['large coordinates', { ...thin, size: 1e12 }, { blur: 1e12 }],
    ['one half', { ...thin, d: 33, dtype: 'bfloat16', centre: 0 }, { blur: 0.5 }],
    ['cosine', thin, { cost: 'cosine', blur: 0.2 }],
    ['both sums at once', thin, { solver: 'geomloss', blur: 1, scaling: 0.1 }],
  ];
  test.each(cases)('%s', (_, c, given) => {
    const options = { maxIterations: given.solver ? 100 : 1, ...given };
    const exact = solved(c, 'float64', 'cpu', options);
    const size = Math.max(...exact.map(Math.abs));
    expect(worst(solved(c, c.dtype, 'cuda', options), exact) / size).toBeLessThan(3e-6);
  });

  test('a softmin is nearly as exact as by FMA', () => {
    const c: Case = { ...thin, d: 36 };
    const options = { blur: 0.5, maxIterations: 1 };
    const exact = solved(c, 'float64', 'cpu', options);
    const error = (labelled: boolean) =>
      worst(solved(c, 'float32', 'cuda', options, labelled), exact);
    // Both are less than one rounding of the largest score.
    expect(error(false)).toBeLessThan(1.5 * error(true));
  });

  test('rows whose powers leave the range are done again', () => {
    const c: Case = { n: 130, m: 2100, d: 16, dtype: 'float32' };
    const options = { blur: 0.1, maxIterations: 1 };
    const exact = solved(c, 'float64', 'cpu', options);
    const got = solved(c, 'float32', 'cuda', options);
    expect(worst(got, exact)).toBeLessThan(1e-5);
  });

  test('debiased, beside a small problem of the same call', () => {
    const c: Case = { n: 530, m: 520, d: 16, dtype: 'float32' };
    const [x, y] = points(c).map((p) => sp.tensor(p).reshape([-1, 16]));
    const options = { blur: 0.5, tolerance: 0, maxIterations: 1 };
    const alone = sp.sinkhornDivergence(x, y, options);
    const small = [x.slice(0, 0, 5), y.slice(0, 0, 7)];
    const packed = sp.sinkhornDivergence(
      sp.concat([small[0], x], { dim: 0 }),
      sp.concat([small[1], y], { dim: 0 }),
      { ...options, cuSeqlensX: [0, 5, 535], cuSeqlensY: [0, 7, 527] },
    );
    const [first, second] = read(packed as never);
    const expected = read(sp.sinkhornDivergence(small[0], small[1], options) as never)[0];
    expect(first).toBe(expected);
    expect(second).toBe(read(alone as never)[0]);
    const onCpu = points(c).map((p) =>
      sp.tensor(p, { dtype: 'float64', device: 'cpu' }).reshape([-1, 16]),
    );
    const exact = sp.sinkhornDivergence(onCpu[0], onCpu[1], options).item() as number;
    expect(Math.abs(second / exact - 1)).toBeLessThan(1e-5);
    const again = sp.sinkhornDivergence(x, y, options);
    expectSameBits(bits(again as never), bits(alone as never), 'the value');
  });
});
