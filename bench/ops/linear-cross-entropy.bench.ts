// linearCrossEntropy, forward + gradient: 6·N·D·V operations, judged by the float32 multiply-add
// peak of the same rounds. PyTorch's three bare products, its two loss paths and ours run turn by
// turn. Peak memory is one step's in a fresh process; gradient errors are relative Frobenius errors
// against PyTorch in float64 on the same data. Random data filters nearly everything, so filtering
// is measured only on a trained model's head (--weights).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as sp from '../../src/index.js';
import { type Float, type Head, lossAndGradients, makeHead, type Shape } from '../harness/head.js';
import type { PeerCase } from '../harness/peer.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { limit, probes } from '../harness/roofline.js';
import { type Contender, interleave, type Sample, setsBeyond } from '../harness/timing.js';

const shapes: Shape[] = [
  [256, 768, 32000],
  [1024, 512, 8192],
  [64, 768, 50257],
];
const seed = 1;
const way = 'forward + gradient';
const fused = 'linearCrossEntropy'; // PyTorch's ways, by their names in torch_peer.py
const unfused = 'linear+crossEntropy';
const flops = ([n, d, v]: Shape) => 6 * n * d * v;
const gradientBytes = ([n, d, v]: Shape, dtype: Float) =>
  (n + v) * d * (dtype === 'float32' ? 4 : 2);

function contender(name: string, heads: Head[], options?: sp.LinearCrossEntropyOptions): Contender {
  return {
    name,
    run: (set) => lossAndGradients(heads[set], options).dispose(),
    tidy: (set) => dropGradients(heads[set].x, heads[set].weight),
  };
}

/** Both dtypes of a shape in the same rounds, since bfloat16 is compared with float32. */
async function* measure(run: Run): AsyncGenerator<Row> {
  for (const shape of shapes) {
    const name = shape.join(', ');
    if (!name.includes(run.only)) continue;
    const [n, d, v] = shape;
    const count = setsBeyond(4 * (n + v) * d, run.machine.lastLevelCacheBytes);
    const heads = (dtype: Float) =>
      Array.from({ length: count }, (_, set) => makeHead(shape, dtype, seed + 3 * set));
    const ours = { float32: heads('float32'), bfloat16: heads('bfloat16') };
    const args = { n, d, v, sets: count, seed };
    const float32 = await run.peer?.setup('linearCrossEntropy', { ...args, dtype: 'float32' });
    const bfloat16 = await run.peer?.setup('linearCrossEntropy', { ...args, dtype: 'bfloat16' });
    const huge = await run.hugePeer?.setup('linearCrossEntropy', { ...args, dtype: 'float32' });
    const tuned = { float32: await tune(float32), bfloat16: await tune(bfloat16) };
    if (tuned.float32) await huge?.use(tuned.float32);
    const samples = await interleave(
      [
        contender('float32', ours.float32),
        contender('bfloat16', ours.bfloat16),
        ...peerWays(run, float32, huge, bfloat16),
        ...probes(['fma']),
      ],
      { sets: count, seconds: 2 * run.seconds },
    );
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const peer = dtype === 'float32' ? float32 : bfloat16;
      const row = rowOf(shape, dtype, samples);
      if (tuned[dtype]) row.notes = `torch LCE at ${name}, ${dtype}: fastest with ${tuned[dtype]}`;
      row.extra.gradientBytes = gradientBytes(shape, dtype);
      const bytes = peakBytes(shape, dtype, run.machine.threads);
      if (bytes) row.extra.peakBytes = bytes;
      await peerMemoryAndErrors(row, dtype, ours[dtype][0], peer);
      yield row;
    }
    await float32?.drop();
    await bfloat16?.drop();
    await huge?.drop();
    for (const { x, weight, target } of [...ours.float32, ...ours.bfloat16])
      for (const tensor of [x, weight, target]) tensor.dispose();
  }
  if (run.weights) yield* filtered(run, run.weights);
}

/** PyTorch's ways; in bfloat16 those through emulated products take 7 to 30 s and run once. */
function peerWays(run: Run, float32?: PeerCase, huge?: PeerCase, bfloat16?: PeerCase): Contender[] {
  const turns = (prefix: string, peer: PeerCase | undefined, ways: string[], once = false) =>
    ways
      .filter((way) => peer?.ways.includes(way))
      .map((way) => peer!.contender(way, `${prefix} ${way}`, once));
  return [
    ...turns('float32', float32, [fused, unfused, 'products']),
    ...turns('float32 huge', huge, [fused, unfused]),
    ...turns('bfloat16', bfloat16, [fused]),
    ...(run.slow ? turns('bfloat16', bfloat16, [unfused, `${fused} auto`], true) : []),
  ];
}

