// Shapes: their type, their run-time checks, broadcasting.
import { errorOf, fail, show, showShape } from './expect.js';

/** Sizes, the slowest axis first; [] is a scalar. */
export type Shape = readonly number[];

/** True where two sizes may be equal: one is a plain `number`, or both are the same literal. */
export type Dim<A extends number, B extends number> = number extends A
  ? true
  : number extends B
    ? true
    : A extends B
      ? true
      : false;

/** `unknown` where two sizes may be equal, else a property that no value has, holding the reason. */
export type SameSize<A extends number, B extends number, Message extends string> =
  Dim<A, B> extends true ? unknown : { readonly __error: Message };

/** The shape of two that broadcast, where that takes no arithmetic: equal ones, or one is a scalar. */
export type Broadcast<A extends Shape, B extends Shape> = [B] extends [readonly []]
  ? A
  : [A] extends [readonly []]
    ? B
    : [A, B] extends [B, A]
      ? A
      : Shape;

/** All but the last axis. */
export type Leading<S extends Shape> = S extends readonly [...infer L extends number[], number]
  ? readonly [...L]
  : Shape;

/** The last axis. */
export type Last<S extends Shape> = S extends readonly [...number[], infer L extends number]
  ? L
  : number;

/** Most elements a tensor may have: indices stay exact in a JavaScript number. */
const maxElements = Number.MAX_SAFE_INTEGER;
export const maxRank = 8;

/** The product of the sizes; refuses what is not a shape. */
export function checkedSize(op: string, shape: unknown): number {
  if (!Array.isArray(shape)) {
    fail(op, 'ERR_SHAPE', `expected shape to be an array of sizes, got ${show(shape)}`);
  }
  if (shape.length > maxRank) {
    fail(op, 'ERR_SHAPE', `expected shape to have at most ${maxRank} axes, got ${shape.length}`);
  }
  let size = 1;
  let empty = false;
  for (const n of shape) {
    if (typeof n !== 'number' || !Number.isSafeInteger(n) || n < 0) {
      const got = shape.map((v) => (typeof v === 'number' ? v : show(v))).join(', ');
      fail(op, 'ERR_SHAPE', `expected shape to hold integers >= 0, got [${got}]`);
    }
    if (n === 0) empty = true;
    else size *= n;
    if (size > maxElements) {
      fail(
        op,
        'ERR_SHAPE',
        `expected shape to have at most 2^53 elements, got ${showShape(shape)}`,
      );
    }
  }
  return empty ? 0 : size;
}

export function sizeOf(shape: Shape): number {
  let size = 1;
  for (let i = 0; i < shape.length; i++) size *= shape[i];
  return size;
}

/** Elements between neighbours along each axis of a contiguous tensor. */
export function stridesOf(shape: Shape): number[] {
  const strides: number[] = new Array(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** NumPy's rule: align at the end; equal or 1. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const shape: number[] = new Array(rank);
  for (let i = 1; i <= rank; i++) {
    const m = i <= a.length ? a[a.length - i] : 1;
    const n = i <= b.length ? b[b.length - i] : 1;
    if (m !== n && m !== 1 && n !== 1) {
      fail(
        op,
        'ERR_SHAPE',
        `expected shapes that broadcast (equal or 1, from the last axis), got ${showShape(a)} and ${showShape(b)}`,
      );
    }
    shape[rank - i] = m === 1 ? n : m;
  }
  return shape;
}

/** An axis in [0, rank); negative ones count from the end. */
export function axisOf(op: string, name: string, axis: unknown, rank: number): number {
  if (typeof axis !== 'number' || !Number.isInteger(axis)) {
    fail(op, 'ERR_INVALID_TYPE', `expected ${name} to be an integer, got ${show(axis)}`);
  }
  const limit = Math.max(rank, 1);
  if (axis < -limit || axis >= limit) {
    throw errorOf(
      'ERR_OUT_OF_RANGE',
      `${op}: expected ${name} to be in [${-limit}, ${limit}) for a tensor of rank ${rank}, got ${axis}`,
    );
  }
  return axis < 0 ? axis + limit : axis;
}

/** Distinct axes in [0, rank), in the order given; `undefined` means all. */
export function axesOf(
  op: string,
  name: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (Array.isArray(axes) ? axes : [axes]).map((a) => axisOf(op, name, a, rank));
  if (new Set(list).size !== list.length) {
    fail(op, 'ERR_INVALID_VALUE', `expected ${name} to name each axis once, got ${show(axes)}`);
  }
  return list;
}

/** Sizes before, along and behind an axis; a scalar has one axis of size 1. */
export function around(shape: Shape, axis: number): { outer: number; size: number; inner: number } {
  return {
    outer: sizeOf(shape.slice(0, axis)),
    size: shape.length ? shape[axis] : 1,
    inner: sizeOf(shape.slice(axis + 1)),
  };
}
