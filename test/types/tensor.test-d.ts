// Compiled, never run: what the types accept, refuse and infer.
import * as sp from '../../src/index.js';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function is<T extends true>(): T | undefined {
  return undefined;
}

const zeros = sp.zeros([4, 10]);
is<Equal<typeof zeros, sp.Tensor<'float32', readonly [4, 10]>>>();
const wide = sp.ones([3], { dtype: 'float64' });
is<Equal<typeof wide, sp.Tensor<'float64', readonly [3]>>>();
const ids = sp.tensor(new Int32Array(5));
is<Equal<typeof ids, sp.Tensor<'int32', sp.Shape>>>();
const targets = sp.tensor(new BigInt64Array(5), { shape: [5] });
is<Equal<typeof targets, sp.Tensor<'int64', readonly [5]>>>();
is<Equal<ReturnType<typeof targets.item>, bigint>>();
is<Equal<ReturnType<typeof wide.dataSync>, Float64Array>>();

const flags = sp.tensor([[true], [false]]);
is<Equal<(typeof flags)['dtype'], 'bool'>>();
const numbers = sp.tensor([[1, 2]]);
is<Equal<(typeof numbers)['dtype'], 'float32'>>();

// @ts-expect-error: not a dtype
sp.zeros([1], { dtype: 'float8' });
// @ts-expect-error: not an option
sp.zeros([1], { dtyp: 'float32' });
// @ts-expect-error: the shape is read-only
zeros.shape[0] = 3;

const logits = sp.zeros([4, 10]);
const four = sp.zeros([4], { dtype: 'int64' });
const five = sp.zeros([5], { dtype: 'int64' });
const some = sp.zeros([4 as number], { dtype: 'int64' });
sp.crossEntropy(logits, four);
sp.crossEntropy(logits, some);
sp.crossEntropy(logits as sp.Tensor, five as sp.Tensor);
// @ts-expect-error: batch mismatch: logits have 4 rows, targets 5
sp.crossEntropy(logits, five);
// @ts-expect-error: not a reduction
sp.crossEntropy(logits, four, { reduction: 'avg' });

const scalar = sp.crossEntropy(logits, four);
is<Equal<(typeof scalar)['shape'], readonly []>>();
const rows = sp.crossEntropy(logits, four, { reduction: 'none' });
is<Equal<(typeof rows)['shape'], readonly [4]>>();

const maps = sp.zeros([1, 2, 4, 5]);
const unknown: sp.Tensor = maps;
const labels = sp.zeros([1, 4, 5], { dtype: 'int32' });
const whole = sp.zeros([1, 2, 4, 5], { dtype: 'int32' });
sp.bettiMatchingLoss(maps, labels, { filtration: 'both' });
sp.bettiMatchingLoss(unknown, labels);
sp.diceLoss(unknown, unknown);
// @ts-expect-error: of one filtration
sp.bettiMatching(zeros, zeros, { filtration: 'both' });
// @ts-expect-error: of one filtration
sp.persistenceBarcode(zeros, { filtration: 'both' });
const shared: sp.BettiMatchingOptions = { weights: { matched: 2 }, threshold: 0.3 };
sp.persistenceBarcode(zeros, shared);
sp.bettiMatching(zeros, zeros, shared);
sp.bettiMatchingLoss(maps, labels, shared);
// @ts-expect-error: lists no cycles
sp.bettiMatchingLoss(maps, labels, { cycles: true });
// @ts-expect-error: predictions are floats
sp.bettiMatchingLoss(whole, labels);
// @ts-expect-error: predictions are floats
sp.topologyLoss(whole, labels);
// @ts-expect-error: predictions are floats
sp.diceLoss(whole, labels);
// @ts-expect-error: predictions are floats
sp.topographLoss(whole, labels);
// @ts-expect-error: logits are floats
sp.warpingLoss(whole, labels);
// @ts-expect-error: predictions are floats
sp.regionWiseLoss(whole, labels);
// @ts-expect-error: predictions are floats
sp.clDice(whole, labels);
// @ts-expect-error: logits are floats
sp.focalLoss(whole, whole);
// @ts-expect-error: predictions are floats
sp.diuError(whole, labels);

const x = sp.zeros([4, 8]);
const weight = sp.zeros([10, 8]);
sp.linearCrossEntropy(x, weight, four);
// @ts-expect-error: weight has another number of features
sp.linearCrossEntropy(x, sp.zeros([10, 9]), four);
// @ts-expect-error: batch mismatch
sp.linearCrossEntropy(x, weight, five);

// What a result is assigned to does not choose its dtype.
// @ts-expect-error: float32
export const assigned: sp.Tensor<'int64'> = sp.zeros([3]);
// @ts-expect-error: float32
export const drawn: sp.Tensor<'float64'> = sp.randn([3]);
// @ts-expect-error: int64
export const integers: sp.Tensor<'int32'> = sp.randint(3, [2]);
// @ts-expect-error: float32
export const counted: sp.Tensor<'int32'> = sp.arange(3);
// @ts-expect-error: ids are integers
sp.embedding(weight, sp.zeros([2]));

