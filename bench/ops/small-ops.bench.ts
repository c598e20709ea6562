// What an operation costs before it computes anything: additions of [16], forward (goal 3 µs) and
// with their backward (goal 6 µs). And matmul against torch.mm, since models are made of it.
import * as sp from '../../src/index.js';
import { normal } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { limit, probes } from '../harness/roofline.js';
import { type Contender, interleave, setsBeyond } from '../harness/timing.js';

const count = 2000;
const seed = 1;
const chainLength = 32;
const products = [
  [128, 128, 128],
  [512, 512, 512],
  [1024, 1024, 1024],
  [256, 768, 3072],
] as const;

function additions(): Contender[] {
  const [a, b, ones] = [sp.randn([16]), sp.randn([16]), sp.ones([16])];
  const leaf = sp.randn([16], { requiresGrad: true });
  return [
    {
      name: 'forward',
      run() {
        for (let i = 0; i < count; i++) a.add(b);
      },
    },
    {
      name: 'forward + backward',
      run() {
        for (let i = 0; i < count; i++) {
          leaf.zeroGrad();
          leaf.add(b).backward(ones);
        }
      },
    },
    {
      name: `chain of ${chainLength}, forward + backward`,
      run() {
        for (let i = 0; i < count; i += chainLength) {
          leaf.zeroGrad();
          let y: sp.Tensor = leaf;
          for (let k = 0; k < chainLength; k++) y = y.add(b);
          y.backward(ones);
        }
      },
      tidy: () => dropGradients(leaf),
    },
  ];
}

async function* overhead(run: Run): AsyncGenerator<Row> {
  const torch = await run.peer?.setup('smallAdd', { count });
  const ours = additions();
  const peerWays = { forward: 'forward', 'forward + backward': 'forwardBackward' };
  const theirs = Object.entries(torch ? peerWays : {}).map(([name, way]) =>
    torch!.contender(way, `torch ${name}`),
  );
  const samples = await interleave([...ours, ...theirs], {
    seconds: run.seconds,
    atLeast: 15,
  });
  for (const { name } of ours) {
    const sample = samples.get(name)!;
    const peer = samples.get(`torch ${name}`);
    yield {
      case: `${count} × add of [16]`,
      dtype: 'float32',
      way: name,
      ours: sample,
      peers: peer ? { torch: peer } : {},
      extra: {
        microseconds: (sample.median * 1000) / count,
        minMicroseconds: (sample.min * 1000) / count,
        goalMicroseconds: name === 'forward' ? 3 : 6,
      },
    };
  }
  await torch?.drop();
}

async function* matmul(run: Run): AsyncGenerator<Row> {
  for (const [m, k, n] of products) {
    const sets = setsBeyond(4 * (m * k + k * n), run.machine.lastLevelCacheBytes);
    const pairs = Array.from({ length: sets }, (_, set) => ({
      a: sp.tensor(normal(seed + 2 * set, m * k, 1), { shape: [m, k] }),
      b: sp.tensor(normal(seed + 2 * set + 1, k * n, 1), { shape: [k, n] }),
    }));
    const torch = await run.peer?.setup('matmul', { m, k, n, dtype: 'float32', sets, seed });
    const ours: Contender = {
      name: 'matmul',
      run: (set) => sp.matmul(pairs[set].a, pairs[set].b).dispose(),
    };
    const samples = await interleave(
      [ours, ...(torch ? [torch.contender('forward', 'torch')] : []), ...probes(['fma'])],
      { sets, seconds: run.seconds / 2, atMost: 100 },
    );
    const sample = samples.get('matmul')!;
    const peer = samples.get('torch');
    yield {
      case: `matmul ${m}, ${k}, ${n}`,
      dtype: 'float32',
      way: 'forward',
      ours: sample,
      rate: (2 * m * k * n) / sample.median / 1e6,
      unit: 'GFLOP/s',
      limit: limit(samples, 'fma'),
      peers: peer ? { torch: peer } : {},
      extra: {},
    };
    await torch?.drop();
    for (const { a, b } of pairs) {
      a.dispose();
      b.dispose();
    }
  }
}

async function* measure(run: Run): AsyncGenerator<Row> {
  if ('add'.includes(run.only)) yield* overhead(run);
  if ('matmul'.includes(run.only)) yield* matmul(run);
}

await runBench({
  op: 'small-ops',
  sources: ['native/ops/elementwise', 'native/ops/matmul', 'native/cpu', 'native/core'],
  run: measure,
});
