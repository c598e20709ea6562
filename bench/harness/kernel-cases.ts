// What bench/ops/kernels.bench.ts runs on a device: operations, shapes, goals on an H100.
import * as sp from '../../src/index.js';

type Float = 'float32' | 'bfloat16' | 'float16';
type Inputs = sp.Tensor[];

export interface Operation {
  /** Its inputs for [n, v], and d where it has features. */
  make(n: number, v: number, dtype: Float, d: number): Inputs;
  call(inputs: Inputs): sp.Tensor[];
  /** Elements read and written, in rows of v; 0: bound by its products. */
  passes: number;
  /** Products of n x d with d x v that the result takes at least. */
  products?: number;
}

const randn = (shape: number[], dtype: Float, requiresGrad = false) =>
  sp.randn(shape, { dtype, requiresGrad }) as sp.Tensor;
const rows = (n: number, v: number, dtype: Float) => [randn([n, v], dtype)];
const labelled =
  (requiresGrad: boolean) =>
  (n: number, v: number, dtype: Float): Inputs => [
    randn([n, v], dtype, requiresGrad),
    sp.randint(0, v, [n]) as sp.Tensor,
  ];
const normed = (n: number, v: number, dtype: Float) => [
  ...rows(n, v, dtype),
  randn([v], dtype),
  randn([v], dtype),
];
const two = (n: number, v: number, dtype: Float) => [...rows(n, v, dtype), ...rows(n, v, dtype)];

function lossGradient([logits, target]: Inputs): sp.Tensor[] {
  const loss = sp.crossEntropy(logits, target as never);
  const gradients = sp.grad(loss, [logits]) as sp.Tensor[];
  loss.dispose();
  return gradients;
}

/** The gradients of y = f(inputs but the last), whose upstream gradient is the last input. */
function pulledBack(f: (inputs: Inputs) => sp.Tensor): Operation['call'] {
  return (inputs) => {
    const y = f(inputs);
    const wanted = inputs.filter((t) => t.requiresGrad);
    const gradients = sp.grad(y, wanted, { gradOutputs: inputs.at(-1)! }) as sp.Tensor[];
    y.dispose();
    return gradients;
  };
}
const learned = (n: number, v: number, dtype: Float) => [
  randn([n, v], dtype, true),
  randn([v], dtype, true),
  randn([v], dtype, true),
  ...rows(n, v, dtype),
];
const upstream = (n: number, v: number, dtype: Float) => [
  randn([n, v], dtype, true),
  ...rows(n, v, dtype),
];

const scored =
  (needs: boolean[], ignored = 0) =>
  (n: number, v: number, dtype: Float, d: number): Inputs => {
    const target = Int32Array.from({ length: n }, (_, i) =>
      i % 100 < 100 * ignored ? -100 : (i * 7919) % v,
    );
    return [randn([n, d], dtype, needs[0]), randn([v, d], dtype, needs[1]), sp.tensor(target)];
  };
const head = ([x, weight, target]: Inputs, workspaceBytes?: number) =>
  sp.linearCrossEntropy(x, weight as never, target as never, { workspaceBytes }) as sp.Tensor;
/** Exponentials of all rows fit, which saves a product. */
const roomy = 4.5 * 2 ** 30;
function headGradient(inputs: Inputs, workspaceBytes?: number): sp.Tensor[] {
  const loss = head(inputs, workspaceBytes);
  const gradients = sp.grad(
    loss,
    inputs.filter((t) => t.requiresGrad),
  ) as sp.Tensor[];
  loss.dispose();
  return gradients;
}

/** The fast way: exponentials kept, the weight's gradient added to the float32 one of the optimiser. */
function intoMain([x, weight, target, mainGrad]: Inputs): sp.Tensor[] {
  const options = { mainGrad: mainGrad as sp.Tensor<'float32'>, workspaceBytes: 2 * 2 ** 30 };
  const loss = sp.linearCrossEntropy(x, weight as never, target as never, options) as sp.Tensor;
  loss.backward();
  loss.dispose();
  const gradient = x.grad as sp.Tensor;
  x.grad = null;
  return [gradient];
}

const clouds =
  (requiresGrad: boolean) =>
  (n: number, v: number, dtype: Float, d: number): Inputs => [
    randn([n, d], dtype, requiresGrad),
    randn([v, d], dtype),
  ];
