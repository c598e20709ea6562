// A row gives the same bits wherever it lies: alone, in a batch, in a batch of another order, and
// in memory that begins off 16 bytes; value and gradient. With an odd number of classes rows begin
// anywhere, so that neighbouring rows differ in how they lie.
import { describe, test } from 'vitest';
import * as sp from '../../src/index.js';
import { drawClassWeight } from '../cases/cross-entropy.js';
import { expectSameBits } from '../harness/compare.js';
import { inTurn, isOnCpu } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, indices } from '../harness/tensors.js';

const dtypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

/** Rows of a problem: matrices are (rows, V), vectors (V), numbers and labels (rows). */
interface Rows {
  matrices: Float64Array[];
  vectors: Float64Array[];
  numbers: Float64Array;
  labels: Int32Array;
}
type Place = (values: Float64Array, dtype: FloatDType, shape: readonly number[]) => AnyTensor;
/** Results with a leading axis of rows; `place` makes the matrices. */
type Run = (rows: Rows, V: number, dtype: FloatDType, place: Place) => AnyTensor[];

const placed: Place = (values, dtype, shape) => floats(values, dtype, shape);

/** One element off 16 bytes, where memory is a device's. */
const shifted: Place = (values, dtype, shape) => {
  const padded = new Float64Array(values.length + 1);
  padded.set(values, 1);
  const owner = floats(padded, dtype, [padded.length]);
  const bytes = BigInt(bits(owner).byteLength / padded.length);
  const pointer = owner.pointer + bytes;
  return sp.cuda.fromPointer(pointer, { shape: [...shape], dtype, owner }) as AnyTensor;
};

const withGradient = (t: AnyTensor) => t.requiresGrad_() as AnyTensor;

function crossEntropy(options: object, weighted: boolean, soft: boolean): Run {
  return ({ matrices: [x, target], vectors: [w], numbers, labels }, V, dtype, place) => {
    const N = labels.length;
    const logits = withGradient(place(x, dtype, [N, V]));
    const tokenWeight = weighted ? floats(numbers, 'float32', [N]) : undefined;
    const classWeight = weighted ? floats(w, 'float32', [V]) : undefined;
    const loss = sp.crossEntropy(
      logits,
      soft ? place(target, dtype, [N, V]) : indices(labels, [N]),
      { ...options, classWeight, tokenWeight, reduction: 'none' } as object,
    ) as AnyTensor;
    loss.backward(floats(numbers, loss.dtype as FloatDType, [N]));
    return [loss, gradOf(logits)];
  };
}

/** An operation on x alone, and its gradient of the second matrix. */
function unary(
  f: (x: AnyTensor, rows: Rows, V: number, dtype: FloatDType) => [AnyTensor, ...AnyTensor[]],
): Run {
  return (rows, V, dtype, place) => {
    const shape = [rows.labels.length, V];
    const x = withGradient(place(rows.matrices[0], dtype, shape));
    const [y] = f(x, rows, V, dtype);
    y.backward(
      y.rank === 1
        ? floats(rows.numbers, dtype, [shape[0]])
        : place(rows.matrices[1], dtype, shape),
    );
    return [y, gradOf(x)];
  };
}

function norm(name: 'layerNorm' | 'rmsNorm', trained: boolean): Run {
  return unary((x, { vectors: [w, b] }, V, dtype) => {
    const weight = floats(w, dtype, [V], trained);
    const bias = floats(b, dtype, [V], trained);
    const y = name === 'layerNorm' ? sp.layerNorm(x, { weight, bias }) : sp.rmsNorm(x, { weight });
    return [y as AnyTensor, weight, bias];
  });
}

const divergence =
  (kind: 'kl' | 'jensenShannon'): Run =>
  ({ matrices, numbers }, V, dtype, place) => {
    const N = numbers.length;
    const [student, teacher] = matrices.map((m) => withGradient(place(m, dtype, [N, V])));
    const loss = sp.divergence(student, teacher, { kind, reduction: 'none' }) as AnyTensor;
    loss.backward(floats(numbers, loss.dtype as FloatDType, [N]));
    return [loss, gradOf(student), gradOf(teacher)];
  };

