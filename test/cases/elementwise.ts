// What the elementwise operations and activations are tested on: one list for values, gradients,
// dtypes and special numbers.
import * as sp from '../../src/index.js';
import type { Random } from '../harness/random.js';
import * as reference from '../reference/elementwise.js';

// biome-ignore lint/suspicious/noExplicitAny: operations of every signature
type AnyFunction = (...args: any[]) => sp.Tensor;

export interface UnaryCase {
  name: string;
  run: AnyFunction;
  f: (x: number) => number;
  /** Where random inputs come from. */
  draw: (random: Random) => number;
  /** Where the gradient is checked; away from kinks. */
  smooth?: (random: Random) => number;
  /** Error allowed in float64, both sides together; default 8 ulp. */
  ulps64?: number;
}

const wide = (r: Random) => r.normal(0, 4);
const positive = (r: Random) => Math.exp(r.normal(0, 3));
const moderate = (r: Random) => r.uniform(0.5, 3);
const offKink = (r: Random) => (r.uniform() < 0.5 ? -1 : 1) * r.uniform(0.1, 3);

function of(
  name: string,
  run: AnyFunction,
  draw: UnaryCase['draw'],
  smooth?: UnaryCase['smooth'],
  ulps64 = 8,
): UnaryCase {
  return { name, run, f: reference.unary[name], draw, smooth, ulps64 };
}

export const unaryCases: readonly UnaryCase[] = [
  of('neg', sp.neg, wide),
  of('abs', sp.abs, wide, offKink),
  of('sign', sp.sign, wide, offKink),
  of('sqrt', sp.sqrt, positive, moderate),
  of('rsqrt', sp.rsqrt, positive, moderate),
  of(
    'exp',
    sp.exp,
    (r) => r.normal(0, 20),
    (r) => r.normal(),
  ),
  of('log', sp.log, positive, moderate),
  of('log1p', sp.log1p, (r) => (r.uniform() < 0.5 ? positive(r) : r.uniform(-1, 1) ** 5)),
  of('sin', sp.sin, (r) => r.normal(0, 100), wide),
  of('cos', sp.cos, (r) => r.normal(0, 100), wide),
  of('relu', sp.relu, wide, offKink),
  // An argument rounded to 1 ulp costs x² of them in e^(-x²/2), and more in the cubic's exponent.
  of('gelu', sp.gelu, wide, wide, 300),
  of('geluTanh', (x) => sp.gelu(x, { approximate: 'tanh' }), wide, wide, 1000),
  of('silu', sp.silu, (r) => r.normal(0, 20), wide),
  of('sigmoid', sp.sigmoid, (r) => r.normal(0, 20), wide),
  of('tanh', sp.tanh, wide),
  of('softplus', sp.softplus, (r) => r.normal(0, 20), wide),
];

export interface BinaryCase {
  name: string;
  run: AnyFunction;
  f: (a: number, b: number) => number;
  drawA: (random: Random) => number;
  drawB: (random: Random) => number;
  /** Where the gradient in a is checked; default as drawn. */
  smoothA?: (random: Random) => number;
}

const binaryRuns = {
  add: sp.add,
  sub: sp.sub,
  mul: sp.mul,
  div: sp.div,
  maximum: sp.maximum,
  minimum: sp.minimum,
};

export const binaryCases: readonly BinaryCase[] = [
  ...Object.entries(binaryRuns).map(([name, run]) => ({
    name,
    run: run as AnyFunction,
    f: reference.binary[name],
    drawA: wide,
    drawB: offKink,
  })),
  {
    name: 'pow',
    run: sp.pow as AnyFunction,
    f: reference.binary.pow,
    drawA: (r) => Math.exp(r.normal()),
    drawB: (r) => r.normal(0, 2),
    smoothA: moderate,
  },
];

export const comparisons: Record<string, AnyFunction> = {
  eq: sp.eq,
  ne: sp.ne,
  lt: sp.lt,
  le: sp.le,
  gt: sp.gt,
  ge: sp.ge,
  logicalAnd: sp.logicalAnd,
  logicalOr: sp.logicalOr,
};

/** Odd and even, below and above a vector, a block of 512, and what one thread is given. */
export const sizes = [0, 1, 3, 4, 7, 8, 31, 511, 513, 1030];
export const parallelSize = 40_001;

/** Shapes of two operands. */
export const broadcasts: readonly [readonly number[], readonly number[]][] = [
  [[], []],
  [[], [3]],
  [[1], [3, 2]],
  [[4, 5], [5]],
  [
    [4, 1],
    [1, 5],
  ],
  [
    [2, 3, 4],
    [3, 1],
  ],
  [
    [2, 1, 3, 1],
    [4, 1, 5],
  ],
  [
    [1, 2, 1, 3],
    [2, 2, 5, 1],
  ],
  [[0, 3], [3]],
  [
    [3, 0],
    [3, 1],
  ],
  [[700], [3, 700]],
  [
    [3, 700, 1],
    [3, 1, 2],
  ],
];

export const special = [
  0,
  -0,
  1,
  -1,
  Infinity,
  -Infinity,
  NaN,
  1e-40,
  -1e-40,
  3e38,
  -3e38,
  2,
  -3,
  0.5,
  2 ** 24,
  -(2 ** 25) - 2,
];
