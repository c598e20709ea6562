// What plain float32 code loses: cross-entropy as a straight loop, every result rounded to float32.
// Kernels must not be less accurate than this. Sums run from left to right, as naive code's do.

const f = Math.fround;

export interface PlainResult {
  loss: Float64Array; // (N)
  gradLogits: Float64Array; // (N, V), upstream 1 per row
}

export function plainCrossEntropy(
  logits: ArrayLike<number>, // (N, V)
  classes: number,
  labels: ArrayLike<number>, // (N)
): PlainResult {
  const rows = labels.length;
  const loss = new Float64Array(rows);
  const gradLogits = new Float64Array(rows * classes);
  for (let n = 0; n < rows; n++) {
    const at = n * classes;
    let max = -Infinity;
    for (let c = 0; c < classes; c++) max = Math.max(max, logits[at + c]);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum = f(sum + f(Math.exp(f(logits[at + c] - max))));
    const lse = f(max + f(Math.log(sum)));
    loss[n] = f(lse - logits[at + labels[n]]);
    for (let c = 0; c < classes; c++) {
      const p = f(Math.exp(f(logits[at + c] - lse)));
      gradLogits[at + c] = c === labels[n] ? f(p - 1) : p;
    }
  }
  return { loss, gradLogits };
}

/** a (M, K) times b (N, K) transposed. */
export function plainProduct(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  [m, n, k]: [number, number, number],
): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let d = 0; d < k; d++) sum = f(sum + f(a[i * k + d] * b[j * k + d]));
      out[i * n + j] = sum;
    }
  }
  return out;
}

export function transposed(a: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = a[i * columns + j];
  }
  return out;
}
