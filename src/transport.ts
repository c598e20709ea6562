// What the operations of optimal transport share: which problems a call holds, native fields, what
// is told of the iterations, and the plan that a solution stands for.
import type { Op } from './autograd.js';
import { accumulatorOf, type DType, floats } from './dtype.js';
import {
  errorOf,
  expectBoolean,
  expectDType,
  expectNumber,
  expectOptions,
  expectShape,
  fail,
  show,
} from './expect.js';
import { type Field, isRecording, type Kernel, launch, native, type Raw } from './native.js';
import { ambient, onDevice } from './place.js';
import { keep, tensorsBehind } from './scope.js';
import { type Shape, sizeOf } from './shape.js';
import { expectSaved } from './tape.js';
import { empty, expectTensor, Tensor } from './tensor.js';
import { readData } from './transfer.js';
import { withInit } from './warm-start.js';

/** Numbers below it lose digits. */
export const leastNormal = 2 ** -1022;

/** How the iterations of a call ended; of several problems the worst. */
export interface TransportInfo {
  /** Updates of both potentials, annealing included. */
  iterations: number;
  /** The L1 error of the marginals, relative to the plan's mass. */
  error: number;
  /** Whether the error is within the tolerance. */
  converged: boolean;
}

/** How Sinkhorn's iterations end. */
export interface IterationOptions {
  /** Largest L1 error of the marginals, relative to the plan's mass; default 1e-3. */
  tolerance?: number | undefined;
  /**
   * Default 10000, of unrolled gradients 100. At the limit the dual value is returned, a lower bound.
   */
  maxIterations?: number | undefined;
  /** Throws `ERR_NOT_CONVERGED` where the tolerance was not reached; default false. */
  strict?: boolean | undefined;
  /**
   * Upper bound on memory that grows with N·M; default 32 MiB, on a device 256 MiB. Results do not
   * depend on it.
   */
  workspaceBytes?: number | undefined;
}

export const iterationNames = ['tolerance', 'maxIterations', 'strict', 'workspaceBytes'] as const;

export function checkIterations(op: string, options: IterationOptions): void {
  const { tolerance = 1e-3, maxIterations = 10000, strict = false, workspaceBytes = 0 } = options;
  expectNumber(op, 'tolerance', tolerance, { min: 0 });
  expectNumber(op, 'maxIterations', maxIterations, { min: 1, integer: true });
  expectBoolean(op, 'strict', strict);
  expectNumber(op, 'workspaceBytes', workspaceBytes, { min: 0, integer: true });
}

const mostIterations = ({
  maxIterations,
  gradient,
}: Pick<IterationOptions, 'maxIterations'> & { gradient?: string }) =>
  maxIterations ?? (gradient === 'unrolled' ? 100 : 10000);

export const iterationFields = (options: IterationOptions & { gradient?: string }) => ({
  tolerance: options.tolerance ?? 1e-3,
  maxIterations: mostIterations(options),
  workspaceBytes: options.workspaceBytes ?? (ambient === 'cpu' ? 2 ** 25 : 2 ** 28),
});

/** Weights of the points: any float dtype, one each. */
export function checkWeights(op: string, name: string, w: Tensor | undefined, shape: Shape): void {
  if (!w) return;
  expectDType(op, name, w, floats);
  expectShape(op, name, w, shape, 'one weight per point');
}

/** The problems of one call: where each one's points begin, and the shapes of what comes out. */
export interface Layout {
  startsX: BigInt64Array;
  startsY: BigInt64Array;
  batch: number;
  /** Of values. */
  shape: Shape;
  /** Of f, g and plans; no plan where sizes differ. */
  f: Shape;
  g: Shape;
  plan?: Shape;
}

export function equalLayout(lead: Shape, n: number, m: number): Layout {
  const batch = sizeOf(lead);
  const starts = (size: number) => {
    const list = new BigInt64Array(batch + 1);
    for (let i = 1; i <= batch; i++) list[i] = BigInt(i * size);
    return list;
  };
  return {
    startsX: starts(n),
    startsY: starts(m),
    batch,
    shape: lead,
    f: [...lead, n],
    g: [...lead, m],
    plan: [...lead, n, m],
  };
}

/** The number of doubles a solution keeps for backward. */
export const keptSize = ({ f, g }: Layout, debias: boolean) =>
  3 * (sizeOf(f) + sizeOf(g)) * (debias ? 2 : 1);

/** `info` of native code: iterations, error and whether converged, for each problem. */
export type Infos = Float64Array | Tensor;

/** Where an operation that runs now leaves them: where its tensors are. */
export const newInfos = (batch: number): Infos =>
  ambient === 'cpu' ? new Float64Array(3 * batch) : keep(empty([3 * batch], 'float64'));

export const rawOf = (infos: Infos): Raw => (infos instanceof Tensor ? infos.raw : infos);