const subjects: Record<string, Run> = {
  crossEntropy: crossEntropy({ zLoss: 0.01 }, false, false),
  'crossEntropy, every option': crossEntropy({ labelSmoothing: 0.1, softcap: 20 }, true, false),
  'crossEntropy, probabilities': crossEntropy({ labelSmoothing: 0.1 }, true, true),
  softmax: unary((x) => [sp.softmax(x) as AnyTensor]),
  logSoftmax: unary((x) => [sp.logSoftmax(x) as AnyTensor]),
  logsumexp: unary((x) => [sp.logsumexp(x, { dim: -1 }) as AnyTensor]),
  layerNorm: norm('layerNorm', false),
  'layerNorm, trained': norm('layerNorm', true),
  rmsNorm: norm('rmsNorm', false),
  'divergence, kl': divergence('kl'),
  'divergence, jensenShannon': divergence('jensenShannon'),
};

function draw(N: number, V: number, dtype: FloatDType): Rows {
  const random = new Random(V);
  const matrix = () => roundAll(random.normals(N * V, 3), dtype);
  const x = matrix();
  // What a neighbour holds must not leak.
  x.fill(Number.NaN, V, V + 1);
  x.fill(Number.POSITIVE_INFINITY, 2 * V - 1, 2 * V);
  const target = roundAll(random.uniforms(N * V, 0, 2 / V), dtype);
  const weights = roundAll(drawClassWeight(random, V), 'float32');
  return {
    matrices: [x, target],
    vectors: [weights, roundAll(random.normals(V), 'float32')],
    numbers: roundAll(random.uniforms(N, 0.5, 2), 'float32'),
    labels: Int32Array.from({ length: N }, (_, n) => (n === 0 ? V - 1 : random.integer(V))),
  };
}

function pick(rows: Rows, order: readonly number[], V: number): Rows {
  const of = <A extends Float64Array | Int32Array>(all: A, width: number): A => {
    const out = new (all.constructor as new (n: number) => A)(order.length * width);
    for (const [i, n] of order.entries())
      out.set(all.subarray(n * width, (n + 1) * width), i * width);
    return out;
  };
  return {
    matrices: rows.matrices.map((m) => of(m, V)),
    vectors: rows.vectors,
    numbers: of(rows.numbers, 1),
    labels: of(rows.labels, 1),
  };
}

function expectSameRows(run: Run, N: number, V: number, dtype: FloatDType) {
  const rows = draw(N, V, dtype);
  const rowsOf = (order: readonly number[], place = placed) =>
    run(pick(rows, order, V), V, dtype, place).map((t) => {
      const all = new Uint8Array(bits(t).buffer, bits(t).byteOffset, bits(t).byteLength);
      const width = all.length / order.length;
      return order.map((_, i) => all.subarray(i * width, (i + 1) * width));
    });
  const batch = Array.from({ length: N }, (_, n) => n);
  const expected = rowsOf(batch);
  const compare = (order: readonly number[], how: string, place = placed) => {
    for (const [k, result] of rowsOf(order, place).entries())
      for (const [i, n] of order.entries())
        expectSameBits(result[i], expected[k][n], `result ${k} of row ${n} of ${V} ${how}`);
  };
  compare([...batch.slice(1), 0].reverse(), 'in another order', isOnCpu ? placed : shifted);
  for (const n of N > 4 ? [0, 2, N - 1] : [N - 1]) compare([n], 'alone');
}

describe.each(Object.entries(subjects))('%s', (_, run) => {
  describe.each(dtypes)('%s', (dtype) => {
    test('short rows', () => {
      for (const V of [1, 3, 7, 8, 17, 250, 256]) expectSameRows(run, 9, V, dtype);
    });
    const turn = dtypes.indexOf(dtype) % 2;
    test.each(inTurn([1000, 1001, 4099, 4096], turn, 2))('%i', (V) =>
      expectSameRows(run, 5, V, dtype),
    );
  });
  test.each([
    [32_001, 'float32'],
    [50_257, 'bfloat16'],
  ] as [number, FloatDType][])('%i, %s', (V, dtype) => expectSameRows(run, 2, V, dtype));
});

// On CUDA: what no cluster of blocks holds, gone over in parts.
test.each([
  ['crossEntropy', 460_003, 'float32'],
  ['crossEntropy, every option', 240_001, 'float64'],
  ['crossEntropy, probabilities', 240_001, 'float64'],
  ['softmax', 132_001, 'bfloat16'],
  ['layerNorm', 132_001, 'bfloat16'],
] as [string, number, FloatDType][])('%s, %i, %s', (name, V, dtype) => {
  expectSameRows(subjects[name], 2, V, dtype);
});
