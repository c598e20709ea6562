// Where a transport plan sends points on average: see the doc comment below.
import { defineOp, type Inputs, type Needs, type Op } from '../autograd.js';
import type { DType } from '../dtype.js';
import { expectDevice, expectDType, expectShape, fail, show, showShape } from '../expect.js';
import type { Shape } from '../shape.js';
import { Tensor } from '../tensor.js';
import { appliedLater, multiplied, type TransportPlan } from '../transport.js';
import { to } from './cast.js';
import { eq, where } from './comparison.js';
import { div } from './elementwise.js';
import { pad, slice } from './slice.js';

/** What a plan is multiplied by: results of sinkhorn, sinkhornPotentials and emd have it. */
export type AppliedPlan<D extends DType = DType> = Pick<TransportPlan<D>, 'f' | 'g' | 'apply'>;

/** Options of `barycentricMap`. */
export interface BarycentricMapOptions {
  /** 1 (default): for each point of x, from points of y; 0: for each of y, from points of x. */
  axis?: 0 | 1 | undefined;
}

const name = 'barycentricMap';
type Options = BarycentricMapOptions & { plan: AppliedPlan };
type In = Inputs<'points', never>;

function check({ points }: In, { plan, axis = 1 }: Options): void {
  // Every function of JavaScript has an `apply`.
  const isPlan = plan?.f instanceof Tensor && plan.g instanceof Tensor;
  if (!isPlan || typeof plan.apply !== 'function') {
    const wanted = 'the result of sinkhornPotentials, sinkhorn or emd';
    fail(name, 'ERR_INVALID_TYPE', `expected plan to be ${wanted}, got ${show(plan)}`);
  }
  if (axis !== 0 && axis !== 1) {
    fail(name, 'ERR_INVALID_VALUE', `expected axis to be 0 or 1, got ${show(axis)}`);
  }
  const from = axis === 1 ? plan.g : plan.f;
  expectDevice(name, 'points', points, from.device, 'like the plan');
  expectDType(name, 'points', points, multiplied(from.dtype));
  const { rank, shape } = points as Tensor;
  const width = rank === from.rank + 1 ? shape[rank - 1] : 1;
  const why = `a row for each potential of ${showShape(from.shape)}`;
  expectShape(name, 'points', points, [...from.shape, width], why);
}

function forward({ points }: In, { plan, axis = 1 }: Options, needs: Needs) {
  const width = points.shape[points.rank - 1];
  // A column of ones: one pass gives sums and masses.
  const wide = to(points, plan.f.dtype);
  const sums = plan.apply(pad(wide, [0, 1], 'constant', 1), { axis });
  const mass = slice(sums, -1, width);
  const divisor = where(eq(mass, 0), 1, mass) as Tensor;
  const output = div(slice(sums, -1, 0, width), divisor);
  if (!needs.points) return { output };
  const { saved: behind, apply } = appliedLater(plan);
  const back = (its: typeof behind, g: Tensor) => apply(its, g, axis === 1 ? 0 : 1);
  const { dtype } = points as Tensor;
  return { output, saved: { dtype, divisor, behind, back } satisfies Saved };
}

interface Saved {
  dtype: DType;
  divisor: Tensor;
  /** What the plan is made of. */
  behind: Record<string, Tensor>;
  back: (behind: Record<string, Tensor>, g: Tensor) => Tensor;
}

const operation = defineOp({
  name,
  builtin: true,
  inputs: ['points'],
  options: ['plan', 'axis'],
  check,
  forward,
  backward: ({ dtype, divisor, behind, back }: Saved, g: Tensor) => ({
    points: to(back(behind, div(g, divisor)), dtype),
  }),
});

const call = (plan: AppliedPlan, points: Tensor, options: BarycentricMapOptions = {}) =>
  operation(points, { ...options, plan });
const async = (plan: AppliedPlan, points: Tensor, options: BarycentricMapOptions = {}) =>
  operation.async(points, { ...options, plan });

/**
 * Where a transport plan sends each point on average: Σ_j P_ij y_j / Σ_j P_ij for each point of x
 * (`axis` 1, the default), or Σ_i P_ij x_i / Σ_i P_ij for each of y (`axis` 0). By the plan's
 * `apply`: never an N·M array.
 *
 * plan: what `sinkhornPotentials`, `sinkhorn` or `emd` gave; points [B?, M, D] (axis 0: [B?, N, D])
 * of its dtype (16 bits, too, where that is float32), also any other features of the points
 * -> [B?, N, D] (axis 0: [B?, M, D]) of the plan's dtype. A point without mass is sent to 0. Differentiable in points, with the plan held constant.
 *
 * Ferradans et al. 2014; Seguy et al. 2018.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_TYPE, ERR_INVALID_VALUE for bad arguments.
 * @example const moved = sp.barycentricMap(sp.sinkhornPotentials(x, y), y)
 */
export const barycentricMap: Op<
  <D extends DType>(
    plan: AppliedPlan<D>,
    points: Tensor<NoInfer<D> | 'float16' | 'bfloat16', Shape>,
    options?: BarycentricMapOptions,
  ) => Tensor<D>
> = Object.assign(call, { async, raw: operation.raw }) as never;
