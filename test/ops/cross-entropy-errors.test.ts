// What bad arguments of crossEntropy get: an error of one form with a stable code, before any
// kernel has run, and a library that goes on working.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { awaited } from '../harness/device.js';
import { failureOf, refuser } from '../harness/refusal.js';
import { floats, indices } from '../harness/tensors.js';

type Options = NonNullable<Parameters<typeof sp.crossEntropy>[2]>;

const logits = floats(new Float64Array(8 * 10), 'float32', [8, 10]);
const target = indices(new Int32Array(8), [8]);

const refuses = refuser('crossEntropy');

const withOptions = (options: object) => () =>
  sp.crossEntropy(logits, target, options as unknown as Options);
const call =
  (...args: unknown[]) =>
  () =>
    (sp.crossEntropy as unknown as (...args: unknown[]) => unknown)(...args);

afterEach(() => {
  const loss = sp.crossEntropy(logits, target);
  expect(loss.item()).toBeCloseTo(Math.log(10), 6);
});

describe('shapes', () => {
  test('of a class-index target', () => {
    const message =
      'crossEntropy: expected target to have shape [8] (one per row of logits [8, 10]), got [4]';
    const failure = failureOf(call(logits, indices([1, 2, 3, 4], [4])));
    expect(failure.message).toBe(message);
    expect(failure.code).toBe('ERR_SHAPE');
    refuses(call(logits, indices(new Int32Array(8), [8, 1])), 'ERR_SHAPE', 'target', /\[8, 1\]/);
    refuses(call(logits, indices([1], [])), 'ERR_SHAPE', 'target');
  });

  test('of a probability target', () => {
    const probabilities = floats(new Float64Array(72), 'float32', [8, 9]);
    refuses(call(logits, probabilities), 'ERR_SHAPE', 'target', /\[8, 10\]/, /\[8, 9\]/);
  });

  test('of the logits', () => {
    refuses(call(floats([1], 'float32', []), indices([0], [])), 'ERR_SHAPE', 'logits');
  });

  test('of the weights', () => {
    const nine = sp.ones([9]);
    refuses(withOptions({ classWeight: nine }), 'ERR_SHAPE', 'classWeight', /\[10\]/, /\[9\]/);
    refuses(withOptions({ tokenWeight: nine }), 'ERR_SHAPE', 'tokenWeight', /\[8\]/, /\[9\]/);
  });

  test('rows without classes', () => {
    const empty = floats([], 'float32', [3, 0]);
    expect(() => sp.crossEntropy(empty, indices([0, 0, 0], [3]))).toThrow(/^crossEntropy: /);
  });
});

describe('dtypes and kinds', () => {
  test('logits must be floats', () => {
    refuses(call(indices(new Int32Array(80), [8, 10]), target), 'ERR_DTYPE', 'logits', 'int32');
  });

  test('a target must be indices or probabilities', () => {
    for (const dtype of ['uint8', 'bool'] as const) {
      refuses(call(logits, sp.zeros([8], { dtype })), 'ERR_DTYPE', 'target', dtype);
    }
  });

  test('weights must be floats', () => {
    const ints = (n: number) => indices(new Int32Array(n).fill(1), [n]);
    refuses(withOptions({ classWeight: ints(10) }), 'ERR_DTYPE', 'classWeight', 'int32');
    refuses(withOptions({ tokenWeight: ints(8) }), 'ERR_DTYPE', 'tokenWeight', 'int32');
  });

  test('arguments must be tensors', () => {
    refuses(call([[1, 2]], target), 'ERR_INVALID_TYPE', 'logits');
    refuses(call(logits, [1, 2]), 'ERR_INVALID_TYPE', 'target');
    refuses(call(logits), 'ERR_INVALID_TYPE', 'target', 'undefined');
    refuses(call(), 'ERR_INVALID_TYPE', 'logits', 'undefined');
    refuses(withOptions({ classWeight: [1, 2] }), 'ERR_INVALID_TYPE', 'classWeight');
    refuses(call(logits, target, 'mean'), 'ERR_INVALID_TYPE', 'options');
  });

  test('a disposed tensor', () => {
    const gone = sp.zeros([8, 10]);
    gone.dispose();
    const failure = failureOf(call(gone, target));
    expect(failure.code).toBe('ERR_DISPOSED');
  });
});

describe('option names', () => {
  test.each([
    ['label_smoothing', 'labelSmoothing'],
    ['ignoreindex', 'ignoreIndex'],
    ['ignore_index', 'ignoreIndex'],
    ['classWeights', 'classWeight'],
    ['zloss', 'zLoss'],
    ['temprature', 'temperature'],
    ['softCap', 'softcap'],
    ['reductions', 'reduction'],
  ])('%s: did you mean %s', (name, meant) => {
    refuses(withOptions({ [name]: 1 }), 'ERR_UNKNOWN_OPTION', name, `'${meant}'`);
  });

  test('a name like nothing we have', () => {
    refuses(withOptions({ wibbleWobbleFlop: 1 }), 'ERR_UNKNOWN_OPTION', 'wibbleWobbleFlop');
  });
});

