// Parts of a tensor and tensors with a frame: slice, pad, tril, triu.
import { defineOp } from '../autograd.js';
import type { DType } from '../dtype.js';
import { expectFits, expectNumber, expectOptions, fail, show, showShape } from '../expect.js';
import { launch, native } from '../native.js';
import { axisOf, checkedSize, type Shape, sizeOf, stridesOf } from '../shape.js';
import { gathered, move } from '../strided.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';

interface Range {
  axis: number;
  start: number;
  count: number;
  step: number;
}

const sliceOp = defineOp({
  name: 'slice',
  builtin: true,
  inputs: ['x'],
  options: ['axis', 'start', 'count', 'step'],
  forward({ x }, range: Range) {
    const { axis, start, count, step } = range;
    const own = stridesOf(x.shape);
    const shape = x.shape.map((n: number, i: number) => (i === axis ? count : n));
    const strides = own.map((s, i) => (i === axis ? s * step : s));
    return {
      output: gathered(x, shape, strides, start * own[axis]),
      saved: { shape: x.shape, range },
    };
  },
  backward({ shape, range }: { shape: Shape; range: Range }, g: Tensor) {
    const x = empty(shape, g.dtype, true);
    const own = stridesOf(shape);
    const strides = own.map((s, i) => (i === range.axis ? s * range.step : s));
    move(g, stridesOf(g.shape), 0, x, strides, range.start * own[range.axis], g.shape);
    return { x };
  },
});

/**
 * Elements `start`, `start + step`, ... below `end` along `dim`, as Python's `x[start:end:step]`:
 * negative bounds count from the end and bounds beyond it are cut. The step is positive.
 *
 * @throws ERR_OUT_OF_RANGE for an axis that x has not, ERR_INVALID_VALUE for a step below 1.
 * @example x.slice(-1, 0, 10)
 */
export function slice<D extends DType>(
  x: Tensor<D>,
  dim = 0,
  start = 0,
  end?: number,
  step = 1,
): Tensor<D> {
  expectTensor('slice', 'x', x);
  if (x.rank === 0) fail('slice', 'ERR_SHAPE', 'expected x to have at least 1 axis, got a scalar');
  const axis = axisOf('slice', 'dim', dim, x.rank);
  expectNumber('slice', 'start', start, { integer: true });
  if (end !== undefined && end !== Infinity) expectNumber('slice', 'end', end, { integer: true });
  expectNumber('slice', 'step', step, { min: 1, integer: true });
  const length = x.shape[axis];
  const bound = (i: number) => Math.min(length, Math.max(0, i < 0 ? i + length : i));
  const first = bound(start);
  const count = Math.ceil(Math.max(0, bound(end ?? length) - first) / step);
  return sliceOp(x, { axis, start: count ? first : 0, count, step });
}

const padOp = defineOp({
  name: 'pad',
  builtin: true,
  inputs: ['x'],
  options: ['before', 'shape', 'value'],
  forward({ x }, { before, shape, value }: { before: number[]; shape: Shape; value: number }) {
    const output = empty(shape, x.dtype, value === 0);
    if (value !== 0) launch(native.fill, { out: output.raw, value });
    inside(x, output, before, false);
    return { output, saved: { before, shape: x.shape } };
  },
  backward({ before, shape }: { before: number[]; shape: Shape }, g: Tensor) {
    const x = empty(shape, g.dtype, true);
    inside(x, g, before, true);
    return { x };
  },
});

/** Copies the part that `x` and its padded form have in common, forwards or back. */
function inside(x: Tensor, padded: Tensor, before: readonly number[], back: boolean): void {
  const own = stridesOf(x.shape);
  const wide = stridesOf(padded.shape);
  let from = 0;
  let to = 0;
  const shape = x.shape.map((n, i) => {
    from += Math.max(0, -before[i]) * own[i];
    to += Math.max(0, before[i]) * wide[i];
    const taken = n - Math.max(0, -before[i]);
    return Math.max(0, Math.min(taken, padded.shape[i] - Math.max(0, before[i])));
  });
  if (sizeOf(shape) === 0) return;
  if (back) move(padded, wide, to, x, own, from, shape);
  else move(x, own, from, padded, wide, to, shape);
}

