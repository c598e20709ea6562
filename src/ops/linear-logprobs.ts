// Per-row quantities of x·weightᵀ + bias without the logits: log-probabilities with lse and entropy
// (the base of preference and policy-gradient losses), the best class, and the partial sums from
// which a vocabulary in shards is put together.
import { defineOp, type Inputs, type Needs, type Op } from '../autograd.js';
import { tensor } from '../create.js';
import type { DType, LossDType } from '../dtype.js';
import {
  expectDType,
  expectNumber,
  expectOptions,
  expectShape,
  fail,
  showShape,
} from '../expect.js';
import {
  checkLinear,
  checkLinearOptions,
  checkShift,
  checkTarget,
  type LinearOptions,
  linearFields,
  type ScoredOptions,
  scoredShape,
} from '../linear-logits.js';
import { logitOptionNames } from '../loss-options.js';
import { launch, native } from '../native.js';
import type { Shape } from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import { readData } from '../transfer.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';

/** Options of `linearLogprobs`. */
export interface LinearLogprobsOptions extends ScoredOptions {
  /** Ids that give 0 in every output, and no gradient; default -100. */
  ignoreIndex?: number | undefined;
}

/** Each of the shape of ids (or T-shift along its last axis). */
export interface Logprobs<D extends 'float32' | 'float64' = 'float32' | 'float64'> {
  /** log p of the given class. */
  logprob: Tensor<D>;
  /** log of the sum of e^z. */
  lse: Tensor<D>;
  /** H = -sum of p_c log p_c. */
  entropy: Tensor<D>;
}

interface Saved {
  t: Inputs<'x' | 'weight' | 'ids', 'bias'>;
  options: LinearLogprobsOptions;
  rowSums: Tensor;
}

function idFields({ t, options }: Omit<Saved, 'rowSums'>) {
  const own = { target: t.ids.raw, ignoreIndex: options.ignoreIndex ?? -100 };
  return Object.assign(linearFields(t.x, t.weight, t.bias, options), own);
}

function checkIgnoreIndex(op: string, ignoreIndex: unknown = -100): void {
  expectNumber(op, 'ignoreIndex', ignoreIndex, { integer: true });
}

/**
 * Log-probability of given classes, log-sum-exp and entropy of the rows of x·weightᵀ + bias, all
 * differentiable, without the logits. Ignored ids give 0.
 *
 * x [..., D], weight [V, D], ids [...] -> { logprob, lse, entropy }, each [...], float32 (float64
 * for float64 input).
 *
 *   logprob = z_y - lse(z),  H = lse - sum_c p_c z_c
 *   dlogprob/dz = 1_y - p,  dlse/dz = p,  dH/dz = -p (log p + H)
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for an id outside [0, V), naming row and value.
 * @example const { logprob, entropy } = sp.linearLogprobs(hidden, head, actions)
 */
export const linearLogprobs: Op<
  <D extends DType>(
    x: Tensor<D>,
    weight: Tensor<D>,
    ids: Tensor,
    options?: LinearLogprobsOptions,
  ) => Logprobs<LossDType<D>>
> = defineOp({
  name: 'linearLogprobs',
  builtin: true,
  inputs: ['x', 'weight', 'ids'],
  optionTensors: ['bias'],
  options: [...logitOptionNames, 'ignoreIndex', 'shift', 'workspaceBytes'],
  nondifferentiable: ['ids'],
  check({ x, weight, ids, bias }, options: LinearLogprobsOptions) {
    checkLinear('linearLogprobs', x, weight, bias);
    checkTarget('linearLogprobs', 'ids', ids, x);
    checkLinearOptions('linearLogprobs', options);
    checkIgnoreIndex('linearLogprobs', options.ignoreIndex);
    checkShift('linearLogprobs', options.shift ?? 0, ids);
  },
  forward(t, options: LinearLogprobsOptions, needs: Needs) {
    const shape = scoredShape(t.ids, options.shift ?? 0);
    const dtype = t.x.dtype === 'float64' ? 'float64' : 'float32';
    const outputs = {
      logprob: empty(shape, dtype),
      lse: empty(shape, dtype),
      entropy: empty(shape, dtype),
    };
    const rowSums = empty([...shape, 4], 'float64');
    const own = {
      rowSums: rowSums.raw,
      logprob: outputs.logprob.raw,
      lse: outputs.lse.raw,
      entropy: outputs.entropy.raw,
      laterX: needs.x,
      laterWeight: needs.weight,
      laterBias: needs.bias,
    };
    launch(native.linearLogprobs, own, idFields({ t, options }));
    return { outputs, saved: { t, options, rowSums } };
  },
  backward(saved: Saved, upstream: Partial<Logprobs>, needs: Needs) {
    const like = (t: Tensor, needed: boolean) => (needed ? empty(t.shape, t.dtype) : undefined);
    const { x, weight, bias } = saved.t;
    const gradients = {
      x: like(x, needs.x),
      weight: like(weight, needs.weight),
      bias: bias && like(bias, needs.bias),
    };
    const own = {
      rowSums: saved.rowSums.raw,
      dx: gradients.x?.raw,
      dweight: gradients.weight?.raw,
      dbias: gradients.bias?.raw,
      dlogprob: upstream.logprob?.raw,
      dlse: upstream.lse?.raw,
      dentropy: upstream.entropy?.raw,
    };
    launch(native.linearLogprobsBackward, own, idFields(saved));
    return gradients;
  },
});

