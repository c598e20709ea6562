// groupNorm and batchNorm against float64 definitions: values, gradients, running statistics.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { draw, type OperationCase, testOperation } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { type Arr, build, at as valueAt } from '../reference/arrays.js';
import * as reference from '../reference/reduce.js';

/** Normalises each set of elements that `label` gives one name. */
function normalised(x: Arr, label: (index: number[]) => number, weight?: Arr, bias?: Arr): Arr {
  const sets = new Map<number, number[]>();
  build(x.shape, (index) => {
    const set = sets.get(label(index)) ?? [];
    sets.set(label(index), set);
    return set.push(valueAt(x, index));
  });
  const statistics = new Map(
    [...sets].map(([k, v]) => [k, [reference.mean(v), reference.variance(v, 0)]] as const),
  );
  return build(x.shape, (index) => {
    const [mean, variance] = statistics.get(label(index))!;
    const h = (valueAt(x, index) - mean) / Math.sqrt(variance + 1e-5);
    return h * (weight?.values[index[1]] ?? 1) + (bias?.values[index[1]] ?? 0);
  });
}

const shapes = [[2, 4], [3, 4, 5], [2, 4, 3, 3], [1, 6, 2, 2, 2], [2, 4, 30, 19]] as const; // biome-ignore format: a list

function cases(
  f: (x: AnyTensor, options: object) => AnyTensor,
  label: (index: number[], shape: readonly number[]) => number,
): OperationCase[] {
  return shapes.flatMap((shape) =>
    [[], ['weight'], ['weight', 'bias'], ['bias']].map((names) => ({
      name: `[${shape}] with ${names}`,
      inputs: { x: shape, ...Object.fromEntries(names.map((name) => [name, [shape[1]]])) },
      run: ({ x, ...rest }) => f(x, rest),
      reference: ({ x, weight, bias }) => normalised(x, (i) => label(i, shape), weight, bias),
      terms: 32,
      gradientScale: 4,
      large: shape[2] === 30,
    })),
  );
}

describe('groupNorm', () => {
  const f = (x: AnyTensor, options: object) => sp.groupNorm(x, 2, options) as AnyTensor;
  testOperation(cases(f, (i, shape) => i[0] * 2 + Math.floor(i[1] / (shape[1] / 2))));

  test('one group, as many as channels, none of the other items', async () => {
    const x = sp.randn([3, 6, 5]);
    const one = x.groupNorm(1);
    expectWithin(
      read(one as never),
      read(sp.layerNorm(x.reshape([3, 30])) as never),
      () => 1e-6,
      'one group',
    );
    const alone = sp.groupNorm(x.slice(0, 1, 2), { numGroups: 3 });
    expectSameBits(
      bits(alone as never),
      bits(sp.groupNorm(x, 3).slice(0, 1, 2) as never),
      'item 1',
    );
    const later = await sp.groupNorm.async(x, 6);
    expectSameBits(bits(later as never), bits(x.groupNorm(6) as never), 'async');
  });

  test('nothing', () => {
    expect(sp.groupNorm(sp.ones([0, 4, 3]), 2).shape).toEqual([0, 4, 3]);
    const weight = sp.ones([4], { requiresGrad: true });
    sp.groupNorm(sp.ones([0, 4, 3]), 2, { weight })
      .sum()
      .backward();
    expect(gradOf(weight as never).toArray()).toEqual([0, 0, 0, 0]);
  });

  test('refusals', () => {
    const refused = refuser('groupNorm');
    const x = sp.ones([2, 4, 3]);
    refused(() => sp.groupNorm(x, 3), 'ERR_INVALID_VALUE', 'divide the 4 channels');
    refused(() => sp.groupNorm(x, 0), 'ERR_INVALID_VALUE', 'numGroups');
    refused(() => sp.groupNorm(x, {}), 'ERR_INVALID_TYPE', 'numGroups');
    refused(() => sp.groupNorm(x, 2, { weight: sp.ones([3]) }), 'ERR_SHAPE', 'one per channel');
    refused(() => sp.groupNorm(x, 2, { eps: -1 }), 'ERR_INVALID_VALUE', 'eps');
    refused(() => sp.groupNorm(sp.ones([4]), 2), 'ERR_SHAPE', '[B, C, ...]');
    refused(() => sp.groupNorm(x.to('int32'), 2), 'ERR_DTYPE', 'int32');
  });
});

