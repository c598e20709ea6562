// Second derivatives of the Sinkhorn divergence: see the doc comment below.

import { noGrad } from '../autograd.js';
import { type CloudOptions, checkPoints, checkReach } from '../clouds.js';
import { tensor } from '../create.js';
import { type Asking, type Curvature, type Curve, curvature, type Request } from '../curvature.js';
import type { DType } from '../dtype.js';
import {
  errorOf,
  expectBoolean,
  expectDevice,
  expectNumber,
  expectOptions,
  expectSameDType,
  expectShape,
  fail,
} from '../expect.js';
import { record, submit } from '../native.js';
import { sizeOf } from '../shape.js';
import { expectTensor, Tensor } from '../tensor.js';
import {
  contracted,
  type IterationOptions,
  iterationNames,
  releasePlan,
  type TransportInfo,
  type TransportPlan,
} from '../transport.js';
import { clone } from './cast.js';
import { sinkhornPotentials } from './sinkhorn-potentials.js';

/** Options of `hvp`. */
export interface HvpOptions
  extends IterationOptions,
    Pick<CloudOptions, 'blur' | 'reach' | 'a' | 'b'> {
  /** Of the divergence (default), or of the value that still has its bias. */
  debias?: boolean | undefined;
  /** Added to the linear system, relative to its diagonal; default 1e-5. */
  damping?: number | undefined;
  /** Largest residual of the linear system, relative to its right side; default 1e-6. */
  solveTolerance?: number | undefined;
  /** Default 1000. */
  solveIterations?: number | undefined;
}

/** What `hvp` gives. */
export interface Hvp<D extends DType = DType> {
  /** H v, of x's shape and dtype. */
  readonly product: Tensor<D>;
  /** Conjugate gradient steps, of several systems the most. */
  readonly iterations: number;
  /** Of the linear system, relative to its right side; of several the worst. */
  readonly residual: number;
  /** How the potentials' iterations ended, of several the worst. */
  readonly potentials: TransportInfo;
  /** Whether both are within their tolerances. */
  readonly converged: boolean;
}

const name = 'hvp';
const known = ['blur', 'reach', 'a', 'b', 'debias', 'damping', 'solveTolerance', 'solveIterations'];

function check(x: Tensor, y: Tensor, v: Tensor, options: HvpOptions): void {
  for (const [key, t] of Object.entries({ x, y, v })) expectTensor(name, key, t);
  expectOptions(name, options, [...known, ...iterationNames]);
  checkPoints(name, { x, y }, false);
  expectSameDType(name, 'x', x, 'v', v);
  expectShape(name, 'v', v, x.shape, 'a direction for each point of x');
  expectDevice(name, 'v', v, x.device, 'like x');
  const { blur = 0.05, damping = 1e-5, debias = true } = options;
  const { solveTolerance = 1e-6, solveIterations = 1000 } = options;
  expectNumber(name, 'damping', damping, { min: 0 });
  expectNumber(name, 'solveTolerance', solveTolerance, { above: 0 });
  expectNumber(name, 'solveIterations', solveIterations, { min: 1, integer: true });
  expectBoolean(name, 'debias', debias);
  expectNumber(name, 'blur', blur, { above: 0 });
  checkReach(name, options.reach, 2);
  const bad = wide(v).find((e) => !Number.isFinite(e));
  if (bad === undefined) return;
  fail(name, 'ERR_INVALID_VALUE', `expected v to hold finite numbers, got ${bad}`);
}

/** The values of a float tensor. */
const wide = (t: Tensor) => Float64Array.from(t.dataSync() as ArrayLike<number>);

/** One linear system, and the plan that it is of. */
interface System {
  plan: () => TransportPlan;
  planLater: () => Promise<TransportPlan>;
  curve: Curve;
}

const slack = (reach: number | undefined, blur: number) =>
  reach === undefined || reach === Number.POSITIVE_INFINITY ? 0 : (blur / reach) ** 2;

