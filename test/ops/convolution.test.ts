// conv2d, conv3d, convTranspose2d, convTranspose3d against their definitions: values, gradients,
// independence of the batch, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { type ConvolutionCase, convolutionCases } from '../cases/convolution.js';
import { expectSameBits } from '../harness/compare.js';
import { type OperationCase, testOperation } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import type { Arr } from '../reference/arrays.js';
import { type ConvolutionOptions, convolve, transposed } from '../reference/convolution.js';

const functions = {
  conv2d: sp.conv2d,
  conv3d: sp.conv3d,
  convTranspose2d: sp.convTranspose2d,
  convTranspose3d: sp.convTranspose3d,
};

function operation({ f, x, weight, bias, options, large }: ConvolutionCase): OperationCase {
  const call = functions[f] as sp.Conv<object>;
  const isTransposed = f.startsWith('convTranspose');
  const axes = f.endsWith('2d') ? 2 : 3;
  const outputs = isTransposed ? weight[1] * (options?.groups ?? 1) : weight[0];
  const reference = (a: Record<string, Arr>) =>
    (isTransposed ? transposed : convolve)(
      a.x,
      a.weight,
      a.bias,
      axes,
      (options ?? {}) as ConvolutionOptions,
    );
  const absolute = (a: Arr) => ({ ...a, values: a.values.map(Math.abs) });
  return {
    name: `${f} of [${x}] by [${weight}] ${JSON.stringify(options)}`,
    inputs: { x, weight, ...(bias ? { bias: [outputs] } : {}) },
    run: ({ x, weight, bias }) => call(x, weight, { ...options, bias }) as AnyTensor,
    runAsync: ({ x, weight, bias }) => call.async(x, weight, { ...options, bias }) as never,
    reference,
    magnitude: (a) =>
      reference(Object.fromEntries(Object.entries(a).map(([name, v]) => [name, absolute(v)])))
        .values,
    terms: 16,
    large,
  };
}

describe('convolutions', () => testOperation(convolutionCases.map(operation)));

test('an item does not depend on the others, whatever the batch', () => {
  const [x, weight] = [sp.randn([3, 5, 14, 15]), sp.randn([7, 5, 3, 3])];
  for (const f of ['conv2d', 'convTranspose2d'] as const) {
    const w = f === 'conv2d' ? weight : weight.slice(0, 0, 5);
    const whole = functions[f](x, w as never, { stride: 2, padding: 1 });
    const one = functions[f](x.slice(0, 1, 2), w as never, { stride: 2, padding: 1 });
    expectSameBits(bits(one as never), bits(whole.slice(0, 1, 2) as never), f);
  }
});

test('methods; the transpose is the adjoint', () => {
  const [x, weight] = [sp.randn([2, 3, 7, 8]), sp.randn([4, 3, 3, 2])];
  const options = { stride: 2, padding: 1 };
  const y = x.conv2d(weight, options);
  const g = sp.randn(y.shape);
  const back = g.convTranspose2d(weight, { ...options, outputPadding: [0, 0] });
  expect(back.shape).toEqual([2, 3, 7, 8]);
  const left = y.mul(g).sum().item();
  expect(Math.abs(left - back.mul(x).sum().item())).toBeLessThan(1e-4 * Math.abs(left) + 1e-3);
  expect(
    sp
      .ones([1, 1, 2, 2, 2])
      .conv3d(sp.ones([1, 1, 2, 2, 2]))
      .item(),
  ).toBe(8);
  expect(sp.ones([1, 1, 1, 1, 1]).convTranspose3d(sp.ones([1, 1, 2, 2, 2])).size).toBe(8);
});

test('no items: gradients of weight and bias are zeros', () => {
  const weight = sp.ones([2, 3, 2, 2], { requiresGrad: true });
  const bias = sp.ones([2], { requiresGrad: true });
  const y = sp.conv2d(sp.ones([0, 3, 4, 4]), weight, { bias });
  expect(y.shape).toEqual([0, 2, 3, 3]);
  y.sum().backward();
  expect(new Set(read(gradOf(weight as never)))).toEqual(new Set([0]));
  expect(gradOf(bias as never).toArray()).toEqual([0, 0]);
});

test('NaN stays in the windows that hold it', () => {
  const values = new Float64Array(25);
  values[12] = NaN;
  const y = sp.conv2d(floats(values, 'float32', [1, 1, 5, 5]), sp.ones([1, 1, 1, 3]) as never);
  expect(Array.from(y.dataSync(), Number.isNaN).filter(Boolean).length).toBe(3);
});

test('refusals', () => {
  const refused = refuser('conv2d');
  const [x, w] = [sp.ones([1, 4, 5, 5]), sp.ones([6, 4, 3, 3])];
  refused(() => sp.conv2d(sp.ones([5, 5]), w), 'ERR_SHAPE', '[B, C, H, W]');
  refused(() => sp.conv2d(x, sp.ones([6, 4, 3])), 'ERR_SHAPE', 'weight to have 4 axes');
  refused(
    () => sp.conv2d(x, sp.ones([6, 3, 3, 3])),
    'ERR_SHAPE',
    'second axis to be 4 (one per channel of x [1, 4, 5, 5])',
  );
  refused(
    () => sp.conv2d(x, sp.ones([6, 1, 3, 3]), { groups: 3 }),
    'ERR_SHAPE',
    'multiple of groups (3)',
  );
  refused(
    () => sp.conv2d(x, sp.ones([5, 2, 3, 3]), { groups: 2 }),
    'ERR_SHAPE',
    "weight's first axis",
  );
  refused(() => sp.conv2d(x, w, { groups: 0 }), 'ERR_INVALID_VALUE', 'groups');
  refused(() => sp.conv2d(x, sp.ones([6, 4, 6, 6])), 'ERR_SHAPE', 'at least one element');
  refused(
    () => sp.conv2d(x, w, { padding: 'sane' as never }),
    'ERR_INVALID_VALUE',
    "did you mean 'same'",
  );
  refused(
    () => sp.conv2d(x, w, { padding: 'same', stride: 2 }),
    'ERR_INVALID_VALUE',
    'stride to be 1',
  );
  refused(() => sp.conv2d(x, w, { padding: -1 }), 'ERR_INVALID_VALUE', 'padding');
  refused(() => sp.conv2d(x, w, { stride: [1, 2, 3] }), 'ERR_INVALID_VALUE', '2 numbers');
  refused(() => sp.conv2d(x, w, { bias: sp.ones([4]) }), 'ERR_SHAPE', 'one per filter');
  refused(() => sp.conv2d(x, w.to('float64') as never), 'ERR_DTYPE', 'float32 and float64');
  refused(() => sp.conv2d(x.to('int32'), w.to('int32')), 'ERR_DTYPE', 'int32');
  refused(() => sp.conv2d(x, w, { strides: 2 } as never), 'ERR_UNKNOWN_OPTION', "'stride'");
  const turned = refuser('convTranspose2d');
  turned(() => sp.convTranspose2d(x, w), 'ERR_SHAPE', 'first axis to be 4');
  const t = sp.ones([4, 2, 3, 3]);
  turned(
    () => sp.convTranspose2d(x, t, { outputPadding: 1 }),
    'ERR_INVALID_VALUE',
    'outputPadding',
  );
  turned(() => sp.convTranspose2d(x, t, { padding: 9 }), 'ERR_SHAPE', 'at least one element');
  turned(
    () => sp.convTranspose2d(x, t, { padding: 'same' as never }),
    'ERR_INVALID_TYPE',
    'padding',
  );
});
