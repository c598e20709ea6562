// Doubly stochastic matrices and their like: see the doc comment below. Backward iterates again.
import { defineOp, type Gradients, type Inputs, type Op } from '../autograd.js';
import { type DType, floats } from '../dtype.js';
import { expectDType, expectNumber, expectOneOf, expectShape, fail, showShape } from '../expect.js';
import { launch, native } from '../native.js';
import { type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'sinkhornKnopp';
const inputs = ['logits', 'matrix'] as const;
const sides = ['columns', 'rows'] as const;

/** Options of `sinkhornKnopp`. */
export interface SinkhornKnoppOptions {
  /** How often rows and columns are scaled; default 20. */
  iterations?: number | undefined;
  /** K = e^(x/temperature); default 1. */
  temperature?: number | undefined;
  /** 'logits' (default), or 'matrix': x is K itself, whose entries must not be negative. */
  input?: (typeof inputs)[number] | undefined;
  /** The side that is scaled last, whose sums then hold exactly; default 'columns'. */
  last?: (typeof sides)[number] | undefined;
  /** Sums of the rows, [N] or [..., N], any float dtype, not negative; default 1. */
  rows?: Tensor | undefined;
  /** Sums of the columns, [M] or [..., M]; default N/M, of the same total as rows of 1. */
  columns?: Tensor | undefined;
}

type In = Inputs<'x', 'rows' | 'columns'>;

function checkSums(key: 'rows' | 'columns', sums: Tensor | undefined, x: Tensor): void {
  if (!sums) return;
  const size = x.shape[x.rank - (key === 'rows' ? 2 : 1)];
  expectDType(name, key, sums, floats);
  const shape = sums.rank === 1 ? [size] : [...x.shape.slice(0, -2), size];
  expectShape(name, key, sums, shape, `one sum per ${key.slice(0, -1)} of x ${showShape(x.shape)}`);
}

function check({ x, rows, columns }: In, options: SinkhornKnoppOptions): void {
  expectDType(name, 'x', x, floats);
  if (x.rank < 2) {
    fail(name, 'ERR_SHAPE', `expected x to have shape [..., N, M], got ${showShape(x.shape)}`);
  }
  const { iterations = 20, temperature = 1, input = 'logits', last = 'columns' } = options;
  expectNumber(name, 'iterations', iterations, { min: 1, integer: true });
  expectNumber(name, 'temperature', temperature, { above: 0 });
  expectOneOf(name, 'input', input, inputs);
  expectOneOf(name, 'last', last, sides);
  if (input === 'matrix' && temperature !== 1) {
    const message = "expected no temperature together with input 'matrix', got";
    fail(name, 'ERR_INVALID_VALUE', `${message} ${temperature}`);
  }
  checkSums('rows', rows, x);
  checkSums('columns', columns, x);
}

function fields({ x, rows, columns }: In, options: SinkhornKnoppOptions) {
  const { iterations = 20, temperature = 1, input = 'logits', last = 'columns' } = options;
  const [n, m] = x.shape.slice(-2);
  return {
    x: x.raw,
    rows: rows?.raw,
    columns: columns?.raw,
    batch: sizeOf(x.shape.slice(0, -2)),
    n,
    m,
    iterations,
    temperature,
    matrix: input === 'matrix',
    columnsFirst: last === 'rows',
  };
}

interface Saved {
  t: In;
  options: SinkhornKnoppOptions;
}

function forward(t: In, options: SinkhornKnoppOptions) {
  const output = empty(t.x.shape, t.x.dtype);
  launch(native.sinkhornKnoppForward, { out: output.raw }, fields(t, options));
  return { output, saved: { t, options } satisfies Saved };
}

function backward({ t, options }: Saved, upstream: Tensor): Gradients {
  const x = empty(t.x.shape, t.x.dtype);
  const own = { upstream: upstream.raw, grad: x.raw };
  launch(native.sinkhornKnoppBackward, own, fields(t, options));
  return { x };
}

/**
 * Scales the rows and columns of every matrix in turn until, after the given number of iterations,
 * their sums are (nearly) those asked for: with the defaults and N = M, doubly stochastic.
 *
 * x [..., N, M] of any float dtype -> the same shape and dtype.
 *
 *   P = u_i K_ij v_j, K = e^(x/temperature);  u = rows/(K v), v = columns/(Kᵀ u), v = 1 at first
 *
 * Differentiable in x, through these very iterations; `rows` and `columns` are constants. Nothing
 * is saved: backward iterates again and needs two copies of a matrix and 4(N+M)·iterations numbers
 * for each thread (on a device for each matrix in work, of which 256 MiB hold as many as they can,
 * and at least one). Stable for logits of any size (-inf too: an empty place), at full speed while a
 * matrix's logits/temperature lie within 36 of each other (330 in float64): mask by -inf rather than
 * by a large negative number. Millions of small matrices run several to a vector. A row or column without an entry stays 0; NaN or +inf makes its
 * own matrix NaN. Where the totals of `rows` and `columns` differ, the last side holds.
 *
 * Sinkhorn & Knopp 1967; with Gumbel noise on x Mena et al. 2018; `last: 'rows'` for Caron et al.
 * 2020 (samples by rows, prototypes by columns) and for routing tokens to experts.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments,
 *   negative entries of a 'matrix', and sums that are negative or not finite.
 * @example const mixing = sp.sinkhornKnopp(logits) // [tokens, 4, 4]
 */
export const sinkhornKnopp: Op<
  <D extends DType, S extends Shape>(
    x: Tensor<D, S>,
    options?: SinkhornKnoppOptions,
  ) => Tensor<D, S>
> = defineOp({
  name,
  builtin: true,
  inputs: ['x'],
  optionTensors: ['rows', 'columns'],
  options: ['iterations', 'temperature', 'input', 'last'],
  nondifferentiable: ['rows', 'columns'],
  check,
  forward,
  backward,
});
