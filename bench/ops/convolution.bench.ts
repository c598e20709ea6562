// Convolutions with their gradients, and cdist, against torch and against the FMA peak of the same
// run. Goal: 70 % of that peak.
import * as sp from '../../src/index.js';
import { normal } from '../harness/data.js';
import { type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { limit, probes } from '../harness/roofline.js';
import { type Contender, interleave } from '../harness/timing.js';

/** x [B, C, H, W], weight [O, C, k, k], stride; padding k/2. */
const convolutions = [
  [4, 64, 56, 64, 3, 1],
  [4, 128, 28, 128, 3, 1],
  [4, 256, 14, 256, 3, 1],
  [4, 64, 56, 128, 3, 2],
  [4, 256, 28, 256, 1, 1],
  [1, 16, 128, 16, 3, 1],
] as const;
const distances = [
  [2048, 2048, 64],
  [2048, 2048, 256],
  [1024, 1024, 3],
] as const;
const seed = 1;

async function compare(
  run: Run,
  name: string,
  flops: number,
  ours: Contender[],
  kind: string,
  args: Record<string, unknown>,
): Promise<Row[]> {
  const torch = await run.peer?.setup(kind, { ...args, seed });
  const theirs = ours.flatMap(({ name }) =>
    torch ? [torch.contender(name, `torch ${name}`)] : [],
  );
  const all = [...ours, ...theirs, ...probes(['fma'])];
  const samples = await interleave(all, { sets: 1, seconds: run.seconds / 2, atMost: 60 });
  await torch?.drop();
  return ours.map(({ name: way }): Row => {
    const sample = samples.get(way)!;
    const peer = samples.get(`torch ${way}`);
    return {
      case: name,
      dtype: 'float32',
      way,
      ours: sample,
      rate: flops / sample.median / 1e6,
      unit: 'GFLOP/s',
      limit: limit(samples, 'fma'),
      peers: peer ? { torch: peer } : {},
      extra: {},
    };
  });
}

async function* measure(run: Run): AsyncGenerator<Row> {
  for (const [batch, c, n, o, k, stride] of convolutions) {
    const name = `conv2d [${batch}, ${c}, ${n}, ${n}] by [${o}, ${c}, ${k}, ${k}] / ${stride}`;
    if (!name.includes(run.only)) continue;
    const options = { stride, padding: Math.floor(k / 2) };
    const draw = (shape: number[], at: number) =>
      sp.tensor(
        normal(
          seed + at,
          shape.reduce((a, b) => a * b, 1),
          1,
        ),
        { shape, requiresGrad: true },
      );
    const [x, w] = [draw([batch, c, n, n], 0), draw([o, c, k, k], 1)];
    const y = sp.conv2d(x, w, options);
    const g = sp.ones(y.shape);
    const gradient = (t: sp.Tensor) => {
      const other = t === x ? w : x;
      other.requiresGrad_(false);
      const [d] = sp.grad(sp.conv2d(x, w, options), [t], { gradOutputs: g });
      other.requiresGrad_(true);
      d?.dispose();
    };
    const ours: Contender[] = [
      { name: 'forward', run: () => sp.noGrad(() => sp.conv2d(x, w, options)).dispose() },
      { name: 'forward, dx', run: () => gradient(x) },
      { name: 'forward, dweight', run: () => gradient(w) },
    ];
    const once = 2 * y.size * c * k * k;
    const rows = await compare(run, name, once, ours, 'convolution', { batch, c, n, o, k, stride });
    for (const row of rows) {
      if (row.way !== 'forward') row.rate = 2 * row.rate!;
      yield row;
    }
  }
  for (const [n, m, d] of distances) {
    const name = `cdist [${n}, ${d}] to [${m}, ${d}]`;
    if (!name.includes(run.only)) continue;
    const [x, y] = [n, m].map((rows, i) =>
      sp.tensor(normal(seed + i, rows * d, 1), { shape: [rows, d] }),
    );
    const ours = [{ name: 'forward', run: () => sp.cdist(x, y).dispose() }];
    yield* await compare(run, name, 2 * n * m * d, ours, 'distance', { n, m, d });
  }
}

await runBench({
  op: 'convolution',
  sources: ['native/ops/convolution', 'native/ops/cdist', 'native/cpu', 'native/core'],
  run: measure,
});