function systems(x: Tensor, y: Tensor, v: Tensor, options: HvpOptions): System[] {
  const { blur = 0.05, reach, a, b, debias = true } = options;
  const sides = typeof reach === 'object' ? (reach ?? {}) : { x: reach, y: reach };
  const width = x.shape[x.rank - 1];
  const [p, q, direction] = [wide(x), wide(y), wide(v)];
  const centre = p.slice(0, width);
  for (const points of [p, q])
    for (let e = 0; e < points.length; e++) points[e] -= centre[e % width];
  const { tolerance = 1e-5, maxIterations, strict, workspaceBytes } = options;
  const shared = { blur, tolerance, maxIterations, strict, workspaceBytes };
  const system = (other: Tensor, ends: 'y' | 'x', w: object, to: Curve['y']): System => {
    const bounds = { ...shared, ...w, reach: { x: sides.x, y: sides[ends] } };
    const given = Object.fromEntries(Object.entries(bounds).filter(([, o]) => o !== undefined));
    return {
      plan: () => sinkhornPotentials(x, other as never, given),
      planLater: () => sinkhornPotentials.async(x, other as never, given),
      curve: {
        x: { points: p, direction },
        y: to,
        batch: sizeOf(x.shape.slice(0, -2)),
        width,
        epsilon: blur ** 2,
        slackX: slack(sides.x, blur),
        slackY: slack(sides[ends], blur),
        damping: options.damping ?? 1e-5,
        tolerance: options.solveTolerance ?? 1e-6,
        maxIterations: options.solveIterations ?? 1000,
      },
    };
  };
  const still = { points: q, direction: new Float64Array(q.length) };
  const cross = system(y, 'y', { a, b }, still);
  // Half of (x,x), whose two places move together: its halves are equal.
  return debias ? [cross, system(x, 'x', { a, b: a }, { points: p, direction })] : [cross];
}

interface Product {
  launched: Tensor;
  given: Tensor[];
}

/** The product that is asked for, launched where the plan is. */
function product(plan: TransportPlan, { v, columns, axis, form }: Request): Product {
  const [rows, sums] = axis === 1 ? [plan.f, plan.g] : [plan.g, plan.f];
  const { device } = plan.f;
  const given: Tensor[] = [];
  const put = (values: Float64Array, { dtype, shape }: Tensor, width: number) => {
    given.push(tensor(values, { dtype, shape: [...shape, width], device }));
    return given[given.length - 1];
  };
  try {
    const right = put(v, sums, columns);
    const launched = form
      ? contracted(plan, put(form.u, rows, form.inner), put(form.w, sums, form.inner), right)
      : plan.apply(right, { axis });
    return { launched, given };
  } catch (error) {
    release(given);
    throw error;
  }
}

function release(tensors: readonly Tensor[]): void {
  for (const t of tensors) t.dispose();
}

/** On a device Σ_k u_ik Σ_j P_ij w_jk v_j: as many products as u has columns, added up here. */
function* inParts({ v, columns, axis, form }: Request): Asking<Float64Array> {
  const { u, w, inner } = form as NonNullable<Request['form']>;
  let sum: Float64Array | undefined;
  for (let k = 0; k < inner; k++) {
    const own = v.map((value, e) => value * w[Math.floor(e / columns) * inner + k]);
    const seen = yield { v: own, columns, axis };
    sum ??= new Float64Array(seen.length);
    for (let e = 0; e < seen.length; e++)
      sum[e] += u[Math.floor(e / columns) * inner + k] * seen[e];
  }
  return sum as Float64Array;
}

/** The same computation, none of whose requests has a form. */
function* formless<R>(work: Asking<R>): Asking<R> {
  let step = work.next();
  while (!step.done) {
    const { value } = step;
    step = work.next(value.form ? yield* inParts(value) : yield value);
  }
  return step.value;
}
const within = <R>(work: Asking<R>, plan: TransportPlan) =>
  plan.f.device === 'cpu' ? work : formless(work);

function answered<R>(work: Asking<R>, plan: TransportPlan): R {
  let step = work.next();
  while (!step.done) {
    const { launched, given } = product(plan, step.value);
    let values: Float64Array;
    try {
      values = wide(launched);
    } finally {
      release([launched, ...given]);
    }
    step = work.next(values);
  }
  return step.value;
}

async function answeredLater<R>(work: Asking<R>, plan: TransportPlan): Promise<R> {
  let step = work.next();
  while (!step.done) {
    const { value } = step;
    const { result, launches } =
      plan.f.device === 'cpu'
        ? record(() => product(plan, value))
        : { result: product(plan, value), launches: [] };
    let values: Float64Array;
    try {
      await submit(launches);
      values = Float64Array.from((await result.launched.data()) as ArrayLike<number>);
    } finally {
      release([result.launched, ...result.given]);
    }
    step = work.next(values);
  }
  return step.value;
}

