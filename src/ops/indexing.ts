// Reading and writing at indices (int32 or int64). An index out of range is a RangeError that names
// its position and value, thrown before anything is read. Gradients are summed per destination in a
// fixed order: the same bits for any number of threads.
import { defineOp, type Op } from '../autograd.js';
import { type DType, dtypes, type IndexDType } from '../dtype.js';
import {
  expectDType,
  expectFits,
  expectNumber,
  expectOneOf,
  expectOptions,
  expectSameDType,
  fail,
  showShape,
} from '../expect.js';
import { launch, native } from '../native.js';
import { onDevice } from '../place.js';
import {
  around,
  axisOf,
  broadcastShapes,
  checkedSize,
  type Shape,
  sameShape,
  stridesOf,
} from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';

const indexDTypes: readonly DType[] = ['int32', 'int64'];
// Which words a native index error begins with: see Caller in native/ops/indexing/op.h.
const callers = { indexSelect: 0, embedding: 1 } as const;

function copyOf(x: Tensor): Tensor {
  const out = empty(x.shape, x.dtype);
  launch(native.cast, { a: x.raw, out: out.raw });
  return out;
}

function selectGradient(g: Tensor, index: Tensor, shape: Shape, axis: number, skip = -1): Tensor {
  const grad = empty(shape, g.dtype);
  const own = { gradOut: g.raw, index: index.raw, grad: grad.raw, skip };
  launch(native.indexSelectAdd, own, around(shape, axis));
  return grad;
}

const indexSelectOp = defineOp({
  name: 'indexSelect',
  builtin: true,
  inputs: ['x', 'index'],
  nondifferentiable: ['index'],
  options: ['dim'],
  check({ x, index }, { dim }: { dim: number }) {
    axisOf('indexSelect', 'dim', dim, x.rank);
    expectAxes('indexSelect', x);
    expectDType('indexSelect', 'index', index, indexDTypes);
    if (index.rank > 1) {
      fail(
        'indexSelect',
        'ERR_SHAPE',
        `expected index to have at most 1 axis, got ${showShape(index.shape)}`,
      );
    }
  },
  forward({ x, index }, { dim }: { dim: number }) {
    const axis = axisOf('indexSelect', 'dim', dim, x.rank);
    const shape = x.shape.map((n: number, i: number) => (i === axis ? index.size : n));
    const output = empty(shape, x.dtype);
    const own = { a: x.raw, index: index.raw, out: output.raw, caller: callers.indexSelect };
    launch(native.indexSelect, own, around(x.shape, axis));
    return { output, saved: { index, shape: x.shape, axis } };
  },
  backward: ({ index, shape, axis }, g) => ({ x: selectGradient(g, index, shape, axis) }),
});

function expectAxes(op: string, x: Tensor): void {
  if (x.rank > 0) return;
  fail(op, 'ERR_SHAPE', 'expected x to have at least 1 axis, got a scalar');
}

/**
 * The slices of `x` at the positions `index` (a vector) along `dim`.
 *
 * out[..., j, ...] = x[..., index[j], ...]
 *
 * @throws RangeError ERR_OUT_OF_RANGE for an index outside [0, size of the axis).
 */
export function indexSelect<D extends DType>(
  x: Tensor<D>,
  dim: number,
  index: Tensor<IndexDType>,
): Tensor<D> {
  return indexSelectOp(x, index, { dim });
}

/** Options of `embedding`. */
export interface EmbeddingOptions {
  /** The row of this id gets no gradient (default none). */
  paddingIdx?: number | undefined;
}

/**
 * Rows of a table: weight [V, D], ids [...] -> [..., D].
 *
 * @throws RangeError ERR_OUT_OF_RANGE for an id outside [0, V).
 */
export const embedding: Op<
  <D extends DType>(
    weight: Tensor<D>,
    ids: Tensor<IndexDType>,
    options?: EmbeddingOptions,
  ) => Tensor<D>
