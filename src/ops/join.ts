// Tensors put together and taken apart along an axis: concat, stack, split.
import { defineOp, type ForwardResult } from '../autograd.js';
import type { DType } from '../dtype.js';
import { expectNumber, expectSameDType, fail, showShape } from '../expect.js';
import { axisOf, checkedSize, maxRank, type Shape, sameShape, stridesOf } from '../shape.js';
import { gathered, move, place } from '../strided.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';

const concatOp = defineOp({
  name: 'concat',
  builtin: true,
  inputs: ['list'],
  lists: ['list'],
  options: ['dim'],
  check({ list }: { list: readonly Tensor[] }, { dim = 0 }: { dim?: number }) {
    expectSome('concat', list);
    const axis = axisOf('concat', 'dim', dim, list[0].rank);
    for (let i = 1; i < list.length; i++) {
      expectSameDType('concat', 'list[0]', list[0], `list[${i}]`, list[i]);
      const wanted = list[0].shape.map((n, d) => (d === axis ? list[i].shape[d] : n));
      const fits = list[i].rank === wanted.length && wanted.every((n, d) => n === list[i].shape[d]);
      if (fits && list[i].rank > 0) continue;
      fail(
        'concat',
        'ERR_SHAPE',
        `expected list[${i}] to match list[0] ${showShape(list[0].shape)} on every axis but ${axis}, got ${showShape(list[i].shape)}`,
      );
    }
    if (list[0].rank === 0)
      fail('concat', 'ERR_SHAPE', 'expected tensors of rank >= 1, got a scalar; use stack');
  },
  forward({ list }, { dim = 0 }: { dim?: number }) {
    const axis = axisOf('concat', 'dim', dim, list[0].rank);
    const sizes: number[] = list.map((t: Tensor) => t.shape[axis]);
    const total = sizes.reduce((a, b) => a + b, 0);
    const shape = list[0].shape.map((n: number, i: number) => (i === axis ? total : n));
    checkedSize('concat', shape);
    const output = empty(shape, list[0].dtype);
    let start = 0;
    for (const part of list) {
      place(part, output, axis, start);
      start += part.shape[axis];
    }
    return { output, saved: { sizes, axis } };
  },
  backward: ({ sizes, axis }, g) => ({ list: cut(g, sizes, axis) }),
});

function expectSome(op: string, list: readonly Tensor[]): void {
  if (list.length === 0) {
    fail(op, 'ERR_INVALID_VALUE', 'expected list to hold at least one tensor, got an empty array');
  }
}

function cut(whole: Tensor, sizes: readonly number[], axis: number): Tensor[] {
  let start = 0;
  return sizes.map((size) => {
    const part = empty(
      whole.shape.map((n, i) => (i === axis ? size : n)),
      whole.dtype,
    );
    place(part, whole, axis, start, true);
    start += size;
    return part;
  });
}

/**
 * Tensors joined along an existing axis (default 0); every other axis must match. [..., n_i, ...]
 * of one dtype -> [..., Σ n_i, ...].
 * @throws ERR_SHAPE where other axes differ, ERR_DTYPE for two dtypes, ERR_INVALID_VALUE for an
 *   empty list.
 */
export const concat: {
  <D extends DType>(list: readonly Tensor<D>[], options?: { dim?: number | undefined }): Tensor<D>;
  async<D extends DType>(
    list: readonly Tensor<D>[],
    options?: { dim?: number | undefined },
  ): Promise<Tensor<D>>;
  // biome-ignore lint/suspicious/noExplicitAny: a generic signature that Op cannot carry
} = concatOp as any;

/**
 * Tensors of one shape joined along a new axis (default 0). K tensors [...] of one dtype -> [...,
 * K, ...].
 * @throws ERR_SHAPE for two shapes, ERR_DTYPE for two dtypes, ERR_INVALID_VALUE for an empty list.
 */
export function stack<D extends DType>(
  list: readonly Tensor<D>[],
  options: { dim?: number | undefined } = {},
): Tensor<D> {
  return stackOp(list, options);
}

