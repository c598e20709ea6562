// What error is allowed, and where it comes from. The figures are the project's targets; they are
// bounds on |result - float64 reference on the same rounded inputs|, relative to a magnitude:
// a float32 result is one rounding (6e-8) of sums whose terms carry a few more each, so 1e-6
// leaves room for exp (2 ulp) and for a sum in float32 blocks, and catches any wrong term.

import type { FloatDType } from './rounding.js';
import { epsilon, ulp } from './rounding.js';

/** Loss, lse, entropy and log p: relative to the magnitude that the reference reports. */
export function lossTolerance(dtype: FloatDType): number {
  // float16 and bfloat16 inputs are exact float32 numbers; everything after is float32.
  return dtype === 'float64' ? 1e-12 : 1e-6;
}

/**
 * A stored gradient of logits: relative to the largest of its row, plus one ulp of a 16-bit dtype
 * (half for the final rounding, half because the float32 value may lie across a tie).
 */
export function gradientTolerance(dtype: FloatDType, value: number, largest: number): number {
  if (dtype === 'float64') return 1e-12 * largest;
  const stored = dtype === 'float32' ? 0 : ulp(value, dtype);
  return 2e-6 * largest + stored;
}

/**
 * What temperature and softcap add: the transformed logit is rounded, twice by a reciprocal and
 * by tanh, and an absolute error of z is a relative one of exp(z).
 */
export function transformTolerance(dtype: FloatDType, largestLogit: number): number {
  const unit = epsilon(dtype === 'float64' ? 'float64' : 'float32');
  return 4 * unit * largestLogit;
}

/** Logit-free loss: the logits are sums of D products, in float32 in any order. */
export const linearLossTolerance: Record<FloatDType, number> = {
  float64: 1e-11,
  float32: 1e-5,
  float16: 1e-4,
  bfloat16: 2e-4,
};

const linearGradient: Record<FloatDType, number> = {
  float64: 1e-11,
  float32: 1e-5,
  float16: 1.5e-3,
  bfloat16: 3e-3,
};

/**
 * Frobenius errors of dx, dweight and dbias. Half dtypes round the stored gradient: on average less
 * than the figure above, but the few values that make up the norm of a small or peaked array may
 * all be unlucky.
 */
export function linearGradientTolerance(dtype: FloatDType, size: number): number {
  return linearGradient[dtype] + (size < 1000 ? epsilon(dtype) : 0);
}
