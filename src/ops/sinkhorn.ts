// Entropic optimal transport of a given cost: see the doc comment below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType } from '../dtype.js';
import { expectDType, expectNumber, fail, showShape } from '../expect.js';
import { launch } from '../native.js';
import { tensorsBehind } from '../scope.js';
import { empty, Tensor } from '../tensor.js';
import {
  checkIterations,
  checkWeights,
  equalLayout,
  expectUnchanged,
  finished,
  type IterationOptions,
  iterationFields,
  iterationNames,
  keptSize,
  leastNormal,
  newInfos,
  rawOf,
  type Solution,
  solutionOf,
  type TransportPlan,
  tell,
  transportPlan,
} from '../transport.js';
import {
  checkGradient,
  expectSteps,
  gradientKernel,
  isUnrolled,
  newSteps,
  solveKernel,
  stepFields,
  type UnrolledGradient,
} from '../unrolled.js';
import {
  checkInit,
  type InitTensors,
  initFields,
  initTensors,
  type WarmStart,
  withoutInit,
} from '../warm-start.js';
import { to } from './cast.js';
import { add, div, exp, mul, sub } from './elementwise.js';
import { sum } from './reduce.js';
import { unsqueeze } from './shape-ops.js';

/** Options of `sinkhorn`. */
export interface SinkhornOptions extends IterationOptions, WarmStart, UnrolledGradient {
  /** Strength of the entropy; default 0.05. */
  epsilon?: number | undefined;
  /**
   * Weights of the rows and of the columns, [B?, N] and [B?, M]; default uniform, of mass 1. Masses
   * that must agree may differ by 1e-4, or 2e-2 where one has 16 bits; that is spread.
   */
  a?: Tensor | undefined;
  /** As `a`, of the columns. */
  b?: Tensor | undefined;
  /** Strength of the penalty KL(P1|a) or KL(Pᵀ1|b); default none: the marginal holds. */
  rhoA?: number | undefined;
  /** As `rhoA`, of the columns. */
  rhoB?: number | undefined;
}

/** What `sinkhorn` gives. */
export interface SinkhornResult<D extends DType = DType> extends TransportPlan<D> {
  /** Scalar or [B], differentiable in cost, a and b. */
  readonly value: Tensor<D>;
}

const name = 'sinkhorn';
type Given = Inputs<'cost', 'a' | 'b'>;
type In = Inputs<'cost', 'a' | 'b' | InitTensors>;

const layoutOf = ({ shape, rank }: Tensor) =>
  equalLayout(shape.slice(0, -2), shape[rank - 2], shape[rank - 1]);

