// The definition of cross-entropy on logits, in float64 and plain loops; the kernels are tested
// against it. For a row of transformed logits z with target y, p = softmax(z), L = -log p_y:
//   row = tokenWeight * (classWeight_y * f(L) + zLoss * lse(z)^2)            no smoothing
//   row = tokenWeight * (sum_c q_c * (-log p_c) + zLoss * lse(z)^2)          otherwise, with
//     q_c = (1-s) classWeight_y [c=y] + s/V classWeight_c                    class indices
//     q_c = classWeight_c ((1-s) t_c + s/V)                                  probabilities t
//   d row / d z_c = tokenWeight * (Q p_c - q_c + 2 zLoss lse p_c),  Q = sum_c q_c
// Meaning of the options: PyTorch's cross_entropy, and the contract's table for the others.
// Deliberately not done: speed, and any check of the arguments.

export type Epilogue =
  | { kind: 'focal'; gamma: number }
  | { kind: 'generalized'; q: number }
  | { kind: 'compSum'; tau: number };

export interface Transform {
  temperature?: number;
  softcap?: number;
  capFirst?: boolean;
}

export interface Options extends Transform {
  reduction?: 'mean' | 'sum' | 'none';
  ignoreIndex?: number;
  labelSmoothing?: number;
  classWeight?: ArrayLike<number>;
  tokenWeight?: ArrayLike<number>;
  zLoss?: number;
  epilogue?: Epilogue;
}

export type Target = { indices: ArrayLike<number> } | { probabilities: ArrayLike<number> };

export interface Result {
  /** One value, or one per row for 'none'. */
  loss: Float64Array;
  /**
   * What a rounding error of the loss is relative to: the same sums over absolute values, each
   * -log p counted as 1 more, because the error that z brings into it is absolute.
   */
  magnitude: Float64Array;
  gradLogits: Float64Array; // (N, V)
  gradTarget: Float64Array; // (N, V), of probability targets
  gradTokenWeight: Float64Array; // (N), of weights 1 where none were given
  magnitudeTokenWeight: Float64Array; // (N), likewise for gradTokenWeight
}

export interface Row {
  finite: boolean;
  argmax: number;
  max: number;
  /** Sum of exp(z - max) over all classes but argmax: sums near 1 keep their digits. */
  rest: number;
  logSum: number; // log(1 + rest)
  lse: number;
}

/** One logit after temperature and softcap, and its derivative. */
export function transform(x: number, options: Transform): [z: number, slope: number] {
  const { temperature = 1, softcap, capFirst = false } = options;
  if (softcap === undefined) return [x / temperature, 1 / temperature];
  const u = capFirst ? x / softcap : x / temperature / softcap;
  // 1/cosh^2 keeps the digits that 1 - tanh^2 loses where the cap saturates.
  const slope = 1 / Math.cosh(u) ** 2 / temperature;
  return [(softcap * Math.tanh(u)) / (capFirst ? temperature : 1), slope];
}

export function softmaxRow(z: Float64Array): Row {
  let argmax = 0;
  let finite = z.length > 0;
  for (let c = 0; c < z.length; c++) {
    if (z[c] > z[argmax]) argmax = c;
    if (Number.isNaN(z[c]) || z[c] === Infinity) finite = false;
  }
  const max = z[argmax];
  if (max === -Infinity) finite = false;
  let rest = 0;
  let lost = 0; // what adding to `rest` rounds away (Kahan): many equal terms all round alike
  for (let c = 0; c < z.length; c++) {
    if (c === argmax) continue;
    const term = Math.exp(z[c] - max) - lost;
    const next = rest + term;
    lost = next - rest - term;
    rest = next;
  }
  const logSum = Math.log1p(rest);
  return { finite, argmax, max, rest, logSum, lse: max + logSum };
}

/** -log p_c, without the cancellation of lse - z_c where |z| is large. */
export function surprise(z: Float64Array, row: Row, c: number): number {
  return row.max - z[c] + row.logSum;
}

/** p_c - 1, exact to rounding also where p_c is near 1. */
function minusRest(z: Float64Array, row: Row, c: number): number {
  const own = c === row.argmax ? 1 : Math.exp(z[c] - row.max);
  const others = c === row.argmax ? row.rest : 1 + (row.rest - own);
  return -others / (1 + row.rest);
}

/** The epilogue f(L) and its derivative. */
export function epilogue(L: number, kind: Epilogue | undefined): [value: number, slope: number] {
  if (kind === undefined) return [L, 1];
  if (kind.kind === 'focal') {
    const wrong = -Math.expm1(-L); // 1 - p_y
    const { gamma } = kind;
    if (gamma === 0) return [L, 1];
    if (L === 0) return [0, 0];
    const power = wrong ** gamma;
    return [power * L, power + gamma * wrong ** (gamma - 1) * Math.exp(-L) * L];
  }
  const rate = kind.kind === 'generalized' ? kind.q : kind.tau - 1;
  return rate === 0 ? [L, 1] : [-Math.expm1(-rate * L) / rate, Math.exp(-rate * L)];
}

interface RowLoss {
  loss: number; // before the token weight
  size: number; // the same with absolute values
  weight: number; // what the row adds to the denominator, before the token weight
}

