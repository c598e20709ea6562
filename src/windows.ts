// Options of operations that slide a window over the last two or three axes of x [B?, C, (D,) H, W]:
// kernels see three axes, of which the first has size 1 in two dimensions.
import { expectNumber, fail, show, showShape } from './expect.js';
import { type Shape, sizeOf } from './shape.js';
import type { Tensor } from './tensor.js';

/** A size for each spatial axis, or one for all. */
export type Sizes = number | readonly number[];
export type Triple = readonly [number, number, number];

/** @internal One integer >= min for each of the last `axes` axes; `fill` stands for an axis D that is not there. */
export function triple(
  op: string,
  name: string,
  value: unknown,
  axes: number,
  min: number,
  fill: number,
): Triple {
  const list = Array.isArray(value) ? value : new Array(axes).fill(value);
  if (list.length !== axes) {
    const wanted = `a number or ${axes} numbers, one per spatial axis`;
    fail(op, 'ERR_INVALID_VALUE', `expected ${name} to be ${wanted}, got ${show(value)}`);
  }
  const suffix = (i: number) => (Array.isArray(value) ? `${name}[${i}]` : name);
  // 2^31 keeps every product of a window's sizes exact.
  for (const [i, n] of list.entries()) {
    expectNumber(op, suffix(i), n, { min, max: 2 ** 31 - 1, integer: true });
  }
  return (axes === 2 ? [fill, ...list] : list) as unknown as Triple;
}

/** @internal x as [B, C, D, H, W]; an absent B or D is 1. */
export interface Image {
  batch: number;
  channels: number;
  size: Triple;
  /** The axes before the spatial ones, as x has them. */
  leading: Shape;
}

/** @internal Refuses what is not [B, C, ...] or [C, ...] with `axes` spatial axes. */
export function imageOf(op: string, name: string, x: Tensor, axes: number): Image {
  const { shape, rank } = x;
  if (rank !== axes + 1 && rank !== axes + 2) {
    const spatial = axes === 2 ? 'H, W' : 'D, H, W';
    fail(
      op,
      'ERR_SHAPE',
      `expected ${name} to have shape [B, C, ${spatial}] or [C, ${spatial}], got ${showShape(shape)}`,
    );
  }
  const leading = shape.slice(0, rank - axes);
  const size = shape.slice(rank - axes);
  return {
    batch: sizeOf(leading.slice(0, -1)),
    channels: leading[leading.length - 1],
    size: (axes === 2 ? [1, ...size] : size) as unknown as Triple,
    leading,
  };
}

/** @internal The shape of a result of these spatial sizes. */
export function shapeFrom(leading: Shape, size: Triple, axes: number): number[] {
  return [...leading, ...size.slice(3 - axes)];
}
