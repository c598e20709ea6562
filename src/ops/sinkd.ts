// Sinkhorn distillation: see the doc comment below.
import { defineOp, type Gradients, type Inputs, type Needs, type Op } from '../autograd.js';
import { accumulatorOf, type DType, floats, type LossDType } from '../dtype.js';
import {
  expectDType,
  expectNumber,
  expectOneOf,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import { type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

const name = 'sinkd';
const gradients = ['unrolled', 'detached'] as const;

/** Options of `sinkd`. */
export interface SinkdOptions<R extends LossReduction = LossReduction> {
  /** Divides both sets of logits; default 2. */
  temperature?: number | undefined;
  /** The plan starts from e^(-W/lambda); default 0.1. */
  lambda?: number | undefined;
  /** How often rows and then columns are scaled; default 20. */
  iterations?: number | undefined;
  /** Multiplies the loss; default 1. The official code takes 0.001 (GLUE) or 0.0008 (T0). */
  weight?: number | undefined;
  /** 'unrolled' (default): through the iterations and W; 'detached': the plan held constant. */
  gradient?: (typeof gradients)[number] | undefined;
  /** Over the problems, if there are several; default 'mean'. */
  reduction?: R | undefined;
  /** [..., B], bool or uint8: rows of 0 are left out of both sides, with gradient exactly 0. */
  mask?: Tensor | undefined;
}

type In = Inputs<'student' | 'teacher', 'mask'>;

function check({ student, teacher, mask }: In, options: SinkdOptions): void {
  expectDType(name, 'student', student, floats);
  expectSameDType(name, 'student', student, 'teacher', teacher);
  const { shape, rank } = student as Tensor;
  if (rank < 2 || shape[rank - 1] === 0) {
    const wanted = '[..., B, V] with at least one class';
    fail(name, 'ERR_SHAPE', `expected student to have shape ${wanted}, got ${showShape(shape)}`);
  }
  expectShape(name, 'teacher', teacher, shape, 'like student');
  if (mask) {
    expectDType(name, 'mask', mask, ['bool', 'uint8']);
    expectShape(name, 'mask', mask, shape.slice(0, -1), `one per row of ${showShape(shape)}`);
  }
  const { temperature = 2, lambda = 0.1, iterations = 20, weight = 1 } = options;
  expectNumber(name, 'temperature', temperature, { above: 0 });
  expectNumber(name, 'lambda', lambda, { above: 0 });
  expectNumber(name, 'iterations', iterations, { min: 1, integer: true });
  expectNumber(name, 'weight', weight);
  expectOneOf(name, 'gradient', options.gradient ?? 'unrolled', gradients);
  expectOneOf(name, 'reduction', options.reduction ?? 'mean', reductions);
}

function fields({ student, teacher, mask }: In, options: SinkdOptions) {
  const [rows, classes] = student.shape.slice(-2);
  return {
    student: student.raw,
    teacher: teacher.raw,
    mask: mask?.raw,
    problems: sizeOf(student.shape.slice(0, -2)),
    rows,
    classes,
    iterations: options.iterations ?? 20,
    temperature: options.temperature ?? 2,
    lambda: options.lambda ?? 0.1,
    weight: options.weight ?? 1,
    reduction: reductions.indexOf(options.reduction ?? 'mean'),
  };
}

interface Saved {
  t: In;
  options: SinkdOptions;
  rowStats: Tensor;
  slopes: Tensor;
}

function forward(t: In, options: SinkdOptions, needs: Needs) {
  const { shape, dtype } = t.student as Tensor;
  const lead = shape.slice(0, -2);
  const rows = shape.slice(0, -1);
  const output = empty(options.reduction === 'none' ? lead : [], accumulatorOf(dtype));
  const rowStats = empty([...rows, 4], 'float64');
  const slopes = needs.student ? empty([...rows, rows[rows.length - 1]], 'float64') : undefined;
  const own = {
    loss: output.raw,
    rowStats: rowStats.raw,
    slopes: slopes?.raw,
    detached: options.gradient === 'detached',
  };
  launch(native.sinkdForward, own, fields(t, options));
  return { output, saved: slopes && ({ t, options, rowStats, slopes } satisfies Saved) };
}

function backward({ t, options, rowStats, slopes }: Saved, upstream: Tensor): Gradients {
  const student = empty(t.student.shape, t.student.dtype);
  const own = {
    rowStats: rowStats.raw,
    slopes: slopes.raw,
    upstream: upstream.raw,
    gradStudent: student.raw,
  };
  launch(native.sinkdBackward, own, fields(t, options));
  return { student };
}

/**
 * Sinkhorn distillation: the cost of moving the student's distributions of a batch onto the
 * teacher's, by the fixed iterations of the official code.
 *
 * student, teacher [..., B, V] of one float dtype -> [] (with `reduction: 'none'` [...], one per
 * problem of B rows); float32, or float64 for float64 logits.
 *
 *   p = softmax(student/temperature), q = softmax(teacher/temperature), W_ij = sum |p_i - q_j|
 *   P = e^(-W/lambda), `iterations` times: rows over their sums, columns over theirs
 *   loss = weight · sum P_ij W_ij
 *
 * The loss of a problem without rows is 0, the mean over no problems NaN, as of other losses.
 * The columns of P sum to 1, so that its mass is B. Differentiable in student; the teacher is
 * constant. Distributions are made by tiles from the logits: beyond the gradient nothing of size
 * B·V is held (16-bit logits: 64 rows of it in float32, on a device as many as 256 MiB hold), and
 * nothing of size B·B·V. The bits do not depend on the number of threads.
 *
 * Cui et al. 2024, "Sinkhorn Distance Minimization for Knowledge Distillation".
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments.
 * @example const loss = sp.sinkd(student, teacher, { weight: 1e-3 })
 */
export const sinkd: Op<
  <D extends DType, S extends Shape, R extends LossReduction = 'mean'>(
    student: Tensor<D, S>,
    teacher: Tensor<D, S>,
    options?: SinkdOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Shape : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['student', 'teacher'],
  optionTensors: ['mask'],
  options: ['temperature', 'lambda', 'iterations', 'weight', 'gradient', 'reduction'],
  nondifferentiable: ['teacher', 'mask'],
  check,
  forward,
  backward,
});
