// What every case of an operation is held to: its float64 reference in each dtype, finite
// differences, gradients of the other dtypes beside those of float64, the same bits for any number
// of threads and on a background thread.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import type { Arr } from '../reference/arrays.js';
import { sizeOf } from './arrays.js';
import { expectSameBits, expectWithin } from './compare.js';
import { Random } from './random.js';
import { epsilon, type FloatDType, roundAll } from './rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from './tensors.js';

export const floatDTypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

export interface OperationCase {
  name: string;
  /** Shapes of the float inputs by name, in the order of their seeds. */
  inputs: Record<string, readonly number[]>;
  run(t: Record<string, AnyTensor>): AnyTensor;
  runAsync?(t: Record<string, AnyTensor>): Promise<AnyTensor>;
  reference(a: Record<string, Arr>): Arr;
  /** What an element's error scales with: by default the largest of the result. */
  magnitude?(a: Record<string, Arr>): ArrayLike<number>;
  /** Roundings that add up in one element (default 8). */
  terms?: number;
  /** Terms of a gradient that cancel are up to this large. */
  gradientScale?: number;
  /** Too large for finite differences. */
  large?: boolean;
}

export function draw(shapes: OperationCase['inputs'], dtype: FloatDType): Record<string, Arr> {
  const entries = Object.entries(shapes).map(([name, shape], i) => {
    const values = roundAll(new Random(17 * i + sizeOf(shape) + 1).normals(sizeOf(shape)), dtype);
    return [name, { shape: [...shape], values: [...values] }] as [string, Arr];
  });
  return Object.fromEntries(entries);
}

function tensors(arrays: Record<string, Arr>, dtype: FloatDType, requiresGrad = false) {
  const entries = Object.entries(arrays).map(
    ([name, a]) => [name, floats(a.values, dtype, a.shape, requiresGrad)] as const,
  );
  return Object.fromEntries(entries);
}

/** The result and the gradients of all inputs for a fixed upstream gradient. */
function differentiated(one: OperationCase, arrays: Record<string, Arr>, dtype: FloatDType) {
  const t = tensors(arrays, dtype, true);
  const y = one.run(t);
  const upstream = roundAll(new Random(5).normals(y.size), 'bfloat16');
  y.backward(floats(upstream, dtype, y.shape) as never);
  return [y, ...Object.values(t).map(gradOf)];
}

const largest = (values: ArrayLike<number>) =>
  Array.from(values, Math.abs).reduce((a, b) => Math.max(a, b), 0);
const rounding = (dtype: FloatDType) => epsilon(dtype === 'float64' ? 'float64' : 'float32');

function expectValues(one: OperationCase, dtype: FloatDType): void {
  const arrays = draw(one.inputs, dtype);
  const y = one.run(tensors(arrays, dtype));
  const expected = one.reference(arrays);
  expect([y.dtype, y.shape], one.name).toEqual([dtype, expected.shape]);
  const scale = one.magnitude?.(arrays);
  const top = largest(expected.values);
  // Terms accumulated in float32 (or float64), and one rounding to the dtype.
  const unit = (one.terms ?? 8) * rounding(dtype);
  const allowed = (i: number) =>
    unit * (scale ? scale[i] : top) + 2 * epsilon(dtype) * Math.abs(expected.values[i]) + 1e-300;
  expectWithin(read(y), expected.values, allowed, one.name);
}

function expectGradients(one: OperationCase, dtype: FloatDType): void {
  const arrays = draw(one.inputs, dtype);
  const actual = differentiated(one, arrays, dtype).map(read);
  const expected = differentiated(one, arrays, 'float64').map(read);
  for (const [k, values] of expected.entries()) {
    if (k === 0) continue;
    // Saved results of 16 bits carry one rounding into the gradient.
    const unit = 8 * (one.terms ?? 8) * rounding(dtype) + 4 * epsilon(dtype);
    const limit = unit * (largest(values) + (one.gradientScale ?? 0)) + 1e-300;
    const allowed = () => limit;
    expectWithin(actual[k], values, allowed, `${one.name}, gradient ${k}`);
  }
}

function expectOneResult(one: OperationCase, dtype: FloatDType): void {
  const arrays = draw(one.inputs, dtype);
  const before = sp.getThreads();
  const results = [1, 3].map((threads) => {
    sp.setThreads(threads);
    return differentiated(one, arrays, dtype).map(bits);
  });
  sp.setThreads(before);
  for (const [k, b] of results[0].entries()) expectSameBits(b, results[1][k], `${one.name} ${k}`);
}

/** Declares the tests of a list of cases. */
export function testOperation(cases: readonly OperationCase[], dtypes = floatDTypes): void {
  test.each(dtypes)('values, %s', (dtype) => {
    for (const one of cases) expectValues(one, dtype);
  });
  test('gradients by finite differences', () => {
    for (const one of cases.filter(({ large }) => !large)) {
      const names = Object.keys(one.inputs);
      const t = tensors(draw(one.inputs, 'float64'), 'float64', true);
      const call = (...list: AnyTensor[]) =>
        one.run(Object.fromEntries(names.map((name, i) => [name, list[i]])));
      expect(sp.gradcheck(call, Object.values(t)), one.name).toBe(true);
    }
  });
  test.each(dtypes.filter((d) => d !== 'float64'))('gradients beside float64, %s', (dtype) => {
    for (const one of cases) expectGradients(one, dtype);
  });
  test('the same bits for any number of threads, and on a background thread', async () => {
    for (const one of cases) {
      expectOneResult(one, 'float32');
      expectOneResult(one, 'bfloat16');
      if (!one.runAsync) continue;
      const t = tensors(draw(one.inputs, 'float32'), 'float32');
      expectSameBits(bits(await one.runAsync(t)), bits(one.run(t)), `${one.name}, async`);
    }
  });
}
