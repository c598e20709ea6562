// What bad arguments of the logit-free losses get.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { failureOf, refuser } from '../harness/refusal.js';
import { floats, indices } from '../harness/tensors.js';

type Options = NonNullable<Parameters<typeof sp.linearCrossEntropy>[3]>;

const refuses = refuser('linearCrossEntropy');
const x = floats(new Float64Array(8 * 3), 'float32', [8, 3]);
const weight = floats(new Float64Array(10 * 3), 'float32', [10, 3]);
const target = indices(new Int32Array(8), [8]);

const withOptions = (options: object) => () =>
  sp.linearCrossEntropy(x, weight, target, options as unknown as Options);
const call =
  (...args: unknown[]) =>
  () =>
    (sp.linearCrossEntropy as unknown as (...args: unknown[]) => unknown)(...args);
const zeros = (shape: number[], dtype: 'float32' | 'bfloat16' = 'float32') =>
  sp.zeros(shape, { dtype });

afterEach(() => {
  expect(sp.linearCrossEntropy(x, weight, target).item()).toBeCloseTo(Math.log(10), 6);
});

describe('shapes', () => {
  test('of x and weight', () => {
    refuses(call(x, zeros([10, 4]), target), 'ERR_SHAPE', 'weight', /3/, /\[10, 4\]/);
    refuses(call(x, zeros([10]), target), 'ERR_SHAPE', 'weight', /\[10\]/);
    refuses(call(x, zeros([2, 5, 3]), target), 'ERR_SHAPE', 'weight', /\[2, 5, 3\]/);
    refuses(call(zeros([]), weight, target), 'ERR_SHAPE', /\bx\b/);
  });

  test('of the target, bias and weights', () => {
    const four = indices([1, 2, 3, 4], [4]);
    refuses(call(x, weight, four), 'ERR_SHAPE', 'target', /\[8\]/, /\[4\]/);
    refuses(withOptions({ bias: zeros([9]) }), 'ERR_SHAPE', 'bias', /\[10\]/, /\[9\]/);
    refuses(withOptions({ classWeight: zeros([9]) }), 'ERR_SHAPE', 'classWeight');
    refuses(withOptions({ tokenWeight: zeros([7]) }), 'ERR_SHAPE', 'tokenWeight', /\[8\]/);
    refuses(withOptions({ mainGrad: zeros([3, 10]) }), 'ERR_SHAPE', 'mainGrad', /\[10, 3\]/);
  });

  test('no classes', () => {
    expect(call(x, zeros([0, 3]), target)).toThrow(/^linearCrossEntropy: /);
  });

  test('no features', () => {
    const [x0, w0] = [zeros([8, 0]), zeros([10, 0])];
    refuses(call(x0, w0, target), 'ERR_SHAPE', /\bx\b/, 'at least one feature', /\[8, 0\]/);
    refuser('linearArgmax')(() => sp.linearArgmax(x0, w0), 'ERR_SHAPE', 'feature');
    const logprobs = () => sp.linearLogprobs(x0, w0, target);
    refuser('linearLogprobs')(logprobs, 'ERR_SHAPE', 'feature');
  });
});

describe('dtypes', () => {
  test('x, weight and bias share one', () => {
    refuses(call(x, zeros([10, 3], 'bfloat16'), target), 'ERR_DTYPE', 'weight', 'bfloat16');
    refuses(withOptions({ bias: zeros([10], 'bfloat16') }), 'ERR_DTYPE', 'bias', 'bfloat16');
  });

  test('of the others', () => {
    refuses(call(x, weight, zeros([8])), 'ERR_DTYPE', 'target', 'float32');
    refuses(call(indices(new Int32Array(24), [8, 3]), weight, target), 'ERR_DTYPE', /\bx\b/);
    refuses(withOptions({ mainGrad: zeros([10, 3], 'bfloat16') }), 'ERR_DTYPE', 'mainGrad');
    const own = /memory of its own, got that of weight/;
    refuses(withOptions({ mainGrad: weight.detach() }), 'ERR_INVALID_VALUE', 'mainGrad', own);
  });

  test('arguments must be tensors', () => {
    refuses(call([[1, 2, 3]], weight, target), 'ERR_INVALID_TYPE', /\bx\b/);
    refuses(call(x, undefined, target), 'ERR_INVALID_TYPE', 'weight');
    refuses(call(x, weight), 'ERR_INVALID_TYPE', 'target');
    refuses(call(x, weight, target, 5), 'ERR_INVALID_TYPE', 'options');
  });

  test('a disposed tensor', () => {
    const gone = zeros([10, 3]);
    gone.dispose();
    expect(failureOf(call(x, gone, target)).code).toBe('ERR_DISPOSED');
  });
});

