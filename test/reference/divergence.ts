// Divergences between softmax rows as their definitions, in float64.

export type Kind = 'kl' | 'reverseKl' | 'jensenShannon';

function logSoftmax(z: Float64Array, temperature: number): Float64Array {
  const scaled = z.map((x) => x / temperature);
  const top = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = scaled.reduce((a, x) => a + Math.exp(x - top), 0);
  return scaled.map((x) => x - top - Math.log(sum));
}

/** p log(p/q), 0 where p is 0; written so that it keeps its digits where p and q are close. */
function term(p: number, logP: number, logQ: number): number {
  if (p === 0) return Math.exp(logQ);
  const d = logP - logQ;
  if (Math.abs(d) > 1e-2) return Math.exp(logQ) - p + p * d;
  // e^-d - 1 + d
  return (
    p * d * d * (1 / 2 - d * (1 / 6 - d * (1 / 24 - d * (1 / 120 - d * (1 / 720 - d / 5040)))))
  );
}

const logMixture = (a: number, b: number, beta: number) => {
  const top = Math.max(a, b);
  if (top === -Infinity) return top;
  return top + Math.log(beta * Math.exp(a - top) + (1 - beta) * Math.exp(b - top));
};

export interface Row {
  value: number;
  /** By the logits. */
  student: Float64Array;
  teacher: Float64Array;
  /** The largest p |log p/q| that a gradient is the difference of: what its rounding scales with. */
  magnitude: number;
}

export function row(
  student: Float64Array,
  teacher: Float64Array,
  kind: Kind,
  temperature = 1,
  beta = 0.5,
): Row {
  const logP = logSoftmax(teacher, temperature);
  const logQ = logSoftmax(student, temperature);
  const p = logP.map(Math.exp);
  const q = logQ.map(Math.exp);
  const divergence = (a: Float64Array, logA: Float64Array, logB: Float64Array) =>
    a.reduce((sum, x, i) => sum + term(x, logA[i], logB[i]), 0);
  const centred = (a: Float64Array, logA: Float64Array, logB: Float64Array, mean: number) =>
    a.map((x, i) => (x === 0 ? 0 : (x * (logA[i] - logB[i] - mean)) / temperature));
  const difference = (a: Float64Array, b: Float64Array) =>
    a.map((x, i) => (x - b[i]) / temperature);
  const largest = Math.max(
    ...[p, q].flatMap((own) =>
      Array.from(own, (x, i) => (x === 0 ? 0 : x * Math.min(100, 1 + Math.abs(logP[i] - logQ[i])))),
    ),
  );
  const magnitude = largest / temperature;
  if (kind === 'kl') {
    const value = divergence(p, logP, logQ);
    return { value, student: difference(q, p), teacher: centred(p, logP, logQ, value), magnitude };
  }
  if (kind === 'reverseKl') {
    const value = divergence(q, logQ, logP);
    return { value, student: centred(q, logQ, logP, value), teacher: difference(p, q), magnitude };
  }
  const logM = logP.map((a, i) => logMixture(a, logQ[i], beta));
  const first = divergence(p, logP, logM);
  const second = divergence(q, logQ, logM);
  return {
    value: beta * first + (1 - beta) * second,
    student: centred(q, logQ, logM, second).map((x) => (1 - beta) * x),
    teacher: centred(p, logP, logM, first).map((x) => beta * x),
    magnitude,
  };
}
