// Optimal transport on lines, of which clouds are one or are projected on: what its operations share.
import type { Gradients, Inputs, Needs } from './autograd.js';
import { accumulatorOf, floats } from './dtype.js';
import {
  expectDType,
  expectNumber,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from './expect.js';
import { launch, native } from './native.js';
import { binary, fn, release } from './pointwise.js';
import { type Shape, sizeOf } from './shape.js';
import { empty, type Tensor } from './tensor.js';
import { checkWeights } from './transport.js';

/** Options of `emd1d`. */
export interface LineOptions {
  /** The power of the distance, at least 1; default 2. */
  p?: number | undefined;
  /** Weights [B?, N] and [B?, M] of equal mass, any float dtype; default uniform, of mass 1. */
  a?: Tensor | undefined;
  /** As `a`, of the points of y. */
  b?: Tensor | undefined;
}

type In = Inputs<'x' | 'y', 'a' | 'b'>;
type Wanted = 'x' | 'y' | 'a' | 'b';

/** x and y of one float dtype, `features` axes after their points, and what goes with them. */
export function checkLines(op: string, t: In, { p = 2 }: LineOptions, features: 0 | 1): void {
  const { x, y } = t;
  expectDType(op, 'x', x, floats);
  expectSameDType(op, 'x', x, 'y', y);
  for (const [key, size] of [
    ['x', 'N'],
    ['y', 'M'],
  ] as const) {
    const { rank, shape } = t[key] as Tensor;
    const own = features + 1;
    if ((rank === own || rank === own + 1) && shape.slice(-own).every((n) => n > 0)) continue;
    const one = features ? `${size}, D` : size;
    const wanted = `[${one}] or [B, ${one}] with at least one point${features ? ' and feature' : ''}`;
    fail(op, 'ERR_SHAPE', `expected ${key} to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const points = x.rank - features - 1;
  const wanted = [...x.shape.slice(0, points), y.shape[y.rank - features - 1]];
  if (features) wanted.push(x.shape[x.rank - 1]);
  expectShape(
    op,
    'y',
    y,
    wanted,
    `the batch${features ? ' and features' : ''} of x ${showShape(x.shape)}`,
  );
  checkWeights(op, 'a', t.a, x.shape.slice(0, points + 1));
  checkWeights(op, 'b', t.b, wanted.slice(0, points + 1));
  expectNumber(op, 'p', p, { min: 1 });
}

export interface LinesSaved {
  t: In;
  p: number;
  /** How many axes are features. */
  features: 0 | 1;
  directions?: Tensor;
  /** For an upstream gradient of 1: of those that forward was told of. */
  gradients?: Partial<Record<Wanted, Tensor>>;
}

function run(saved: LinesSaved, needs: Needs) {
  const { t, p, features, directions } = saved;
  const { x, y, a, b } = t;
  const lead = x.shape.slice(0, x.rank - features - 1) as Shape;
  const inner = accumulatorOf(x.dtype);
  const like = (of: Tensor | undefined, need?: boolean) =>
    need && of ? empty(of.shape, inner) : undefined;
  const gradients = {
    x: like(x, needs.x),
    y: like(y, needs.y),
    a: like(a, needs.a),
    b: like(b, needs.b),
  };
  const value = empty(lead, inner);
  launch(native.emd1d, {
    x: x.raw,
    y: y.raw,
    a: a?.raw,
    b: b?.raw,
    directions: directions?.raw,
    value: value.raw,
    dx: gradients.x?.raw,
    dy: gradients.y?.raw,
    da: gradients.a?.raw,
    db: gradients.b?.raw,
    batch: sizeOf(lead),
    n: x.shape[x.rank - features - 1],
    m: y.shape[y.rank - features - 1],
    width: features ? x.shape[x.rank - 1] : 1,
    projections: directions?.shape[0] ?? 1,
    p,
  });
  return { value, gradients };
}

/** The value, and the gradients while the points are in order. */
export function linesForward(saved: LinesSaved, needs: Needs) {
  const wanted = needs.x || needs.y || needs.a || needs.b;
  const { value, gradients } = run(saved, needs);
  return { output: value, saved: wanted ? { ...saved, gradients } : saved };
}

export function linesBackward(saved: LinesSaved, upstream: Tensor, needs: Needs): Gradients {
  const all: Partial<Record<Wanted, Tensor>> = {};
  const fresh = saved.gradients ? undefined : run(saved, needs);
  fresh && release(fresh.value);
  const gradients = saved.gradients ?? fresh?.gradients;
  for (const key of ['x', 'y', 'a', 'b'] as const) {
    const one = gradients?.[key];
    if (!one) continue;
    const lead = upstream.shape;
    const across = [...lead, ...one.shape.slice(lead.length).map(() => 1)];
    const { dtype } = saved.t[key] as Tensor;
    all[key] = binary(fn.mul, one, upstream, one.shape, dtype, one.shape, across);
    if (fresh) release(one);
  }
  return all;
}