/**
 * The class of the largest logit in each row of x·weightᵀ + bias, the first one of equals, without
 * the logits. Not differentiable.
 *
 * x [..., D], weight [V, D] -> int32 [...]
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments.
 * @example const accuracy = sp.linearArgmax(hidden, head).eq(target.to('int32'))
 */
export const linearArgmax: Op<
  <D extends DType>(x: Tensor<D>, weight: Tensor<D>, options?: LinearOptions) => Tensor<'int32'>
> = defineOp({
  name: 'linearArgmax',
  builtin: true,
  inputs: ['x', 'weight'],
  optionTensors: ['bias'],
  options: [...logitOptionNames, 'workspaceBytes'],
  check({ x, weight, bias }, options: LinearOptions) {
    checkLinear('linearArgmax', x, weight, bias);
    checkLinearOptions('linearArgmax', options);
  },
  forward({ x, weight, bias }, options: LinearOptions) {
    const output = empty((x.shape as Shape).slice(0, -1), 'int32');
    launch(native.linearArgmax, { out: output.raw }, linearFields(x, weight, bias, options));
    return { output };
  },
});

/** Options of `linearCrossEntropyPartials`. */
export interface PartialsOptions extends LinearOptions {
  /** The class of the shard's first row; default 0. */
  vocabOffset?: number | undefined;
  /** Rows with this target count as certain: merged, their loss is 0; default -100. */
  ignoreIndex?: number | undefined;
}

/** What one shard of the classes contributes to each row; float32, of the shape of target. */
export interface Partials {
  /** The largest logit of the shard. */
  max: Tensor<'float32'>;
  /** Sum of e^(z - max) over the shard, without the target. */
  sumExp: Tensor<'float32'>;
  /** z of the target, -inf if the shard lacks it. */
  targetLogit: Tensor<'float32'>;
  /** Sum of z over the shard. */
  sumLogits: Tensor<'float32'>;
}

function checkOffset(op: string, vocabOffset: unknown = 0): void {
  expectNumber(op, 'vocabOffset', vocabOffset, { min: 0, integer: true });
}

const partialsName = 'linearCrossEntropyPartials';

/**
 * The partial sums of one shard of a vocabulary, for `mergePartials`. Not differentiable: see
 * `raw.linearCrossEntropy.backwardShard`.
 *
 * x [..., D], shard [V', D], target [...] (classes of the whole vocabulary) -> Partials
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_OUT_OF_RANGE for a negative target that is not ignoreIndex.
 */
export const linearCrossEntropyPartials: Op<
  <D extends DType>(
    x: Tensor<D>,
    shard: Tensor<D>,
    target: Tensor,
    options?: PartialsOptions,
  ) => Partials
> = defineOp({
  name: partialsName,
  builtin: true,
  inputs: ['x', 'shard', 'target'],
  optionTensors: ['bias'],
  options: [...logitOptionNames, 'ignoreIndex', 'vocabOffset', 'workspaceBytes'],
  check({ x, shard, target, bias }, options: PartialsOptions) {
    checkLinear(partialsName, x, shard, bias, 'shard');
    checkTarget(partialsName, 'target', target, x);
    checkLinearOptions(partialsName, options);
    checkIgnoreIndex(partialsName, options.ignoreIndex);
    checkOffset(partialsName, options.vocabOffset);
  },
  forward({ x, shard, target, bias }, options: PartialsOptions) {
    const output = () => empty(target.shape as Shape, 'float32');
    const outputs = {
      max: output(),
      sumExp: output(),
      targetLogit: output(),
      sumLogits: output(),
    };
    const own = {
      target: target.raw,
      ignoreIndex: options.ignoreIndex ?? -100,
      vocabOffset: options.vocabOffset ?? 0,
      max: outputs.max.raw,
      sumExp: outputs.sumExp.raw,
      targetLogit: outputs.targetLogit.raw,
      sumLogits: outputs.sumLogits.raw,
    };
    launch(native.linearCrossEntropyPartials, own, linearFields(x, shard, bias, options));
    return { outputs };
  },
});

const parts = ['max', 'sumExp', 'targetLogit', 'sumLogits'] as const;

