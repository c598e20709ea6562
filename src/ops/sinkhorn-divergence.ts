// Optimal transport between clouds of weighted points: see the doc comments below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import {
  type CloudOptions,
  type CloudTensors,
  checkClouds,
  cloudFields,
  cloudNames,
  cloudTensors,
  layoutOfClouds,
  savedOptions,
} from '../clouds.js';
import { accumulatorOf, type DType, type LossDType } from '../dtype.js';
import { expectBoolean } from '../expect.js';
import { launch } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import {
  finished,
  type Infos,
  infoOf,
  keptSize,
  type Layout,
  newInfos,
  rawOf,
  shortfall,
  tell,
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

/** Options of `sinkhornDivergence`. */
export interface SinkhornDivergenceOptions extends CloudOptions, WarmStart, UnrolledGradient {
  /**
   * Minus half the value of (x, x) and of (y, y), so that equal clouds are at 0; default true.
   */
  debias?: boolean | undefined;
}

const name = 'sinkhornDivergence';
type Clouds = Inputs<'x' | 'y', CloudTensors>;
type In = Inputs<'x' | 'y', CloudTensors | InitTensors>;

/** Iterations, error and convergence of each value. */
const infos = new WeakMap<Tensor, Infos>();

interface Saved {
  t: Clouds;
  options: SinkhornDivergenceOptions;
  layout: Layout;
  potentials: Tensor;
  /** Of unrolled gradients. */
  steps?: Tensor;
}

const isDebiased = (options: SinkhornDivergenceOptions) => options.debias ?? true;

function fields({ t, options, layout, potentials, steps }: Saved) {
  const debias = isDebiased(options);
  const own = { caller: 0, debias, potentials: potentials.raw };
  const unrolled = stepFields(steps, layout, options, debias);
  return Object.assign(cloudFields(t, options, layout), own, unrolled);
}

function forward(given: In, options: SinkhornDivergenceOptions, needs: Needs) {
  const t = withoutInit(given);
  const layout = layoutOfClouds(name, t, options);
  const steps = newSteps(name, layout, options, needs, isDebiased(options));
  const output = empty(layout.shape, accumulatorOf(t.x.dtype));
  const potentials = empty([keptSize(layout, isDebiased(options))], 'float64');
  const info = newInfos(layout.batch);
  const saved: Saved = {
    t,
    options: withoutInit(savedOptions(options)),
    layout,
    potentials,
    steps,
  };
  const own = { value: output.raw, info: rawOf(info) };
  launch(solveKernel(options), own, initFields(given), fields(saved));
  infos.set(output, info);
  return { output, saved };
}

function backward(saved: Saved, upstream: Tensor, needs: Needs): Gradients {
  const { x, y, a, b, labelCost } = saved.t;
  expectSteps(name, saved.options, saved.steps);
  const like = (t: Tensor | undefined, need: boolean) =>
    need && t ? empty(t.shape, t.dtype) : undefined;
  const gradients = {
    x: like(x, needs.x),
    y: like(y, needs.y),
    a: like(a, needs.a),
    b: like(b, needs.b),
    labelCost: like(labelCost, needs.labelCost),
  };
  const own = {
    upstream: upstream.raw,
    dx: gradients.x?.raw,
    dy: gradients.y?.raw,
    da: gradients.a?.raw,
    db: gradients.b?.raw,
    dlabelCost: gradients.labelCost?.raw,
  };
  launch(gradientKernel(saved.options), own, fields(saved));
  return gradients;
}

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'y'],
  optionTensors: [...cloudTensors, ...initTensors],
  options: [...cloudNames, 'init', 'debias', 'gradient'],
  nondifferentiable: ['labelsX', 'labelsY', ...initTensors],
  check(t: In, options: SinkhornDivergenceOptions) {
    expectBoolean(name, 'debias', options.debias ?? true);
    checkGradient(name, 'x', t.x, options);
    checkClouds(name, t, options);
    checkInit(name, t, layoutOfClouds(name, t, options), options.solver);
  },
  forward,
  backward,
});

let warned = false;

function conclude(value: Tensor, options: SinkhornDivergenceOptions): Tensor {
  // Nothing waits for a device unless it is asked for.
  if (value.device !== 'cpu' && !options.onInfo && !options.strict) return value;
  const info = infoOf(infos.get(value) as Infos);
  tell(name, info, options);
  // Who asks for so many steps knows that they are so many.
  const counted = options.solver === 'geomloss' || isUnrolled(options);
  if (info.converged || options.onInfo || counted || warned) return value;
  warned = true;
  process.emitWarning(shortfall(name, info, options), { code: 'SURPRISAL_NOT_CONVERGED' });
  return value;
}

/**
 * Sinkhorn divergence between clouds x and y of weights a and b: entropic optimal transport, by
 * default less its own bias. Never an N·M array beyond `workspaceBytes`.
 *
 * x [B?, N, D], y [B?, M, D] of one float dtype -> [] or [B]; packed, x [ΣN, D] and y [ΣM, D] with
 * `cuSeqlensX` and `cuSeqlensY` -> [B]. float32, or float64 for float64 points.
 *
 *   OT(a,b) = min_P <P,C> + ε KL(P|abᵀ) + ρ KL(P1|a) + ρ KL(Pᵀ1|b)
 *   S = OT(a,b) - OT(a,a)/2 - OT(b,b)/2 + ε/2 (mass a - mass b)²
 *
 * with C = |x-y|²/2 (p = 2), |x-y| (p = 1) or 1 - cos, ε = blur^p, ρ = reach^p (none: the marginals
 * hold, which takes equal masses: within 1e-4, or 2e-2 of 16-bit weights, which is spread). Iterates until the marginals are within `tolerance`; where it
 * ends before, it says so (`onInfo`, `strict`, a process warning) and the dual value is a lower bound.
 * On CUDA there is no warning, for which it would have to wait: give `onInfo` or `strict` there.
 * Differentiable in x, y, a, b and labelCost in every mode; without reach the gradients in a and b have
 * zero weighted mean. `gradient: 'unrolled'` gives that of the value after so many plain steps instead,
 * also of (x, x) and (y, y). Clouds are centred, so a common offset costs no digits.
 *
 * Feydy et al. 2019 (eq. 3); Sejourne et al. 2019 (prop. 12); Alvarez-Melis and Fusi 2020 (labels).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments, points that
 *   are not finite, negative weights, masses that differ without reach; ERR_OUT_OF_RANGE for a label;
 *   ERR_NOT_CONVERGED with `strict`.
 * @example const loss = sp.sinkhornDivergence(x, y, { blur: 0.05 })
 */
export const sinkhornDivergence: Op<
  <D extends DType>(
    x: Tensor<D>,
    y: Tensor<D>,
    options?: SinkhornDivergenceOptions,
  ) => Tensor<LossDType<D>>
> = finished(operation, 2, conclude);
