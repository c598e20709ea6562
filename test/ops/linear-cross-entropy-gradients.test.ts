// The gradients of the logit-free losses by the library's own central differences, and frozen
// inputs in every combination.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import type { Input } from '../cases/linear-cross-entropy.js';
import { draw, optionCases, shapeCases } from '../cases/linear-cross-entropy.js';
import { expectSameBits } from '../harness/compare.js';
import { inTurn, isEmulated } from '../harness/device.js';
import { check, run } from '../harness/linear-cross-entropy.js';
import { Random } from '../harness/random.js';
import type { AnyTensor } from '../harness/tensors.js';
import { bits, floats, gradOf, indices } from '../harness/tensors.js';
import { linearCrossEntropy as reference } from '../reference/linear-cross-entropy.js';

// Central differences at 1e-6 are good to about 1e-9 here.
const tight = { atol: 1e-7, rtol: 1e-6 };

describe('gradcheck', () => {
  const tiny = optionCases.map((c) => ({
    ...c,
    shape: c.shape.length === 1 ? [5] : c.shape.length === 2 ? [2, 4] : [1, 2, 3],
    width: Math.min(c.width, 3),
    classes: Math.min(c.classes, 7),
  }));
  // Hundreds of forward passes each.
  test.each(inTurn(tiny, 19, 20))('$name', (c) => {
    const { problem, options } = draw(c, 'float64');
    const { classWeight, tokenWeight, ...scalars } = options;
    const target = indices(problem.target, c.shape);
    const leaf = (values: ArrayLike<number>, shape: readonly number[]) =>
      floats(values, 'float64', shape, true);
    const inputs = [
      leaf(
        // Small logits: a comp-sum loss grows like e^(L/2), and differences lose as many digits.
        Float64Array.from(problem.x, (v) => v / 4),
        [...c.shape, c.width],
      ),
      leaf(problem.weight, [c.classes, c.width]),
      leaf(problem.bias ?? new Float64Array(c.classes), [c.classes]),
      leaf(tokenWeight ?? new Float64Array(target.size).fill(1), c.shape),
    ];
    const loss = (x: AnyTensor, weight: AnyTensor, bias: AnyTensor, tokens: AnyTensor) =>
      sp.linearCrossEntropy(x, weight, target, {
        ...scalars,
        bias,
        tokenWeight: tokens,
        classWeight: classWeight && floats(classWeight, 'float64', [c.classes]),
      });
    expect(sp.gradcheck(loss as never, inputs, tight)).toBe(true);
  });

  test.each(['logprob', 'lse', 'entropy'] as const)('linearLogprobs: %s', (name) => {
    const random = new Random(3);
    const ids = indices([0, 6, -100, 3, 2], [5]);
    const inputs = [
      floats(random.normals(15), 'float64', [5, 3], true),
      floats(random.normals(21), 'float64', [7, 3], true),
      floats(random.normals(7), 'float64', [7], true),
    ];
    const variants = [{}, { temperature: 0.7 }, { softcap: 2, capFirst: true, temperature: 2 }];
    for (const options of inTurn(variants, 2, 3)) {
      const output = (x: AnyTensor, weight: AnyTensor, bias: AnyTensor) =>
        sp.linearLogprobs(x, weight, ids, { ...options, bias })[name];
      expect(sp.gradcheck(output as never, inputs, tight)).toBe(true);
    }
  });
});

const shape = isEmulated ? '100 x 20 x 531' : '193 x 70 x 517';
const found = shapeCases.find((c) => c.name === shape);
if (!found) throw new Error('no such case');

describe('frozen inputs do not change the other gradients', () => {
  const c = { ...found, tokens: 'positive' as const };
  const data = draw(c, 'float32');
  const all = run(c, data, 'float32');
  all.backward();
  const subsets: Input[][] = [
    ['x'],
    ['weight'],
    ['bias'],
    ['tokenWeight'],
    ['x', 'bias'],
    ['weight', 'bias'],
    ['x', 'weight'],
    ['weight', 'tokenWeight'],
  ];
  test.each(subsets.map((needs) => [needs]))('%j', (needs) => {
    const { inputs, loss, backward } = run({ ...c, needs }, data, 'float32');
    expectSameBits(bits(loss), bits(all.loss), 'loss');
    backward();
    for (const [name, t] of Object.entries(inputs)) {
      if (!needs.includes(name as Input)) expect(t.grad ?? null, name).toBeNull();
      else expectSameBits(bits(gradOf(t)), bits(gradOf(all.inputs[name as Input] as never)), name);
    }
  });
});

// Loss scaling: the gradients of a mean over very many tokens are too small for float16 at
// upstream 1, and must be there at the upstream that makes them large again; and the reverse.
test.each([
  ['float16', 2 ** 16],
  ['float16', 2 ** -16],
  ['bfloat16', 2 ** 16],
  ['float32', -(2 ** 16)],
] as const)('%s at upstream %f', (dtype, scale) => {
  const c = { ...found, bias: false, reduction: 'sum', upstream: 'random' } as const;
  const data = draw(c, dtype);
  const options = {
    ...data.options,
    tokenWeight: new Float64Array(c.shape[0]).fill(1 / Math.abs(scale)),
  };
  const scaled = { ...data, options, upstream: Float64Array.of(scale) };
  check(c, scaled, dtype, reference(data.problem, options, scaled.upstream));
});

test('two heads share one x', () => {
  const random = new Random(4);
  const values = random.normals(20);
  const heads = [random.normals(28), random.normals(36)];
  const labels = [indices([0, 6, 2, 3, 1], [5]), indices([8, 0, 1, 2, 3], [5])];
  const gradient = (used: number[]) => {
    const x = floats(values, 'float64', [5, 4], true);
    used
      .map((h): sp.Tensor => {
        const weight = floats(heads[h], 'float64', [heads[h].length / 4, 4]);
        return sp.linearCrossEntropy(x, weight, labels[h]);
      })
      .reduce((sum, loss) => sum.add(loss))
      .backward();
    return gradOf(x).dataSync() as Float64Array;
  };
  const [a, b, both] = [gradient([0]), gradient([1]), gradient([0, 1])];
  for (const i of both.keys()) expect(both[i]).toBeCloseTo(a[i] + b[i], 14);
});

test('one tensor as x and weight: both gradients add up', () => {
  const random = new Random(5);
  const w = floats(random.normals(12), 'float64', [4, 3], true);
  const target = indices([1, 0, 3, 2], [4]);
  const loss = (t: AnyTensor) => sp.linearCrossEntropy(t, t, target);
  expect(sp.gradcheck(loss as never, [w], tight)).toBe(true);
});