const stackOp = defineOp({
  name: 'stack',
  builtin: true,
  inputs: ['list'],
  lists: ['list'],
  options: ['dim'],
  check({ list }: { list: readonly Tensor[] }, { dim = 0 }: { dim?: number }) {
    expectSome('stack', list);
    if (list[0].rank >= maxRank) {
      fail(
        'stack',
        'ERR_SHAPE',
        `expected tensors of at most ${maxRank - 1} axes, got ${list[0].rank}`,
      );
    }
    axisOf('stack', 'dim', dim, list[0].rank + 1);
    for (let i = 1; i < list.length; i++) {
      expectSameDType('stack', 'list[0]', list[0], `list[${i}]`, list[i]);
      if (sameShape(list[i].shape, list[0].shape)) continue;
      fail(
        'stack',
        'ERR_SHAPE',
        `expected list[${i}] to have shape ${showShape(list[0].shape)} (that of list[0]), got ${showShape(list[i].shape)}`,
      );
    }
  },
  forward({ list }, { dim = 0 }: { dim?: number }) {
    const own: Shape = list[0].shape;
    const axis = axisOf('stack', 'dim', dim, own.length + 1);
    const slot = [...own.slice(0, axis), 1, ...own.slice(axis)];
    const shape = slot.map((n, i) => (i === axis ? list.length : n));
    checkedSize('stack', shape);
    const output = empty(shape, list[0].dtype);
    const whole = stridesOf(shape);
    const part = stridesOf(slot);
    for (let i = 0; i < list.length; i++) {
      move(list[i], part, 0, output, whole, i * whole[axis], slot);
    }
    return { output, saved: { count: list.length, axis, shape: own } };
  },
  backward({ count, axis, shape }, g: Tensor) {
    const whole = stridesOf(g.shape);
    const strides = whole.filter((_, i) => i !== axis);
    const list = Array.from({ length: count }, (_, i) =>
      gathered(g, shape, strides, i * whole[axis]),
    );
    return { list };
  },
});

const splitOp = defineOp({
  name: 'split',
  builtin: true,
  inputs: ['x'],
  options: ['sizes', 'axis'],
  forward: ({ x }, { sizes, axis }: { sizes: readonly number[]; axis: number }): ForwardResult => ({
    outputs: cut(x, sizes, axis),
    saved: { shape: x.shape, dtype: x.dtype, sizes, axis },
  }),
  backward({ shape, dtype, sizes, axis }, gradients: readonly (Tensor | undefined)[]) {
    const x = empty(shape as Shape, dtype as DType, !gradients.every((g) => g));
    let start = 0;
    for (let i = 0; i < sizes.length; i++) {
      const g = gradients[i];
      if (g) place(g, x, axis, start);
      start += sizes[i];
    }
    return { x };
  },
});

/**
 * Consecutive pieces of `x` along `dim`: of `sizes` elements each (the last may be shorter), or of
 * the listed sizes.
 *
 * x [..., n, ...] -> tensors [..., size, ...].
 *
 * @throws ERR_SHAPE when listed sizes do not sum to the size of the axis.
 */
export function split<D extends DType>(
  x: Tensor<D>,
  sizes: number | readonly number[],
  dim = 0,
): Tensor<D>[] {
  expectTensor('split', 'x', x);
  if (x.rank === 0) fail('split', 'ERR_SHAPE', 'expected x to have at least 1 axis, got a scalar');
  const axis = axisOf('split', 'dim', dim, x.rank);
  return splitOp(x, { sizes: pieceSizes(x, sizes, axis), axis });
}

function pieceSizes(x: Tensor, sizes: number | readonly number[], axis: number): number[] {
  const length = x.shape[axis];
  if (!Array.isArray(sizes)) {
    expectNumber('split', 'sizes', sizes, { min: 1, integer: true });
    const count = Math.max(1, Math.ceil(length / sizes));
    return Array.from({ length: count }, (_, i) => Math.min(sizes, length - i * sizes));
  }
  for (const [i, n] of sizes.entries()) {
    expectNumber('split', `sizes[${i}]`, n, { min: 0, integer: true });
  }
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== length || sizes.length === 0) {
    fail(
      'split',
      'ERR_SHAPE',
      `expected sizes to sum to ${length} (axis ${axis} of ${showShape(x.shape)}), got ${showShape(sizes)}`,
    );
  }
  return [...sizes];
}