describe('options', () => {
  test.each([
    ['Bias', 'bias'],
    ['workspaceSize', 'workspaceBytes'],
    ['main_grad', 'mainGrad'],
    ['label_smoothing', 'labelSmoothing'],
  ])('%s: did you mean %s', (name, meant) => {
    refuses(withOptions({ [name]: 1 }), 'ERR_UNKNOWN_OPTION', name, `'${meant}'`);
  });

  test.each([
    ['shift', -1],
    ['shift', 0.5],
    ['shift', NaN],
    ['workspaceBytes', -5],
    ['workspaceBytes', NaN],
    ['filter', 'exakt'],
    ['filter', { eps: -1 }],
    ['filter', { eps: NaN }],
    ['filter', { maxError: -1 }],
    ['temperature', 0],
    ['labelSmoothing', 2],
  ])('%s: %j', (name, value) => {
    refuses(withOptions({ [name]: value }), 'ERR_INVALID_VALUE', name);
  });

  test.each([
    ['filter', {}],
    ['filter', { eps: 1e-3, maxError: 1 }],
    ['filter', { epsilon: 1 }],
    ['filter', 5],
    ['shift', '1'],
    ['workspaceBytes', '32 MiB'],
  ])('%s: %j is not understood', (name, value) => {
    const failure = failureOf(withOptions({ [name]: value }));
    expect(failure.code, failure.message).toMatch(/^ERR_(INVALID|UNKNOWN)/);
    expect(failure.message).toMatch(new RegExp(`^linearCrossEntropy: .*${name}`));
  });

  test('a shift must leave something to score', () => {
    for (const shift of [8, 9, 1e9]) {
      const failure = failureOf(withOptions({ shift }));
      expect(failure).toBeInstanceOf(RangeError);
      expect(failure.message).toMatch(/^linearCrossEntropy: .*shift.*8/);
    }
    expect(withOptions({ shift: 7 })().item()).toBeCloseTo(Math.log(10), 6);
  });

  test('a workspace below the minimum names it', () => {
    const failure = refuses(
      withOptions({ workspaceBytes: 1 }),
      'ERR_INVALID_VALUE',
      'workspaceBytes',
    );
    const least = Math.max(...(failure.message.match(/\d+/g) ?? []).map(Number));
    expect(withOptions({ workspaceBytes: least })().item()).toBeCloseTo(Math.log(10), 6);
    refuses(withOptions({ workspaceBytes: least - 1 }), 'ERR_INVALID_VALUE', `${least}`);
  });

  test('an epilogue goes without smoothing', () => {
    const epilogue = { kind: 'focal', gamma: 2 };
    refuses(withOptions({ epilogue, labelSmoothing: 0.1 }), 'ERR_INVALID_VALUE', 'epilogue');
  });
});

describe('values of tensors', () => {
  test('weights', () => {
    const classWeight = floats([1, 1, 1, -1, 1, 1, 1, 1, 1, 1], 'float32', [10]);
    refuses(withOptions({ classWeight }), 'ERR_INVALID_VALUE', 'classWeight');
    const tokenWeight = floats([1, 1, NaN, 1, 1, 1, 1, 1], 'float32', [8]);
    refuses(withOptions({ tokenWeight }), 'ERR_INVALID_VALUE', 'tokenWeight');
  });

  test.each([10, -1, 2 ** 31 - 1, 2 ** 32])('a target of %i, named by its own row', (value) => {
    // The ignored rows before it are dropped from the products, not from the count.
    const labels = indices([-100, -100, 2, 3, -100, value, 6, 7], [8], 'int64');
    for (const requiresGrad of [false, true]) {
      const w = sp.zeros([10, 3], { requiresGrad });
      const failure = refuses(call(x, w, labels), 'ERR_OUT_OF_RANGE', `${value}`, /\b5\b/);
      expect(failure).toBeInstanceOf(RangeError);
    }
  });

  test('a bad target that the shift skips is never read', () => {
    const labels = indices([99, 1, 2, 3, 4, 5, 6, 7], [8]);
    expect(sp.linearCrossEntropy(x, weight, labels, { shift: 1 }).item()).toBeCloseTo(
      Math.log(10),
      6,
    );
  });
});

describe('the companions', () => {
  test('linearLogprobs', () => {
    const refused = refuser('linearLogprobs');
    refused(() => sp.linearLogprobs(x, zeros([10, 4]), target), 'ERR_SHAPE', 'weight');
    refused(() => sp.linearLogprobs(x, weight, indices([1], [1])), 'ERR_SHAPE', /ids|target/);
    const bad = indices([0, 1, 2, 3, 10, 5, 6, 7], [8]);
    refused(() => sp.linearLogprobs(x, weight, bad), 'ERR_OUT_OF_RANGE', '10', /\b4\b/);
    const options = { temprature: 2 } as never;
    refused(
      () => sp.linearLogprobs(x, weight, target, options),
      'ERR_UNKNOWN_OPTION',
      'temperature',
    );
  });

  test('linearArgmax', () => {
    refuser('linearArgmax')(() => sp.linearArgmax(x, zeros([10, 4])), 'ERR_SHAPE', 'weight');
  });

  test('linearCrossEntropyPartials and mergePartials', () => {
    const refused = refuser('linearCrossEntropyPartials');
    const offset = (vocabOffset: number) => () =>
      sp.linearCrossEntropyPartials(x, weight, target, { vocabOffset });
    refused(offset(-1), 'ERR_INVALID_VALUE', 'vocabOffset');
    refused(offset(0.5), 'ERR_INVALID_VALUE', 'vocabOffset');
    expect(() => sp.mergePartials([])).toThrow(/^mergePartials: /);
  });

  test('backwardShard', () => {
    const refused = refuser('linearCrossEntropy.backwardShard');
    const shard = (options?: object) => () =>
      sp.raw.linearCrossEntropy.backwardShard(x, weight, target, options as never);
    const rows = zeros([8]);
    refused(shard(), 'ERR_INVALID_TYPE', 'lse', 'undefined');
    refused(shard({ lse: rows }), 'ERR_INVALID_TYPE', 'gradLoss', 'undefined');
    refused(shard({ lse: zeros([4]), gradLoss: rows }), 'ERR_SHAPE', 'lse', /\[8\]/, /\[4\]/);
    refused(
      shard({ lse: rows, gradLoss: zeros([8], 'bfloat16') }),
      'ERR_DTYPE',
      'gradLoss',
      'float32',
    );
    refused(shard({ lse: rows, gradLoss: rows, bias: [1] }), 'ERR_INVALID_TYPE', 'bias', 'Tensor');
    refused(shard({ lse: rows, gradloss: rows }), 'ERR_UNKNOWN_OPTION', 'gradLoss');
  });
});
