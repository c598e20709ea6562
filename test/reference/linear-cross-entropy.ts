// The definition of logit-free cross-entropy, which holds the logits: float64, plain loops.
//   logits[r] = weight x[r] + bias for every scored row r, then reference/cross-entropy.ts
//   dx = dlogits weight,  dweight = dlogits^T x,  dbias = sum over rows of dlogits
// With shift s, row t of x is scored against target t+s along the last axis.
// linearLogprobs: logprob = z_y - lse, lse, entropy H = lse - sum_c p_c z_c, whose gradients by z
// are onehot - p, p and -p (log p + H). Partials (Wijmans et al. 2024, section 4.2, sharded): a
// shard's max, sum of exp(z - max) without the target, target logit and sum of logits.

import type { Options as LogitOptions, Transform } from './cross-entropy.js';
import { crossEntropy, softmaxRow, surprise, transform } from './cross-entropy.js';

export interface Problem {
  batch: number; // B: the product of the leading axes
  length: number; // T: the last axis of the target
  width: number; // D
  classes: number; // V
  x: ArrayLike<number>; // (B, T, D)
  weight: ArrayLike<number>; // (V, D)
  bias?: ArrayLike<number>; // (V)
  target: ArrayLike<number>; // (B, T)
}

export interface Options extends LogitOptions {
  shift?: number;
}

export interface Gradients {
  gradX: Float64Array; // (B, T, D)
  gradWeight: Float64Array; // (V, D)
  gradBias: Float64Array; // (V)
  biasSquares: number; // of all that gradBias sums
}

export interface Result extends Gradients {
  loss: Float64Array; // one value, or (B, T - s)
  magnitude: Float64Array;
  gradTokenWeight: Float64Array; // (B, T)
  magnitudeTokenWeight: Float64Array;
}

/** The logits of one row of x. */
export function rowLogits(problem: Problem, row: number): Float64Array {
  const { width, classes, x, weight, bias } = problem;
  const z = new Float64Array(classes);
  for (let c = 0; c < classes; c++) {
    let dot = 0;
    for (let d = 0; d < width; d++) dot += x[row * width + d] * weight[c * width + d];
    z[c] = dot + (bias?.[c] ?? 0);
  }
  return z;
}

/** Scored pairs: a row of x and the position of its target. */
function pairsOf(problem: Problem, shift: number): { row: number; at: number }[] {
  const pairs: { row: number; at: number }[] = [];
  for (let b = 0; b < problem.batch; b++) {
    for (let t = 0; t + shift < problem.length; t++) {
      const row = b * problem.length + t;
      pairs.push({ row, at: row + shift });
    }
  }
  return pairs;
}

function zeroGradients({ batch, length, width, classes }: Problem): Gradients {
  return {
    gradX: new Float64Array(batch * length * width),
    gradWeight: new Float64Array(classes * width),
    gradBias: new Float64Array(classes),
    biasSquares: 0,
  };
}

/** Adds what one row's dlogits contribute; an exact zero touches nothing, as for ignored rows. */
function accumulate(into: Gradients, problem: Problem, row: number, dlogits: Float64Array): void {
  const { width, classes, x, weight } = problem;
  for (let c = 0; c < classes; c++) {
    const g = dlogits[c];
    if (g === 0) continue;
    into.gradBias[c] += g;
    into.biasSquares += g * g;
    for (let d = 0; d < width; d++) {
      into.gradX[row * width + d] += g * weight[c * width + d];
      into.gradWeight[c * width + d] += g * x[row * width + d];
    }
  }
}

export function linearCrossEntropy(
  problem: Problem,
  options: Options = {},
  upstream?: ArrayLike<number>,
): Result {
  const { classes, target } = problem;
  const { shift = 0, tokenWeight } = options;
  const pairs = pairsOf(problem, shift);
  const logits = new Float64Array(pairs.length * classes);
  pairs.forEach(({ row, at }, n) => {
    if (target[at] !== (options.ignoreIndex ?? -100))
      logits.set(rowLogits(problem, row), n * classes);
  });
  const inner = crossEntropy(
    logits,
    pairs.length,
    classes,
    { indices: pairs.map(({ at }) => target[at]) },
    { ...options, tokenWeight: tokenWeight && pairs.map(({ at }) => tokenWeight[at]) },
    upstream,
  );
  const gradients = zeroGradients(problem);
  const gradTokenWeight = new Float64Array(problem.batch * problem.length);
  const magnitudeTokenWeight = new Float64Array(problem.batch * problem.length);
  pairs.forEach(({ row, at }, n) => {
    accumulate(gradients, problem, row, inner.gradLogits.subarray(n * classes, (n + 1) * classes));
    gradTokenWeight[at] = inner.gradTokenWeight[n];
    magnitudeTokenWeight[at] = inner.magnitudeTokenWeight[n];
  });
  const { loss, magnitude } = inner;
  return { ...gradients, loss, magnitude, gradTokenWeight, magnitudeTokenWeight };
}

