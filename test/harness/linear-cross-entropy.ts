// Runs a case of logit-free cross-entropy through the library and compares it with the reference.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import type { Case, Data, Input } from '../cases/linear-cross-entropy.js';
import type { Result } from '../reference/linear-cross-entropy.js';
import { distance, expectFrobenius, expectWithin, norm } from './compare.js';
import type { FloatDType } from './rounding.js';
import { epsilon, formats, ulp } from './rounding.js';
import type { AnyTensor } from './tensors.js';
import { floats, gradOf, indices, read } from './tensors.js';
import { linearGradientTolerance, linearLossTolerance, lossTolerance } from './tolerance.js';

export interface Run {
  inputs: Partial<Record<Input, AnyTensor>>;
  mainGrad?: AnyTensor;
  loss: AnyTensor;
  backward: () => void;
}

/** The smallest workspace of a call, as the error about a smaller one names it. */
export function leastWorkspace(call: (workspaceBytes: number) => unknown): number {
  try {
    call(1);
  } catch (error) {
    const numbers = (error as Error).message.match(/\d+/g) ?? [];
    const least = Math.max(...numbers.map(Number));
    if ((error as { code?: string }).code === 'ERR_INVALID_VALUE' && least > 1) return least;
    throw error;
  }
  return 1;
}

const mainGradStart = 2 ** -6;

/** The library's run of a case, its gradients not yet asked for. */
export function run(c: Case, data: Data, dtype: FloatDType, extra: object = {}): Run {
  const { problem, options } = data;
  const wants = (name: Input) => c.needs.includes(name);
  const { classWeight, tokenWeight: tokens, ...scalars } = options;
  const bias = problem.bias && floats(problem.bias, dtype, [c.classes], wants('bias'));
  const tokenWeight = tokens && floats(tokens, 'float32', c.shape, wants('tokenWeight'));
  const mainGrad = c.mainGrad ? sp.full([c.classes, c.width], mainGradStart) : undefined;
  const x = floats(problem.x, dtype, [...c.shape, c.width], wants('x'));
  const weight = floats(problem.weight, dtype, [c.classes, c.width], wants('weight'));
  const target = indices(problem.target, c.shape, c.width % 2 ? 'int32' : 'int64');
  const call = (workspaceBytes: number | undefined) =>
    sp.linearCrossEntropy(x, weight, target, {
      ...scalars,
      bias,
      tokenWeight,
      mainGrad,
      workspaceBytes,
      classWeight: classWeight && floats(classWeight, 'float32', [c.classes]),
      ...extra,
    });
  const loss = call(c.leastWorkspace ? leastWorkspace(call) : undefined);
  const upstream = floats(data.upstream, loss.dtype as FloatDType, loss.shape);
  const backward = () => loss.backward(c.upstream === 'one' && !loss.rank ? undefined : upstream);
  return { inputs: { x, weight, bias, tokenWeight }, mainGrad, loss, backward };
}

/**
 * Compares t.grad; `factor` widens the tolerance where the test says why. Where terms cancel, what
 * counts is their roundings to t's dtype: `squares` is the sum of their squares.
 */
export function expectGradient(
  t: AnyTensor | undefined,
  want: Float64Array,
  what: string,
  { factor = 1, squares = 0 } = {},
): void {
  if (!t) throw new Error(`${what}: no such input`);
  const tolerance = factor * linearGradientTolerance(t.dtype as FloatDType, want.length);
  // Below the normal numbers of float16 a rounding is absolute.
  const { minExponent, mantissa } = formats[t.dtype as FloatDType];
  const floor =
    2 ** (minExponent - mantissa) * Math.sqrt(want.length) +
    (epsilon(t.dtype as FloatDType) / 2) * Math.sqrt(squares);
  expectFrobenius(read(gradOf(t)), want, tolerance, what, floor);
}

/** Value and gradients within the tolerances; frozen inputs without a gradient. */
export function check(c: Case, data: Data, dtype: FloatDType, expected: Result): void {
  const { inputs, mainGrad, loss, backward } = run(c, data, dtype);
  const lossLimit = linearLossTolerance[dtype];
  const lead = c.shape.slice(0, -1);
  const last = c.shape[c.shape.length - 1];
  expect(loss.shape).toEqual(c.reduction === 'none' ? [...lead, last - c.shift] : []);
  expect(loss.dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
  expectWithin(read(loss), expected.loss, (i) => lossLimit * expected.magnitude[i], 'loss');
  if (!loss.requiresGrad) {
    expect(Object.values(inputs).some((t) => t?.requiresGrad)).toBe(false);
    return;
  }
  backward();
  const gradient = (name: Input, want: Float64Array, squares = 0) => {
    const t = inputs[name];
    if (!t) return;
    if (!t.requiresGrad) expect(t.grad ?? null, name).toBeNull();
    else expectGradient(t, want, `${name}.grad`, { squares });
  };
  gradient('x', expected.gradX);
  gradient('bias', expected.gradBias, expected.biasSquares);
  if (mainGrad) {
    expect(inputs.weight?.grad ?? null).toBeNull();
    const added = read(mainGrad).map((v) => v - mainGradStart);
    // The sum is float32, rounded where it has got to after each wave of rows, of up to 16 here.
    const steps = expected.gradWeight.map((g) => 8 * ulp(mainGradStart + g, 'float32'));
    const limit = Math.max(linearGradientTolerance(dtype, added.length), 1e-6);
    const allowed = limit * norm(expected.gradWeight) + norm(steps);
    expect(distance(added, expected.gradWeight), 'mainGrad').toBeLessThanOrEqual(allowed);
  } else gradient('weight', expected.gradWeight);
  const { tokenWeight } = inputs;
  if (!tokenWeight?.requiresGrad) return;
  const tokenLimit = Math.max(lossLimit, lossTolerance('float32'));
  const allowed = (i: number) => tokenLimit * expected.magnitudeTokenWeight[i];
  expectWithin(read(gradOf(tokenWeight)), expected.gradTokenWeight, allowed, 'tokenWeight.grad');
}
