// The second derivative of entropic transport in the points, along a direction, by products with
// the plan alone. With C = |x-y|²/2, Ċ_ij = (x_i - y_j)·(u_i - w_j) for directions u of x, w of y:
//   [αr Dr  P ] [ḟ]   [(P∘Ċ)1 ]
//   [Pᵀ  αc Dc] [ġ] = [(P∘Ċ)ᵀ1],  D the plan's marginals, α = 1 + ε/ρ (1 where they hold)
//   H_i = Σ_j P_ij ((ḟ_i + ġ_j - Ċ_ij)(x_i - y_j)/ε + u_i - w_j)
// ḟ is eliminated, ġ found by conjugate gradients scaled by Dc; `damping`·Dc is added, for constants
// change nothing and the system hardly sees them. Every product is a request that the caller answers.

/** Points of all problems and their direction, flat, less a common centre. */
export interface Moving {
  points: Float64Array;
  direction: Float64Array;
}

export interface Curve {
  x: Moving;
  y: Moving;
  batch: number;
  width: number;
  epsilon: number;
  /** ε/ρ of either side, 0 where the marginal holds. */
  slackX: number;
  slackY: number;
  damping: number;
  tolerance: number;
  maxIterations: number;
}

export interface Curvature {
  product: Float64Array;
  iterations: number;
  /** What the solution leaves of the linear system's right side, relative to it; the worst problem's. */
  residual: number;
}

/** P v (axis 1) or Pᵀv (axis 0) for v of `columns` columns; with a form Σ_j P_ij ⟨u_i, w_j⟩ v_j. */
export interface Request {
  v: Float64Array;
  columns: number;
  axis: 0 | 1;
  form?: { u: Float64Array; w: Float64Array; inner: number };
}

/** A computation that asks for products with the plan. */
export type Asking<R> = Generator<Request, R, Float64Array>;

const map = (n: number, f: (i: number) => number) =>
  Float64Array.from({ length: n }, (_, i) => f(i));
const inverse = (v: number) => (v > 0 ? 1 / v : 0);

/** Rows of numbers beside each other. */
function beside(rows: number, parts: readonly [Float64Array, number][]) {
  const columns = parts.reduce((sum, [, width]) => sum + width, 0);
  const v = new Float64Array(rows * columns);
  let at = 0;
  for (const [part, width] of parts) {
    for (let i = 0; i < rows; i++)
      v.set(part.subarray(i * width, (i + 1) * width), i * columns + at);
    at += width;
  }
  return { v, columns };
}

const dots = (p: Float64Array, q: Float64Array, width: number) =>
  map(p.length / width, (i) => {
    let sum = 0;
    for (let k = i * width; k < (i + 1) * width; k++) sum += p[k] * q[k];
    return sum;
  });

/** What the plan makes of one side's points, as the other side's rows see them. */
interface Moments {
  mass: Float64Array;
  points: Float64Array;
  direction: Float64Array;
  /** (P∘Ċ)1 */
  right: Float64Array;
}

function* moments(
  { points, direction }: Moving,
  other: Moving,
  width: number,
  axis: 0 | 1,
): Asking<Moments> {
  const ones = new Float64Array(other.points.length / width).fill(1);
  const along = dots(other.points, other.direction, width);
  const { v, columns } = beside(ones.length, [
    [ones, 1],
    [other.points, width],
    [other.direction, width],
    [along, 1],
  ]);
  const sums = yield { v, columns, axis };
  const rows = points.length / width;
  const column = (at: number, count: number) =>
    map(rows * count, (e) => sums[Math.floor(e / count) * columns + at + (e % count)]);
  const [mass, p, q, w] = [
    column(0, 1),
    column(1, width),
    column(1 + width, width),
    column(1 + 2 * width, 1),
  ];
  const own = dots(points, direction, width);
  const [pull, push] = [dots(direction, p, width), dots(points, q, width)];
  const right = map(rows, (i) => mass[i] * own[i] - pull[i] - push[i] + w[i]);
  return { mass, points: p, direction: q, right };
}

/** Of each problem, relative to its right side. */
type Residuals = Float64Array;
const most = (values: Iterable<number>) => Math.max(0, ...values);

interface Descent {
  image: (v: Float64Array) => Asking<Float64Array>;
  /** ⟨p, q⟩ of each problem. */
  sums: (p: Float64Array, q: Float64Array) => Float64Array;
  scaled: (r: Float64Array) => Float64Array;
  relative: (power: Float64Array) => Residuals;
  size: number;
}

/** Conjugate gradients from 0 to a residual of `goal`, in each problem by steps of its own. */
function* descended(
  { image, sums, scaled, relative, size }: Descent,
  right: Float64Array,
  isOpen: boolean[],
  goal: Residuals,
  limit: number,
): Asking<{ g: Float64Array; steps: number }> {
  const g = new Float64Array(right.length);
  const rest = right.slice();
  const open = isOpen.slice();
  let z = scaled(rest);
  let power = sums(rest, z);
  const step = z.slice();
  let steps = 0;
  for (; steps < limit && open.includes(true); steps++) {
    for (let j = 0; j < step.length; j++) if (!open[Math.floor(j / size)]) step[j] = 0;
    const along = yield* image(step);
    const bend = sums(step, along);
    for (let b = 0; b < open.length; b++) {
      // Where it is not positive, rounding has taken over.
      open[b] &&= bend[b] > 0;
      if (!open[b]) continue;
      for (let j = b * size; j < (b + 1) * size; j++) {
        g[j] += (power[b] / bend[b]) * step[j];
        rest[j] -= (power[b] / bend[b]) * along[j];
      }
    }
    z = scaled(rest);
    const next = sums(rest, z);
    for (const [b, r] of relative(next).entries()) open[b] &&= r > goal[b];
    for (let j = 0; j < g.length; j++) {
      const b = Math.floor(j / size);
      step[j] = z[j] + (next[b] / power[b]) * step[j];
    }
    power = next;
  }
  return { g, steps };
}