> = defineOp({
  name: 'embedding',
  builtin: true,
  inputs: ['weight', 'ids'],
  nondifferentiable: ['ids'],
  options: ['paddingIdx'],
  check({ weight, ids }, { paddingIdx }: EmbeddingOptions) {
    expectDType('embedding', 'ids', ids, indexDTypes);
    if (weight.rank !== 2) {
      fail(
        'embedding',
        'ERR_SHAPE',
        `expected weight to be [V, D], got ${showShape(weight.shape)}`,
      );
    }
    checkedSize('embedding', [...ids.shape, weight.shape[1]]);
    if (paddingIdx === undefined) return;
    const rows = weight.shape[0];
    expectNumber('embedding', 'paddingIdx', paddingIdx, { min: -rows, below: rows, integer: true });
  },
  forward({ weight, ids }, { paddingIdx }: EmbeddingOptions) {
    const output = empty([...ids.shape, weight.shape[1]], weight.dtype);
    const own = { a: weight.raw, index: ids.raw, out: output.raw, caller: callers.embedding };
    launch(native.indexSelect, own, around(weight.shape, 0));
    const skip = paddingIdx === undefined ? -1 : (paddingIdx + weight.shape[0]) % weight.shape[0];
    return { output, saved: { ids, shape: weight.shape, skip } };
  },
  backward: ({ ids, shape, skip }, g) => ({ weight: selectGradient(g, ids, shape, 0, skip) }),
});

/** `index` has the axes of `x`, none longer except along the indexed one. */
function checkLines(op: string, x: Tensor, index: Tensor, dim: number): void {
  expectAxes(op, x);
  const axis = axisOf(op, 'dim', dim, x.rank);
  expectDType(op, 'index', index, indexDTypes);
  const fits = index.rank === x.rank && index.shape.every((n, i) => i === axis || n <= x.shape[i]);
  if (fits) return;
  fail(
    op,
    'ERR_SHAPE',
    `expected index to have ${x.rank} axes, none but axis ${axis} longer than those of x ${showShape(x.shape)}, got ${showShape(index.shape)}`,
  );
}

function gathered(x: Tensor, index: Tensor, dim: number): Tensor {
  const out = empty(index.shape, x.dtype);
  launch(native.gather, {
    a: x.raw,
    index: index.raw,
    out: out.raw,
    shape: x.shape,
    indexShape: index.shape,
    dim,
  });
  return out;
}

/** Adds `src` to `into` at the places that `index` names. */
function scatter(into: Tensor, index: Tensor, src: Tensor, dim: number): Tensor {
  launch(native.scatterAdd, {
    src: src.raw,
    index: index.raw,
    out: into.raw,
    shape: into.shape,
    indexShape: index.shape,
    dim,
  });
  return into;
}

const gatherOp = defineOp({
  name: 'gather',
  builtin: true,
  inputs: ['x', 'index'],
  nondifferentiable: ['index'],
  options: ['dim'],
  check: ({ x, index }, { dim }: { dim: number }) => checkLines('gather', x, index, dim),
  forward({ x, index }, { dim }: { dim: number }) {
    const axis = axisOf('gather', 'dim', dim, x.rank);
    return { output: gathered(x, index, axis), saved: { index, shape: x.shape, axis } };
  },
  backward: ({ index, shape, axis }, g: Tensor) => ({
    x: scatter(empty(shape as Shape, g.dtype, true), index, g, axis),
  }),
});

/**
 * One element of `x` per element of `index`, which replaces the coordinate along `dim`:
 * out[i, j] = x[index[i, j], j] for dim 0, x[i, index[i, j]] for dim 1.
 *
 * @throws RangeError ERR_OUT_OF_RANGE for an index outside [0, size of the axis).
 */
export function gather<D extends DType>(
  x: Tensor<D>,
  dim: number,
  index: Tensor<IndexDType>,
): Tensor<D> {
  return gatherOp(x, index, { dim });
}

const scatterAddOp = defineOp({
  name: 'scatterAdd',
  builtin: true,
  inputs: ['x', 'index', 'src'],
  nondifferentiable: ['index'],
  options: ['dim'],
  check({ x, index, src }, { dim }: { dim: number }) {
    expectSameDType('scatterAdd', 'x', x, 'src', src);
    if (x.dtype === 'bool') fail('scatterAdd', 'ERR_DTYPE', 'expected x to hold numbers, got bool');
    checkLines('scatterAdd', x, index, dim);
    if (sameShape(src.shape, index.shape)) return;
    fail(
      'scatterAdd',
      'ERR_SHAPE',
      `expected src to have shape ${showShape(index.shape)} (that of index), got ${showShape(src.shape)}`,
    );
  },
  forward({ x, index, src }, { dim }: { dim: number }) {
    const axis = axisOf('scatterAdd', 'dim', dim, x.rank);
    return { output: scatter(copyOf(x), index, src, axis), saved: { index, axis } };
  },
  backward: ({ index, axis }, g, needs) => ({
    x: g,
    src: needs.src ? gathered(g, index, axis) : null,
  }),
});

