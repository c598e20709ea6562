// Entropic optimal transport of a given cost: see the doc comment below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType } from '../dtype.js';
import { expectDType, expectNumber, fail, showShape } from '../expect.js';
import { launch, native } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import {
  checkIterations,
  checkWeights,
  equalLayout,
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

export interface SinkhornOptions extends IterationOptions {
  /** Strength of the entropy; default 0.05. */
  epsilon?: number;
  /**
   * Weights of the rows and of the columns, [B?, N] and [B?, M]; default uniform, of mass 1. Masses
   * that must agree may differ by 1e-4, or 2e-2 where one has 16 bits; that is spread.
   */
  a?: Tensor;
  b?: Tensor;
  /** Strength of the penalty KL(P1|a) or KL(Pᵀ1|b); default none: the marginal holds. */
  rhoA?: number;
  rhoB?: number;
}

/** What `sinkhorn` gives. */
export interface SinkhornResult<D extends DType = DType> extends TransportPlan<D> {
  /** Scalar or [B], differentiable in cost, a and b. */
  readonly value: Tensor<D>;
}

const name = 'sinkhorn';
type In = Inputs<'cost', 'a' | 'b'>;

const layoutOf = ({ shape, rank }: Tensor) =>
  equalLayout(shape.slice(0, -2), shape[rank - 2], shape[rank - 1]);

function check({ cost, a, b }: In, options: SinkhornOptions): void {
  expectDType(name, 'cost', cost, floats);
  const { rank, shape } = cost as Tensor;
  if ((rank !== 2 && rank !== 3) || shape[rank - 1] === 0 || shape[rank - 2] === 0) {
    const wanted = '[N, M] or [B, N, M] with at least one row and column';
    fail(name, 'ERR_SHAPE', `expected cost to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const { f, g } = layoutOf(cost);
  checkWeights(name, 'a', a, f);
  checkWeights(name, 'b', b, g);
  expectNumber(name, 'epsilon', options.epsilon ?? 0.05, { min: leastNormal });
  for (const key of ['rhoA', 'rhoB'] as const) {
    const rho = options[key] ?? Number.POSITIVE_INFINITY;
    if (rho !== Number.POSITIVE_INFINITY) expectNumber(name, key, rho, { min: leastNormal });
  }
  checkIterations(name, options);
}

/** Negative where there is none. */
const strength = (rho = Number.POSITIVE_INFINITY) => (rho === Number.POSITIVE_INFINITY ? -1 : rho);

function fields({ cost, a, b, potentials }: In & { potentials: Tensor }, options: SinkhornOptions) {
  const { batch, startsX, startsY } = layoutOf(cost);
  return {
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
    ...iterationFields(options),
    potentials: potentials.raw,
  };
}

const solutions = new WeakMap<Tensor, Solution>();

interface Saved {
  t: In;
  options: SinkhornOptions;
  potentials: Tensor;
}

function forward(t: In, options: SinkhornOptions) {
  const layout = layoutOf(t.cost);
  const dtype = accumulatorOf(t.cost.dtype);
  const [output, f, g] = [layout.shape, layout.f, layout.g].map((shape) => empty(shape, dtype));
  const potentials = empty([keptSize(layout, false)], 'float64');
  const info = newInfos(layout.batch);
  const saved = { ...t, potentials };
  launch(native.sinkhornSolve, {
    ...fields(saved, options),
    value: output.raw,
    f: f.raw,
    g: g.raw,
    info: rawOf(info),
  });
  const problem = (its: typeof saved) => fields(its, options);
  solutions.set(output, solutionOf({ name, f, g, info, layout, saved, fields: problem }));
  // The tape disposes of what it saved; the plan may outlive it.
  return { output, saved: { t, options, potentials: potentials.detach() } satisfies Saved };
}

function backward({ t, options, potentials }: Saved, upstream: Tensor, needs: Needs): Gradients {
  const like = (x: Tensor | undefined, need: boolean) =>
    need && x ? empty(x.shape, x.dtype) : undefined;
  const cost = like(t.cost, needs.cost);
  const [a, b] = [like(t.a, needs.a), like(t.b, needs.b)];
  launch(native.sinkhornGradients, {
    ...fields({ ...t, potentials }, options),
    upstream: upstream.raw,
    dcost: cost?.raw,
    da: a?.raw,
    db: b?.raw,
  });
  return { cost, a, b };
}

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['cost'],
  optionTensors: ['a', 'b'],
  options: ['epsilon', 'rhoA', 'rhoB', ...iterationNames],
  check,
  forward,
  backward,
});

function resultOf(value: Tensor, options: SinkhornOptions) {
  const plan = transportPlan(solutions.get(value) as Solution);
  tell(name, plan, options);
  // Not spread, which would read the information of a device.
  return Object.assign(plan, { value });
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
 *
 * Cuturi 2013; Thibault et al. 2017; Sejourne et al. 2019.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments, costs that
 *   are not finite, negative weights, and masses that differ where both marginals must hold;
 *   ERR_NOT_CONVERGED with `strict`.
 * @example const { value, plan } = sp.sinkhorn(sp.tensor([[0, 1], [1, 0]]), { epsilon: 0.1 })
 */
export const sinkhorn: Op<
  <D extends DType>(cost: Tensor<D>, options?: SinkhornOptions) => SinkhornResult<LossDType<D>>
> = finished(operation, 1, resultOf);