function check(t: In, options: SinkhornOptions): void {
  const { cost, a, b } = t;
  expectDType(name, 'cost', cost, floats);
  checkGradient(name, 'cost', cost, options);
  const { rank, shape } = cost as Tensor;
  if ((rank !== 2 && rank !== 3) || shape[rank - 1] === 0 || shape[rank - 2] === 0) {
    const wanted = '[N, M] or [B, N, M] with at least one row and column';
    fail(name, 'ERR_SHAPE', `expected cost to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const layout = layoutOf(cost);
  checkWeights(name, 'a', a, layout.f);
  checkWeights(name, 'b', b, layout.g);
  checkInit(name, t, layout);
  expectNumber(name, 'epsilon', options.epsilon ?? 0.05, { min: leastNormal });
  for (const key of ['rhoA', 'rhoB'] as const) {
    const rho = options[key] ?? Number.POSITIVE_INFINITY;
    if (rho !== Number.POSITIVE_INFINITY) expectNumber(name, key, rho, { min: leastNormal });
  }
  checkIterations(name, options);
}

/** Negative where there is none. */
const strength = (rho = Number.POSITIVE_INFINITY) => (rho === Number.POSITIVE_INFINITY ? -1 : rho);

interface Solved extends Given {
  potentials: Tensor;
  /** Of unrolled gradients. */
  steps?: Tensor;
}

function fields({ cost, a, b, potentials, steps }: Solved, options: SinkhornOptions) {
  const layout = layoutOf(cost);
  const { batch, startsX, startsY } = layout;
  const own = {
    cost: cost.raw,
    a: a?.raw,
    b: b?.raw,
    startsX,
    startsY,
    batch,
    kind: 3,
    caller: 2,
    epsilon: options.epsilon ?? 0.05,
    rhoA: strength(options.rhoA),
    rhoB: strength(options.rhoB),
    potentials: potentials.raw,
  };
  const unrolled = stepFields(steps, layout, options, false);
  return Object.assign(own, iterationFields(options), unrolled);
}

const solutions = new WeakMap<Tensor, Solution>();

interface Saved {
  t: Given;
  options: SinkhornOptions;
  potentials: Tensor;
  steps?: Tensor;
}

function forward(given: In, called: SinkhornOptions, needs: Needs) {
  const [t, options] = [withoutInit(given), withoutInit(called)];
  const layout = layoutOf(t.cost);
  const dtype = accumulatorOf(t.cost.dtype);
  const [value, f, g] = [layout.shape, layout.f, layout.g].map((shape) => empty(shape, dtype));
  const potentials = empty([keptSize(layout, false)], 'float64');
  const steps = newSteps(name, layout, options, needs, false);
  const info = newInfos(layout.batch);
  const saved = Object.assign({ potentials }, t);
  const own = { value: value.raw, f: f.raw, g: g.raw, info: rawOf(info) };
  launch(
    solveKernel(options),
    own,
    initFields(given),
    fields(Object.assign({ steps }, saved), options),
  );
  const problem = (its: typeof saved) => fields(its, options);
  solutions.set(value, solutionOf({ name, f, g, info, layout, saved, fields: problem }));
  // The tape disposes of what it saved; the plan may outlive it.
  const kept: Saved = { t, options, potentials: potentials.detach(), steps };
  return isUnrolled(options)
    ? { outputs: { value, f, g }, saved: kept }
    : { output: value, saved: kept };
}

/** Of `value` alone, or unrolled of f and g too. */
type Upstream = Tensor | { value?: Tensor; f?: Tensor; g?: Tensor };

function backward(saved: Saved, upstream: Upstream, needs: Needs): Gradients {
  const { t, options, potentials, steps } = saved;
  expectSteps(name, options, steps);
  const like = (x: Tensor | undefined, need: boolean) =>
    need && x ? empty(x.shape, x.dtype) : undefined;
  const cost = like(t.cost, needs.cost);
  const [a, b] = [like(t.a, needs.a), like(t.b, needs.b)];
  const from = upstream instanceof Tensor ? { value: upstream } : upstream;
  const own = { upstream: from.value?.raw, dcost: cost?.raw, da: a?.raw, db: b?.raw };
  const further = isUnrolled(options) ? { upstreamF: from.f?.raw, upstreamG: from.g?.raw } : {};
  const solved = Object.assign({ potentials, steps }, t);
  launch(gradientKernel(options), own, further, fields(solved, options));
  return { cost, a, b };
}

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['cost'],
  optionTensors: ['a', 'b', ...initTensors],
  options: ['epsilon', 'rhoA', 'rhoB', 'init', 'gradient', ...iterationNames],
  nondifferentiable: initTensors,
  check,
  forward,
  backward,
});

/** Weights as the plan has them: where both marginals hold, of one mass. */
function planWeights({ a, b }: Given, dtype: DType, { rhoA, rhoB }: SinkhornOptions) {
  const given = [a, b].map((w) => w && (to(w, dtype) as Tensor));
  if (strength(rhoA) >= 0 || strength(rhoB) >= 0) return given;
  const masses = given.map((w) => w && sum(w, { dim: -1, keepDim: true }));
  const [first, second] = masses.map((m) => m?.detach());
  if (!first && !second) return given;
  const mass = div(add(first ?? (second as Tensor), first && second ? second : 1), 2);
  return given.map((w, i) => w && mul(div(w, masses[i] as Tensor), mass));
}

/** The plan by operations that the tape knows, from potentials that it knows. */
function unrolledPlan(solution: Solution, options: SinkhornOptions): Tensor {
  const { f, g, saved, layout } = solution;
  expectUnchanged(`${name}.plan`, solution);
  const given = saved as unknown as Given;
  const [a, b] = planWeights(given, f.dtype, options);
  const exponent = sub(add(unsqueeze(f, -1), unsqueeze(g, -2)), to(given.cost, f.dtype) as Tensor);
  let plan = exp(div(exponent, options.epsilon ?? 0.05));
  plan = a ? mul(plan, unsqueeze(a, -1)) : div(plan, layout.f.at(-1) as number);
  return b ? mul(plan, unsqueeze(b, -2)) : div(plan, layout.g.at(-1) as number);
}

function resultOf(made: Tensor | { value: Tensor }, options: SinkhornOptions) {
  const value = made instanceof Tensor ? made : made.value;
  const solution = solutions.get(value) as Solution;
  const result = transportPlan(solution);
  tell(name, result, options);
  if (value.wantsGrad && isUnrolled(options)) {
    const behind = tensorsBehind.get(result.plan) ?? [];
    result.plan = () => unrolledPlan(solution, options);
    tensorsBehind.set(result.plan, [...behind, solution.f, solution.g]);
  }
  // Not spread, which would read the information of a device.
  return Object.assign(result, { value });
}

/**
 * Entropic optimal transport of a cost between rows of weight a and columns of weight b:
 *
 *   min_P <P,C> + ε KL(P|abᵀ) + ρA KL(P1|a) + ρB KL(Pᵀ1|b),  KL(p|q) = sum p log(p/q) - p + q
 *   P_ij = a_i b_j e^((f_i + g_j - C_ij)/ε)
 *
 * cost [N, M] or [B, N, M] of any float dtype -> `value` [] or [B], `f` [B?, N], `g` [B?, M],
 * float32 (float64 for float64 cost), and the plan by `plan()` and `apply()`. Always in the log
 * domain: annealed, then over-relaxed until the marginals are within the tolerance. `value` is the
 * dual's and is differentiable in cost, a and b: P, and without ρ the potentials less their mean.
 * `gradient: 'unrolled'` takes plain steps and makes value, f, g and `plan()` differentiable through
 * them: for losses of the plan itself, or of a few steps.
 *
 * Cuturi 2013; Thibault et al. 2017; Genevay et al. 2018 (unrolled); Sejourne et al. 2019.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments, costs that
 *   are not finite, negative weights, and masses that differ where both marginals must hold;
 *   ERR_NOT_CONVERGED with `strict`.
 * @example const { value, plan } = sp.sinkhorn(sp.tensor([[0, 1], [1, 0]]), { epsilon: 0.1 })
 */
export const sinkhorn: Op<
  <D extends DType>(cost: Tensor<D>, options?: SinkhornOptions) => SinkhornResult<LossDType<D>>
> = finished(operation, 1, resultOf);
