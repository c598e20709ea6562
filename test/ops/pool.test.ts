// maxPool2d, maxPool3d, avgPool2d, avgPool3d against their definitions: values, gradients, ties,
// NaN, integers, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { axesOf, largePoolCases, type PoolCase, poolCases } from '../cases/pool.js';
import { dtypes, sample, toTensor } from '../harness/arrays.js';
import { type OperationCase, testOperation } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, gradOf } from '../harness/tensors.js';
import { pool } from '../reference/pool.js';

const functions = {
  max: { 2: sp.maxPool2d, 3: sp.maxPool3d },
  avg: { 2: sp.avgPool2d, 3: sp.avgPool3d },
};

/** The options as the reference takes them: a list for everything. */
function listed(one: PoolCase) {
  const { kernelSize, stride, padding = 0, dilation = 1, ...rest } = one.options;
  const list = (v: number | number[]) => (Array.isArray(v) ? v : new Array(axesOf(one)).fill(v));
  return {
    ...rest,
    kernel: list(kernelSize),
    stride: list(stride ?? kernelSize),
    padding: list(padding),
    dilation: list(dilation),
  };
}

function operation(one: PoolCase, large: boolean): OperationCase {
  const { kind, shape, options } = one;
  const f = functions[kind][axesOf(one)] as sp.Pool<sp.MaxPoolOptions>;
  return {
    name: `${kind} of [${shape}] ${JSON.stringify(options)}`,
    inputs: { x: shape },
    run: ({ x }) => f(x, options) as AnyTensor,
    runAsync: ({ x }) => f.async(x, options) as Promise<AnyTensor>,
    reference: ({ x }) => pool(x, kind, listed(one)),
    large,
  };
}

describe('pools', () =>
  testOperation([
    ...poolCases.map((one) => operation(one, false)),
    ...largePoolCases.map((one) => operation(one, true)),
  ]));

test('the window may come by position, and as a method', () => {
  const x = sp.arange(16).reshape([1, 4, 4]).to('float32');
  expect(x.maxPool2d(2).toArray()).toEqual([[[5, 7], [13, 15]]]); // biome-ignore format: a picture
  expect(x.avgPool2d(2, { stride: 2 }).toArray()).toEqual([[[2.5, 4.5], [10.5, 12.5]]]); // biome-ignore format: a picture
  expect(x.maxPool2d({ kernelSize: 4 }).item()).toBe(15);
  expect(x.reshape([1, 1, 4, 4]).maxPool3d([1, 4, 4]).shape).toEqual([1, 1, 1, 1]);
  expect(x.reshape([1, 1, 4, 4]).avgPool3d([1, 4, 4]).item()).toBe(7.5);
});

test('integers have maxima', () => {
  for (const dtype of dtypes.filter((d) => /^(int|uint)/.test(d))) {
    const a = sample([2, 5, 5], dtype);
    const y = sp.maxPool2d(toTensor(a, dtype), 2);
    expect(y.dtype).toBe(dtype);
    const o = { kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [1, 1] };
    expect(Array.from(y.dataSync() as never, Number)).toEqual(pool(a, 'max', o).values);
  }
});

test('of equal elements the first has the gradient; the last NaN has it', () => {
  const slope = (values: number[]) => {
    const x = sp.tensor(values, { shape: [1, 1, 1, 4], requiresGrad: true });
    sp.maxPool2d(x, [1, 4]).sum().backward();
    return [...gradOf(x as never).dataSync()];
  };
  expect(slope([1, 3, 3, 0])).toEqual([0, 1, 0, 0]);
  expect(slope([NaN, 5, NaN, 9])).toEqual([0, 0, 1, 0]);
  expect(slope([-Infinity, -Infinity, -Infinity, -Infinity])).toEqual([1, 0, 0, 0]);
  expect(sp.maxPool2d(sp.tensor([[[1, NaN, 2]]]), [1, 3]).item()).toBeNaN();
});

test('a dilated window that steps over the image holds nothing', () => {
  const x = sp.ones([1, 1, 1, 1], { requiresGrad: true });
  const y = sp.maxPool2d(x, { kernelSize: 2, dilation: 3, padding: 2, stride: 1 });
  expect(new Set(y.dataSync())).toEqual(new Set([-Infinity]));
  y.sum().backward();
  expect(x.grad!.item()).toBe(0);
});

test('no items', () => {
  const x = sp.zeros([0, 3, 4, 4], { requiresGrad: true });
  const y = sp.avgPool2d(x, 2);
  expect(y.shape).toEqual([0, 3, 2, 2]);
  y.sum().backward();
  expect(x.grad!.shape).toEqual([0, 3, 4, 4]);
});

test('refusals', () => {
  const x = sp.ones([1, 2, 4, 4]);
  const max = refuser('maxPool2d');
  max(
    () => sp.maxPool2d(sp.ones([4, 4]), 2),
    'ERR_SHAPE',
    /\[B, C, H, W\] or \[C, H, W\].*\[4, 4\]/,
  );
  max(() => sp.maxPool2d(x, {}), 'ERR_INVALID_TYPE', 'kernelSize');
  max(() => sp.maxPool2d(x, 0), 'ERR_INVALID_VALUE', 'kernelSize');
  max(() => sp.maxPool2d(x, [2, 2, 2]), 'ERR_INVALID_VALUE', 'a number or 2 numbers');
  max(() => sp.maxPool2d(x, 2, { stride: 0 }), 'ERR_INVALID_VALUE', 'stride');
  max(() => sp.maxPool2d(x, 2, { padding: 2 }), 'ERR_INVALID_VALUE', 'half of the window');
  max(() => sp.maxPool2d(x, 5), 'ERR_SHAPE', 'room for a window of [5, 5]');
  max(() => sp.maxPool2d(x, 2, { ceilMod: true } as never), 'ERR_UNKNOWN_OPTION', "'ceilMode'");
  max(() => sp.maxPool2d(x, 2, 3 as never), 'ERR_INVALID_TYPE', 'options to be an object');
  max(() => sp.maxPool2d(x.to('bool'), 2), 'ERR_DTYPE', 'bool');
  const avg = refuser('avgPool3d');
  avg(() => sp.avgPool3d(sp.ones([1, 2, 3]), 2), 'ERR_SHAPE', '[B, C, D, H, W]');
  avg(() => sp.avgPool3d(x.to('int32'), 2), 'ERR_DTYPE', 'int32');
  avg(() => sp.avgPool3d(x, 2, { divisorOverride: 0 }), 'ERR_INVALID_VALUE', 'divisorOverride');
});
