// Cross-entropy of x·weightᵀ + bias without ever holding the logits: see the doc comment below.
// Where the upstream gradient is one number, forward computes the gradients for an upstream of 1
// (three matrix products in all) and backward scales them; for 'none' and mainGrad, backward
// recomputes the logits (four products).
import {
  addedElsewhere,
  defineOp,
  type Gradients,
  type Inputs,
  type Needs,
  type Op,
  tape,
} from '../autograd.js';
import type { DType, FloatDType, IndexDType } from '../dtype.js';
import {
  expectDType,
  expectNumber,
  expectSameDType,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import {
  checkLossOptions,
  type LossOptions,
  type LossReduction,
  lossFields,
  lossOptionNames,
  lossOptionTensors,
} from '../loss-options.js';
import { launch, native } from '../native.js';
import { type Last, type Leading, type SameSize, type Shape, sizeOf } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

export interface LinearCrossEntropyOptions<R extends LossReduction = LossReduction>
  extends LossOptions<R> {
  /** [V], of x's dtype; differentiable. */
  bias?: Tensor;
  /**
   * s >= 0: row t of x is scored against target t+s along the last axis of target, by index;
   * default 0. target and tokenWeight keep their length T, the loss of 'none' has length T-s, and
   * the last s rows of x get gradient 0.
   */
  shift?: number;
  /** Upper bound on scratch memory, forward and backward; default 32 MiB. */
  workspaceBytes?: number;
  /**
   * float32 [V, D]: += upstream·dweight during backward; `weight.grad` stays null, and hooks of
   * weight do not run.
   */
  mainGrad?: Tensor<'float32'>;
}

const name = 'linearCrossEntropy';
const floats: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];
const indices: readonly IndexDType[] = ['int64', 'int32'];

type Names = 'x' | 'weight' | 'target';
type Tensors = 'bias' | 'mainGrad' | (typeof lossOptionTensors)[number];
type In = Inputs<Names, Tensors>;

/** Sequences of rows, as native code counts them. */
function sizes(x: Tensor, weight: Tensor, shift: number) {
  const lead = x.shape.slice(0, -1);
  const length = lead.length ? lead[lead.length - 1] : 1;
  return {
    batch: sizeOf(lead.slice(0, -1)),
    length,
    width: weight.shape[1],
    classes: weight.shape[0],
    shift,
  };
}

function checkLinear({ x, weight, target, bias }: In): void {
  expectDType(name, 'x', x, floats);
  if (x.rank === 0) fail(name, 'ERR_SHAPE', 'expected x to have shape [..., D], got []');
  expectSameDType(name, 'weight', weight, 'x', x);
  const width = x.shape[x.rank - 1];
  if (weight.rank !== 2 || weight.shape[1] !== width) {
    fail(
      name,
      'ERR_SHAPE',
      `expected weight to have shape [V, ${width}] (the last axis of x ${showShape(x.shape)}), got ${showShape(weight.shape)}`,
    );
  }
  if (weight.shape[0] === 0) {
    fail(
      name,
      'ERR_SHAPE',
      `expected weight to have at least one row, got ${showShape(weight.shape)}`,
    );
  }
  expectDType(name, 'target', target, indices);
  expectShape(
    name,
    'target',
    target,
    x.shape.slice(0, -1),
    `one per row of x ${showShape(x.shape)}`,
  );
  if (!bias) return;
  expectSameDType(name, 'bias', bias, 'x', x);
  expectShape(
    name,
    'bias',
    bias,
    [weight.shape[0]],
    `one per row of weight ${showShape(weight.shape)}`,
  );
}

function checkWeights({ weight, target, classWeight, tokenWeight, mainGrad }: In): void {
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
  }
}

function checkShift(shift: unknown, target: Tensor): void {
  expectNumber(name, 'shift', shift, { min: 0, integer: true });
  const length = target.rank ? target.shape[target.rank - 1] : 1;
  if (shift > 0 && shift >= length) {
    fail(
      name,
      'ERR_OUT_OF_RANGE',
      `expected shift to be less than the ${length} targets along the last axis, got ${shift}`,
    );
  }
}

/** What native code needs in both directions. */
function fields(t: In, options: LinearCrossEntropyOptions) {
  return {
    ...sizes(t.x, t.weight, options.shift ?? 0),
    ...lossFields(options),
    x: t.x.raw,
    weight: t.weight.raw,
    target: t.target.raw,
    bias: t.bias?.raw,
    classWeight: t.classWeight?.raw,
    tokenWeight: t.tokenWeight?.raw,
    workspaceBytes: options.workspaceBytes ?? 2 ** 25,
  };
}

type GradientTensors = Partial<Record<'x' | 'weight' | 'bias' | 'tokenWeight', Tensor>>;