const sinkhornIterations = 20;

/** A fixed number of iterations, of two passes over all pairs each, cost held where that pays. */
function passes([x, y]: Inputs): sp.Tensor[] {
  const options = { blur: 0.5, tolerance: 0, maxIterations: sinkhornIterations, debias: false };
  return [sp.sinkhornDivergence(x as never, y as never, options)];
}

/** As many matrices of v x v as make n rows. */
const matrices =
  (requiresGrad: boolean) =>
  (n: number, v: number, dtype: Float): Inputs => [
    randn([n / v, v, v], dtype, requiresGrad),
    randn([n / v, v, v], dtype),
  ];

/** GeomLoss's iterates, debiased, and their gradient. */
function transportGradient([x, y]: Inputs): sp.Tensor[] {
  const loss = sp.sinkhornDivergence(x as never, y as never, { blur: 0.5, solver: 'geomloss' });
  const gradients = sp.grad(loss, [x]) as sp.Tensor[];
  loss.dispose();
  return gradients;
}

/** n / v crops of v x v, of noise, which takes longest to match. */
function crops(n: number, v: number, dtype: Float): Inputs {
  const image = (requiresGrad: boolean) =>
    sp.rand([Math.ceil(n / v), 1, v, v], { dtype, requiresGrad }) as sp.Tensor;
  return [image(true), image(false)];
}
function matchingGradient([prediction, target]: Inputs): sp.Tensor[] {
  const loss = sp.bettiMatchingLoss(prediction as never, target);
  const gradients = sp.grad(loss, [prediction]) as sp.Tensor[];
  loss.dispose();
  return gradients;
}

function copied([from, to]: Inputs): sp.Tensor[] {
  to.copy_(from as never);
  return [];
}