/** PyTorch's fastest chunking of its fused loss, where it has that loss. */
async function tune(peer?: PeerCase): Promise<string | undefined> {
  return peer?.ways.includes(fused) ? await peer.tune() : undefined;
}

function rowOf(shape: Shape, dtype: Float, samples: Map<string, Sample>): Row {
  const ours = samples.get(dtype)!;
  const mine = [...samples].filter(([name]) => name.startsWith(`${dtype} `));
  const peers = Object.fromEntries(
    mine.map(([name, value]) => [name.slice(dtype.length + 1), value]),
  );
  const products = samples.get('float32 products');
  if (products) peers.products = products;
  return {
    case: shape.join(', '),
    dtype,
    way,
    ours,
    rate: flops(shape) / ours.median / 1e6,
    unit: 'GFLOP/s',
    limit: limit(samples, 'fma'),
    peers,
    extra: dtype === 'bfloat16' ? { ofFloat32: ours.median / samples.get('float32')!.median } : {},
  };
}

/** 0 where the system does not tell. */
function peakBytes(shape: Shape, dtype: Float, threads: number): number {
  const program = fileURLToPath(new URL('../harness/memory-probe.js', import.meta.url));
  const args = ['--expose-gc', program, ...shape.map(String), dtype, String(threads)];
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }));
}

async function peerMemoryAndErrors(row: Row, dtype: Float, head: Head, peer?: PeerCase) {
  if (!peer) return;
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-bench-'));
  try {
    lossAndGradients(head).dispose();
    const files = { dx: join(folder, 'dx'), dweight: join(folder, 'dweight') };
    writeFileSync(files.dx, (await head.x.grad!.data()) as Float32Array);
    writeFileSync(files.dweight, (await head.weight.grad!.data()) as Float32Array);
    dropGradients(head.x, head.weight);
    const { dx, dweight } = await peer.errors({ files });
    row.extra.errorDx = dx;
    row.extra.errorDweight = dweight;
  } finally {
    rmSync(folder, { recursive: true });
  }
  const ways = dtype === 'float32' ? [unfused, fused] : [fused];
  for (const way of ways.filter((way) => peer.ways.includes(way))) {
    const prefix = way === fused ? 'torchLce' : 'torch';
    const bytes = await peer.memory(way);
    if (bytes !== undefined) row.extra[`${prefix}Bytes`] = bytes;
    const { peerDx, peerDweight } = await peer.errors({ way });
    row.extra[`${prefix}ErrorDx`] = peerDx;
    row.extra[`${prefix}ErrorDweight`] = peerDweight;
  }
}

/** Filter modes on a trained head: time, kept share, true error and the reported bound. */
async function* filtered(run: Run, path: string): AsyncGenerator<Row> {
  // Imported only here: it brings the demo's tokenizer and its data.
  const { trainedHead } = await import('../harness/trained-head.js');
  const head = await trainedHead(path);
  const { x } = head;
  const [v, d] = head.weight.shape;
  const shape: Shape = [x.size / d, d, v];
  const modes: [string, sp.LinearCrossEntropyOptions][] = [
    ['trained, exact', {}],
    ['trained, eps auto', { filter: { eps: 'auto' } }],
    ['trained, eps 1e-5', { filter: { eps: 1e-5 } }],
    ['trained, maxError 1e-4', { filter: { maxError: 1e-4 } }],
  ];
  const samples = await interleave(
    modes.map(([name, options]) => contender(name, [head], options)),
    { seconds: 2 * run.seconds },
  );
  const exact = await gradients(head, {});
  for (const [name, options] of modes) {
    const ours = samples.get(name)!;
    const extra: Record<string, number> = {};
    if (options.filter) {
      const { report, dx, dweight } = await gradients(head, options);
      extra.kept = report.kept;
      extra.boundX = report.boundX;
      extra.boundWeight = report.boundWeight;
      extra.trueErrorX = distance(dx, exact.dx);
      extra.trueErrorWeight = distance(dweight, exact.dweight);
    }
    const row = { case: shape.join(', '), dtype: x.dtype, way: name, ours, peers: {}, extra };
    yield { ...row, rate: flops(shape) / ours.median / 1e6, unit: 'GFLOP/s' };
  }
}

async function gradients(head: Head, options: sp.LinearCrossEntropyOptions) {
  const loss = lossAndGradients(head, options);
  const report = options.filter ? sp.filterReport(loss) : { kept: 1, boundX: 0, boundWeight: 0 };
  const dx = (await head.x.grad!.data()) as Float32Array;
  const dweight = (await head.weight.grad!.data()) as Float32Array;
  dropGradients(head.x, head.weight);
  return { report, dx, dweight };
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum);
}

await runBench({
  op: 'linear-cross-entropy',
  sources: ['native/ops/linear_cross_entropy', 'native/cpu', 'native/core'],
  run: measure,
});
