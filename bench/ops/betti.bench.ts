// Betti matching with loss and gradient, and barcodes, against Betti-Matching-3D and GUDHI's
// rectangle code (bench/peers/betti_peer.cpp, named by SURPRISAL_BETTI_PEER; without it ours runs
// alone). One thread and CPU milliseconds on both sides, but for the batch, which is wall time.
// --slow adds large images, each run once, the reference's only where that takes a minute.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import * as sp from '../../src/index.js';
import { classes, normal } from '../harness/data.js';
import { type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { type Contender, interleave, type Sample } from '../harness/timing.js';

type Kind = 'clean' | 'smooth' | 'noise/bin' | 'noise';

const cases: { shape: number[]; kinds: Kind[]; images?: number; slow?: boolean }[] = [
  { shape: [48, 48], kinds: ['clean', 'noise'] },
  { shape: [64, 64], kinds: ['clean', 'noise'] },
  { shape: [256, 256], kinds: ['clean', 'smooth', 'noise'] },
  { shape: [512, 512], kinds: ['clean', 'smooth', 'noise/bin', 'noise'] },
  { shape: [48, 48], kinds: ['clean', 'noise'], images: 64 },
  { shape: [32, 32, 32], kinds: ['clean', 'noise'] },
  { shape: [64, 64, 64], kinds: ['clean', 'noise'] },
  { shape: [4096, 4096], kinds: ['clean', 'noise'], slow: true },
  { shape: [128, 128, 128], kinds: ['clean', 'noise'], slow: true },
  { shape: [256, 256, 256], kinds: ['clean'], slow: true },
];
const mostOfReference = 2 ** 21;

/** The peer's process, one line a command. */
class Reference {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: Interface,
  ) {}

  static start(): Reference | undefined {
    const program = process.env.SURPRISAL_BETTI_PEER;
    if (!program) return undefined;
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    return new Reference(child, createInterface({ input: child.stdout! }));
  }

  /** What the command took, in ms; NaN where the peer lacks it. */
  async ask(command: string): Promise<number> {
    const reply = once(this.lines, 'line');
    this.child.stdin!.write(`${command}\n`);
    const [line] = await reply;
    return Number(line);
  }

  stop() {
    this.child.stdin!.end();
  }
}

const uniform = (seed: number, size: number) =>
  Float32Array.from(classes(seed, size, 2 ** 24), (x) => x / 2 ** 24);

/** Sums of 2 r + 1 neighbours around each place of a ring. */
function boxSums(line: Float64Array, radius: number) {
  const n = line.length;
  const at = (i: number) => line[((i % n) + n) % n];
  const out = new Float64Array(n);
  for (let d = -radius; d <= radius; d++) out[0] += at(d);
  for (let i = 1; i < n; i++) out[i] = out[i - 1] + at(i + radius) - at(i - 1 - radius);
  return out;
}

/** A smooth random field of mean 0 and variance 1: noise, three box sums along each axis. */
function field(shape: readonly number[], seed: number, radius: number): Float64Array {
  const size = shape.reduce((a, b) => a * b, 1);
  const out = Float64Array.from(normal(seed, size, 1));
  for (let axis = 0, stride = size; axis < shape.length; axis++) {
    const n = shape[axis];
    stride /= n;
    for (let start = 0; start < size; start++) {
      if (Math.floor(start / stride) % n !== 0) continue;
      let line = Float64Array.from({ length: n }, (_, i) => out[start + i * stride]);
      for (let pass = 0; pass < 3; pass++) line = boxSums(line, radius);
      for (let i = 0; i < n; i++) out[start + i * stride] = line[i];
    }
  }
  const deviation = Math.sqrt(out.reduce((sum, x) => sum + x * x, 0) / size);
  return out.map((x) => x / deviation);
}

function images(kind: Kind, shape: readonly number[], seed: number) {
  const size = shape.reduce((a, b) => a * b, 1);
  const radius = Math.max(2, Math.round(Math.min(...shape) / 24));
  if (kind === 'noise') return { prediction: uniform(seed, size), target: uniform(seed + 1, size) };
  const [own, other] = [field(shape, seed, radius), field(shape, seed + 1, radius)];
  const pixel = normal(seed + 2, size, kind === 'smooth' ? 0.3 : 0);
  const probability = own.map((x, i) => 1 / (1 + Math.exp(-(3 * (x - 0.3) + pixel[i]))));
  return {
    prediction: kind === 'noise/bin' ? uniform(seed, size) : Float32Array.from(probability),
    target: Float32Array.from(own, (x, i) => (0.8 * x + 0.6 * other[i] > 0.3 ? 1 : 0)),
  };
}

/**
 * CPU time of one run, the mean of several where one is shorter than the clock is fine; of crops so many
 * that V8's compiler, whose threads count, has ended: a training run has thousands of steps.
 */
function cpuMs(work: () => void, voxels: number): Promise<number> {
  const runs = Math.max(1, Math.floor((voxels < 10_000 ? 4_000_000 : 200_000) / voxels));
  const before = process.cpuUsage();
  for (let i = 0; i < runs; i++) work();
  const { user, system } = process.cpuUsage(before);
  return Promise.resolve((user + system) / 1000 / runs);
}

interface Case {
  name: string;
  kind: Kind;
  shape: number[];
  count: number;
  slow: boolean;
  prediction: sp.Tensor<'float32'>;
  target: sp.Tensor<'float32'>;
}

