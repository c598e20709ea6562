// Cross-entropy of x·weightᵀ + bias without ever holding the logits: see the doc comment below.
// On the CPU, where the upstream gradient is one number, forward computes the gradients for an
// upstream of 1 (three matrix products in all) and backward scales them; for 'none', mainGrad,
// float16, bfloat16 unless the upstream is a power of two, and on a device, backward recomputes the
// logits.
import {
  addedElsewhere,
  defineOp,
  type Gradients,
  type Inputs,
  type Needs,
  type Op,
  tape,
} from '../autograd.js';
import { type DType, floats, type LossDType } from '../dtype.js';
import { expectDType, expectNumber, expectShape, fail, show, showShape } from '../expect.js';
import {
  checkLinear,
  checkShift,
  checkTarget,
  checkWorkspace,
  linearFields,
  type ScoredOptions,
  scoredShape,
} from '../linear-logits.js';
import {
  checkLossOptions,
  type LossOptions,
  type LossReduction,
  lossFields,
  lossOptionNames,
  lossOptionTensors,
} from '../loss-options.js';
import { type Fields, isOutOfMemory, launch, launchNow, native } from '../native.js';
import { keep } from '../scope.js';
import { type Last, type Leading, type SameSize, type Shape, sizeOf } from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import { readData } from '../transfer.js';

/** Options of `linearCrossEntropy`. */
export interface LinearCrossEntropyOptions<R extends LossReduction = LossReduction>
  extends LossOptions<R>,
    ScoredOptions {
  /**
   * float32 [V, D]: += upstream·dweight during backward; `weight.grad` stays null, and hooks of
   * weight do not run.
   */
  mainGrad?: Tensor<'float32'> | undefined;
  /**
   * Which blocks of the gradient are computed; default 'exact': all. See `filterReport`. On a device
   * a filter keeps 8 bytes (float64: 16) for each row and 128 classes from forward to backward, beside
   * the workspace; blocks are 128 rows x 128 classes, and one that is skipped counts as the mean of
   * each of its rows, dbias' too, so that no class is left without a gradient.
   */
  filter?: Filter | undefined;
}

/** Which blocks of the gradient may be left out: none, or those below a probability or an error. */
export type Filter =
  | 'exact'
  /**
   * Skips blocks in which the largest p off the target is below eps, before row weights and
   * reduction; 'auto': the machine epsilon of the dtype / 32 (Wijmans et al. 2024).
   */
  | { eps: number | 'auto' }
  /** Skips what keeps the Frobenius errors of dx and of dweight, at upstream 1, within this. */
  | { maxError: number };

/** What a filter did. */
export interface FilterReport {
  /** Fraction of the blocks that was computed. */
  kept: number;
  /** Upper bound on the Frobenius error of dx at upstream 1, rounding apart. */
  boundX: number;
  /** The same of dweight. */
  boundWeight: number;
}

const name = 'linearCrossEntropy';
const halves: readonly DType[] = ['float16', 'bfloat16'];
type Names = 'x' | 'weight' | 'target';
type Tensors = 'bias' | 'mainGrad' | (typeof lossOptionTensors)[number];
type In = Inputs<Names, Tensors>;

function checkWeights({ x, weight, target, bias, classWeight, tokenWeight, mainGrad }: In): void {
  const perClass = `one per row of weight ${showShape(weight.shape)}`;
  if (classWeight) {
    expectDType(name, 'classWeight', classWeight, floats);
    expectShape(name, 'classWeight', classWeight, [weight.shape[0]], perClass);
  }
  if (tokenWeight) {
    expectDType(name, 'tokenWeight', tokenWeight, floats);
    expectShape(name, 'tokenWeight', tokenWeight, target.shape, 'like target');
  }
  if (mainGrad) {
    expectDType(name, 'mainGrad', mainGrad, ['float32']);
    expectShape(name, 'mainGrad', mainGrad, weight.shape, 'like weight');
    for (const [input, t] of Object.entries({ x, weight, bias, classWeight, tokenWeight })) {
      if (t && t.storage === mainGrad.storage) {
        const shared = `expected mainGrad to have memory of its own, got that of ${input}`;
        fail(name, 'ERR_INVALID_VALUE', shared);
      }
    }
  }
}

