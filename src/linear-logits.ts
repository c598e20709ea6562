// What the operations on logits x·weightᵀ + bias share: options, checks, native fields.
import { floats, type IndexDType } from './dtype.js';
import {
  errorOf,
  expectDType,
  expectNumber,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from './expect.js';
import { checkLogitOptions, type LogitOptions, logitFields } from './loss-options.js';
import { type Shape, sizeOf } from './shape.js';
import type { Tensor } from './tensor.js';

const indices: readonly IndexDType[] = ['int64', 'int32'];

/** What the operations on logits x·weightᵀ + bias share. */
export interface LinearOptions extends LogitOptions {
  /** [V], of x's dtype; differentiable. */
  bias?: Tensor | undefined;
  /**
   * Upper bound on scratch memory, forward and backward, with what forward leaves to backward;
   * default 32 MiB, on CUDA 256 MiB.
   */
  workspaceBytes?: number | undefined;
}

/** Those that score rows against targets. */
export interface ScoredOptions extends LinearOptions {
  /**
   * s >= 0: row t of x is scored against target t+s along the last axis of target, by index;
   * default 0. Per-row inputs keep their length T, per-row outputs have length T-s, and the last s
   * rows of x get gradient 0.
   */
  shift?: number | undefined;
}

export const defaultWorkspace = (x: Tensor) => (x.device === 'cpu' ? 2 ** 25 : 2 ** 28);

export function checkLinear(
  op: string,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  weightName = 'weight',
): void {
  expectDType(op, 'x', x, floats);
  if (x.rank === 0) fail(op, 'ERR_SHAPE', 'expected x to have shape [..., D], got []');
  expectSameDType(op, weightName, weight, 'x', x);
  const width = x.shape[x.rank - 1];
  if (width === 0) {
    fail(op, 'ERR_SHAPE', `expected x to have at least one feature, got ${showShape(x.shape)}`);
  }
  if (weight.rank !== 2 || weight.shape[1] !== width) {
    fail(
      op,
      'ERR_SHAPE',
      `expected ${weightName} to have shape [V, ${width}] (the last axis of x ${showShape(x.shape)}), got ${showShape(weight.shape)}`,
    );
  }
  if (weight.shape[0] === 0) {
    fail(
      op,
      'ERR_SHAPE',
      `expected ${weightName} to have at least one row, got ${showShape(weight.shape)}`,
    );
  }
  if (!bias) return;
  expectSameDType(op, 'bias', bias, 'x', x);
  const why = `one per row of ${weightName} ${showShape(weight.shape)}`;
  expectShape(op, 'bias', bias, [weight.shape[0]], why);
}

export function checkTarget(op: string, name: string, target: Tensor, x: Tensor): void {
  expectDType(op, name, target, indices);
  expectShape(op, name, target, x.shape.slice(0, -1), `one per row of x ${showShape(x.shape)}`);
}

export function checkWorkspace(op: string, { workspaceBytes }: LinearOptions): void {
  if (workspaceBytes === undefined) return;
  expectNumber(op, 'workspaceBytes', workspaceBytes, { min: 1, integer: true });
}

export function checkLinearOptions(op: string, options: LinearOptions): void {
  checkLogitOptions(op, options);
  checkWorkspace(op, options);
}

export function checkShift(op: string, shift: unknown, target: Tensor): void {
  expectNumber(op, 'shift', shift, { min: 0, integer: true });
  const length = target.rank ? target.shape[target.rank - 1] : 1;
  if (shift === 0 || shift < length) return;
  throw errorOf(
    'ERR_OUT_OF_RANGE',
    `${op}: expected shift to be less than the ${length} targets along the last axis, got ${shift}`,
  );
}

/** The shape of per-row outputs. */
export function scoredShape(target: Tensor, shift: number): Shape {
  const { shape, rank } = target;
  return rank ? [...shape.slice(0, -1), shape[rank - 1] - shift] : [];
}

export function linearFields(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  options: ScoredOptions,
) {
  const lead = x.shape.slice(0, -1);
  const own = {
    x: x.raw,
    weight: weight.raw,
    bias: bias?.raw,
    batch: sizeOf(lead.slice(0, -1)),
    length: lead.length ? lead[lead.length - 1] : 1,
    width: weight.shape[1],
    classes: weight.shape[0],
    shift: options.shift ?? 0,
    workspaceBytes: options.workspaceBytes ?? defaultWorkspace(x),
  };
  return Object.assign(own, logitFields(options));
}