export interface Logprobs {
  logprob: Float64Array;
  lse: Float64Array;
  entropy: Float64Array;
}

export interface LogprobOptions extends Transform {
  shift?: number;
  ignoreIndex?: number;
}

/** The three outputs per row, and the gradients for any mix of upstream gradients. */
export function linearLogprobs(
  problem: Problem,
  options: LogprobOptions = {},
  upstream: Partial<Record<keyof Logprobs, ArrayLike<number>>> = {},
): Logprobs & Gradients {
  const { classes, target } = problem;
  const pairs = pairsOf(problem, options.shift ?? 0);
  const zeros = () => new Float64Array(pairs.length);
  const outputs = { logprob: zeros(), lse: zeros(), entropy: zeros() };
  const gradients = zeroGradients(problem);
  pairs.forEach(({ row, at }, n) => {
    const y = target[at];
    if (y === (options.ignoreIndex ?? -100)) return;
    const slope = new Float64Array(classes);
    const z = rowLogits(problem, row).map((v, c) => {
      const [value, derivative] = transform(v, options);
      slope[c] = derivative;
      return value;
    });
    const softmax = softmaxRow(z);
    const p = z.map((v) => Math.exp(v - softmax.max) / (1 + softmax.rest));
    let entropy = 0;
    for (let c = 0; c < classes; c++) if (p[c] > 0) entropy += p[c] * surprise(z, softmax, c);
    outputs.logprob[n] = -surprise(z, softmax, y);
    outputs.lse[n] = softmax.lse;
    outputs.entropy[n] = entropy;
    const [gLogprob, gLse, gEntropy] = [upstream.logprob, upstream.lse, upstream.entropy].map(
      (g) => g?.[n] ?? 0,
    );
    const dlogits = z.map((_, c) => {
      const logp = -surprise(z, softmax, c);
      const dEntropy = p[c] === 0 ? 0 : -p[c] * (logp + entropy);
      const dz = gLogprob * ((c === y ? 1 : 0) - p[c]) + gLse * p[c] + gEntropy * dEntropy;
      return dz * slope[c];
    });
    accumulate(gradients, problem, row, dlogits);
  });
  return { ...outputs, ...gradients };
}

/** The class of the largest logit of every row of x, the first one of equals. */
export function linearArgmax(problem: Problem, options: Transform = {}): Int32Array {
  const out = new Int32Array(problem.batch * problem.length);
  for (let row = 0; row < out.length; row++) {
    const z = rowLogits(problem, row).map((v) => transform(v, options)[0]);
    out[row] = softmaxRow(z).argmax;
  }
  return out;
}

export interface Partials {
  max: Float64Array;
  sumExp: Float64Array;
  targetLogit: Float64Array;
  sumLogits: Float64Array;
}

/** What the shard of classes [from, to) contributes to each row. */
export function partials(
  problem: Problem,
  from: number,
  to: number,
  options: Transform = {},
): Partials {
  const rows = problem.batch * problem.length;
  const zeros = () => new Float64Array(rows);
  const out = { max: zeros(), sumExp: zeros(), targetLogit: zeros(), sumLogits: zeros() };
  for (let row = 0; row < rows; row++) {
    const z = rowLogits(problem, row).map((v) => transform(v, options)[0]);
    const y = problem.target[row];
    out.max[row] = -Infinity;
    for (let c = from; c < to; c++) out.max[row] = Math.max(out.max[row], z[c]);
    for (let c = from; c < to; c++) {
      if (c !== y) out.sumExp[row] += Math.exp(z[c] - out.max[row]);
      out.sumLogits[row] += z[c];
    }
    out.targetLogit[row] = y >= from && y < to ? z[y] : -Infinity;
  }
  return out;
}

/** -log p_y, lse and log p_y of every row, from the partials of all shards. */
export function mergePartials(list: Partials[]): {
  loss: Float64Array;
  lse: Float64Array;
  logprob: Float64Array;
} {
  const rows = list[0].max.length;
  const out = {
    loss: new Float64Array(rows),
    lse: new Float64Array(rows),
    logprob: new Float64Array(rows),
  };
  for (let row = 0; row < rows; row++) {
    const max = Math.max(...list.map((part) => part.max[row]));
    const target = Math.max(...list.map((part) => part.targetLogit[row]));
    let others = 0;
    for (const part of list) others += part.sumExp[row] * Math.exp(part.max[row] - max);
    const own = Math.exp(target - max);
    out.lse[row] = max + Math.log(others + own);
    out.loss[row] =
      others < own ? Math.log1p(others / own) : Math.log(others + own) + (max - target);
    out.logprob[row] = -out.loss[row];
  }
  return out;
}