/** Of a device waits for it. */
export function infoOf(infos: Infos): TransportInfo {
  const values = infos instanceof Tensor ? (readData(infos) as Float64Array) : infos;
  const info = { iterations: 0, error: 0, converged: true };
  for (let i = 0; i < values.length; i += 3) {
    info.iterations = Math.max(info.iterations, values[i]);
    info.error = Math.max(info.error, values[i + 1]);
    info.converged &&= values[i + 2] !== 0;
  }
  return info;
}

/** Why it ended where it did. */
export function shortfall(
  op: string,
  info: TransportInfo,
  options: IterationOptions & { solver?: string; gradient?: string },
): string {
  const { tolerance = 1e-3 } = options;
  const maxIterations = mostIterations(options);
  const wanted = `${op}: expected the marginals' error to fall to ${tolerance} `;
  const got = `got ${Number(info.error.toPrecision(3))}`;
  if (options.solver === 'geomloss') {
    return `${wanted}, ${got} at the end of GeomLoss's schedule (${info.iterations} steps)`;
  }
  return info.iterations >= maxIterations
    ? `${wanted}within ${maxIterations} iterations, ${got}`
    : `${wanted}, ${got}, below which it is rounding (stopped after ${info.iterations} iterations)`;
}

/** Throws if `strict` asks for it. */
export function demand(op: string, info: TransportInfo, options: IterationOptions): void {
  if (!options.strict || info.converged) return;
  throw errorOf('ERR_NOT_CONVERGED', shortfall(op, info, options));
}

/**
 * An operation whose callers get `finish(result, options)` of its result; options are argument
 * number `position`, which may give `init`.
 */
export function finished<F extends (...args: never[]) => unknown>(
  op: Op,
  position: number,
  // biome-ignore lint/suspicious/noExplicitAny: the caller names the types by F
  finish: (result: any, options: any) => unknown,
): Op<F> {
  const given = (args: unknown[]) =>
    args.map((arg, i) => (i === position ? withInit(op.name, arg) : arg));
  const call = (...args: unknown[]) => finish(op(...given(args)), args[position] ?? {});
  const async = async (...args: unknown[]) => {
    // As they are now: their owner may change them meanwhile.
    const options = { ...(args[position] as object) };
    return finish(await op.async(...given(args)), options);
  };
  return Object.assign(call, { async, raw: op.raw }) as unknown as Op<F>;
}

/** Tells `onInfo`, and throws if `strict` asks for it; reads nothing unless one of them does. */
export function tell(
  op: string,
  info: TransportInfo,
  options: IterationOptions & { onInfo?: (info: TransportInfo) => void },
): void {
  if (options.onInfo) {
    const { iterations, error, converged } = info;
    options.onInfo({ iterations, error, converged });
  }
  demand(op, info, options);
}

/** Potentials, and the plan P_ij = a_i b_j e^((f_i + g_j - C_ij)/epsilon) that they stand for. */
export interface TransportPlan<D extends DType = DType> extends TransportInfo {
  /** Potential of the points of x, or of the rows of the cost: [B?, N]. */
  readonly f: Tensor<D>;
  /** Of y, or of the columns: [B?, M]. */
  readonly g: Tensor<D>;
  /** The plan itself: [B?, N, M]. */
  plan(): Tensor<D>;
  /**
   * The plan times v, without the plan: over axis 1 (default) P·v for v [B?, M] or [B?, M, K], over
   * axis 0 Pᵀ·v for v [B?, N] or [B?, N, K]. v has f's dtype, or 16 bits where that is float32.
   */
  apply(v: Tensor, options?: { axis?: 0 | 1 | undefined }): Tensor<D>;
}

/** Tensors by name. */
type Named = Readonly<Record<string, Tensor | undefined>>;
const tensorsOf = (named: Named) => Object.values(named).filter((t) => t !== undefined);

/** A solved call. */
export interface Solution {
  name: string;
  f: Tensor;
  g: Tensor;
  info: Infos;
  layout: Layout;
  /** What the plan is made of, potentials included. */
  saved: Named;
  /** Of `saved`: a plan of numbers that have changed since would be one of nothing. */
  versions: readonly number[];
  /** Native fields of the problem from what was saved. */
  // biome-ignore lint/suspicious/noExplicitAny: the names are the operation's own
  fields: (saved: any) => Record<string, Field>;
  /** What makes the plan and multiplies by it; by default Sinkhorn's. */
  kernels?: { plan: Kernel; apply: Kernel };
}

/** What a plan of potentials of this dtype may be multiplied by: that, and 16-bit floats for float32. */
export const multiplied = (dtype: DType) => floats.filter((d) => accumulatorOf(d) === dtype);

/** What has just been solved. */
export function solutionOf(given: Omit<Solution, 'versions'>): Solution {
  const versions = tensorsOf(given.saved).map((t) => t.storage?.version ?? -1);
  return Object.assign({ versions }, given);
}

/** That what a solution is made of is as it was. */
export function expectUnchanged(op: string, { name, saved, versions }: Solution): void {
  expectSaved(op, name, tensorsOf(saved), versions);
}

