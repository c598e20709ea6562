// The gradients of crossEntropy by the library's own central differences, for every option, and
// the ways a gradient may be asked for.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import type { Data } from '../cases/cross-entropy.js';
import { draw, optionCases, plain } from '../cases/cross-entropy.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { check } from '../harness/cross-entropy.js';
import { Random } from '../harness/random.js';
import type { AnyTensor } from '../harness/tensors.js';
import { bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { crossEntropy as reference } from '../reference/cross-entropy.js';

describe('gradcheck', () => {
  // One ignored row alone has a mean of NaN, which has no differences.
  const tiny = optionCases.map((c) => ({
    ...c,
    classes: Math.min(c.classes, 7),
    ignored: c.shape.join() === '1' ? 0 : c.ignored,
  }));
  test.each(tiny)('$name', (c) => {
    const data = draw(c, 'float64');
    // Small logits: a comp-sum loss grows like e^(L/2), and differences lose as many digits.
    const logits = data.logits.map((z) => z / 4);
    const { classWeight, tokenWeight: tokens, ...scalars } = data.options;
    const weights = classWeight && floats(classWeight, 'float64', [c.classes]);
    const inputs = [floats(logits, 'float64', [...c.shape, c.classes], true)];
    const soft = 'probabilities' in data.target;
    const labels = 'indices' in data.target && indices(data.target.indices, c.shape);
    if ('probabilities' in data.target) {
      inputs.push(floats(data.target.probabilities, 'float64', [...c.shape, c.classes], true));
    }
    if (tokens) inputs.push(floats(tokens, 'float64', c.shape, true));
    const loss = (...list: AnyTensor[]) =>
      sp.crossEntropy(list[0], labels || list[1], {
        ...scalars,
        classWeight: weights,
        tokenWeight: tokens && list[soft ? 2 : 1],
      });
    expect(sp.gradcheck(loss, inputs, { atol: 1e-7, rtol: 1e-6 })).toBe(true);
  });
});

describe('upstream gradients', () => {
  const random = new Random(8);
  const values = random.normals(5 * 30, 2);
  const labels = [3, 29, -100, 0, 12];
  const target = indices(labels, [5]);

  test('flow through what follows the loss', () => {
    const z = floats(values, 'float64', [5, 30], true);
    const scale = random.normals(5);
    sp.crossEntropy(z, target, { reduction: 'none' })
      .mul(floats(scale, 'float64', [5]))
      .sum()
      .backward();
    const want = reference(values, 5, 30, { indices: labels }, { reduction: 'none' }, scale);
    expectWithin(read(gradOf(z)), want.gradLogits, () => 1e-14, 'gradient');
  });

  test('an upstream gradient that one value expands to all rows', () => {
    const z = floats(values, 'float64', [5, 30], true);
    sp.crossEntropy(z, target, { reduction: 'none' }).sum().mul(-2.5).backward();
    const upstream = new Float64Array(5).fill(-2.5);
    const want = reference(values, 5, 30, { indices: labels }, { reduction: 'none' }, upstream);
    expectWithin(read(gradOf(z)), want.gradLogits, () => 1e-14, 'gradient');
  });

  test('an upstream of 0 gives 0, also through NaN of the ignored', () => {
    const z = floats(values, 'float32', [5, 30], true);
    sp.crossEntropy(z, target).mul(0).backward();
    expectWithin(read(gradOf(z)), new Float64Array(150), () => 0, 'gradient');
  });

  // Loss scaling: what is too small for the dtype at upstream 1 must be there at upstream 2^14,
  // and what is too large at 1 must be there at 2^-10.
  test.each([
    ['float16', 2 ** 14, 1],
    ['float16', 2 ** -10, 2 ** 20],
    ['bfloat16', 2 ** 14, 1],
    ['float32', -(2 ** 14), 1],
  ] as const)('%s at upstream %f and token weights of %f', (dtype, scale, weight) => {
    for (const reduction of ['mean', 'none'] as const) {
      const c = { ...plain, name: '', shape: [200], classes: 300, target: 'indices' as const };
      const data = draw({ ...c, reduction }, dtype);
      const tokens = new Float64Array(200).fill(weight);
      const options: Data['options'] = {
        ...data.options,
        tokenWeight: reduction === 'none' ? tokens : undefined,
      };
      const upstream = new Float64Array(data.upstream.length).fill(scale);
      check({ ...c, reduction, upstream: 'random' }, { ...data, options, upstream }, dtype);
    }
  });

  test('two losses on the same logits add up', () => {
    const z = floats(values, 'float64', [5, 30], true);
    const other = [1, 2, 3, 4, 5];
    sp.crossEntropy(z, target)
      .add(sp.crossEntropy(z, indices(other, [5]), { zLoss: 0.1 }))
      .backward();
    const a = reference(values, 5, 30, { indices: labels }).gradLogits;
    const b = reference(values, 5, 30, { indices: other }, { zLoss: 0.1 }).gradLogits;
    expectWithin(
      read(gradOf(z)),
      a.map((g, i) => g + b[i]),
      () => 1e-14,
      'gradient',
    );
  });

  test('logits that are computed, not leaves', () => {
    const x = floats(values, 'float64', [5, 30], true);
    sp.crossEntropy(x.mul(x), target).backward();
    const squares = values.map((v) => v * v);
    const { gradLogits } = reference(squares, 5, 30, { indices: labels });
    const want = gradLogits.map((g, i) => 2 * values[i] * g);
    expectWithin(read(gradOf(x)), want, () => 1e-13, 'gradient');
  });

  test('only the token weights need a gradient', () => {
    const tokens = random.uniforms(5, 0.5, 2);
    const tokenWeight = floats(tokens, 'float64', [5], true);
    const z = floats(values, 'float64', [5, 30]);
    sp.crossEntropy(z, target, { tokenWeight }).backward();
    const want = reference(values, 5, 30, { indices: labels }, { tokenWeight: tokens });
    expectWithin(read(gradOf(tokenWeight)), want.gradTokenWeight, () => 1e-13, 'gradient');
    expect(z.grad ?? null).toBeNull();
  });

  test('only the probabilities need a gradient', () => {
    const probabilities = random.uniforms(150);
    const t = floats(probabilities, 'float64', [5, 30], true);
    const z = floats(values, 'float64', [5, 30]);
    sp.crossEntropy(z, t, { labelSmoothing: 0.1 }).backward();
    const options = { labelSmoothing: 0.1 };
    const want = reference(values, 5, 30, { probabilities }, options);
    expectWithin(read(gradOf(t)), want.gradTarget, () => 1e-13, 'gradient');
  });

  test('options that change before backward do not change it', () => {
    const gradient = (change: boolean) => {
      const z = floats(values, 'float64', [5, 30], true);
      const epilogue = { kind: 'focal' as const, gamma: 2 };
      const options = { reduction: 'none' as 'none' | 'mean', temperature: 2, epilogue };
      const loss = sp.crossEntropy(z, target, options);
      if (change) {
        Object.assign(options, { reduction: 'mean', temperature: 0.5 });
        epilogue.gamma = 0;
      }
      loss.backward(sp.ones([5], { dtype: 'float64' }));
      return bits(gradOf(z));
    };
    expectSameBits(gradient(true), gradient(false), 'gradient');
  });

  test('class weights are constants', () => {
    const classWeight = floats(random.uniforms(30), 'float64', [30], true);
    const z = floats(values, 'float64', [5, 30], true);
    sp.crossEntropy(z, target, { classWeight }).backward();
    expect(classWeight.grad ?? null).toBeNull();
  });
});

describe('without the tape', () => {
  const random = new Random(12);
  const names = {
    index: indices([1, 6, 0], [3]),
    soft: floats(random.uniforms(21), 'float32', [3, 7]),
  };
  test.each(Object.entries(names))('raw kernels give the same bits: %s target', (_, target) => {
    const values = random.normals(21);
    const z = floats(values, 'float32', [3, 7], true);
    const loss = sp.crossEntropy(z, target, { zLoss: 0.1 });
    loss.backward(floats([3], 'float32', []));
    const logits = floats(values, 'float32', [3, 7]);
    const { forward, backward } = sp.raw.crossEntropy;
    const result = forward({ logits, target }, { zLoss: 0.1 }, { logits: true });
    const output = (result as { output: AnyTensor }).output;
    expectSameBits(bits(output), bits(loss), 'loss');
    for (let i = 0; i < 2; i++) {
      const grads = backward(result.saved, floats([3], 'float32', []), { logits: true });
      expectSameBits(bits(grads.logits as AnyTensor), bits(gradOf(z)), `gradient ${i}`);
    }
  });
});
