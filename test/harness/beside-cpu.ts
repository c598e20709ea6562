// The same numbers through the library on the CPU and on the device, side by side.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from './arrays.js';
import { Random } from './random.js';
import { type FloatDType, roundAll } from './rounding.js';
import type { AnyTensor } from './tensors.js';

// biome-ignore lint/suspicious/noExplicitAny: functions of every signature
type Any = any;
export const tolerance = { float64: 1e-12, float32: 2e-5, float16: 4e-3, bfloat16: 3e-2 };

interface Input {
  shape: number[];
  /** What normal numbers become; themselves where absent. */
  map?: (x: number) => number;
  /** On the device it begins one element behind an address of 16 bytes. */
  shifted?: boolean;
}

export function placed(
  values: Float64Array,
  dtype: FloatDType,
  shape: readonly number[],
  device: 'cpu' | 'cuda',
): AnyTensor {
  return sp.tensor([...roundAll(values, dtype)], { dtype, shape: [...shape], device }) as AnyTensor;
}

function moved(t: AnyTensor, dtype: FloatDType): AnyTensor {
  const owner = sp.zeros([t.size + 16], { dtype, device: 'cuda' });
  const address = owner.pointer + BigInt(dtype === 'float64' ? 8 : dtype === 'float32' ? 4 : 2);
  const out = sp.cuda.fromPointer(address, { shape: [...t.shape], dtype, owner }) as AnyTensor;
  out.copy_(t as never);
  return out;
}

/**
 * Runs `f` on the CPU and on the device, forward and backward; results and gradients agree, to
 * `allowed` of the largest. The upstream gradient may begin at another address too.
 */
export function agrees(
  dtype: FloatDType,
  inputs: Input[],
  f: (...inputs: Any[]) => Any,
  shiftedUpstream = false,
  allowed = tolerance[dtype],
): void {
  const results = (['cpu', 'cuda'] as const).map((device) => {
    const leaves = inputs.map(({ shape, map = (x) => x, shifted }, i) => {
      const values = new Random(i + 1).normals(shape.reduce((a, b) => a * b, 1));
      const t = placed(values.map(map), dtype, shape, device);
      return (shifted && device === 'cuda' ? moved(t, dtype) : t).requiresGrad_() as AnyTensor;
    });
    const y = f(...leaves, device) as AnyTensor;
    const weights = new Random(9).normals(y.size);
    const upstream = placed(weights, y.dtype as FloatDType, y.shape, device);
    const shifted = shiftedUpstream && device === 'cuda';
    y.backward((shifted ? moved(upstream, y.dtype as FloatDType) : upstream) as never);
    return [y, ...leaves.map((t) => t.grad as AnyTensor)].map(numbers);
  });
  for (const [k, actual] of results[1].entries()) {
    const expected = results[0][k];
    const size = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0.01);
    const wrong = actual.findIndex((x, i) => !(Math.abs(x - expected[i]) <= allowed * size));
    if (wrong >= 0) {
      expect([k, wrong, actual[wrong]]).toEqual([k, wrong, expected[wrong]]);
    }
  }
}

/** Each call is refused on both, in the same words. */
export function refusedAlike(calls: ((device: 'cpu' | 'cuda') => unknown)[]): void {
  const said = (call: (device: 'cpu' | 'cuda') => unknown, device: 'cpu' | 'cuda') => {
    try {
      call(device);
      sp.cuda.synchronize();
    } catch (error) {
      return (error as Error).message;
    }
    return 'nothing';
  };
  for (const [i, call] of calls.entries()) {
    const expected = said(call, 'cpu');
    expect(expected, `call ${i}`).toMatch(/: expected /);
    expect(said(call, 'cuda')).toBe(expected);
  }
}
