// Distillation between different vocabularies: see the doc comment below. Where the upstream
// gradient is one number and the gradient has 32 bits or more, forward computes it for an upstream
// of 1 while the row is in the cache; otherwise backward ranks the rows again.
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
import { reuse, scalable } from '../gradient.js';
import { type LossReduction, reductions } from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Leading, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';
import { weightGradient } from '../token-weights.js';

const name = 'uldLoss';

/** Options of `uldLoss`. */
export interface UldLossOptions<R extends LossReduction = LossReduction> {
  /** Divides both sets of logits; default 1. */
  temperature?: number | undefined;
  /** Default 'mean': divides by the sum of tokenWeight. 'none' gives the value of every row. */
  reduction?: R | undefined;
  /** One weight per row, any float dtype; a row of weight 0 adds nothing, whatever it holds. */
  tokenWeight?: Tensor | undefined;
}

type In = Inputs<'student' | 'teacher', 'tokenWeight'>;

const leading = (x: Tensor): Shape => x.shape.slice(0, -1);

function check({ student, teacher, tokenWeight }: In, options: UldLossOptions): void {
  expectDType(name, 'student', student, floats);
  expectSameDType(name, 'student', student, 'teacher', teacher);
  for (const [key, x] of Object.entries({ student, teacher })) {
    if (x.rank > 0 && x.shape[x.rank - 1] > 0) continue;
    const wanted = '[..., classes] with at least one class';
    fail(name, 'ERR_SHAPE', `expected ${key} to have shape ${wanted}, got ${showShape(x.shape)}`);
  }
  const rows = `rows like student ${showShape(student.shape)}`;
  const classes = teacher.shape[teacher.rank - 1];
  expectShape(name, 'teacher', teacher, [...leading(student), classes], rows);
  if (tokenWeight) {
    expectDType(name, 'tokenWeight', tokenWeight, floats);
    expectShape(name, 'tokenWeight', tokenWeight, leading(student), `one per row: ${rows}`);
  }
  expectNumber(name, 'temperature', options.temperature ?? 1, { above: 0 });
  expectOneOf(name, 'reduction', options.reduction ?? 'mean', reductions);
}

function fields({ student, teacher, tokenWeight }: In, options: UldLossOptions, rowLoss: Tensor) {
  return {
    student: student.raw,
    teacher: teacher.raw,
    tokenWeight: tokenWeight?.raw,
    rows: sizeOf(leading(student)),
    studentClasses: student.shape[student.rank - 1],
    teacherClasses: teacher.shape[teacher.rank - 1],
    temperature: options.temperature ?? 1,
    reduction: reductions.indexOf(options.reduction ?? 'mean'),
    rowLoss: rowLoss.raw,
  };
}

interface Saved {
  t: In;
  options: UldLossOptions;
  rowLoss: Tensor;
  /** For an upstream gradient of 1. */
  gradient: Tensor | undefined;
}

function forward(t: In, options: UldLossOptions, needs: Needs) {
  const { shape, dtype } = t.student as Tensor;
  const isReduced = options.reduction !== 'none';
  const output = empty(isReduced ? [] : shape.slice(0, -1), accumulatorOf(dtype));
  const rowLoss = empty(leading(t.student), 'float64');
  const gradient = needs.student && isReduced && scalable(dtype) ? empty(shape, dtype) : undefined;
  const own = { loss: output.raw, gradStudent: gradient?.raw };
  launch(native.uldForward, own, fields(t, options, rowLoss));
  return { output, saved: { t, options, rowLoss, gradient } satisfies Saved };
}

function backward(
  { t, options, rowLoss, gradient }: Saved,
  upstream: Tensor,
  needs: Needs,
): Gradients {
  const student = reuse(gradient, t.student, upstream, needs.student);
  const weight = needs.tokenWeight ? t.tokenWeight : undefined;
  const shared = fields(t, options, rowLoss);
  const tokenWeight = weightGradient(weight, native.uldForward, shared, rowLoss, t.student);
  if (student.own || tokenWeight) {
    const own = {
      upstream: upstream.raw,
      gradStudent: student.own?.raw,
      gradTokenWeight: tokenWeight?.raw,
    };
    launch(native.uldBackward, own, shared);
  }
  return { student: student.gradient, tokenWeight };
}

/**
 * Universal logit distillation: how far two rows of probabilities over different vocabularies are
 * apart rank by rank.
 *
 * student [..., V], teacher [..., U] of one float dtype -> [] for 'mean' and 'sum', [...] for
 * 'none'; float32, or float64 for float64 logits.
 *
 *   p = softmax(student/T), q = softmax(teacher/T), in descending order, the shorter ends in zeros
 *   row = sum over ranks of |p_(k) - q_(k)|
 *
 * Differentiable in student and tokenWeight; the teacher is constant. Exact, though only values that
 * meet their like in the other row are sorted; equal elements of a row take their ranks by index.
 * NaN, +inf or -inf throughout give NaN in that row alone.
 *
 * Boizard et al. 2024, "Towards Cross-Tokenizer Distillation".
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments,
 *   NaN in tokenWeight.
 * @example const loss = sp.uldLoss(student, teacher, { tokenWeight: isAnswer })
 */
export const uldLoss: Op<
  <D extends DType, S extends Shape, R extends LossReduction = 'mean'>(
    student: Tensor<D, S>,
    teacher: Tensor<D>,
    options?: UldLossOptions<R>,
  ) => Tensor<LossDType<D>, R extends 'none' ? Leading<S> : readonly []>
> = defineOp({
  name,
  builtin: true,
  inputs: ['student', 'teacher'],
  optionTensors: ['tokenWeight'],
  options: ['temperature', 'reduction'],
  nondifferentiable: ['teacher'],
  check,
  forward,
  backward,
});
