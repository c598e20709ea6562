// Exact optimal transport: see the doc comment below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { type CloudOptions, checkCost, checkPoints, costOf } from '../clouds.js';
import { accumulatorOf, type DType, floats, type LossDType } from '../dtype.js';
import {
  errorOf,
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  expectOptions,
  fail,
  show,
  showShape,
} from '../expect.js';
import { isRecording, launch, native } from '../native.js';
import { binary, fn } from '../pointwise.js';
import { empty, expectTensor, Tensor } from '../tensor.js';
import {
  checkWeights,
  equalLayout,
  type Solution,
  solutionOf,
  type TransportPlan,
  transportPlan,
} from '../transport.js';
import { clone, to } from './cast.js';
import { cdist } from './cdist.js';
import { mul, sub } from './elementwise.js';
import { matmul } from './matmul.js';
import { normalize } from './reduce.js';

/** Clouds in place of a cost: their distances are the cost. */
export interface EmdClouds<D extends DType = DType> {
  /** [B?, N, D] and [B?, M, D]. */
  x: Tensor<D>;
  /** The other cloud: [B?, M, D]. */
  y: Tensor<D>;
  /** C = |x-y|²/2 for 2 (default), |x-y| for 1. */
  p?: 1 | 2 | undefined;
  /** In place of p: 'sqeuclidean' (half of it), 'euclidean' or 'cosine' (1 - cos). */
  cost?: CloudOptions['cost'] | undefined;
}

/** Options of `emd`. */
export interface EmdOptions {
  /**
   * Weights of the rows and of the columns, [B?, N] and [B?, M]; default uniform, of mass 1. Masses
   * may differ by 1e-4, or 2e-2 where one has 16 bits; that is spread.
   */
  a?: Tensor | undefined;
  /** As `a`, of the columns or of the points of y. */
  b?: Tensor | undefined;
  /** Pivots before it gives up; default 1000 (N + M), many times what problems take. */
  maxIterations?: number | undefined;
  /** Throws `ERR_NOT_CONVERGED` at that limit; default false. */
  strict?: boolean | undefined;
}

/** What `emd` gives. */
export interface EmdResult<D extends DType = DType> extends Omit<TransportPlan<D>, 'error'> {
  /** Scalar or [B], the cost of the plan; differentiable in cost (or points), a and b. */
  readonly value: Tensor<D>;
  /** How far the value may be above the least: its distance to that of the potentials. */
  readonly gap: number;
}

const name = 'emd';
type In = Inputs<'cost', 'a' | 'b'>;

const layoutOf = ({ shape, rank }: Tensor) =>
  equalLayout(shape.slice(0, -2), shape[rank - 2], shape[rank - 1]);