/**
 * ġ of [αc Dc + damping Dc - Pᵀ(αr Dr)⁻¹P] ġ = right. What the steps take the residual for drifts
 * from what it is: it is made anew at the end, and steps begin anew from it while that helps.
 */
function* solved(
  curve: Curve,
  rows: Float64Array,
  columns: Float64Array,
  right: Float64Array,
): Asking<{ g: Float64Array; iterations: number; residual: number }> {
  const { batch, slackY, damping, tolerance, maxIterations } = curve;
  const size = right.length / Math.max(1, batch);
  const sums = (p: Float64Array, q: Float64Array) =>
    map(batch, (b) => {
      let sum = 0;
      for (let j = b * size; j < (b + 1) * size; j++) sum += p[j] * q[j];
      return sum;
    });
  const scaled = (r: Float64Array) => r.map((v, j) => v * inverse(columns[j]));
  const whole = sums(right, scaled(right));
  const relative = (power: Float64Array) =>
    power.map((p, b) => (whole[b] === 0 ? 0 : Math.sqrt(p / whole[b])));
  const image = function* (v: Float64Array): Asking<Float64Array> {
    const across = yield { v, columns: 1, axis: 1 };
    const back = yield { v: across.map((w, i) => w * rows[i]), columns: 1, axis: 0 };
    return back.map((w, j) => (1 + slackY + damping) * columns[j] * v[j] - w);
  };
  const descent = { image, sums, scaled, relative, size };
  const g = new Float64Array(right.length);
  const rest = right.slice();
  const residuals = relative(whole);
  const isOpen = Array.from(residuals, (r) => r > tolerance);
  let iterations = 0;
  while (iterations < maxIterations && isOpen.includes(true)) {
    // Steps that claim more than half of float64's digits are no longer believed.
    const goal = residuals.map((r) => Math.max(tolerance, r * 1e-9));
    // Without rounding as many steps as unknowns would do.
    const limit = Math.min(maxIterations - iterations, 2 * size + 50);
    const found = yield* descended(descent, rest, isOpen, goal, limit);
    iterations += found.steps;
    const sum = g.map((v, j) => v + found.g[j]);
    const along = yield* image(sum);
    const left = right.map((v, j) => v - along[j]);
    for (const [b, r] of relative(sums(left, scaled(left))).entries()) {
      if (!isOpen[b]) continue;
      isOpen[b] = r > tolerance && r < residuals[b] / 2;
      if (!(r < residuals[b])) continue;
      residuals[b] = r;
      for (const [to, from] of [
        [g, sum],
        [rest, left],
      ])
        to.set(from.subarray(b * size, (b + 1) * size), b * size);
    }
  }
  return { g, iterations, residual: most(residuals) };
}

/** Σ_j P_ij Ċ_ij y_j: Ċ is additive in i and j but for -⟨u_i, y_j⟩ - ⟨x_i, w_j⟩. */
function* pulled({ x, y, width }: Curve, seen: Moments): Asking<Float64Array> {
  const own = dots(x.points, x.direction, width);
  const along = dots(y.points, y.direction, width);
  const moved = y.points.map((v, e) => v * along[Math.floor(e / width)]);
  const sum = yield { v: moved, columns: width, axis: 1 };
  const { v: u, columns: inner } = beside(own.length, [
    [x.direction, width],
    [x.points, width],
  ]);
  const { v: w } = beside(along.length, [
    [y.points, width],
    [y.direction, width],
  ]);
  const crossed = yield { v: y.points, columns: width, axis: 1, form: { u, w, inner } };
  return sum.map((v, e) => v + own[Math.floor(e / width)] * seen.points[e] - crossed[e]);
}

/** The part in x of H times the directions. */
export function* curvature(curve: Curve): Asking<Curvature> {
  const { x, y, width, epsilon, slackX } = curve;
  const seen = yield* moments(x, y, width, 1);
  const back = yield* moments(y, x, width, 0);
  const rows = seen.mass.map((v) => inverse(v) / (1 + slackX));
  const carried = yield { v: seen.right.map((v, i) => v * rows[i]), columns: 1, axis: 0 };
  const right = back.right.map((v, j) => v - carried[j]);
  const { g, iterations, residual } = yield* solved(curve, rows, back.mass, right);
  const moved = y.points.map((v, e) => v * g[Math.floor(e / width)]);
  const { v, columns } = beside(g.length, [
    [g, 1],
    [moved, width],
  ]);
  const products = yield { v, columns, axis: 1 };
  const pull = yield* pulled(curve, seen);
  const product = map(x.points.length, (e) => {
    const [i, k] = [Math.floor(e / width), e % width];
    const f = (seen.right[i] - products[i * columns]) * rows[i];
    const weight = f * seen.mass[i] + products[i * columns] - seen.right[i];
    const mean = f * seen.points[e] + products[i * columns + 1 + k] - pull[e];
    const bent = (x.points[e] * weight - mean) / epsilon;
    return bent + seen.mass[i] * x.direction[e] - seen.direction[e];
  });
  return { product, iterations, residual };
}