describe('batchNorm when training', () => {
  const f = (x: AnyTensor, options: object) =>
    sp.batchNorm(x, { ...options, training: true }) as AnyTensor;
  testOperation(cases(f, (i) => i[1]).filter(({ inputs }) => inputs.x[0] > 1));

  test('moves the running statistics, in place', async () => {
    const x = sp.tensor([[1, 10], [3, 30]]); // biome-ignore format: a matrix
    const runningMean = sp.zeros([2]);
    const runningVar = sp.ones([2]);
    sp.batchNorm(x, { runningMean, runningVar, training: true });
    // Means 2 and 20, unbiased variances 2 and 200; momentum 0.1.
    expectWithin(read(runningMean as never), [0.2, 2], () => 1e-6, 'mean');
    expectWithin(read(runningVar as never), [1.1, 20.9], () => 2e-6, 'variance');
    await sp.batchNorm.async(x, { runningMean, training: true, momentum: 1 });
    expect(runningMean.toArray()).toEqual([2, 20]);
    const half = { runningMean: sp.zeros([2]), runningVar: sp.zeros([2], { dtype: 'bfloat16' }) };
    sp.batchNorm(x.to('bfloat16'), { ...half, training: true, momentum: 0.5 });
    expect(half.runningMean.toArray()).toEqual([1, 10]);
    expect(half.runningVar.toArray()).toEqual([1, 100]);
  });
});

describe('batchNorm by running statistics', () => {
  const runningMean = [0.5, -1, 2, 0, 1, 3];
  const runningVar = [1, 0.25, 4, 2, 0.5, 1];
  const f = (x: AnyTensor, options: object) => {
    const c = x.shape[1];
    return sp.batchNorm(x, {
      ...options,
      runningMean: floats(runningMean.slice(0, c), x.dtype as never, [c]),
      runningVar: floats(runningVar.slice(0, c), x.dtype as never, [c]),
    }) as AnyTensor;
  };
  const list = cases(f, () => 0).map((one) => ({
    ...one,
    reference: ({ x, weight, bias }: Record<string, Arr>) =>
      build(x.shape, (index) => {
        const c = index[1];
        const h = (valueAt(x, index) - runningMean[c]) / Math.sqrt(runningVar[c] + 1e-5);
        return h * (weight?.values[c] ?? 1) + (bias?.values[c] ?? 0);
      }),
  }));
  testOperation(list);

  test('an item does not depend on the others', () => {
    const { x } = draw({ x: [3, 4, 5] }, 'float32');
    const t = floats(x.values, 'float32', x.shape);
    const alone = f(t.slice(0, 1, 2) as AnyTensor, {});
    expectSameBits(bits(alone), bits(f(t, {}).slice(0, 1, 2) as AnyTensor), 'item 1');
  });
});

test('refusals of batchNorm', () => {
  const refused = refuser('batchNorm');
  const x = sp.ones([2, 4, 3]);
  refused(() => sp.batchNorm(x, {}), 'ERR_INVALID_VALUE', 'training: true');
  refused(
    () => sp.batchNorm(sp.ones([1, 4]), { training: true }),
    'ERR_SHAPE',
    'more than one value',
  );
  const wrong = { runningMean: sp.ones([3]), runningVar: sp.ones([4]) };
  refused(() => sp.batchNorm(x, wrong), 'ERR_SHAPE', 'runningMean');
  const wide = sp.ones([4], { dtype: 'float64' });
  refused(() => sp.batchNorm(x, { runningMean: wide, training: true }), 'ERR_DTYPE', 'runningMean');
  refused(() => sp.batchNorm(x, { training: true, momentum: 2 }), 'ERR_INVALID_VALUE', 'momentum');
  const learned = sp.ones([4], { requiresGrad: true });
  refused(
    () => sp.batchNorm(x, { runningVar: learned, training: true }),
    'ERR_GRAPH',
    'runningVar',
  );
  const saved = sp.ones([4]);
  const pending = learned.mul(saved);
  refused(() => sp.batchNorm(x, { runningVar: saved, training: true }), 'ERR_IN_USE', 'runningVar');
  pending.sum().backward();
  expect(() => sp.batchNorm(x, { runningVar: saved, training: true })).not.toThrow();
});
