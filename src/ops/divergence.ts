// Divergence between two sets of logits: see the doc comment below. On a device forward leaves the
// student's gradient of a mean or a sum, and backward scales it; else backward reads the logits again.
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
import { madeInForward, reuse, scalable, scaled } from '../gradient.js';
import { type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Leading, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

const kinds = ['kl', 'reverseKl', 'jensenShannon'] as const;
const name = 'divergence';

/** Options of `divergence`. */
export interface DivergenceOptions<R extends LossReduction = LossReduction> {
  /**
   * With p the teacher's and q the student's distribution: 'kl' (default) is KL(p|q), 'reverseKl'
   * KL(q|p), 'jensenShannon' beta·KL(p|m) + (1-beta)·KL(q|m) with m = beta·p + (1-beta)·q.
   */
  kind?: (typeof kinds)[number] | undefined;
  /** The teacher's share in 'jensenShannon', between 0 and 1; default 0.5. */
  beta?: number | undefined;
  /**
   * Divides both sets of logits; default 1. Multiply the loss by temperature² to keep the size of
   * its gradient, as distillation usually does.
   */
  temperature?: number | undefined;
  /** Default 'mean': divides by the sum of tokenWeight. 'none' gives the value of every row. */
  reduction?: R | undefined;
  /** One weight per row, any float dtype; a row of weight 0 adds nothing, whatever it holds. */
  tokenWeight?: Tensor | undefined;
}

type In = Inputs<'student' | 'teacher', 'tokenWeight'>;

const leading = (x: Tensor): Shape => x.shape.slice(0, -1);

function check({ student, teacher, tokenWeight }: In, options: DivergenceOptions): void {
  const { kind = 'kl', beta = 0.5, temperature = 1, reduction = 'mean' } = options;
  expectDType(name, 'student', student, floats);
  expectSameDType(name, 'student', student, 'teacher', teacher);
  if (student.rank === 0 || student.shape[student.rank - 1] === 0) {
    fail(
      name,
      'ERR_SHAPE',
      `expected student to have shape [..., V] with at least one class, got ${showShape(student.shape)}`,
    );
  }
  const like = `student ${showShape(student.shape)}`;
  expectShape(name, 'teacher', teacher, student.shape, `logits like ${like}`);
  if (tokenWeight) {
    expectDType(name, 'tokenWeight', tokenWeight, floats);
    expectShape(name, 'tokenWeight', tokenWeight, leading(student), `one per row of ${like}`);
  }
  expectOneOf(name, 'kind', kind, kinds);
  expectOneOf(name, 'reduction', reduction, reductions);
  expectNumber(name, 'temperature', temperature, { above: 0 });
  expectNumber(name, 'beta', beta, { above: 0, below: 1 });
}

function fields({ student, teacher, tokenWeight }: In, options: DivergenceOptions) {
  const { kind = 'kl', beta = 0.5, temperature = 1, reduction = 'mean' } = options;
  return {
    student: student.raw,
    teacher: teacher.raw,
    tokenWeight: tokenWeight?.raw,
    rows: sizeOf(leading(student)),
    classes: student.shape[student.rank - 1],
    kind: kinds.indexOf(kind),
    reduction: reductions.indexOf(reduction),
    temperature,
    beta,
  };
}

interface Saved {
  gradStudent: Tensor | undefined;
  again: { t: In; options: DivergenceOptions; rowStats: Tensor } | undefined;
}

function forward(t: In, options: DivergenceOptions, needs: Needs) {
  const { student } = t;
  const rows = leading(student);
  const reduced = options.reduction !== 'none';
  const output = empty(reduced ? [] : rows, accumulatorOf(student.dtype));
  const fused =
    needs.student &&
    !needs.teacher &&
    reduced &&
    student.device !== 'cpu' &&
    madeInForward(student.dtype);
  const gradStudent = fused ? empty(student.shape, student.dtype) : undefined;
  const reads =
    needs.teacher || needs.tokenWeight || (needs.student && !(fused && scalable(student.dtype)));
  const rowStats = reads ? empty([sizeOf(rows), 8], 'float64') : undefined;
  const own = { loss: output.raw, rowStats: rowStats?.raw, gradStudent: gradStudent?.raw };
  launch(native.divergenceForward, own, fields(t, options));
  const again = rowStats && { t, options, rowStats };
  return { output, saved: { gradStudent, again } satisfies Saved };
}

function backward({ gradStudent, again }: Saved, upstream: Tensor, needs: Needs): Gradients {
  if (!again) return { student: gradStudent && scaled(gradStudent, upstream) };
  const { t, options, rowStats } = again;
  const like = (x: Tensor | undefined, need: boolean) =>
    need && x ? empty(x.shape, x.dtype) : undefined;
  const { gradient, own, ready } = reuse(gradStudent, t.student, upstream, needs.student);
  const teacher = like(t.teacher, needs.teacher);
  const tokenWeight = like(t.tokenWeight, needs.tokenWeight);
  if (own || teacher || tokenWeight) {
    const gradients = {
      rowStats: rowStats.raw,
      upstream: upstream.raw,
      gradStudent: own?.raw,
      gradStudentReady: ready,
      gradTeacher: teacher?.raw,
      gradTokenWeight: tokenWeight?.raw,
    };
    launch(native.divergenceBackward, gradients, fields(t, options));
  }
  return { student: gradient, teacher, tokenWeight };
}

/**
 * How far the student's distribution is from the teacher's, both given as logits: the loss of
 * distillation. Nothing of the size of the logits is stored but the gradients asked for.
 *
 * student, teacher [..., V] of one float dtype -> [] for 'mean' and 'sum', [...] for 'none';
 * float32, or float64 for float64 logits.
 *
 *   p = softmax(teacher/T), q = softmax(student/T);  KL(p|q) = sum p log(p/q)
 *
 * Differentiable in student, teacher and tokenWeight. Summed from terms that are never negative, so
 * a small divergence keeps its digits. A class of logit -inf in both counts nothing; where p is not
 * 0 and q is, KL(p|q) is infinite. Same input, same bits on one device and instruction set, for any
 * number of threads; a row's value and gradient do not depend on the other rows. Sources: Hinton et al. 2015; Agarwal et al. 2024 (eq. 1).
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments.
 * @example
 * const loss = sp.divergence(student, teacher.detach(), { temperature: 2 }).mul(4)
 */
export const divergence: Op<
  <D extends DType, S extends Shape, R extends LossReduction = 'mean'>(
    student: Tensor<D, S>,
    teacher: Tensor<D, S>,
    options?: DivergenceOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Leading<S> : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['student', 'teacher'],
  optionTensors: ['tokenWeight'],
  options: ['kind', 'beta', 'temperature', 'reduction'],
  check,
  forward,
  backward,
});
