// The potentials and the plan of optimal transport between clouds: see the doc comment below.
import { defineOp, type Inputs, type Op } from '../autograd.js';
import {
  type CloudOptions,
  type CloudTensors,
  checkClouds,
  cloudFields,
  cloudNames,
  cloudTensors,
  layoutOfClouds,
} from '../clouds.js';
import { accumulatorOf, type DType, type LossDType } from '../dtype.js';
import { launch, native } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import {
  finished,
  keptSize,
  newInfos,
  rawOf,
  type Solution,
  solutionOf,
  type TransportPlan,
  tell,
  transportPlan,
} from '../transport.js';
import {
  checkInit,
  type InitTensors,
  initFields,
  initTensors,
  type WarmStart,
  withoutInit,
} from '../warm-start.js';

/** Options of `sinkhornPotentials`. */
export interface SinkhornPotentialsOptions extends CloudOptions, WarmStart {}

const name = 'sinkhornPotentials';
type In = Inputs<'x' | 'y', CloudTensors | InitTensors>;

const solutions = new WeakMap<Tensor, Solution>();

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'y'],
  optionTensors: [...cloudTensors, ...initTensors],
  // Options of a divergence may be given as they are.
  options: [...cloudNames, 'init', 'debias', 'gradient'],
  check(t: In, options: SinkhornPotentialsOptions) {
    checkClouds(name, t, options);
    checkInit(name, t, layoutOfClouds(name, t, options), options.solver);
  },
  forward(given: In, { ...options }: SinkhornPotentialsOptions & { gradient?: string }) {
    // Nothing is differentiated here.
    delete options.gradient;
    const t = withoutInit(given);
    const layout = layoutOfClouds(name, t, options);
    const dtype = accumulatorOf(t.x.dtype);
    const [value, f, g] = [layout.shape, layout.f, layout.g].map((shape) => empty(shape, dtype));
    const potentials = empty([keptSize(layout, false)], 'float64');
    const info = newInfos(layout.batch);
    const saved = Object.assign({ potentials, value }, t);
    const fields = ({ potentials, value: _, ...clouds }: typeof saved) =>
      Object.assign(cloudFields(clouds, options, layout), {
        caller: 1,
        potentials: potentials.raw,
      });
    const own = { value: value.raw, f: f.raw, g: g.raw, info: rawOf(info) };
    launch(native.sinkhornSolve, own, initFields(given), fields(saved));
    solutions.set(f, solutionOf({ name, f, g, info, layout, saved, fields }));
    return { outputs: { f, g } };
  },
});

function resultOf({ f }: { f: Tensor }, options: SinkhornPotentialsOptions): TransportPlan {
  const plan = transportPlan(solutions.get(f) as Solution);
  tell(name, plan, options);
  return plan;
}

/**
 * The potentials f and g of optimal transport between clouds, and through them the plan
 * P_ij = a_i b_j e^((f_i + g_j - C_ij)/ε): the problem of `sinkhornDivergence` and its options, never
 * debiased and not differentiable.
 *
 * x [B?, N, D], y [B?, M, D] -> f [B?, N], g [B?, M] (packed [ΣN], [ΣM]), float32 or for float64
 * points float64; `plan()` [B?, N, M]; `apply(v)` multiplies by the plan without making it.
 *
 * From `init`, potentials of a similar problem, it takes fewer iterations.
 *
 * f_i = -ε/(1 + ε/ρ) log sum_j b_j e^((g_j - C_ij)/ε) (Feydy et al. 2019, eq. 10).
 *
 * @throws as `sinkhornDivergence`.
 * @example const matched = sp.sinkhornPotentials(x, y).apply(y) // times 1/a: barycentric map
 */
export const sinkhornPotentials: Op<
  <D extends DType>(
    x: Tensor<D>,
    y: Tensor<D>,
    options?: SinkhornPotentialsOptions,
  ) => TransportPlan<LossDType<D>>
> = finished(operation, 2, resultOf);
