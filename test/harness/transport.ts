// Inputs of the transport tests: the generator of harness/golden/make_transport.py.
import type * as sp from '../../src/index.js';
import { type FloatDType, roundAll } from './rounding.js';
import { floats } from './tensors.js';

/** A linear congruential generator that Python repeats. */
export function uniforms(seed: number, count: number): Float64Array {
  let state = seed;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(1103515245, state) + 12345) & 0x7fffffff;
    return state / 2 ** 31;
  });
}

export interface Clouds {
  x: Float64Array;
  y: Float64Array;
  a: Float64Array;
  b: Float64Array;
  n: number;
  m: number;
  d: number;
  batch: number;
}

/** Points in the unit cube, weights between 1 and 3 shares, of mass 1. */
export function draw(n: number, m: number, d: number, seed: number, batch = 1): Clouds {
  const u = uniforms(seed, batch * (n * d + m * d + n + m));
  let at = 0;
  const take = (count: number) => {
    at += count;
    return u.slice(at - count, at);
  };
  const [x, y] = [take(batch * n * d), take(batch * m * d)];
  const weights = (size: number) => {
    const w = take(batch * size).map((v) => v + 0.5);
    for (let p = 0; p < batch; p++) {
      const part = w.subarray(p * size, (p + 1) * size);
      const mass = part.reduce((sum, v) => sum + v, 0);
      for (let i = 0; i < size; i++) part[i] /= mass;
    }
    return w;
  };
  return { x, y, a: weights(n), b: weights(m), n, m, d, batch };
}

/** Tensors of the clouds, rounded to `dtype`; what they hold is written back. */
export function tensors(clouds: Clouds, dtype: FloatDType = 'float64', requiresGrad = false) {
  const { n, m, d, batch } = clouds;
  const lead = batch > 1 ? [batch] : [];
  clouds.x = Float64Array.from(roundAll(clouds.x, dtype));
  clouds.y = Float64Array.from(roundAll(clouds.y, dtype));
  const wide = dtype === 'float64' ? 'float64' : 'float32';
  clouds.a = Float64Array.from(roundAll(clouds.a, wide));
  clouds.b = Float64Array.from(roundAll(clouds.b, wide));
  return {
    x: floats(clouds.x, dtype, [...lead, n, d], requiresGrad),
    y: floats(clouds.y, dtype, [...lead, m, d], requiresGrad),
    a: floats(clouds.a, wide, [...lead, n], requiresGrad),
    b: floats(clouds.b, wide, [...lead, m], requiresGrad),
  };
}

export type Options = sp.SinkhornDivergenceOptions;

/** A divergence solved to the last digit. */
export const exact: Options = { tolerance: 1e-12, maxIterations: 100000, onInfo: () => {} };
