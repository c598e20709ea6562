// Clouds of points in optimal transport: options, checks, native fields.

import type { Inputs } from './autograd.js';
import { floats } from './dtype.js';
import {
  expectDType,
  expectFunction,
  expectNumber,
  expectOneOf,
  expectOptions,
  expectSameDType,
  expectShape,
  fail,
  show,
  showShape,
} from './expect.js';
import type { Shape } from './shape.js';
import { Tensor } from './tensor.js';
import { readData } from './transfer.js';
import {
  checkIterations,
  checkWeights,
  equalLayout,
  type IterationOptions,
  iterationFields,
  iterationNames,
  type Layout,
  leastNormal,
  type TransportInfo,
} from './transport.js';

const costs = ['sqeuclidean', 'euclidean', 'cosine'] as const;
const solvers = ['auto', 'geomloss'] as const;

/** Offsets of packed problems: 0, then each one's end. */
export type Offsets = Tensor | readonly number[];

/** What the operations on two clouds of points share. */
export interface CloudOptions extends IterationOptions {
  /** C = |x-y|²/2 for 2 (default), |x-y| for 1. */
  p?: 1 | 2 | undefined;
  /** ε = blur^p; default 0.05. */
  blur?: number | undefined;
  /** ρ = reach^p: how far mass is moved before it is given up; default none: all mass is moved. */
  reach?: number | { x?: number | undefined; y?: number | undefined } | undefined;
  /** In place of p: 'sqeuclidean' (half of it), 'euclidean', or 'cosine' (1 - cos, ε = blur). */
  cost?: (typeof costs)[number] | undefined;
  /** Weights [B?, N] and [B?, M] (packed [ΣN], [ΣM]), any float dtype; default uniform, of mass 1. */
  a?: Tensor | undefined;
  /** As `a`, of the points of y. */
  b?: Tensor | undefined;
  /** Packed problems of unequal sizes: [B + 1] integers, as a tensor or as numbers. */
  cuSeqlensX?: Offsets | undefined;
  /** As `cuSeqlensX`, of y. */
  cuSeqlensY?: Offsets | undefined;
  /** Labels int32 of the shape of a and b, and what they add to C: labelCost [V, V] at (x's, y's). */
  labelsX?: Tensor | undefined;
  /** As `labelsX`, of the points of y. */
  labelsY?: Tensor | undefined;
  /** What two labels add to the cost: [V, V], differentiable. */
  labelCost?: Tensor | undefined;
  /**
   * 'auto' (default) iterates to the tolerance; 'geomloss' takes GeomLoss's steps, one for each ε of
   * its schedule, and its gradient, the last softmin's.
   */
  solver?: (typeof solvers)[number] | undefined;
  /** Ratio of successive blurs in GeomLoss's schedule; default 0.5. */
  scaling?: number | undefined;
  /** Called when the iterations have ended. */
  onInfo?: ((info: TransportInfo) => void) | undefined;
}

export const cloudTensors = ['a', 'b', 'labelsX', 'labelsY', 'labelCost'] as const;
export type CloudTensors = (typeof cloudTensors)[number];
export const cloudNames = [
  'p',
  'blur',
  'reach',
  'cost',
  'cuSeqlensX',
  'cuSeqlensY',
  'solver',
  'scaling',
  'onInfo',
  ...iterationNames,
] as const;

type In = Inputs<'x' | 'y', CloudTensors>;