/**
 * `x` with `padding` elements of `value` around it: [before, after] of the last axis, then of the
 * one before it, and so on, as in PyTorch. Negative amounts cut elements off.
 *
 * @throws ERR_SHAPE for an odd number of widths, or more than two for each axis.
 * @example x.pad([1, 1]) // one zero on either side of each row
 */
export function pad<D extends DType>(
  x: Tensor<D>,
  padding: readonly number[],
  mode: 'constant' | { mode?: 'constant' | undefined; value?: number | undefined } = 'constant',
  value = 0,
): Tensor<D> {
  expectTensor('pad', 'x', x);
  const options = typeof mode === 'object' ? mode : { mode, value };
  expectOptions('pad', options, ['mode', 'value']);
  const fill = options.value ?? 0;
  if ((options.mode ?? 'constant') !== 'constant') {
    fail('pad', 'ERR_INVALID_VALUE', `expected mode to be 'constant', got ${show(options.mode)}`);
  }
  expectFits('pad', 'value', fill, x.dtype);
  if (!Array.isArray(padding) || padding.length % 2 !== 0 || padding.length > 2 * x.rank) {
    fail(
      'pad',
      'ERR_SHAPE',
      `expected padding to hold [before, after] for at most ${x.rank} axes, got ${show(padding)}`,
    );
  }
  for (const [i, n] of padding.entries())
    expectNumber('pad', `padding[${i}]`, n, { integer: true });
  const amount = (axis: number, side: number) => padding[2 * (x.rank - 1 - axis) + side] ?? 0;
  const shape = x.shape.map((n, i) => n + amount(i, 0) + amount(i, 1));
  checkedSize('pad', shape);
  return padOp(x, { before: x.shape.map((_, i) => amount(i, 0)), shape, value: fill });
}

const triangle = (name: string, lower: boolean) => {
  const kept = (x: Tensor, diagonal: number): Tensor => {
    const out = empty(x.shape, x.dtype);
    const rows = x.shape[x.rank - 2];
    const cols = x.shape[x.rank - 1];
    launch(native.triangle, { a: x.raw, out: out.raw, rows, cols, diagonal, lower });
    return out;
  };
  return defineOp({
    name,
    builtin: true,
    inputs: ['x'],
    options: ['diagonal'],
    check({ x }, { diagonal }: { diagonal: number }) {
      expectNumber(name, 'diagonal', diagonal, { integer: true });
      if (x.rank < 2) {
        fail(name, 'ERR_SHAPE', `expected x to have at least 2 axes, got ${showShape(x.shape)}`);
      }
    },
    forward: ({ x }, { diagonal }: { diagonal: number }) => ({
      output: kept(x, diagonal),
      saved: { diagonal },
    }),
    backward: ({ diagonal }, g) => ({ x: kept(g, diagonal) }),
  });
};

const trilOp = triangle('tril', true);
const triuOp = triangle('triu', false);

/**
 * Matrices (the last two axes): element (i, j) stays where j - i <= diagonal, else it is 0. x [...,
 * n, m] -> the same shape.
 * @throws ERR_SHAPE for fewer than two axes.
 */
export function tril<D extends DType, S extends Shape>(
  x: Tensor<D, S>,
  diagonal = 0,
): Tensor<D, S> {
  return trilOp(x, { diagonal });
}

/**
 * Matrices (the last two axes): element (i, j) stays where j - i >= diagonal, else it is 0. x [...,
 * n, m] -> the same shape.
 * @throws ERR_SHAPE for fewer than two axes.
 */
export function triu<D extends DType, S extends Shape>(
  x: Tensor<D, S>,
  diagonal = 0,
): Tensor<D, S> {
  return triuOp(x, { diagonal });
}