/**
 * A copy of `x` to which `src` is added at the places that `index` names:
 * out[index[i, j], j] += src[i, j] for dim 0. Equal indices add up, in order.
 *
 * @throws ERR_OUT_OF_RANGE for an index outside the axis, ERR_SHAPE where src has not the shape of
 *   index.
 */
export function scatterAdd<D extends DType>(
  x: Tensor<D>,
  dim: number,
  index: Tensor<IndexDType>,
  src: Tensor<D>,
): Tensor<D> {
  return scatterAddOp(x, index, src, { dim });
}

function filled(a: Tensor, mask: Tensor, value: number): Tensor {
  const out = empty(a.shape, a.dtype);
  const own = stridesOf(mask.shape);
  const lead = a.rank - mask.rank;
  const maskStrides = a.shape.map((_, i) =>
    i < lead || mask.shape[i - lead] === 1 ? 0 : own[i - lead],
  );
  launch(native.maskedFill, {
    a: a.raw,
    mask: mask.raw,
    out: out.raw,
    shape: a.shape,
    maskStrides,
    value,
  });
  return out;
}

const maskedFillOp = defineOp({
  name: 'maskedFill',
  builtin: true,
  inputs: ['x', 'mask'],
  nondifferentiable: ['mask'],
  options: ['value'],
  check({ x, mask }, { value }: { value: number }) {
    expectDType('maskedFill', 'mask', mask, ['bool']);
    expectFits('maskedFill', 'value', value, x.dtype);
    if (sameShape(broadcastShapes('maskedFill', x.shape, mask.shape), x.shape)) return;
    fail(
      'maskedFill',
      'ERR_SHAPE',
      `expected mask to broadcast to the shape of x ${showShape(x.shape)}, got ${showShape(mask.shape)}`,
    );
  },
  forward: ({ x, mask }, { value }: { value: number }) => ({
    output: filled(x, mask, value),
    saved: { mask },
  }),
  backward: ({ mask }, g) => ({ x: filled(g, mask, 0) }),
});

/**
 * `x` with `value` (any number, also infinite) where the bool `mask`, broadcast to it, is true. x
 * [...] and a bool mask that broadcasts to it -> the shape and dtype of x.
 * @throws ERR_DTYPE for a mask that is not bool, ERR_SHAPE where it does not broadcast,
 *   ERR_INVALID_VALUE for a value that the dtype cannot hold.
 */
export function maskedFill<D extends DType, S extends Shape>(
  x: Tensor<D, S>,
  mask: Tensor<'bool'>,
  value: number,
): Tensor<D, S> {
  return maskedFillOp(x, mask, { value });
}

/**
 * index [...] -> [..., classes], 1 at each index, 0 elsewhere; int64 unless `dtype` says otherwise.
 *
 * @throws RangeError ERR_OUT_OF_RANGE for an index outside [0, classes).
 */
export function oneHot<D extends DType = 'int64'>(
  index: Tensor<IndexDType>,
  classes: number,
  options: { dtype?: D | undefined } = {},
): Tensor<NoInfer<D>> {
  expectTensor('oneHot', 'index', index);
  expectDType('oneHot', 'index', index, indexDTypes);
  expectNumber('oneHot', 'classes', classes, { min: 0, integer: true });
  expectOptions('oneHot', options, ['dtype']);
  const dtype = options.dtype ?? 'int64';
  expectOneOf('oneHot', 'dtype', dtype, dtypes);
  const shape = [...index.shape, classes];
  checkedSize('oneHot', shape);
  const out = onDevice(index.device, () => empty(shape, dtype as D));
  launch(native.oneHot, { index: index.raw, out: out.raw, classes });
  return out;
}