export function checkPoints(op: string, { x, y }: Pick<In, 'x' | 'y'>, packed: boolean): void {
  expectDType(op, 'x', x, floats);
  expectSameDType(op, 'x', x, 'y', y);
  const form = packed ? '[ΣN, D]' : '[N, D] or [B, N, D]';
  for (const [key, t] of Object.entries({ x, y })) {
    const { rank, shape } = t as Tensor;
    const isRank = rank === 2 || (rank === 3 && !packed);
    if (isRank && shape[rank - 1] > 0 && (shape[rank - 2] > 0 || packed)) continue;
    const wanted = `${form.replace('N', key === 'x' ? 'N' : 'M')} with at least one point and feature`;
    fail(op, 'ERR_SHAPE', `expected ${key} to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const wanted = [...x.shape.slice(0, -2), y.shape[y.rank - 2], x.shape[x.rank - 1]];
  const why = `the batch and features of x ${showShape(x.shape)}`;
  expectShape(op, 'y', y, wanted, why);
}

export function checkReach(op: string, reach: unknown, power: number): void {
  if (reach === undefined || reach === null) return;
  if (typeof reach !== 'object') {
    expectReach(op, 'reach', reach, power);
    return;
  }
  expectOptions(op, reach, ['x', 'y']);
  for (const [key, value] of Object.entries(reach)) {
    if (value !== undefined) expectReach(op, `reach.${key}`, value, power);
  }
}

function expectReach(op: string, key: string, value: unknown, power: number): void {
  if (value === Number.POSITIVE_INFINITY) return;
  expectNumber(op, key, value, { above: 0 });
  expectPower(op, key, value, power, Number.POSITIVE_INFINITY);
}

/** That the power is a number with all its digits. */
function expectPower(op: string, key: string, value: number, power: number, most: number): void {
  const got = value ** power;
  if (got >= leastNormal && got <= most) return;
  const wanted = `expected ${key}^${power} to be in the range of numbers`;
  fail(op, 'ERR_INVALID_VALUE', `${wanted}, got ${value}^${power} = ${got}`);
}

function checkLabels(op: string, { labelsX, labelsY, labelCost }: In, layout: Layout): void {
  const given = [labelsX, labelsY, labelCost].filter((t) => t !== undefined).length;
  if (given === 0) return;
  if (given < 3) {
    fail(
      op,
      'ERR_INVALID_VALUE',
      'expected labelsX, labelsY and labelCost together, got some of them',
    );
  }
  expectDType(op, 'labelsX', labelsX, ['int32']);
  expectDType(op, 'labelsY', labelsY, ['int32']);
  expectShape(op, 'labelsX', labelsX, layout.f, 'one label per point');
  expectShape(op, 'labelsY', labelsY, layout.g, 'one label per point');
  expectDType(op, 'labelCost', labelCost, floats);
  const [rows] = labelCost.shape;
  if (!rows)
    fail(
      op,
      'ERR_SHAPE',
      `expected labelCost to have shape [V, V], got ${showShape(labelCost.shape)}`,
    );
  expectShape(op, 'labelCost', labelCost, [rows, rows], 'square');
}

type CostOptions = Pick<CloudOptions, 'p' | 'cost'>;

export function checkCost(op: string, { p = 2, cost }: CostOptions): void {
  if (p !== 1 && p !== 2) fail(op, 'ERR_INVALID_VALUE', `expected p to be 1 or 2, got ${show(p)}`);
  if (cost !== undefined) expectOneOf(op, 'cost', cost, costs);
}

export const costOf = ({ p, cost }: CostOptions) => cost ?? (p === 1 ? 'euclidean' : 'sqeuclidean');

/** Of lengths in ε and ρ. */
const powerOf = (options: CostOptions) => (costOf(options) === 'sqeuclidean' ? 2 : 1);

export function checkClouds(op: string, t: In, options: CloudOptions): void {
  const { blur = 0.05, solver = 'auto', scaling = 0.5, onInfo } = options;
  checkCost(op, options);
  expectNumber(op, 'blur', blur, { above: 0 });
  expectPower(op, 'blur', blur, powerOf(options), Number.MAX_VALUE);
  expectNumber(op, 'scaling', scaling, { above: 0, below: 1 });
  expectOneOf(op, 'solver', solver, solvers);
  if (onInfo !== undefined) expectFunction(op, 'onInfo', onInfo);
  checkReach(op, options.reach, powerOf(options));
  checkIterations(op, options);
  checkPoints(op, t, options.cuSeqlensX !== undefined || options.cuSeqlensY !== undefined);
  const layout = layoutOfClouds(op, t, options);
  checkWeights(op, 'a', t.a, layout.f);
  checkWeights(op, 'b', t.b, layout.g);
  checkLabels(op, t, layout);
}

function offsetsOf(op: string, key: string, offsets: Offsets, rows: number): BigInt64Array {
  if (offsets instanceof Tensor) expectDType(op, key, offsets, ['int32', 'int64']);
  else if (!Array.isArray(offsets)) {
    fail(op, 'ERR_INVALID_TYPE', `expected ${key} to be a tensor or numbers, got ${show(offsets)}`);
  }
  const values = Array.from(
    offsets instanceof Tensor ? (readData(offsets) as ArrayLike<number | bigint>) : offsets,
    Number,
  );
  const isRising = values.every(
    (v, i) => Number.isSafeInteger(v) && (i === 0 || v > values[i - 1]),
  );
  if (values.length >= 2 && values[0] === 0 && values.at(-1) === rows && isRising) {
    return BigInt64Array.from(values, BigInt);
  }
  fail(
    op,
    'ERR_INVALID_VALUE',
    `expected ${key} to rise from 0 to the ${rows} points, got ${show(values)}`,
  );
}

/** Which problems a call holds. */
export function layoutOfClouds(op: string, { x, y }: In, options: CloudOptions): Layout {
  const { cuSeqlensX, cuSeqlensY } = options;
  const [n, m] = [x.shape[x.rank - 2], y.shape[y.rank - 2]] as [number, number];
  if (cuSeqlensX === undefined && cuSeqlensY === undefined) {
    return equalLayout(x.shape.slice(0, -2) as Shape, n, m);
  }
  if (cuSeqlensX === undefined || cuSeqlensY === undefined) {
    fail(op, 'ERR_INVALID_VALUE', 'expected cuSeqlensX and cuSeqlensY together, got one of them');
  }
  const startsX = offsetsOf(op, 'cuSeqlensX', cuSeqlensX, n);
  const startsY = offsetsOf(op, 'cuSeqlensY', cuSeqlensY, m);
  const batch = startsX.length - 1;
  if (startsY.length !== batch + 1) {
    const got = `${batch + 1} and ${startsY.length}`;
    fail(op, 'ERR_SHAPE', `expected cuSeqlensX and cuSeqlensY to be of one length, got ${got}`);
  }
  return { startsX, startsY, batch, shape: [batch], f: [n], g: [m] };
}

/** Negative where there is none. */
function strength(reach: number | undefined, power: number): number {
  const rho = (reach ?? Number.POSITIVE_INFINITY) ** power;
  return rho === Number.POSITIVE_INFINITY ? -1 : rho;
}

/** Options as they may be saved: the offsets, which are in the layout, may be somebody's tensors. */
export function savedOptions<O extends CloudOptions>(options: O): O {
  return Object.assign({}, options, { cuSeqlensX: undefined, cuSeqlensY: undefined });
}

export function cloudFields(t: In, options: CloudOptions, layout: Layout) {
  const { blur = 0.05, reach, scaling = 0.5, solver } = options;
  const cost = costOf(options);
  const power = powerOf(options);
  const { batch, startsX, startsY } = layout;
  const side = (key: 'x' | 'y') => (typeof reach === 'object' ? reach?.[key] : reach) ?? undefined;
  const own = {
    x: t.x.raw,
    y: t.y.raw,
    a: t.a?.raw,
    b: t.b?.raw,
    labelsX: t.labelsX?.raw,
    labelsY: t.labelsY?.raw,
    labelCost: t.labelCost?.raw,
    labels: t.labelCost?.shape[0] ?? 0,
    startsX,
    startsY,
    batch,
    width: t.x.shape[t.x.rank - 1],
    kind: costs.indexOf(cost),
    epsilon: blur ** power,
    rhoA: strength(side('x'), power),
    rhoB: strength(side('y'), power),
    geomloss: solver === 'geomloss',
    power,
    scaling,
  };
  return Object.assign(own, iterationFields(options));
}
