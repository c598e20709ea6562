// Runs a case of cross-entropy through the library and compares it with the reference.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import type { Case, Data } from '../cases/cross-entropy.js';
import { crossEntropy as reference, transform } from '../reference/cross-entropy.js';
import { expectWithin, rowMax } from './compare.js';
import type { FloatDType } from './rounding.js';
import { round } from './rounding.js';
import type { AnyTensor } from './tensors.js';
import { floats, gradOf, indices, read } from './tensors.js';
import { gradientTolerance, lossTolerance, transformTolerance } from './tolerance.js';

export interface Run {
  logits: AnyTensor;
  target: AnyTensor;
  tokenWeight?: AnyTensor;
  loss: AnyTensor;
  backward: () => void;
}

/** The library's run of a case, its gradients not yet asked for. */
export function run(c: Case, data: Data, dtype: FloatDType, needsGrad = true): Run {
  const logits = floats(data.logits, dtype, [...c.shape, c.classes], needsGrad);
  const target =
    'indices' in data.target
      ? indices(data.target.indices, c.shape, c.classes % 2 ? 'int64' : 'int32')
      : floats(data.target.probabilities, dtype, [...c.shape, c.classes], needsGrad);
  const { classWeight, tokenWeight: tokens, ...scalars } = data.options;
  const tokenWeight = tokens && floats(tokens, 'float32', c.shape, needsGrad);
  const options = {
    ...scalars,
    classWeight: classWeight && floats(classWeight, 'float32', [c.classes]),
    tokenWeight,
  };
  const loss = sp.crossEntropy(logits, target, options);
  const upstream = floats(data.upstream, dtype === 'float64' ? dtype : 'float32', loss.shape);
  const backward = () => loss.backward(c.upstream === 'one' && !loss.rank ? undefined : upstream);
  return { logits, target, tokenWeight, loss, backward };
}

function largestLogit(c: Case, data: Data): number {
  if (c.temperature === 1 && c.softcap === undefined) return 0;
  return data.logits.reduce((max, x) => Math.max(max, Math.abs(transform(x, c)[0])), 0);
}

/** Value and gradients within the tolerances; the logits as they were. */
export function check(c: Case, data: Data, dtype: FloatDType): void {
  const expected = reference(
    data.logits,
    data.rows,
    c.classes,
    data.target,
    data.options,
    data.upstream,
  );
  const { logits, target, tokenWeight, loss, backward } = run(c, data, dtype);
  const spread = transformTolerance(dtype, largestLogit(c, data));
  const relative = lossTolerance(dtype) + spread;
  expect(loss.shape).toEqual(c.reduction === 'none' ? c.shape : []);
  expect(loss.dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
  expectWithin(read(loss), expected.loss, (i) => relative * expected.magnitude[i], 'loss');
  backward();
  const gradient = (t: AnyTensor, exact: Float64Array, what: string) => {
    // A gradient beyond the stored dtype is an infinity.
    const want = exact.map((g) => (Number.isFinite(round(g, dtype)) ? g : round(g, dtype)));
    const largest = rowMax(want, c.classes);
    const allowed = (i: number) =>
      gradientTolerance(dtype, want[i], largest(i)) + spread * largest(i);
    expectWithin(read(gradOf(t)), want, allowed, what);
  };
  gradient(logits, expected.gradLogits, 'logits.grad');
  if (c.target === 'probabilities') gradient(target, expected.gradTarget, 'target.grad');
  if (tokenWeight) {
    const limit = lossTolerance('float32') + spread;
    const allowed = (i: number) => limit * expected.magnitudeTokenWeight[i];
    expectWithin(read(gradOf(tokenWeight)), expected.gradTokenWeight, allowed, 'tokenWeight.grad');
  }
  expectWithin(read(logits), data.logits, () => 0, 'logits after the loss');
}