const nameOf = (shape: number[], count: number) =>
  `${count > 1 ? `${count} × ` : ''}${shape.join(' × ')}`;

function makeCase(shape: number[], kind: Kind, count: number, slow: boolean): Case {
  const all = Array.from({ length: count }, (_, i) => images(kind, shape, 10 + 5 * i));
  const joined = (side: 'prediction' | 'target') => {
    const parts = all.map((one) => one[side]);
    const data = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
    for (const [i, part] of parts.entries()) data.set(part, i * part.length);
    return sp.tensor(data, { shape: [count, 1, ...shape] });
  };
  const name = nameOf(shape, count);
  const target = joined('target');
  const prediction = joined('prediction').requiresGrad_();
  return { name, kind, shape, count, slow, prediction, target };
}

async function load(reference: Reference, folder: string, c: Case) {
  const paths = [c.prediction, c.target].map((t, i) => {
    const path = join(folder, `${i}.raw`);
    writeFileSync(
      path,
      Float64Array.from(t.detach().dataSync(), (x) => 1 - x),
    );
    return path;
  });
  await reference.ask(`load ${paths.join(' ')} ${c.count} ${c.shape.join(' ')}`);
}

function step(c: Case) {
  sp.bettiMatchingLoss(c.prediction, c.target).backward();
  c.prediction.zeroGrad();
}

/** The most scratch memory of a step. */
function scratchOf(c: Case): number {
  sp.memory({ resetPeak: true });
  step(c);
  return sp.memory().cpu.scratchPeak;
}

function contenders(c: Case, reference: Reference | undefined): Contender[] {
  const image = sp.reshape(c.prediction.detach(), [c.count, ...c.shape]);
  const first = sp.reshape(sp.slice(image, 0, 0, 1), c.shape);
  const peer = (name: string, command = name): Contender[] =>
    reference ? [{ name, run: () => reference.ask(command), once: c.slow }] : [];
  if (c.count > 1) {
    const threads = (n: number): Contender => ({
      name: `ours, ${n} threads`,
      run() {
        const before = sp.getThreads();
        sp.setThreads(n);
        step(c);
        sp.setThreads(before);
      },
    });
    return [{ name: 'ours', run: () => step(c) }, threads(1), ...peer('reference', 'batch')];
  }
  const voxels = c.prediction.size;
  const ours = { name: 'ours', run: () => cpuMs(() => step(c), voxels), once: c.slow };
  const list = [ours, ...peer('reference', 'matching')];
  if (c.shape.length > 2) return list;
  const barcode = () => void sp.persistenceBarcode(first);
  const bars = { name: 'barcode', run: () => cpuMs(barcode, voxels), once: c.slow };
  return [...list, bars, ...peer('reference barcode', 'barcode'), ...peer('gudhi')];
}

function rowsOf(c: Case, samples: Map<string, Sample>): Row[] {
  const peers = (names: [string, string][]) =>
    Object.fromEntries(
      names.flatMap(([from, as]) => {
        const sample = samples.get(from);
        return sample && sample.median > 0 ? [[as, sample] as const] : [];
      }),
    );
  const row = (way: string, ours: string, names: [string, string][]): Row => ({
    case: `${c.name} ${c.kind}`,
    dtype: 'float32',
    way,
    ours: samples.get(ours)!,
    peers: peers(names),
    extra: {},
  });
  const rows = [row('matching, loss, gradient', 'ours', [['reference', 'reference']])];
  const one = samples.get('ours, 1 threads');
  if (one) rows[0].extra.efficiency = one.median / rows[0].ours.median / sp.getThreads();
  if (samples.has('barcode')) {
    const names: [string, string][] = [
      ['reference barcode', 'reference'],
      ['gudhi', 'gudhi'],
    ];
    rows.push(row('barcode', 'barcode', names));
  }
  return rows;
}

async function* measure(run: Run): AsyncGenerator<Row> {
  const reference = Reference.start();
  if (!reference) console.log('Betti-Matching-3D is not measured: SURPRISAL_BETTI_PEER names none');
  const folder = mkdtempSync(join(tmpdir(), 'betti-'));
  const threads = sp.getThreads();
  try {
    for (const { shape, kinds, images: count = 1, slow = false } of cases) {
      for (const kind of kinds) {
        const name = `${nameOf(shape, count)} ${kind}`;
        if ((slow && !run.slow) || !name.includes(run.only)) continue;
        const c = makeCase(shape, kind, count, slow);
        sp.setThreads(count > 1 ? threads : 1);
        const most = kind === 'clean' ? mostOfReference : 0;
        const peer = slow && c.prediction.size > most ? undefined : reference;
        if (peer) await load(peer, folder, c);
        const seconds = run.seconds / 2;
        try {
          const samples = await interleave(contenders(c, peer), { seconds, atLeast: 3 });
          const rows = rowsOf(c, samples);
          if (count === 1) rows[0].extra.scratch = scratchOf(c) / c.prediction.size;
          yield* rows;
        } catch (error) {
          if (!(error instanceof sp.OutOfMemoryError)) throw error;
          console.log(`${name}: ${error.message}`);
        }
      }
    }
  } finally {
    sp.setThreads(threads);
    reference?.stop();
    rmSync(folder, { recursive: true });
  }
}

await runBench({
  op: 'betti',
  sources: ['native/ops/betti_matching', 'native/core'],
  run: measure,
});