function checkPartials(list: readonly Partials[]): void {
  if (!Array.isArray(list) || list.length === 0) {
    fail('mergePartials', 'ERR_INVALID_TYPE', 'expected a list of at least one result');
  }
  const shape = list[0]?.max?.shape;
  for (const [i, part] of list.entries()) {
    for (const key of parts) {
      const t = part?.[key];
      expectTensor('mergePartials', `list[${i}].${key}`, t);
      expectDType('mergePartials', `list[${i}].${key}`, t, ['float32']);
      expectShape('mergePartials', `list[${i}].${key}`, t, shape, 'like the first');
    }
  }
}

/**
 * Loss, lse and log-probability of each row from the partials of all shards, in any order. Not
 * differentiable.
 *
 *   lse = max + log(sum of others + e^(z_y - max)),  loss = lse - z_y, both without cancellation
 *
 * Partials of the shards, each [...] -> { loss, lse, logprob }, each [...].
 *
 * @throws ERR_INVALID_TYPE for an empty list, ERR_SHAPE where shapes differ.
 */
export function mergePartials(list: readonly Partials[]): {
  loss: Tensor<'float32'>;
  lse: Tensor<'float32'>;
  logprob: Tensor<'float32'>;
} {
  checkPartials(list);
  const { shape } = list[0].max;
  const read = (t: Tensor) => readData(t) as Float32Array;
  const shards = list.map((part) => parts.slice(0, 3).map((key) => read(part[key])));
  const rows = list[0].max.size;
  const values = { loss: new Float32Array(rows), lse: new Float32Array(rows) };
  for (let row = 0; row < rows; row++) {
    let max = Number.NEGATIVE_INFINITY;
    let target = Number.NEGATIVE_INFINITY;
    for (const [maxima, , targets] of shards) {
      max = Math.max(max, maxima[row]);
      target = Math.max(target, targets[row]);
    }
    let others = 0;
    for (const [maxima, sums] of shards) {
      if (maxima[row] !== Number.NEGATIVE_INFINITY)
        others += sums[row] * Math.exp(maxima[row] - max);
    }
    const own = Math.exp(target - max);
    const loss = others < own ? Math.log1p(others / own) : Math.log(others + own) + (max - target);
    values.lse[row] = max + (own === 1 ? Math.log1p(others) : Math.log(others + own));
    values.loss[row] = loss;
  }
  const made = (data: Float32Array) => tensor(data, { shape, device: list[0].max.device });
  return {
    loss: made(values.loss),
    lse: made(values.lse),
    logprob: made(values.loss.map((loss) => -loss)),
  };
}

/** Options of `raw.linearCrossEntropy.backwardShard`. */
export interface BackwardShardOptions extends PartialsOptions {
  /** lse of the whole vocabulary: float32, of the shape of target. */
  lse: Tensor;
  /** d(result)/d(loss of each row): float32, of the shape of target. */
  gradLoss: Tensor;
}

const shardName = 'linearCrossEntropy.backwardShard';

/**
 * The gradients of one shard: dz = gradLoss·(e^(z - lse) - 1_y), dx = dz·shard (to be summed over
 * the shards), dShard = dzᵀ·x.
 */
export function backwardShard(
  x: Tensor,
  shard: Tensor,
  target: Tensor,
  options: BackwardShardOptions,
): { dx: Tensor; dShard: Tensor } {
  for (const [key, t] of Object.entries({ x, shard, target })) expectTensor(shardName, key, t);
  expectOptions(shardName, options, [
    ...logitOptionNames,
    'bias',
    'ignoreIndex',
    'vocabOffset',
    'workspaceBytes',
    'lse',
    'gradLoss',
  ]);
  const { bias, lse, gradLoss } = options ?? {};
  for (const [key, t] of Object.entries({ lse, gradLoss, ...(bias && { bias }) })) {
    expectTensor(shardName, key, t);
  }
  checkLinear(shardName, x, shard, bias, 'shard');
  checkTarget(shardName, 'target', target, x);
  checkLinearOptions(shardName, options);
  checkIgnoreIndex(shardName, options.ignoreIndex);
  checkOffset(shardName, options.vocabOffset);
  for (const [key, t] of Object.entries({ lse, gradLoss })) {
    expectDType(shardName, key, t, ['float32']);
    expectShape(shardName, key, t, target.shape, `like target ${showShape(target.shape)}`);
  }
  const dx = empty(x.shape, x.dtype, false, x.device);
  const dShard = empty(shard.shape, shard.dtype, false, shard.device);
  const own = {
    target: target.raw,
    ignoreIndex: options.ignoreIndex ?? -100,
    vocabOffset: options.vocabOffset ?? 0,
    lse: lse.raw,
    gradLoss: gradLoss.raw,
    dx: dx.raw,
    dweight: dShard.raw,
  };
  launch(native.linearCrossEntropyShardBackward, own, linearFields(x, shard, bias, options));
  return { dx, dShard };
}

declare module '../tape.js' {
  interface RawOps {
    /** The logit-free loss, with the backward of one shard of a vocabulary. */
    linearCrossEntropy: RawOp & { backwardShard: typeof backwardShard };
  }
}
Object.assign(linearCrossEntropy.raw, { backwardShard });