/** Memory for the gradients that are needed. */
function gradientsOf(t: In, needs: Needs): GradientTensors {
  const like = (key: 'x' | 'weight' | 'bias' | 'tokenWeight') =>
    needs[key] ? empty(t[key].shape, t[key].dtype) : undefined;
  return {
    x: like('x'),
    weight: t.mainGrad ? undefined : like('weight'),
    bias: like('bias'),
    tokenWeight: like('tokenWeight'),
  };
}

function gradientFields(g: GradientTensors) {
  return {
    dx: g.x?.raw,
    dweight: g.weight?.raw,
    dbias: g.bias?.raw,
    dtokenWeight: g.tokenWeight?.raw,
  };
}

interface Saved {
  t: In;
  options: LinearCrossEntropyOptions;
  /** Of the rows, for a backward that recomputes. */
  rowSums: Tensor | undefined;
  /** For an upstream gradient of 1, from a forward that could compute them. */
  gradients: GradientTensors | undefined;
}

/** The gradients of forward times the upstream gradient; in place unless they are needed again. */
function scaled(gradients: GradientTensors, upstream: Tensor): GradientTensors {
  const result: GradientTensors = {};
  for (const key of ['x', 'weight', 'bias', 'tokenWeight'] as const) {
    const grad = gradients[key];
    if (!grad) continue;
    const out = tape.retained ? empty(grad.shape, grad.dtype) : grad;
    launch(native.linearCrossEntropyScale, {
      gradient: grad.raw,
      upstream: upstream.raw,
      out: out.raw,
    });
    result[key] = out;
  }
  return result;
}

function forward(t: In, options: LinearCrossEntropyOptions, needs: Needs) {
  const { shift = 0, reduction = 'mean' } = options;
  const lead = t.target.shape as Shape;
  const scored = lead.length ? [...lead.slice(0, -1), lead[lead.length - 1] - shift] : [];
  const dtype = t.x.dtype === 'float64' ? 'float64' : 'float32';
  const output = empty(reduction === 'none' ? scored : [], dtype);
  const needed = Object.values(needs).some((need) => need);
  const fused = needed && reduction !== 'none' && !t.mainGrad;
  const gradients = fused ? gradientsOf(t, needs) : undefined;
  const rowSums = needed && !fused ? empty([...scored, 4], 'float64') : undefined;
  launch(native.linearCrossEntropyForward, {
    ...fields(t, options),
    ...(gradients && gradientFields(gradients)),
    laterX: needs.x,
    laterWeight: needs.weight,
    laterBias: needs.bias,
    laterAdds: t.mainGrad !== undefined,
    rowSums: rowSums?.raw,
    loss: output.raw,
  });
  return { output, saved: { t, options, rowSums, gradients } satisfies Saved };
}

function backward(saved: Saved, upstream: Tensor, needs: Needs): Gradients {
  const { t, options, rowSums } = saved;
  if (saved.gradients) return scaled(saved.gradients, upstream);
  const gradients = gradientsOf(t, needs);
  const main = needs.weight && t.mainGrad;
  launch(native.linearCrossEntropyBackward, {
    ...fields(t, options),
    ...gradientFields(gradients),
    ...(main && { dweight: t.mainGrad.raw, addToDweight: true }),
    rowSums: rowSums?.raw,
    upstream: upstream.raw,
  });
  return main ? { ...gradients, weight: addedElsewhere } : gradients;
}

type LossDType<D extends DType> = D extends 'float64' ? 'float64' : 'float32';

/**
 * Cross-entropy between a linear classifier's logits and class indices, without the logits:
 * `crossEntropy(x·weightᵀ + bias, target)`, with neither the [N, V] logits nor their gradient ever
 * in memory. Scratch memory is bounded by `workspaceBytes`. A frozen input costs nothing, an ignored
 * row no product. The bits do not depend on the number of threads, and per-row results not on the
 * other rows.
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
    D extends FloatDType,
    X extends Shape,
    W extends Shape,
    T extends Shape,
    R extends LossReduction = 'mean',
  >(
    x: Tensor<D, X>,
    weight: Tensor<D, W> &
      SameSize<Last<W>, Last<X>, `size mismatch: x has ${Last<X>} features, weight ${Last<W>}`>,
    target: Tensor<IndexDType, T> &
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
  options: [...lossOptionNames, 'shift', 'workspaceBytes'],
  nondifferentiable: ['target', 'classWeight', 'mainGrad'],
  check(t: In, options: LinearCrossEntropyOptions) {
    checkLinear(t);
    checkWeights(t);
    checkLossOptions(name, options);
    checkShift(options.shift ?? 0, t.target);
    expectNumber(name, 'workspaceBytes', options.workspaceBytes ?? 2 ** 25, {
      min: 1,
      integer: true,
    });
  },
  forward,
  backward,
});
