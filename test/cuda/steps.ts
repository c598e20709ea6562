// Small steps that together take every kernel, over ragged shapes: what runs under the sanitizers,
// twenty times for the same bits, from a graph, and both on a GPU and on the emulator. A step makes
// its inputs first and then only enqueues work, so that a graph can record it.
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';

export type Float = 'float32' | 'float64' | 'float16' | 'bfloat16';
export const floats: readonly Float[] = ['float32', 'bfloat16', 'float16', 'float64'];

export interface Step {
  name: string;
  /** Makes the inputs on the default device and gives the work. */
  prepare(): () => sp.Tensor[];
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Inputs of one step. */
class Source {
  private readonly random: Random;
  constructor(seed: number) {
    this.random = new Random(seed);
  }
  normal(shape: readonly number[], dtype: sp.DType, requiresGrad = true): sp.Tensor {
    const values = this.random.normals(sizeOf(shape));
    return sp.tensor(values, { shape: [...shape], dtype, requiresGrad }) as sp.Tensor;
  }
  positive(shape: readonly number[], dtype: sp.DType): sp.Tensor {
    const values = this.random.normals(sizeOf(shape)).map((x) => Math.abs(x) + 0.5);
    return sp.tensor(values, { shape: [...shape], dtype, requiresGrad: true }) as sp.Tensor;
  }
  classes(shape: readonly number[], limit: number, dtype: sp.IndexDType = 'int64'): sp.Tensor {
    const values = Array.from({ length: sizeOf(shape) }, () => this.random.integer(limit));
    return sp.tensor(values, { shape: [...shape], dtype }) as sp.Tensor;
  }
}

/** The results, and the gradients of their squares by every input that takes one. */
function withGradients(outputs: sp.Tensor[], inputs: readonly sp.Tensor[]): sp.Tensor[] {
  const roots = outputs.filter((y) => y.requiresGrad);
  const leaves = inputs.filter((x) => x.requiresGrad);
  if (roots.length === 0 || leaves.length === 0) return outputs;
  const total = roots
    .map((y) => y.to('float32').square().sum())
    .reduce((a, b) => a.add(b) as never) as sp.Tensor;
  return [...outputs, ...(sp.grad(total, leaves) as sp.Tensor[])];
}

type Work = (inputs: sp.Tensor[]) => sp.Tensor | sp.Tensor[];
type Make = (source: Source, dtype: Float) => sp.Tensor[];

const list: Step[] = [];
const seen = new Map<string, number>();

/** Adds a step for each dtype. */
function add(name: string, dtypes: readonly Float[], make: Make, work: Work): void {
  for (const dtype of dtypes) {
    const count = (seen.get(name + dtype) ?? 0) + 1;
    seen.set(name + dtype, count);
    const full = `${name}, ${dtype}${count > 1 ? ` (${count})` : ''}`;
    const seed = list.length + 1;
    const prepare = () => {
      const inputs = make(new Source(seed), dtype);
      return () => {
        const outputs = work(inputs);
        return withGradients(Array.isArray(outputs) ? outputs : [outputs], inputs);
      };
    };
    list.push({ name: full, prepare });
  }
}

const two: readonly Float[] = ['float32', 'bfloat16'];

// Rows for a part of a warp, a warp, a block, a cluster; odd lengths, so that rows are misaligned.
for (const [rows, length] of [
  [5, 7],
  [9, 257],
  [3, 4099],
  [2, 20011],
  [1, 100003],
] as const) {
  const of = `[${rows}, ${length}]`;
  const dtypes = length < 1000 ? floats : two;
  const logits: Make = (s, dtype) => [
    s.normal([rows, length], dtype),
    s.classes([rows], length, rows % 2 ? 'int64' : 'int32'),
  ];
  const x: Make = (s, dtype) => [s.normal([rows, length], dtype)];
  add(`crossEntropy ${of}`, dtypes, logits, ([z, y]) => sp.crossEntropy(z, y as never));
  add(`crossEntropy, options ${of}`, dtypes, logits, ([z, y]) =>
    sp.crossEntropy(z, y as never, {
      reduction: 'none',
      labelSmoothing: 0.1,
      zLoss: 0.01,
      softcap: 20,
    }),
  );
  add(`softmax ${of}`, dtypes, x, ([z]) => sp.softmax(z));
  add(`logSoftmax ${of}`, dtypes, x, ([z]) => sp.logSoftmax(z));
  add(`logsumexp ${of}`, two, x, ([z]) => sp.logsumexp(z));
  add(
    `divergence ${of}`,
    two,
    (s, dtype) => [s.normal([rows, length], dtype), s.normal([rows, length], dtype)],
    ([student, teacher]) => sp.divergence(student, teacher, { temperature: 2 }),
  );
  if (length < 50_000) {
    add(
      `emo ${of}`,
      two,
      (s, dtype) => [...logits(s, dtype), s.normal([length, 3], dtype, false)],
      ([z, y, embedding]) => sp.emo(z, y as never, { embedding, combination: 'emo2' }),
    );
  }
  if (length < 5000) {
    const further: Make = (s, dtype) => [
      s.normal([rows, length], dtype),
      s.normal([rows, length + 2], dtype, false),
    ];
    add(`uldLoss ${of}`, two, further, ([p, q]) => sp.uldLoss(p, q as never));
  }
  const scaled: Make = (s, dtype) => [
    s.normal([rows, length], dtype),
    s.normal([length], dtype),
    s.normal([length], dtype),
  ];
  add(`layerNorm ${of}`, dtypes, scaled, ([z, weight, bias]) =>
    sp.layerNorm(z, { weight, bias } as never),
  );
  const scaledOnly: Make = (s, dtype) => scaled(s, dtype).slice(0, 2);
  add(`rmsNorm ${of}`, two, scaledOnly, ([z, weight]) => sp.rmsNorm(z, { weight } as never));
  add(`reductions ${of}`, two, x, ([z]) => [
    sp.sum(z),
    sp.mean(z, { dim: 1 }),
    sp.sum(z, { dim: 0 }),
    sp.max(z, { dim: 1 }),
    sp.var(z, { dim: 1 }),
    sp.norm(z),
    sp.argmax(z, { dim: 1 }),
    sp.argmin(z, { dim: 0 }),
  ]);
}

for (const [problems, rows, length] of [
  [3, 5, 33],
  [1, 70, 130],
]) {
  const rowsOf: Make = (s, dtype) => [
    s.normal([problems, rows, length], dtype),
    s.normal([problems, rows, length], dtype, false),
  ];
  add(`sinkd [${problems}, ${rows}, ${length}]`, two, rowsOf, ([p, q]) =>
    sp.sinkd(p, q as never, { iterations: 3, reduction: 'none' }),
  );
}

const pair: Make = (s, dtype) => [s.normal([5, 1, 33], dtype), s.positive([7, 33], dtype)];
add('arithmetic', floats, pair, ([a, b]) => a.add(b).mul(b).sub(a).div(b));
add('comparison', floats, pair, ([a, b]) => [a.lt(b), sp.where(a.gt(b), a, b), sp.maximum(a, b)]);
add(
  'functions',
  floats,
  (s, dtype) => [s.positive([3, 1001], dtype)],
  ([x]) => [x.exp(), x.log(), x.sqrt(), x.rsqrt(), x.sin(), x.log1p(), x.pow(1.5), x.tanh()],
);
add(
  'activations',
  two,
  (s, dtype) => [s.normal([3, 1001], dtype)],
  ([x]) => [
    sp.gelu(x),
    sp.gelu(x, { approximate: 'tanh' }),
    sp.silu(x),
    sp.relu(x),
    sp.softplus(x),
  ],
);
add(
  'casts',
  floats,
  (s, dtype) => [s.normal([3, 1001], dtype, false)],
  ([x]) =>
    (['float32', 'float64', 'float16', 'bfloat16', 'int32', 'int64', 'uint8', 'bool'] as const).map(
      (t) => x.to(t),
    ),
);
add(
  'movement',
  two,
  (s, dtype) => [s.normal([6, 35, 17], dtype), s.normal([6, 4, 17], dtype)],
  ([x, y]) => [
    sp.permute(x, [2, 0, 1]),
    sp.concat([x, y], { dim: 1 }),
    sp.slice(x, 1, 3, 30, 3),
    sp.tril(x),
    sp.expand(y.sum({ dim: 1, keepDim: true }) as never, [6, 5, 17]),
  ],
);
add(
  'indexing',
  two,
  (s, dtype) => [s.normal([40, 33], dtype), s.classes([70], 40), s.classes([9, 33], 40)],
  ([x, ids, at]) => [sp.embedding(x, ids as never), sp.gather(x, 0, at as never)],
);
for (const [m, k, n] of [
  [1, 7, 5],
  [33, 65, 17],
  [130, 100, 257],
  [136, 200, 72],
]) {
  const factors: Make = (s, dtype) => [s.normal([m, k], dtype), s.normal([k, n], dtype)];
  add(`matmul [${m}, ${k}] [${k}, ${n}]`, floats, factors, ([a, b]) => sp.matmul(a, b));
}
// Clusters of blocks on a device with 132 processors, and a sum over k in parts.
for (const [b, m, k, n] of [
  [33, 136, 64, 136],
  [1, 5, 4104, 8],
]) {
  const factors: Make = (s, dtype) => [s.normal([b, m, k], dtype), s.normal([b, k, n], dtype)];
  add(`matmul [${b}, ${m}, ${k}] [${b}, ${k}, ${n}]`, two, factors, ([x, y]) => sp.matmul(x, y));
}
add(
  'linearCrossEntropy [9, 64] [300, 64]',
  two,
  (s, dtype) => [s.normal([9, 64], dtype), s.normal([300, 64], dtype), s.classes([9], 300)],
  ([x, w, y]) => sp.linearCrossEntropy(x, w, y as never),
);

for (const [n, m, d] of [
  [9, 13, 3],
  [200, 340, 2],
]) {
  const clouds: Make = (s, dtype) => [s.normal([n, d], dtype), s.normal([m, d], dtype)];
  // Of a fixed number of iterations: a graph repeats what was recorded.
  add(`sinkhornDivergence [${n}, ${d}] [${m}, ${d}]`, two, clouds, ([x, y]) =>
    sp.sinkhornDivergence(x as never, y as never, { blur: 0.5, maxIterations: 6 }),
  );
}

// Matrices of a thread, of lanes, of a block, and one of many blocks.
for (const [b, n, m] of [
  [300, 4, 4],
  [50, 12, 9],
  [3, 70, 90],
  [2, 300, 257],
]) {
  const matrices: Make = (s, dtype) => [s.normal([b, n, m], dtype)];
  add(`sinkhornKnopp [${b}, ${n}, ${m}]`, floats, matrices, ([x]) =>
    sp.sinkhornKnopp(x as never, { iterations: 3 }),
  );
}

// A tile of a block, and tiles that are merged.
for (const [n, m, d] of [
  [40, 33, 3],
  [2300, 70, 2],
]) {
  const clouds: Make = (s, dtype) => [s.normal([n, d], dtype), s.normal([m, d], dtype)];
  add(`slicedWasserstein [${n}, ${d}] [${m}, ${d}]`, two, clouds, ([x, y]) =>
    sp.slicedWasserstein(x as never, y as never, { projections: 12, seed: 1 }),
  );
}

// The second has its lists in scratch memory where there is less shared memory than on an H100.
for (const [n, size, dtypes] of [
  [3, 19, two],
  [1, 64, ['float64']],
] as [number, number, Float[]][]) {
  const images: Make = (s, dtype) => [
    s.normal([n, 1, size, size], dtype),
    s.classes([n, 1, size, size], 2).to(dtype).detach(),
  ];
  add(`bettiMatchingLoss [${n}, 1, ${size}, ${size}]`, dtypes, images, ([p, t]) =>
    sp.bettiMatchingLoss(p as never, t, { filtration: n > 1 ? 'both' : 'superlevel' }),
  );
}

/** Weights after some steps of an optimiser, which only a first call may set up. */
function optimiser(name: string, make: (weights: sp.Tensor[]) => sp.optim.Optimizer<never>): void {
  for (const dtype of two) {
    const prepare = () => {
      const s = new Source(7);
      const weights = [s.normal([33, 17], dtype), s.normal([5], dtype)];
      const gradients = [s.normal([33, 17], dtype, false), s.normal([5], dtype, false)];
      const rule = make(weights);
      return () => {
        const loss = weights
          .map((w, i) => w.mul(gradients[i]).sum())
          .reduce((a, b) => a.add(b) as never);
        (loss as sp.Tensor).backward();
        rule.step();
        rule.zeroGrad();
        return weights.map((w) => w.detach().clone());
      };
    };
    list.push({ name: `${name}, ${dtype}`, prepare });
  }
}
optimiser('AdamW', (weights) => new sp.optim.AdamW(weights) as never);
optimiser('SGD', (weights) => new sp.optim.SGD(weights, { lr: 0.1, momentum: 0.9 }) as never);

/** Every step, its name telling operation, shape and dtype. */
export const steps: readonly Step[] = list;