function concluded(
  x: Tensor,
  parts: Curvature[],
  plans: TransportPlan[],
  options: HvpOptions,
): Hvp {
  const [cross, self] = parts;
  const sum = self ? cross.product.map((h, e) => h - self.product[e]) : cross.product;
  const most = (of: (number | undefined)[]) => Math.max(0, ...of.map((v) => v ?? 0));
  const residual = most(parts.map((p) => p.residual));
  const { solveTolerance = 1e-6 } = options;
  const potentials = {
    iterations: most(plans.map((p) => p.iterations)),
    error: most(plans.map((p) => p.error)),
    converged: plans.every((p) => p.converged),
  };
  const solved = residual <= solveTolerance;
  if (!solved && options.strict) {
    const wanted = `expected the residual to fall to ${solveTolerance}`;
    throw errorOf('ERR_NOT_CONVERGED', `${name}: ${wanted}, got ${residual.toPrecision(3)}`);
  }
  const product = tensor(sum, { dtype: x.dtype, shape: [...x.shape], device: x.device });
  const iterations = most(parts.map((p) => p.iterations));
  return { product, iterations, residual, potentials, converged: solved && potentials.converged };
}

/**
 * The second derivative of `sinkhornDivergence` in x, times a direction v: H v for p = 2, without H.
 *
 * x [B?, N, D], y [B?, M, D], v like x, of one float dtype -> `product` like x. Options blur, reach, a,
 * b and debias as there, `tolerance` 1e-5. The potentials' own derivatives solve a linear system, by
 * conjugate gradients on products with the plan: two a step, never an N·M array. How that ended is in
 * `iterations` and `residual`, which is made anew from the solution: float32 and 16-bit points at a
 * small blur may keep it above `solveTolerance`. `damping` makes it solvable where the plan nearly
 * falls apart; the smaller, the exacter. On a device it has the products, the host the rest, and waits
 * for each of them. For y call it with x and y, and a and b, in each other's
 * place.
 *
 *   H v = d/dt ∇ S(x + t v) at t = 0, at the optimum (the envelope's gradient, Danskin)
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_TYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad
 *   arguments; of values as `sinkhornPotentials`; ERR_NOT_CONVERGED with `strict`.
 * @example const { product, residual } = sp.hvp(x, y, v, { blur: 0.1 })
 */
export function hvp<D extends DType>(
  x: Tensor<D>,
  y: Tensor<NoInfer<D>>,
  v: Tensor<NoInfer<D>>,
  options: HvpOptions = {},
): Hvp<D> {
  check(x, y, v, options);
  const plans: TransportPlan[] = [];
  try {
    const parts = systems(x, y, v, options).map(({ plan, curve }) => {
      plans.push(plan());
      const last = plans[plans.length - 1];
      return answered(within(curvature(curve), last), last);
    });
    return concluded(x, parts, plans, options) as Hvp<D>;
  } finally {
    plans.forEach(releasePlan);
  }
}

/** The same on a background thread. */
hvp.async = async <D extends DType>(
  x: Tensor<D>,
  y: Tensor<NoInfer<D>>,
  v: Tensor<NoInfer<D>>,
  options: HvpOptions = {},
): Promise<Hvp<D>> => {
  check(x, y, v, options);
  // As they are now: their owner may change or dispose of them meanwhile.
  const copies: Tensor[] = [];
  const copy = <T extends Tensor | undefined>(t: T): T => {
    if (!(t instanceof Tensor)) return t;
    copies.push(noGrad(() => clone(t)));
    return copies[copies.length - 1] as T;
  };
  const own = { ...options, a: copy(options.a), b: copy(options.b) };
  const [plans, parts]: [TransportPlan[], Curvature[]] = [[], []];
  try {
    for (const { planLater, curve } of systems(copy(x), copy(y), v, own)) {
      const plan = await planLater();
      plans.push(plan);
      parts.push(await answeredLater(within(curvature(curve), plan), plan));
    }
    return concluded(x, parts, plans, own) as Hvp<D>;
  } finally {
    plans.forEach(releasePlan);
    release(copies);
  }
};