describe('option values', () => {
  test.each([
    ['reduction', 'avg'],
    ['labelSmoothing', -0.1],
    ['labelSmoothing', 1.5],
    ['labelSmoothing', NaN],
    ['temperature', 0],
    ['temperature', -1],
    ['temperature', NaN],
    ['temperature', Infinity],
    ['softcap', 0],
    ['softcap', -30],
    ['softcap', NaN],
    ['zLoss', NaN],
    ['ignoreIndex', 1.5],
    ['ignoreIndex', NaN],
  ])('%s: %s', (name, value) => {
    refuses(withOptions({ [name]: value }), 'ERR_INVALID_VALUE', name);
  });

  test.each([
    ['labelSmoothing', '0.1'],
    ['temperature', null],
    ['capFirst', 1],
    ['zLoss', [1]],
    ['reduction', 3],
    ['epilogue', 'focal'],
  ])('%s: %j is of the wrong type', (name, value) => {
    refuses(withOptions({ [name]: value }), 'ERR_INVALID_TYPE', name);
  });

  test.each([
    [{ kind: 'focl', gamma: 2 }],
    [{ kind: 'focal' }],
    [{ kind: 'focal', gamma: -1 }],
    [{ kind: 'focal', gamma: NaN }],
    [{ kind: 'focal', gama: 2 }],
    [{ kind: 'generalized' }],
    [{ kind: 'generalized', q: NaN }],
    [{ kind: 'compSum', tau: Infinity }],
    [{}],
  ])('epilogue %j', (epilogue) => {
    const failure = failureOf(withOptions({ epilogue }));
    expect(failure.code, failure.message).toMatch(/^ERR_(INVALID|UNKNOWN)/);
    expect(failure.message).toMatch(/^crossEntropy: .*epilogue/);
  });

  test('an epilogue goes with class indices and without smoothing', () => {
    const epilogue = { kind: 'focal', gamma: 2 } as const;
    refuses(
      withOptions({ epilogue, labelSmoothing: 0.1 }),
      'ERR_INVALID_VALUE',
      'epilogue',
      'labelSmoothing',
    );
    const soft = () => sp.crossEntropy(logits, sp.ones([8, 10]), { epilogue });
    refuses(soft, 'ERR_INVALID_VALUE', 'epilogue', /probabilit/);
  });
});

describe('values of tensors', () => {
  test.each([
    ['negative', -0.5],
    ['NaN', NaN],
  ])('a class weight that is %s', (_, value) => {
    const classWeight = floats([1, 1, 1, value, 1, 1, 1, 1, 1, 1], 'float32', [10]);
    refuses(withOptions({ classWeight }), 'ERR_INVALID_VALUE', 'classWeight');
  });

  test('a token weight may be negative, not NaN', () => {
    const tokens = (value: number) => floats([1, 1, value, 1, 1, 1, 1, 1], 'float32', [8]);
    refuses(withOptions({ tokenWeight: tokens(NaN) }), 'ERR_INVALID_VALUE', 'tokenWeight', /NaN/);
    expect(Number.isFinite(withOptions({ tokenWeight: tokens(-1) })().item())).toBe(true);
  });

  test.each([
    ['int32', 10],
    ['int32', -1],
    ['int32', -101],
    ['int32', 2 ** 31 - 1],
    ['int64', 2 ** 32],
    ['int64', -(2 ** 32)],
    ['int64', 2 ** 53],
  ] as const)('an %s target of %i', (dtype, value) => {
    const labels = indices([0, 1, 2, 3, 4, value, 6, 7], [8], dtype);
    for (const requiresGrad of [false, true]) {
      const z = floats(new Float64Array(80), 'float32', [8, 10], requiresGrad);
      const failure = refuses(call(z, labels), 'ERR_OUT_OF_RANGE', `${value}`, /\b5\b/);
      expect(failure).toBeInstanceOf(RangeError);
    }
  });

  test('the first of several bad targets is named, whatever the threads', () => {
    const labels = new Int32Array(500).fill(1);
    labels[77] = 12;
    labels[300] = -7;
    labels[499] = 99;
    const z = floats(new Float64Array(5000), 'float32', [500, 10]);
    for (let i = 0; i < 5; i++) {
      refuses(call(z, indices(labels, [500])), 'ERR_OUT_OF_RANGE', /\b77\b/, /\b12\b/);
    }
  });

  test('-100 is out of range once something else is ignored', () => {
    const labels = indices([0, -100], [2]);
    const z = floats(new Float64Array(20), 'float32', [2, 10]);
    refuses(call(z, labels, { ignoreIndex: -1 }), 'ERR_OUT_OF_RANGE', '-100');
  });

  test('a raw backward with saved tensors that do not fit', () => {
    const probabilities = sp.full([8, 10], 0.1);
    const raw = sp.raw.crossEntropy.forward(
      { logits, target: probabilities },
      {},
      { target: true },
    );
    const saved = raw.saved as { again: { t: object } };
    const { again } = saved;
    for (const wrong of [sp.ones([8]), sp.zeros([8, 10], { dtype: 'int32' })]) {
      const bad = { ...saved, again: { ...again, t: { ...again.t, target: wrong } } };
      const failure = failureOf(() =>
        sp.raw.crossEntropy.backward(bad, sp.tensor(1), { logits: true }),
      );
      expect(failure.message).toBe('crossEntropy: size of target');
    }
  });

  test('the asynchronous form rejects', async () => {
    const labels = indices([0, 1, 2, 3, 4, 10, 6, 7], [8]);
    await expect(awaited(sp.crossEntropy.async(logits, labels))).rejects.toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
    });
    const short = () => sp.crossEntropy.async(logits, indices([1], [1]));
    await expect((async () => short())()).rejects.toMatchObject({ code: 'ERR_SHAPE' });
  });
});