// Arithmetic: one dtype, and the shape where it is known.
const total = [scalar, scalar].reduce((a, b) => a.add(b));
is<Equal<(typeof total)['shape'], readonly []>>();
const scaled = zeros.mul(scalar);
is<Equal<(typeof scaled)['shape'], readonly [4, 10]>>();
const spread = sp.add(scalar, zeros);
is<Equal<(typeof spread)['shape'], readonly [4, 10]>>();
const compared = zeros.gt(sp.zeros([10]));
is<Equal<typeof compared, sp.Tensor<'bool', sp.Shape>>>();
zeros.add(unknown);
sp.mul(unknown, zeros);
const generic = <D extends sp.DType>(a: sp.Tensor<D>, b: sp.Tensor<D>) =>
  sp.add(a.mul(b), sp.matmul(a, b));
generic(zeros, zeros);
// @ts-expect-error: mixed dtypes: float32 and float64
zeros.add(wide);
// @ts-expect-error: mixed dtypes: float32 and float64
sp.add(zeros, wide);
// @ts-expect-error: mixed dtypes: float32 and float64
sp.lt(zeros, wide);
// @ts-expect-error: mixed dtypes: float32 and float64
sp.matmul(zeros, wide);
// @ts-expect-error: mixed dtypes: float32 and float64
zeros.matmul(wide);
// @ts-expect-error: mixed dtypes: float32 and float64
sp.cdist(zeros, wide);

// Code for any dtype, beside tensors whose dtype the compiler does not know.
export class Linear<D extends sp.FloatDType> {
  constructor(readonly weight: sp.Tensor<D>) {}
  forward(input: sp.Tensor<D>): sp.Tensor<D> {
    return input.matmul(this.weight, { transposeB: true }).add(input.cdist(this.weight));
  }
}
export const beside = <D extends sp.FloatDType>(a: sp.Tensor<D>, m: sp.Tensor): sp.Tensor<D>[] => [
  a.mul(m),
  sp.mul(a, m),
  a.matmul(m),
  sp.matmul(a, m),
  a.cdist(m),
  sp.cdist(a, m),
];
export const masked = <D extends sp.FloatDType>(a: sp.Tensor<D>, dtype: sp.DType) => [
  a.add(sp.ones([3], { dtype })),
  a.ge(sp.ones([3], { dtype })),
];
export const doubled = <D extends sp.DType, S extends sp.Shape>(
  a: sp.Tensor<D, S>,
): sp.Tensor<D, S> => a.add(a);

// One of two dtypes, and a tensor or a number.
export function either(
  un: sp.Tensor<'float32'> | sp.Tensor<'float64'>,
  one: sp.Tensor<'float32' | 'float64'>,
  f: sp.Tensor<'float32'>,
  fn: sp.Tensor<'float32'> | number,
) {
  const sums: sp.Tensor<'float32' | 'float64'>[] = [un.add(un), un.mul(2), one.add(one)];
  const masks: sp.Tensor<'bool'>[] = [un.eq(un), un.lt(0), one.eq(one), f.eq(fn)];
  const same: sp.Tensor<'float32'>[] = [f.add(fn), f.maximum(fn), sp.add(f, fn)];
  // @ts-expect-error: mixed dtypes: float32 and float64
  f.add(wide);
  // @ts-expect-error: mixed dtypes: float32 and float64
  f.eq(wide);
  return [un.matmul(un), un.cdist(un), ...sums, ...masks, ...same];
}

// A reduction without options is of all elements: a sum that began as a scalar stays one.
export function accumulated<D extends sp.FloatDType>(
  t: sp.Tensor<'float32'>,
  any: sp.Tensor<D>,
  un: sp.Tensor<'float32'> | sp.Tensor<'float64'>,
) {
  let sum = sp.zeros([]);
  sum = sum.add(t.mean()).add(t.sum()).add(t.max()).add(t.norm()).add(t.std());
  sum = sum.add(sp.mean(t)).add(sp.sum(t)).add(sp.max(t)).add(sp.norm(t)).add(sp.std(t));
  const averages: sp.Tensor<'float32'>[] = [t].map((one) => sp.mean(one, { dim: -1 }));
  let own: sp.Tensor<D> = any.mean();
  own = own.add(any.mean({ dim: 0 })).add(any.sum() as sp.Tensor<D>);
  const count: sp.Tensor<'int64', readonly []> = ids.sum();
  const rowSums: sp.Tensor<'float32'> = t.sum({ dim: 0 });
  return [
    sum,
    own,
    count,
    rowSums,
    ...averages,
    un.mean(),
    un.mean({ dim: 0 }),
    un.max(),
    un.norm({ dim: 0 }),
  ];
}