function check({ cost, a, b }: In, { maxIterations, strict }: EmdOptions): void {
  expectOnCpu(name, 'cost', cost);
  expectDType(name, 'cost', cost, floats);
  const { rank, shape } = cost as Tensor;
  if ((rank !== 2 && rank !== 3) || shape[rank - 1] === 0 || shape[rank - 2] === 0) {
    const wanted = '[N, M] or [B, N, M] with at least one row and column';
    fail(name, 'ERR_SHAPE', `expected cost to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const { f, g } = layoutOf(cost);
  checkWeights(name, 'a', a, f);
  checkWeights(name, 'b', b, g);
  expectNumber(name, 'maxIterations', maxIterations ?? 1, { min: 1, integer: true });
  expectBoolean(name, 'strict', strict ?? false);
}

interface Saved {
  t: In;
  /** Of zero weighted mean. */
  slopes: { a: Tensor; b: Tensor };
  plan: () => Record<string, Int32Array | Float64Array | number>;
}

const solutions = new WeakMap<Tensor, Solution>();

function forward(t: In, { maxIterations = 0 }: EmdOptions) {
  const { cost, a, b } = t;
  const layout = layoutOf(cost);
  const dtype = accumulatorOf(cost.dtype);
  const [output, f, g] = [layout.shape, layout.f, layout.g].map((shape) => empty(shape, dtype));
  const slopes = { a: empty(layout.f, dtype), b: empty(layout.g, dtype) };
  const { batch } = layout;
  const [n, m] = cost.shape.slice(-2);
  const nodes = batch * (n + m);
  const entries = { pairs: new Int32Array(2 * nodes), mass: new Float64Array(nodes), batch, n, m };
  const plan = () => entries;
  const info = new Float64Array(3 * batch);
  const own = {
    cost: cost.raw,
    a: a?.raw,
    b: b?.raw,
    value: output.raw,
    f: f.raw,
    g: g.raw,
    da: slopes.a.raw,
    db: slopes.b.raw,
    info,
    maxIterations,
  };
  launch(native.emdSolve, own, entries);
  const kernels = { plan: native.emdSpread, apply: native.emdApply };
  // The plan is entries of its own.
  const saved = {};
  solutions.set(output, solutionOf({ name, f, g, info, layout, saved, fields: plan, kernels }));
  return { output, saved: { t, slopes, plan } satisfies Saved };
}

function backward({ t, slopes, plan }: Saved, upstream: Tensor, needs: Needs): Gradients {
  const across = [...upstream.shape, 1];
  const scaled = (key: 'a' | 'b') => {
    const [slope, like] = [slopes[key], t[key]];
    if (!needs[key] || !like) return undefined;
    return binary(fn.mul, slope, upstream, slope.shape, like.dtype, slope.shape, across);
  };
  const cost = needs.cost ? empty(t.cost.shape, t.cost.dtype) : undefined;
  if (cost) launch(native.emdSpread, { factor: upstream.raw, out: cost.raw }, plan());
  return { cost, a: scaled('a'), b: scaled('b') };
}

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['cost'],
  optionTensors: ['a', 'b'],
  options: ['maxIterations', 'strict'],
  check,
  forward,
  backward,
});

/** Clouds in float64: a cost of float32 would cost the simplex half of its digits. */
function wideClouds(clouds: EmdClouds) {
  if (clouds === null || typeof clouds !== 'object') {
    const got = show(clouds);
    fail(name, 'ERR_INVALID_TYPE', `expected cost to be a tensor or clouds { x, y }, got ${got}`);
  }
  expectOptions(name, clouds, ['x', 'y', 'p', 'cost']);
  expectTensor(name, 'x', clouds.x);
  expectTensor(name, 'y', clouds.y);
  expectOnCpu(name, 'x', clouds.x);
  checkPoints(name, clouds, false);
  checkCost(name, clouds);
  const kind = costOf(clouds);
  const [x, y] = [clouds.x, clouds.y].map((t) => {
    const wide = to(t, 'float64');
    return kind === 'cosine' ? normalize(wide) : wide;
  });
  return { x, y, kind };
}

/** Gives back what `result` was made from, if no backward needs it. */
function without<R extends { requiresGrad: boolean }>(result: R, ...used: Tensor[]): R {
  if (!result.requiresGrad && !isRecording()) for (const t of used) t.dispose();
  return result;
}

/** The clouds' distances. */
function costs(clouds: EmdClouds): Tensor {
  const { x, y, kind } = wideClouds(clouds);
  if (kind === 'cosine') {
    const cosines = matmul(x, y, { transposeB: true });
    return without(sub(1, cosines), cosines);
  }
  const distance = cdist(x, y);
  if (kind === 'euclidean') return distance;
  const square = mul(distance, distance);
  return without(mul(square, 0.5), square, distance);
}

async function costsLater(clouds: EmdClouds): Promise<Tensor> {
  const { x, y, kind } = wideClouds(clouds);
  if (kind === 'cosine') {
    const cosines = await matmul.async(x, y, { transposeB: true });
    return without(await sub.async(1, cosines), cosines);
  }
  const distance = await cdist.async(x, y);
  if (kind === 'euclidean') return distance;
  const square = await mul.async(distance, distance);
  return without(await mul.async(square, 0.5), square, distance);
}

function resultOf(value: Tensor, dtype: DType, options: EmdOptions | null): EmdResult {
  const solution = solutions.get(value) as Solution;
  const [f, g] = [to(solution.f, dtype), to(solution.g, dtype)];
  const { error: gap, ...plan } = transportPlan({ ...solution, f, g });
  if (!plan.converged && options?.strict) {
    const message = `expected the optimum within ${plan.iterations} pivots, got a value that may be ${gap} above it`;
    throw errorOf('ERR_NOT_CONVERGED', `${name}: ${message}`);
  }
  return { value: to(value, dtype), gap, ...plan };
}

type Given = Tensor | EmdClouds;
const isCost = (given: Given): given is Tensor => given instanceof Tensor;
// What has no dtype is refused by the checks, which have the words for it.
const dtypeOf = (given: Given) =>
  accumulatorOf((isCost(given) ? given : given?.x)?.dtype ?? 'float32');
const call = (given: Given, options: EmdOptions = {}) => {
  if (isCost(given)) return resultOf(operation(given, options), dtypeOf(given), options);
  const cost = costs(given);
  return resultOf(without(operation(cost, options), cost), dtypeOf(given), options);
};
const async = async (given: Given, options: EmdOptions = {}) => {
  // As they are now: their owner may change them meanwhile.
  const own = { ...options };
  if (isCost(given)) return resultOf(await operation.async(given, own), dtypeOf(given), own);
  const dtype = dtypeOf(given);
  for (const key of ['a', 'b'] as const) if (own[key] instanceof Tensor) own[key] = clone(own[key]);
  const cost = await costsLater(given);
  return resultOf(without(await operation.async(cost, own), cost), dtype, own);
};

/**
 * Exact optimal transport of a cost between rows of weight a and columns of weight b, or of clouds
 * x and y by their distances:
 *
 *   value = min over P ≥ 0 of ⟨P,C⟩, P1 = a, Pᵀ1 = b  =  max over f_i + g_j ≤ C_ij of ⟨a,f⟩ + ⟨b,g⟩
 *
 * cost [N, M] or [B, N, M], or `{ x, y, p?, cost? }` with x [B?, N, D], y [B?, M, D], of any float
 * dtype -> `value` [] or [B], `f` [B?, N], `g` [B?, M], float32 (float64 for float64 input), and the
 * plan, of at most N + M - 1 entries, by `plan()` and `apply()`. Computed in float64. Weights must
 * have equal masses. `value` is differentiable in cost or points (by the plan), a and b (f and g,
 * less their weighted means): at a kink, where several plans or potentials are best, by the one that
 * was found. Where `maxIterations` ends it before, `converged` is false, `value` is that of a plan,
 * and at most `gap` above the least. Always finds the same plan.
 *
 * Network simplex on strongly feasible trees (Cunningham 1976; Bonneel et al. 2011).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments, costs that
 *   are not finite, negative weights, masses that differ; ERR_NOT_CONVERGED with `strict`.
 * @example sp.emd({ x, y, cost: 'euclidean' }).value // W_1
 */
export const emd: Op<
  <D extends DType>(cost: Tensor<D> | EmdClouds<D>, options?: EmdOptions) => EmdResult<LossDType<D>>
> = Object.assign(call, { async, raw: operation.raw }) as never;