function checkFilter(filter: unknown): asserts filter is Filter {
  if (filter === 'exact') return;
  const wanted = "filter to be 'exact', { eps } or { maxError }";
  if (typeof filter === 'string') {
    fail(name, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${show(filter)}`);
  }
  const keys = filter !== null && typeof filter === 'object' ? Object.keys(filter) : [];
  if (keys.length !== 1 || !['eps', 'maxError'].includes(keys[0])) {
    const got = keys.length ? `{ ${keys.join(', ')} }` : show(filter);
    fail(name, 'ERR_INVALID_TYPE', `expected ${wanted}, got ${got}`);
  }
  const [value] = Object.values(filter as object);
  if (keys[0] === 'eps' && value === 'auto') return;
  expectNumber(name, `filter.${keys[0]}`, value, { min: 0 });
}

const epsilons = { float64: 2 ** -52, float32: 2 ** -23, float16: 2 ** -10, bfloat16: 2 ** -7 };

function filterFields(filter: Filter, dtype: DType) {
  if (filter === 'exact') return {};
  if ('maxError' in filter) return { filterError: filter.maxError };
  const auto = epsilons[dtype as keyof typeof epsilons] / 32;
  return { filterEps: filter.eps === 'auto' ? auto : filter.eps };
}

interface Report {
  values: Float64Array;
  /** Of a device, until it is read. */
  pending: Tensor | undefined;
  /** Whether backward has run. */
  done: boolean;
}
const reports = new WeakMap<Tensor, Report>();

/**
 * What the filter of a `linearCrossEntropy`, [] or [...], skipped in its backward.
 * @throws ERR_GRAPH for a loss without a filter, or before its backward.
 */
export function filterReport(loss: Tensor): FilterReport {
  expectTensor('filterReport', 'loss', loss);
  const report = reports.get(loss);
  if (!report?.done) {
    fail(
      'filterReport',
      'ERR_GRAPH',
      report
        ? 'expected a loss whose backward has run'
        : 'expected the result of a linearCrossEntropy with a filter and inputs that require a gradient',
    );
  }
  if (report.pending) {
    report.values.set(readData(report.pending) as Float64Array);
    report.pending.dispose();
    report.pending = undefined;
  }
  const [kept, boundX, boundWeight] = report.values;
  return { kept, boundX, boundWeight };
}

/** What native code needs in both directions. */
function fields(t: In, options: LinearCrossEntropyOptions) {
  const own = {
    target: t.target.raw,
    classWeight: t.classWeight?.raw,
    tokenWeight: t.tokenWeight?.raw,
  };
  const filter = filterFields(options.filter ?? 'exact', t.x.dtype);
  const linear = linearFields(t.x, t.weight, t.bias, options);
  return Object.assign(linear, lossFields(options), filter, own);
}

/** What forward tells a backward on a device of every row and this many classes. */
const tileClasses = 128;
function tileSumsOf(t: In, scored: Shape): Tensor | undefined {
  const tiles = Math.ceil(t.weight.shape[0] / tileClasses);
  const dtype = t.x.dtype === 'float64' ? 'float64' : 'float32';
  return t.x.device === 'cpu' ? undefined : empty([tiles, sizeOf(scored), 2], dtype);
}

/** Where the backward of a device reports. */
function pendingReport(report: Report | undefined, t: In): Tensor | undefined {
  if (!report || t.x.device === 'cpu') return undefined;
  report.pending?.dispose();
  report.pending = keep(empty([3], 'float64'));
  return report.pending;
}

/** What forward leaves to backward on a device: one matrix product of four less. */
interface Stored {
  bytes: number;
  /** Absent where memory had run out: logits are then made anew in the rest of the workspace. */
  memory: Tensor | undefined;
}

/** Where the device can, and a workspace that was asked for has room. */
function storedOf(t: In, options: LinearCrossEntropyOptions, later: Fields): Stored | undefined {
  if (options.workspaceBytes === undefined || t.x.device === 'cpu') return undefined;
  if (!halves.includes(t.x.dtype)) return undefined;
  const size = new Float64Array(1);
  const { labelSmoothing = 0 } = options;
  const linear = linearFields(t.x, t.weight, t.bias, options);
  launchNow(native.linearCrossEntropyStored, { labelSmoothing, bytes: size }, later, linear);
  const [bytes] = size;
  if (bytes === 0) return undefined;
  try {
    return { bytes, memory: empty([bytes], 'uint8') };
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    return { bytes, memory: undefined };
  }
}

/** For native code: what is stored, or the workspace without it. */
function storedFields(stored: Stored | undefined, usable: boolean, workspaceBytes: number) {
  if (!stored) return {};
  const { bytes, memory } = stored;
  return memory && usable ? { stored: memory.raw } : { workspaceBytes: workspaceBytes - bytes };
}

type GradientTensors = Partial<Record<'x' | 'weight' | 'bias', Tensor>>;

/** Memory for the gradients that are needed. */
function gradientsOf(t: In, needs: Needs): GradientTensors {
  const like = (key: 'x' | 'weight' | 'bias') =>
    needs[key] ? empty(t[key].shape, t[key].dtype) : undefined;
  return {
    x: like('x'),
    weight: t.mainGrad ? undefined : like('weight'),
    bias: like('bias'),
  };
}

function gradientFields(g: GradientTensors) {
  return {
    dx: g.x?.raw,
    dweight: g.weight?.raw,
    dbias: g.bias?.raw,
  };
}

interface Saved {
  t: In;
  options: LinearCrossEntropyOptions;
  /** Of the rows, for backward. */
  rowSums: Tensor | undefined;
  /** For an upstream gradient of 1, from a forward that could compute them. */
  gradients: GradientTensors | undefined;
  report: Report | undefined;
  /** On a device with a filter. */
  tileSums: Tensor | undefined;
  stored: Stored | undefined;
}

function forward(t: In, options: LinearCrossEntropyOptions, needs: Needs) {
  const { shift = 0, reduction = 'mean' } = options;
  const scored = scoredShape(t.target, shift);
  const dtype = t.x.dtype === 'float64' ? 'float64' : 'float32';
  const output = empty(reduction === 'none' ? scored : [], dtype);
  const needed = Object.values(needs).some((need) => need);
  // float16 cannot hold gradients at an upstream of 1 that loss scaling is there to enlarge.
  const fused =
    needed &&
    reduction !== 'none' &&
    !t.mainGrad &&
    t.x.dtype !== 'float16' &&
    t.x.device === 'cpu';
  const gradients = fused ? gradientsOf(t, needs) : undefined;
  const rowSums = needed ? empty([...scored, 4], 'float64') : undefined;
  const filtered = needed && (options.filter ?? 'exact') !== 'exact';
  const report = filtered
    ? { values: new Float64Array([1, 0, 0]), pending: undefined, done: false }
    : undefined;
  const tileSums = filtered ? tileSumsOf(t, scored) : undefined;
  if (report) reports.set(output, report);
  const later = {
    laterX: needs.x,
    laterWeight: needs.weight,
    laterBias: needs.bias,
    laterAdds: t.mainGrad !== undefined,
  };
  const filtering = { filtered: tileSums !== undefined };
  const stored = needed ? storedOf(t, options, { ...later, ...filtering }) : undefined;
  const both = fields(t, options);
  launch(
    native.linearCrossEntropyForward,
    {
      rowSums: rowSums?.raw,
      loss: output.raw,
      filterReport: t.x.device === 'cpu' ? report?.values : undefined,
      filterTiles: tileSums?.raw,
    },
    later,
    gradients ? gradientFields(gradients) : {},
    storedFields(stored, true, both.workspaceBytes),
    both,
  );
  const saved: Saved = { t, options, rowSums, gradients, report, tileSums, stored };
  return { output, saved };
}

function backward(saved: Saved, upstream: Tensor, needs: Needs): Gradients {
  const { t, options, rowSums, gradients: unit, report, tileSums, stored } = saved;
  if (report) report.done = true;
  const gradients = unit && !tape.retained ? unit : gradientsOf(t, needs);
  const { tokenWeight: weights } = t;
  const tokenWeight =
    needs.tokenWeight && weights ? empty(weights.shape, weights.dtype) : undefined;
  const main = needs.weight && t.mainGrad;
  const both = fields(t, options);
  launch(
    native.linearCrossEntropyBackward,
    {
      dtokenWeight: tokenWeight?.raw,
      unitX: unit?.x?.raw,
      unitWeight: unit?.weight?.raw,
      unitBias: unit?.bias?.raw,
      rowSums: rowSums?.raw,
      upstream: upstream.raw,
      filterReport: pendingReport(report, t)?.raw ?? report?.values,
      filterTiles: tileSums?.raw,
    },
    main ? { dweight: t.mainGrad.raw, addToDweight: true } : {},
    gradientFields(gradients),
    // What is stored becomes dz, and cannot be used again.
    storedFields(stored, !tape.retained, both.workspaceBytes),
    both,
  );
  return { ...gradients, tokenWeight, ...(main && { weight: addedElsewhere }) };
}

/**
 * Cross-entropy between a linear classifier's logits and class indices, without the logits:
 * `crossEntropy(x·weightᵀ + bias, target)`, with neither the [N, V] logits nor their gradient ever
 * in memory. Scratch memory is bounded by `workspaceBytes`. A frozen input costs nothing, an ignored
 * row no product. The bits do not depend on the number of threads, and per-row results not on the
 * other rows.
 *
 * On GPUs of capability 9.0 a `workspaceBytes` that is given and has room for about 2 V bytes a row
 * makes float16 and bfloat16 take three matrix products instead of four, but with label smoothing:
 * forward leaves exponentials to backward, rounded to 11 bits. dx of a row then depends on whether
 * its own were kept: in bfloat16 by about a third of the error of rounding dx.
 *
 * x [..., D], weight [V, D], target [...] int32 or int64 -> [] for 'mean' and 'sum', [...] for
 * 'none'; float32, or float64 for float64 input.
 *
 *   z = x·weightᵀ + bias;  L = lse(z) - z_y;  dx = dz·weight, dweight = dzᵀ·x
 *
 * Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models".
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a target outside [0, V), naming row and value.
 * @example
 * const loss = sp.linearCrossEntropy(hidden, head, tokens, { shift: 1 })
 * loss.backward()
 */
export const linearCrossEntropy: Op<
  <
    D extends DType,
    X extends Shape,
    W extends Shape,
    T extends Shape,
    R extends LossReduction = 'mean',
  >(
    x: Tensor<D, X>,
    weight: Tensor<D, W> &
      SameSize<Last<W>, Last<X>, `size mismatch: x has ${Last<X>} features, weight ${Last<W>}`>,
    target: Tensor<DType, T> &
      SameSize<
        Last<T>,
        Last<Leading<X>>,
        `batch mismatch: x has ${Last<Leading<X>>} rows, targets ${Last<T>}`
      >,
    options?: LinearCrossEntropyOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Shape : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['x', 'weight', 'target'],
  optionTensors: ['bias', ...lossOptionTensors, 'mainGrad'],
  options: [...lossOptionNames, 'shift', 'filter', 'workspaceBytes'],
  nondifferentiable: ['target', 'classWeight', 'mainGrad'],
  check(t: In, options: LinearCrossEntropyOptions) {
    checkLinear(name, t.x, t.weight, t.bias);
    checkTarget(name, 'target', t.target, t.x);
    checkWeights(t);
    checkLossOptions(name, options);
    if (options.filter !== undefined) checkFilter(options.filter);
    checkShift(name, options.shift ?? 0, t.target);
    checkWorkspace(name, options);
  },
  forward,
  backward,
});