export const operations: Record<string, Operation> = {
  copy: { make: two, call: copied, passes: 2 },
  crossEntropy: {
    make: labelled(false),
    call: ([z, y]) => [sp.crossEntropy(z, y as never)],
    passes: 1,
  },
  'crossEntropy gradient': { make: labelled(true), call: lossGradient, passes: 2 },
  softmax: { make: rows, call: ([x]) => [sp.softmax(x)], passes: 2 },
  logSoftmax: { make: rows, call: ([x]) => [sp.logSoftmax(x)], passes: 2 },
  logsumexp: { make: rows, call: ([x]) => [sp.logsumexp(x)], passes: 1 },
  divergence: { make: two, call: ([p, q]) => [sp.divergence(p, q)], passes: 2 },
  // Logits and the cosines of as many rows.
  emo: {
    make: (n, v, dtype) => [...labelled(false)(n, v, dtype), randn([v, v], dtype)],
    call: ([z, y, cosines]) => [sp.emo(z, y as never, { cosines })],
    passes: 2,
  },
  uldLoss: { make: two, call: ([p, q]) => [sp.uldLoss(p, q)], passes: 2 },
  sinkd: { make: two, call: ([p, q]) => [sp.sinkd(p, q as never)], passes: 2 },
  layerNorm: {
    make: normed,
    call: ([x, weight, bias]) => [sp.layerNorm(x, { weight, bias } as never)],
    passes: 2,
  },
  rmsNorm: {
    make: normed,
    call: ([x, weight]) => [sp.rmsNorm(x, { weight } as never)],
    passes: 2,
  },
  'softmax gradient': { make: upstream, call: pulledBack(([x]) => sp.softmax(x)), passes: 5 },
  'layerNorm gradient': {
    make: learned,
    call: pulledBack(([x, weight, bias]) => sp.layerNorm(x, { weight, bias } as never)),
    passes: 5,
  },
  add: { make: two, call: ([a, b]) => [a.add(b)], passes: 3 },
  gelu: { make: rows, call: ([x]) => [sp.gelu(x)], passes: 2 },
  transpose: { make: rows, call: ([x]) => [sp.transpose(x)], passes: 2 },
  sum: { make: rows, call: ([x]) => [sp.sum(x, { dim: 1 })], passes: 1 },
  'sum of columns': { make: rows, call: ([x]) => [sp.sum(x, { dim: 0 })], passes: 1 },
  'sum of all': { make: rows, call: ([x]) => [sp.sum(x)], passes: 1 },
  'variance of columns': {
    make: rows,
    call: ([x]) => [sp.var(x, { dim: 0 })],
    passes: 1,
  },
  matmul: {
    make: (n, v, dtype) => [randn([n, v], dtype), randn([v, n], dtype)],
    call: ([a, b]) => [sp.matmul(a, b)],
    passes: 0,
  },
  linearLogprobs: {
    make: scored([false, false]),
    call: ([x, weight, target]) => Object.values(sp.linearLogprobs(x, weight, target)),
    passes: 0,
    products: 1,
  },
  linearCrossEntropy: {
    make: scored([false, false]),
    call: (inputs) => [head(inputs)],
    passes: 0,
    products: 1,
  },
  'linearCrossEntropy gradient': {
    make: scored([true, true]),
    call: (inputs) => headGradient(inputs),
    passes: 0,
    products: 3,
  },
  'linearCrossEntropy gradient, large workspace': {
    make: scored([true, true]),
    call: (inputs) => headGradient(inputs, roomy),
    passes: 0,
    products: 3,
  },
  'linearCrossEntropy gradient, 2 GiB and main gradient': {
    make: (n, v, dtype, d) => [
      ...scored([true, true])(n, v, dtype, d),
      sp.zeros([v, d]) as sp.Tensor,
    ],
    call: intoMain,
    passes: 0,
    products: 3,
  },
  'linearCrossEntropy gradient, half ignored': {
    make: scored([true, true], 0.5),
    call: (inputs) => headGradient(inputs),
    passes: 0,
    products: 1.5,
  },
  'linearCrossEntropy gradient, frozen head': {
    make: scored([true, false]),
    call: (inputs) => headGradient(inputs, roomy),
    passes: 0,
    products: 2,
  },
  'sinkhorn passes': {
    make: clouds(false),
    call: passes,
    passes: 0,
    products: 2 * sinkhornIterations,
  },
  'sinkhorn gradient': { make: clouds(true), call: transportGradient, passes: 0, products: 1 },
  'slicedWasserstein gradient': {
    make: (n, _v, dtype, d) => [randn([n, d], dtype, true), randn([n, d], dtype)],
    call: ([x, y]) => {
      const loss = sp.slicedWasserstein(x as never, y as never, { projections: 64, seed: 1 });
      const gradients = sp.grad(loss, [x]) as sp.Tensor[];
      loss.dispose();
      return gradients;
    },
    passes: 0,
  },
  sinkhornKnopp: {
    make: matrices(false),
    call: ([x]) => [sp.sinkhornKnopp(x as never)],
    passes: 2,
  },
  // Backward alone reads both and writes one; the forward before it reads and writes.
  'sinkhornKnopp gradient': {
    make: matrices(true),
    call: pulledBack(([x]) => sp.sinkhornKnopp(x as never)),
    passes: 5,
  },
  'bettiMatchingLoss gradient': { make: crops, call: matchingGradient, passes: 3 },
};

export interface Case {
  op: string;
  n: number;
  v: number;
  d?: number;
  dtype: Float;
  /** GB/s on an H100, or milliseconds where d is given. */
  goal?: number;
}

function forward(v: number): number {
  if (v >= 8192) return 3100;
  return v >= 1000 ? 2800 : 2000;
}

const lossShapes = [
  [65536, 256],
  [32768, 1000],
  [16384, 4096],
  [16384, 4099],
  [8192, 8192],
  [8192, 32000],
  [8192, 50257],
  [8192, 50264],
  [8192, 128256],
  [8192, 256000],
] as const;
const goalMs: Record<number, number> = { 128256: 1.45, 256000: 2.9 };