/** The loss of one row; writes its derivatives by z and by the target probabilities. */
function rowLoss(
  z: Float64Array,
  y: number,
  probabilities: ArrayLike<number> | undefined,
  options: Options,
  gradZ: Float64Array,
  gradT: Float64Array,
): RowLoss {
  const V = z.length;
  const { labelSmoothing: s = 0, classWeight, zLoss = 0 } = options;
  const row = softmaxRow(z);
  const weightOf = (c: number) => classWeight?.[c] ?? 1;
  const weight = probabilities ? 1 : weightOf(y);
  if (!row.finite) {
    gradZ.fill(NaN);
    gradT.fill(NaN);
    return { loss: NaN, size: NaN, weight };
  }
  const p = z.map((value) => Math.exp(value - row.max) / (1 + row.rest));
  const square = zLoss * row.lse * row.lse;
  let loss = square;
  let size = Math.abs(square);
  for (let c = 0; c < V; c++) gradZ[c] = 2 * zLoss * row.lse * p[c];
  if (!probabilities) {
    const [value, slope] = epilogue(surprise(z, row, y), options.epilogue);
    const share = (1 - s) * weight;
    // A class of weight 0 is out, also where its probability is 0 and L infinite.
    if (share !== 0) loss += share * value;
    if (share !== 0) size += Math.abs(share) * (1 + Math.abs(value));
    for (let c = 0; c < V; c++) {
      gradZ[c] += share * slope * (c === y ? minusRest(z, row, c) : p[c]);
    }
  }
  const soft = (c: number) =>
    weightOf(c) * ((probabilities ? (1 - s) * probabilities[c] : 0) + s / V);
  let total = 0;
  for (let c = 0; c < V; c++) total += soft(c);
  for (let c = 0; c < V; c++) {
    const q = soft(c);
    // 0 log 0 = 0: a class that nobody asks for may have probability 0.
    if (q !== 0) loss += q * surprise(z, row, c);
    if (q !== 0) size += Math.abs(q) * (1 + Math.abs(surprise(z, row, c)));
    gradZ[c] += total * p[c] - q;
    if (z[c] === -Infinity) gradZ[c] = 0;
    gradT[c] = (1 - s) * weightOf(c) * surprise(z, row, c);
  }
  return { loss, size, weight };
}

/** Loss, and the gradients for an upstream gradient of one value, or one per row for 'none'. */
export function crossEntropy(
  logits: ArrayLike<number>, // (N, V)
  rows: number,
  classes: number,
  target: Target,
  options: Options = {},
  upstream: ArrayLike<number> = new Float64Array(rows || 1).fill(1),
): Result {
  const { reduction = 'mean', ignoreIndex = -100, tokenWeight } = options;
  const values = new Float64Array(rows);
  const sizes = new Float64Array(rows);
  const weights = new Float64Array(rows);
  const gradLogits = new Float64Array(rows * classes);
  const gradTarget = new Float64Array(rows * classes);
  const kept = new Uint8Array(rows);
  const z = new Float64Array(classes);
  const slope = new Float64Array(classes);
  for (let n = 0; n < rows; n++) {
    const y = 'indices' in target ? target.indices[n] : -1;
    if ('indices' in target && y === ignoreIndex) continue;
    kept[n] = 1;
    for (let c = 0; c < classes; c++) {
      [z[c], slope[c]] = transform(logits[n * classes + c], options);
    }
    const at = n * classes;
    const probabilities =
      'probabilities' in target
        ? Float64Array.from({ length: classes }, (_, c) => target.probabilities[at + c])
        : undefined;
    const gradZ = gradLogits.subarray(at, at + classes);
    const result = rowLoss(
      z,
      y,
      probabilities,
      options,
      gradZ,
      gradTarget.subarray(at, at + classes),
    );
    for (let c = 0; c < classes; c++) gradZ[c] *= slope[c];
    values[n] = result.loss;
    sizes[n] = result.size;
    weights[n] = result.weight;
  }

  const token = (n: number) => tokenWeight?.[n] ?? 1;
  let sum = 0;
  let size = 0;
  let denominator = 0;
  for (let n = 0; n < rows; n++) {
    if (!kept[n]) continue;
    sum += token(n) * values[n];
    size += Math.abs(token(n)) * sizes[n];
    denominator += token(n) * weights[n];
  }
  const mean = denominator === 0 ? NaN : sum / denominator;
  const gradTokenWeight = new Float64Array(rows);
  const magnitudeTokenWeight = new Float64Array(rows);
  for (let n = 0; n < rows; n++) {
    if (!kept[n]) continue;
    const g = upstream[reduction === 'none' ? n : 0];
    const scale = reduction !== 'mean' ? g : denominator === 0 ? 0 : g / denominator;
    for (let i = n * classes; i < (n + 1) * classes; i++) {
      gradLogits[i] = scale === 0 ? 0 : gradLogits[i] * scale * token(n);
      gradTarget[i] = scale === 0 ? 0 : gradTarget[i] * scale * token(n);
    }
    const own = reduction === 'mean' ? values[n] - weights[n] * mean : values[n];
    gradTokenWeight[n] = scale === 0 ? 0 : scale * own;
    const drift = reduction === 'mean' ? Math.abs((weights[n] * size) / denominator) : 0;
    magnitudeTokenWeight[n] = scale === 0 ? 0 : Math.abs(scale) * (sizes[n] + drift);
  }
  const gradients = { gradLogits, gradTarget, gradTokenWeight, magnitudeTokenWeight };
  if (reduction === 'none') {
    const loss = values.map((v, n) => (kept[n] ? token(n) * v : 0));
    const magnitude = sizes.map((v, n) => (kept[n] ? Math.abs(token(n)) * v : 0));
    return { loss, magnitude, ...gradients };
  }
  const by = reduction === 'mean' ? denominator : 1;
  const loss = reduction === 'mean' ? mean : sum;
  return {
    loss: Float64Array.of(loss),
    magnitude: Float64Array.of(size / Math.abs(by)),
    ...gradients,
  };
}