function fieldsOf(op: string, solution: Solution) {
  expectUnchanged(op, solution);
  return solution.fields(solution.saved);
}

export function transportPlan(solution: Solution): TransportPlan {
  const { f, g, info } = solution;
  let known: TransportInfo | undefined;
  const told = () => {
    known ??= infoOf(info);
    return known;
  };
  const plan: TransportPlan = {
    f,
    g,
    get iterations() {
      return told().iterations;
    },
    get error() {
      return told().error;
    },
    get converged() {
      return told().converged;
    },
    plan: () => planOf(solution),
    apply: (v, options) => applied(solution, v, options),
  };
  solutions.set(plan.apply, solution);
  // Whatever part of the result leaves a scope can be used there.
  for (const own of [plan.plan, plan.apply]) tensorsBehind.set(own, tensorsOf(solution.saved));
  return plan;
}

/** By the function, which copies of a result share. */
const solutions = new WeakMap<TransportPlan['apply'], Solution>();

/** Gives back what a plan holds beside the tensors that it was given: it is of no use afterwards. */
export function releasePlan({ f, g, apply }: TransportPlan): void {
  const { info, saved } = solutions.get(apply) as Solution;
  for (const t of [f, g, info, saved.potentials, saved.value]) if (t instanceof Tensor) t.dispose();
}

/** `apply` of a plan for a backward: by views of what it needs, which the tape saves and disposes. */
export function appliedLater(plan: Pick<TransportPlan, 'apply'>) {
  const solution = solutions.get(plan.apply);
  const saved: Record<string, Tensor> = {};
  for (const [key, t] of Object.entries(solution?.saved ?? {})) if (t) saved[key] = t.detach();
  const apply = (tensors: Named, v: Tensor, axis: 0 | 1) =>
    solution ? applied({ ...solution, saved: tensors }, v, { axis }) : plan.apply(v, { axis });
  return { saved, apply };
}

/** Σ_j P_ij ⟨u_i, w_j⟩ v_j of a plan of clouds on the CPU, for u, w and v of a row for each point. */
export function contracted(plan: TransportPlan, u: Tensor, w: Tensor, v: Tensor): Tensor {
  const solution = solutions.get(plan.apply) as Solution;
  const { f } = solution;
  const columns = v.shape[v.rank - 1];
  const out = onDevice('cpu', () => empty([...f.shape, columns], f.dtype));
  const inner = u.shape[u.rank - 1];
  const given = { u: u.raw, w: w.raw, v: v.raw, out: out.raw, inner, columns };
  launch(native.sinkhornContract, given, fieldsOf(`${solution.name}.apply`, solution));
  return out;
}

function planOf(solution: Solution): Tensor {
  const { f, layout, kernels } = solution;
  const op = `${solution.name}.plan`;
  if (!layout.plan) {
    fail(op, 'ERR_SHAPE', 'expected problems of one size, got packed ones; use apply()');
  }
  const shape = layout.plan;
  const fields = fieldsOf(op, solution);
  const out = onDevice(f.device, () => empty(shape, f.dtype));
  launch(kernels?.plan ?? native.sinkhornPlan, { out: out.raw }, fields);
  return out;
}

function applied(solution: Solution, v: Tensor, options: { axis?: 0 | 1 } = {}): Tensor {
  const op = `${solution.name}.apply`;
  expectTensor(op, 'v', v);
  expectOptions(op, options, ['axis']);
  const { axis = 1 } = options;
  if (axis !== 0 && axis !== 1) {
    fail(op, 'ERR_INVALID_VALUE', `expected axis to be 0 or 1, got ${show(axis)}`);
  }
  const { f, g } = solution;
  const [from, to] = axis === 1 ? [g.shape, f.shape] : [f.shape, g.shape];
  if (v.device !== f.device) {
    const message = `expected v to be on ${f.device}, where the solution is, got ${v.device}`;
    fail(op, 'ERR_DEVICE', message);
  }
  expectDType(op, 'v', v, multiplied(f.dtype));
  const isMatrix = v.rank === from.length + 1;
  const columns = isMatrix ? v.shape[v.rank - 1] : 1;
  const wanted = isMatrix ? [...from, columns] : from;
  expectShape(op, 'v', v, wanted, isMatrix ? 'one row per point' : 'one value per point');
  const shape = isMatrix ? [...to, columns] : to;
  const out = onDevice(f.device, () => empty(shape, f.dtype));
  const wide = v.dtype === f.dtype ? v : onDevice(f.device, () => empty(v.shape, f.dtype));
  if (wide !== v) launch(native.cast, { a: v.raw, out: wide.raw });
  const given = { v: wide.raw, out: out.raw, columns, transposed: axis === 0 };
  const fields = fieldsOf(op, solution);
  if (columns > 0) launch(solution.kernels?.apply ?? native.sinkhornApply, given, fields);
  if (wide !== v && !isRecording()) wide.dispose();
  return out;
}