export const cases: Case[] = [
  ...lossShapes.map(([n, v]) => ({
    op: 'crossEntropy',
    n,
    v,
    dtype: 'bfloat16' as const,
    goal: forward(v),
  })),
  ...lossShapes.map(([n, v]) => ({
    op: 'crossEntropy gradient',
    n,
    v,
    dtype: 'bfloat16' as const,
    goal: goalMs[v] && (2 * n * v * 2) / goalMs[v] / 1e6,
  })),
  { op: 'crossEntropy', n: 8192, v: 128256, dtype: 'float32', goal: 3100 },
  { op: 'crossEntropy gradient', n: 8192, v: 32000, dtype: 'float32' },
  ...[
    'softmax',
    'softmax gradient',
    'logSoftmax',
    'logsumexp',
    'divergence',
    'layerNorm',
    'layerNorm gradient',
    'rmsNorm',
  ].flatMap((op) =>
    (
      [
        [32768, 4096],
        [8192, 32000],
      ] as const
    ).map(([n, v]) => ({ op, n, v, dtype: 'bfloat16' as const })),
  ),
  { op: 'emo', n: 8192, v: 32000, dtype: 'bfloat16' },
  { op: 'sinkd', n: 64, v: 32128, dtype: 'bfloat16' },
  { op: 'sinkd', n: 512, v: 128256, dtype: 'bfloat16' },
  { op: 'uldLoss', n: 1024, v: 128256, dtype: 'bfloat16' },
  ...[
    'add',
    'gelu',
    'transpose',
    'sum',
    'sum of columns',
    'sum of all',
    'variance of columns',
  ].flatMap((op) =>
    (['float32', 'bfloat16'] as const).map((dtype) => ({ op, n: 16384, v: 8192, dtype })),
  ),
  ...(
    [
      [4096, 4096],
      [8192, 8192],
      [4096, 4099], // rows of a start anywhere: mma.sync and guarded loads
      [512, 65536], // a long sum into few tiles
    ] as const
  ).map(([n, v]) => ({ op: 'matmul', n, v, dtype: 'bfloat16' as const })),
  { op: 'matmul', n: 4096, v: 4096, dtype: 'float32' },
  ...(
    [
      ['linearLogprobs', 8192, 131072, 4096, 11.9],
      ['linearCrossEntropy', 8192, 128256, 4096, undefined],
      ['linearCrossEntropy', 8192, 256000, 2304, undefined],
      ['linearCrossEntropy gradient', 8192, 128256, 4096, 46],
      ['linearCrossEntropy gradient', 8192, 256000, 2304, 52],
      ['linearCrossEntropy gradient, large workspace', 8192, 128256, 4096, 34.5],
      ['linearCrossEntropy gradient, large workspace', 8192, 256000, 2304, 40],
      ['linearCrossEntropy gradient, 2 GiB and main gradient', 8192, 128256, 4096, 34.5],
      ['linearCrossEntropy gradient, 2 GiB and main gradient', 8192, 256000, 2304, 40],
      ['linearCrossEntropy gradient, 2 GiB and main gradient', 1024, 128256, 4096, 4.2],
      ['linearCrossEntropy gradient, half ignored', 8192, 128256, 4096, 0.53 * 46],
      ['linearCrossEntropy gradient, frozen head', 8192, 128256, 4096, 23],
      ['linearCrossEntropy gradient, frozen head', 8192, 256000, 2304, 26],
    ] as const
  ).map(([op, n, v, d, goal]) => ({ op, n, v, d, dtype: 'bfloat16' as const, goal })),
  // Goals: 0.55 ps a pair and pass.
  ...(
    [
      ['sinkhorn passes', 1000, 1000, 3, undefined],
      ['sinkhorn passes', 10000, 10000, 3, undefined],
      ['sinkhorn passes', 10000, 10000, 64, 2.2],
      ['sinkhorn passes', 50000, 50000, 64, 55],
      ['sinkhorn gradient', 1024, 1024, 3, undefined],
      ['sinkhorn gradient', 1024, 1024, 64, undefined],
    ] as const
  ).map(([op, n, v, d, goal]) => ({ op, n, v, d, dtype: 'float32' as const, goal })),
  ...[2000, 100000].map((n) => ({
    op: 'slicedWasserstein gradient',
    n,
    v: n,
    d: 3,
    dtype: 'float32' as const,
  })),
  ...(
    [
      ['sinkhornKnopp', 2 ** 22, 4],
      ['sinkhornKnopp gradient', 2 ** 22, 4],
      ['sinkhornKnopp', 2 ** 18, 32],
      ['sinkhornKnopp', 2048, 2048],
      ['sinkhornKnopp gradient', 2048, 2048],
    ] as const
  ).map(([op, n, v]) => ({ op, n, v, dtype: 'float32' as const })),
  // 256 crops; the goal is 20 x the reference's 3.8 ms a crop and core on 16 cores.
  { op: 'bettiMatchingLoss gradient', n: 256 * 48, v: 48, dtype: 'float32', goal: 2.3 },
  { op: 'bettiMatchingLoss gradient', n: 256 * 64, v: 64, dtype: 'float32' },
];
