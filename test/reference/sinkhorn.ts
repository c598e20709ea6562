// Entropic optimal transport by plain loops in float64: Gauss-Seidel in the log domain until nothing
// moves, and the value as it is defined, from the plan.

export interface Problem {
  /** (N, M) */
  cost: readonly Float64Array[];
  a: Float64Array;
  b: Float64Array;
  epsilon: number;
  /** Infinity: that marginal holds. */
  rhoA: number;
  rhoB: number;
}

export interface Solution {
  value: number;
  f: Float64Array;
  g: Float64Array;
  /** (N, M) */
  plan: Float64Array[];
}

export type Kind = 'sqeuclidean' | 'euclidean' | 'cosine';

export function costOf(kind: Kind, x: Float64Array, y: Float64Array, d: number): Float64Array[] {
  const rows = (t: Float64Array) =>
    Array.from({ length: t.length / d }, (_, i) => t.subarray(i * d, (i + 1) * d));
  const dot = (p: Float64Array, q: Float64Array) => p.reduce((sum, v, k) => sum + v * q[k], 0);
  const ys = rows(y);
  return rows(x).map((p) =>
    Float64Array.from(ys, (q) => {
      if (kind === 'cosine') return 1 - dot(p, q) / Math.sqrt(dot(p, p) * dot(q, q));
      const square = p.reduce((sum, v, k) => sum + (v - q[k]) ** 2, 0);
      return kind === 'euclidean' ? Math.sqrt(square) : square / 2;
    }),
  );
}

const transposed = (c: readonly Float64Array[]) =>
  Array.from(c[0], (_, j) => Float64Array.from(c, (row) => row[j]));

function softmin(row: Float64Array, g: Float64Array, b: Float64Array, epsilon: number): number {
  let most = -Infinity;
  for (let j = 0; j < row.length; j++)
    if (b[j] > 0) most = Math.max(most, (g[j] - row[j]) / epsilon);
  let sum = 0;
  for (let j = 0; j < row.length; j++) sum += b[j] * Math.exp((g[j] - row[j]) / epsilon - most);
  return -epsilon * (most + Math.log(sum));
}

/** sum p log(p/q) - p + q */
function divergence(p: Float64Array, q: Float64Array): number {
  return p.reduce((sum, v, i) => sum + (v > 0 ? v * Math.log(v / q[i]) : 0) - v + q[i], 0);
}

export function solve(problem: Problem, iterations = 5000): Solution {
  const { cost, a, b, epsilon, rhoA, rhoB } = problem;
  const across = transposed(cost);
  const f = new Float64Array(a.length);
  const g = new Float64Array(b.length);
  const damp = (rho: number) => (rho === Infinity ? 1 : 1 / (1 + epsilon / rho));
  for (let k = 0, moved = 1; k < iterations && moved > 1e-12; k++) {
    moved = 0;
    for (let i = 0; i < f.length; i++) f[i] = damp(rhoA) * softmin(cost[i], g, b, epsilon);
    for (let j = 0; j < g.length; j++) {
      const next = damp(rhoB) * softmin(across[j], f, a, epsilon);
      moved = Math.max(moved, Math.abs(next - g[j]));
      g[j] = next;
    }
  }
  const plan = cost.map((row, i) =>
    row.map((c, j) => a[i] * b[j] * Math.exp((f[i] + g[j] - c) / epsilon)),
  );
  return { value: primal(problem, plan), f, g, plan };
}

/**
 * So many plain steps, as the definition of unrolled gradients says, from g = 0: f, then but the last
 * time g. The value is the dual's.
 */
export function alternate(problem: Problem, iterations: number): Solution {
  const { cost, a, b, epsilon, rhoA, rhoB } = problem;
  const across = transposed(cost);
  let f = new Float64Array(a.length);
  let g = new Float64Array(b.length);
  const damp = (rho: number) => (rho === Infinity ? 1 : 1 / (1 + epsilon / rho));
  for (let k = 0; k < iterations; k++) {
    if (k > 0) g = g.map((_, j) => damp(rhoB) * softmin(across[j], f, a, epsilon));
    f = f.map((_, i) => damp(rhoA) * softmin(cost[i], g, b, epsilon));
  }
  const plan = cost.map((row, i) =>
    row.map((c, j) => a[i] * b[j] * Math.exp((f[i] + g[j] - c) / epsilon)),
  );
  const sum = (p: Float64Array) => p.reduce((total, v) => total + v, 0);
  const reward = (w: Float64Array, u: Float64Array, rho: number) =>
    sum(w.map((v, i) => v * (rho === Infinity ? u[i] : rho * (1 - Math.exp(-u[i] / rho)))));
  const excess = sum(Float64Array.from(plan, sum)) - sum(a) * sum(b);
  return { value: reward(a, f, rhoA) + reward(b, g, rhoB) - epsilon * excess, f, g, plan };
}

function primal({ cost, a, b, epsilon, rhoA, rhoB }: Problem, plan: Float64Array[]): number {
  const sum = (p: Float64Array) => p.reduce((total, v) => total + v, 0);
  const flat = (rows: Float64Array[]) => Float64Array.from(rows.flatMap((row) => [...row]));
  const linear = plan.reduce(
    (total, row, i) => total + row.reduce((s, p, j) => s + p * cost[i][j], 0),
    0,
  );
  const product = flat(plan.map((_, i) => b.map((w) => w * a[i])));
  const kept = (rho: number, p: Float64Array, q: Float64Array) =>
    rho === Infinity ? 0 : rho * divergence(p, q);
  return (
    linear +
    epsilon * divergence(flat(plan), product) +
    kept(rhoA, Float64Array.from(plan, sum), a) +
    kept(rhoB, Float64Array.from(transposed(plan), sum), b)
  );
}

export interface Setting {
  kind: Kind;
  epsilon: number;
  rhoA?: number;
  rhoB?: number;
  debias?: boolean;
}

/** The divergence of two clouds (D features). */
export function sinkhornDivergence(
  clouds: { x: Float64Array; y: Float64Array; a: Float64Array; b: Float64Array; d: number },
  { kind, epsilon, rhoA = Infinity, rhoB = Infinity, debias = true }: Setting,
): number {
  const { x, y, a, b, d } = clouds;
  const value = solve({ cost: costOf(kind, x, y, d), a, b, epsilon, rhoA, rhoB }).value;
  if (!debias) return value;
  const own = (p: Float64Array, w: Float64Array, rho: number) =>
    solve({ cost: costOf(kind, p, p, d), a: w, b: w, epsilon, rhoA: rho, rhoB: rho }).value;
  const mass = (w: Float64Array) => w.reduce((sum, v) => sum + v, 0);
  return value - (own(x, a, rhoA) + own(y, b, rhoB)) / 2 + (epsilon / 2) * (mass(a) - mass(b)) ** 2;
}
