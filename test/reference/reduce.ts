// Reductions, softmax and normalisation as their definitions, in float64 and plain loops.

/** x cut into the groups that a reduction over `dims` folds, in row-major order of the results. */
export function groups(
  x: ArrayLike<number>,
  shape: readonly number[],
  dims: readonly number[],
): number[][] {
  const kept = shape.map((n, d) => (dims.includes(d) ? 1 : n));
  const count = kept.reduce((a, b) => a * b, 1);
  const out: number[][] = Array.from({ length: count }, () => []);
  for (let i = 0; i < x.length; i++) out[groupOf(i, shape, kept)].push(x[i]);
  return out;
}

function groupOf(i: number, shape: readonly number[], kept: readonly number[]): number {
  let index = 0;
  let stride = 1;
  let rest = i;
  for (let d = shape.length - 1; d >= 0; d--) {
    const at = rest % shape[d];
    rest = (rest - at) / shape[d];
    if (kept[d] !== 1) index += at * stride;
    stride *= kept[d];
  }
  return index;
}

/** Neumaier's compensated sum. */
export function sum(x: ArrayLike<number>): number {
  let total = 0;
  let rest = 0;
  for (let i = 0; i < x.length; i++) {
    const next = total + x[i];
    if (Number.isFinite(next)) {
      rest += Math.abs(total) >= Math.abs(x[i]) ? total - next + x[i] : x[i] - next + total;
    }
    total = next;
  }
  return total + rest;
}

export const mean = (x: number[]) => sum(x) / x.length;

export function variance(x: number[], correction = 1): number {
  const m = mean(x);
  return sum(x.map((v) => (v - m) ** 2)) / Math.max(0, x.length - correction);
}

export const largest = (x: number[]) =>
  x.reduce((a, b) => (Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b)), -Infinity);
export const smallest = (x: number[]) => -largest(x.map((v) => -v));
export const position = (x: number[], value: number) =>
  x.findIndex((v) => v === value || (Number.isNaN(v) && Number.isNaN(value)));

export function logsumexp(x: number[]): number {
  const m = largest(x);
  if (!Number.isFinite(m)) return m;
  return m + Math.log(sum(x.map((v) => Math.exp(v - m))));
}

export function norm(x: number[], p: number): number {
  if (p === Infinity) return x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return sum(x.map((v) => Math.abs(v) ** p)) ** (1 / p);
}

export function softmax(x: number[]): number[] {
  const m = largest(x);
  const e = x.map((v) => Math.exp(v - m));
  const total = sum(e);
  return e.map((v) => v / total);
}

export function logSoftmax(x: number[]): number[] {
  const m = largest(x);
  const lse = Math.log(sum(x.map((v) => Math.exp(v - m))));
  return x.map((v) => v - m - lse);
}

export function layerNorm(x: number[], w: number[], b: number[], eps: number): number[] {
  const m = mean(x);
  const r = 1 / Math.sqrt(variance(x, 0) + eps);
  return x.map((v, i) => (v - m) * r * w[i] + b[i]);
}

export function rmsNorm(x: number[], w: number[], eps: number): number[] {
  const r = 1 / Math.sqrt(mean(x.map((v) => v * v)) + eps);
  return x.map((v, i) => v * r * w[i]);
}
