// interpolate against its definition: modes, sizes and factors, corners, gradients, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { type OperationCase, testOperation } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import type { AnyTensor } from '../harness/tensors.js';
import { interpolate } from '../reference/interpolate.js';

const cases: [number[], sp.InterpolateOptions][] = [
  [[2, 2, 5], { size: 7 }],
  [[1, 2, 5], { size: 8, mode: 'linear' }],
  [[1, 2, 3, 4], { scaleFactor: 2 }],
  [[2, 1, 5, 6], { size: [3, 9] }],
  [[2, 2, 3, 4], { scaleFactor: 2, mode: 'bilinear' }],
  [[2, 2, 3, 4], { size: [7, 5], mode: 'bilinear', alignCorners: true }],
  [[1, 2, 6, 7], { scaleFactor: [0.5, 0.4], mode: 'bilinear' }],
  [[1, 1, 1, 4], { size: [3, 1], mode: 'bilinear', alignCorners: true }],
  [[1, 2, 2, 3, 4], { scaleFactor: 2 }],
  [[1, 2, 2, 3, 4], { scaleFactor: [2, 1.5, 1], mode: 'trilinear' }],
  [[1, 2, 3, 2, 4], { size: [5, 3, 2], mode: 'trilinear', alignCorners: true }],
];

function operation([shape, options]: (typeof cases)[number]): OperationCase {
  return {
    name: `[${shape}] ${JSON.stringify(options)}`,
    inputs: { x: shape },
    run: ({ x }) => sp.interpolate(x, options) as AnyTensor,
    runAsync: ({ x }) => sp.interpolate.async(x, options) as Promise<AnyTensor>,
    reference: ({ x }) => interpolate(x, options as never),
    // Weights carry the rounding of positions up to a few units.
    terms: 64,
  };
}

describe('interpolate', () => {
  testOperation(cases.map(operation));

  test('what has no weight does not matter; the method', () => {
    const x = sp.tensor([[[1, Infinity, 3]]]);
    expect(x.interpolate({ size: 3, mode: 'linear' }).toArray()).toEqual([[[1, Infinity, 3]]]);
    expect(sp.interpolate(sp.zeros([0, 2, 3, 3]), { size: 2 }).shape).toEqual([0, 2, 2, 2]);
  });

  test('refusals', () => {
    const refused = refuser('interpolate');
    const x = sp.ones([1, 2, 4, 4]);
    const call =
      (options: object, t = x) =>
      () =>
        sp.interpolate(t as never, options);
    refused(call({}), 'ERR_INVALID_VALUE', 'neither');
    refused(call({ size: 2, scaleFactor: 2 }), 'ERR_INVALID_VALUE', 'both');
    refused(call({ size: 0 }), 'ERR_INVALID_VALUE', 'size');
    refused(call({ scaleFactor: -1 }), 'ERR_INVALID_VALUE', 'scaleFactor');
    refused(call({ scaleFactor: 0.1 }), 'ERR_SHAPE', 'at least 1');
    refused(call({ size: [2, 2, 2] }), 'ERR_INVALID_VALUE', '2 numbers');
    refused(call({ size: 2, mode: 'trilinear' }), 'ERR_SHAPE', '[B, C, D, H, W]');
    refused(call({ size: 2, mode: 'biliner' }), 'ERR_INVALID_VALUE', "did you mean 'bilinear'");
    refused(call({ size: 2, alignCorners: true }), 'ERR_INVALID_VALUE', 'nearest');
    refused(call({ size: 2 }, sp.ones([4, 4]) as never), 'ERR_SHAPE', '[B, C, W]');
    refused(call({ size: 2 }, x.to('int32') as never), 'ERR_DTYPE', 'int32');
  });
});
