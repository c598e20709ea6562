// CUDA kernels against the bandwidth of copying on the same device in the same run, and against
// PyTorch, eager and compiled (losses: Liger and QuACK too, where installed). Floor: every input
// read once, every output written once. The goals are for an H100: GB/s that a case should reach,
// or milliseconds.
// npm run bench -- kernels cuda [--quick] [--only <words>] [--out <file>] [--tiny]
// --resume leaves out what the file of --out has; no case begins after --seconds. With the
// environment's SURPRISAL_CUBLASLT=1 products are cuBLASLt's, and their rows say so.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as sp from '../../src/index.js';
import { tablesOf } from '../harness/columns.js';
import { clocks, deviceContender, gpu, launchMicroseconds } from '../harness/gpu.js';
import { type Case, cases, operations } from '../harness/kernel-cases.js';
import { Peer, type PeerCase } from '../harness/peer.js';
import { peersOf, type Row } from '../harness/results.js';
import { commit } from '../harness/sources.js';
import { aligned } from '../harness/table.js';
import { type Contender, interleave, setsBeyond } from '../harness/timing.js';

const byLibrary = process.env.SURPRISAL_CUBLASLT === '1' ? 'cuBLASLt' : '';
const bytesOf: Record<Case['dtype'], number> = { float32: 4, bfloat16: 2, float16: 2 };

const { values: options } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    out: { type: 'string' },
    resume: { type: 'boolean', default: false },
    seconds: { type: 'string', default: 'Infinity' },
    // For a dry run on the emulator: shapes of a few hundred elements.
    tiny: { type: 'boolean', default: false },
  },
});

const device = gpu();
// 50 MB on an H100, 60 MB on an H200; some room.
const cacheBytes = options.tiny ? 0 : 64 << 20;
const seconds = options.quick || options.tiny ? 0.3 : 1;

async function peer(): Promise<Peer | undefined> {
  const started = await Peer.start(1, {}, 'torch_cuda.py');
  if (typeof started !== 'string') return started;
  console.log(`PyTorch is not measured: ${started} (SURPRISAL_BENCH_PYTHON names a Python)`);
  return undefined;
}

/** Ours, and the peer's ways, of one operation. */
async function contenders(one: Case, sets: number, torch: Peer | undefined) {
  const { make, call } = operations[one.op];
  const inputs = Array.from({ length: sets }, () => make(one.n, one.v, one.dtype, one.d ?? 0));
  const ours = deviceContender(`ours ${one.op}`, sets, (set) => call(inputs[set]));
  const { op, n, v, d, dtype } = one;
  let theirs: PeerCase | undefined;
  try {
    theirs = await torch?.setup(op, { op, n, v, dtype, sets, ...(d && { d }) });
  } catch (error) {
    console.log(`  ${(error as Error).message}`);
  }
  return { inputs, ours, theirs };
}

/** MiB that a call takes beyond its inputs, results included, and what of it is scratch. */
function memoryOf(call: () => sp.Tensor[]): { peakMiB: number; scratchMiB: number } {
  const before = sp.cuda.memory({ resetPeak: true }).live;
  for (const t of call()) t.dispose();
  const { peak, scratchPeak } = sp.cuda.memory();
  const MiB = 2 ** 20;
  return { peakMiB: (peak - before + scratchPeak) / MiB, scratchMiB: scratchPeak / MiB };
}

async function measure(one: Case, torch: Peer | undefined): Promise<Row> {
  const { op, n, v, d, dtype } = one;
  const { passes, products } = operations[op];
  const bytes = passes * n * v * bytesOf[dtype];
  const sets = bytes > 0 ? setsBeyond(bytes, cacheBytes) : 2;
  const { inputs, ours, theirs } = await contenders(one, sets, torch);
  const copy = await contenders({ ...copyCase, dtype }, 1, undefined);
  const others: Contender[] = (theirs?.ways ?? []).map((way) => theirs!.contender(way, way));
  const samples = await interleave([ours, copy.ours, ...others], { seconds, atLeast: 5 });
  const sample = samples.get(ours.name)!;
  const copyBytes = 2 * copyCase.n * copyCase.v * bytesOf[dtype];
  const limit = copyBytes / samples.get(copy.ours.name)!.median / 1e6;
  const flops = products ? 2 * n * v * (d ?? 0) * products : 2 * n * n * v;
  const row: Row = {
    case: `${op} ${n} × ${d ? `${d} × ` : ''}${v}`,
    dtype,
    way: byLibrary,
    ours: sample,
    ...(passes > 0
      ? { rate: bytes / sample.median / 1e6, unit: 'GB/s', limit }
      : { rate: flops / sample.median / 1e9, unit: 'TFLOP/s' }),
    peers: peersOf(samples, [
      'torch',
      'torch compile',
      'liger',
      'quack',
      'cut cross-entropy',
      'geomloss',
    ]),
    extra: {
      microseconds: sample.median * 1000,
      launchMicroseconds: launchMicroseconds(() => operations[op].call(inputs[0]), 10),
      copyGBs: limit,
      ...memoryOf(() => operations[op].call(inputs[0])),
      ...(one.goal ? { goal: one.goal } : {}),
      ...clocks(),
    },
  };
  await theirs?.drop();
  for (const one of [ours, copy.ours, ...inputs.flat(), ...copy.inputs.flat()]) one.dispose();
  return row;
}

const copyCase = options.tiny
  ? ({ op: 'copy', n: 4, v: 64 } as const)
  : ({ op: 'copy', n: 16384, v: 32768 } as const);

function tiny(one: Case): Case {
  return { ...one, n: 4, v: 8 + (one.v % 8), d: one.d && 8 };
}

sp.setDefaultDevice('cuda');
const torch = await peer();
const about = `${device.name}, driver ${device.driver}, ${torch?.version ?? 'no peer'}, commit ${commit()}`;
console.log(`kernels on ${about}; clocks ${JSON.stringify(clocks())}`);
interface Kept {
  rows: Row[];
  failed: Record<string, string>;
  done: string[];
}
const kept: Kept =
  options.resume && options.out && existsSync(options.out)
    ? JSON.parse(readFileSync(options.out, 'utf8'))
    : { rows: [], failed: {}, done: [] };
const { rows: measured, failed, done } = kept;
const start = performance.now();
// Those with a goal first: time may end.
const byGoal = [...cases].sort((a, b) => Number(!a.goal) - Number(!b.goal));
for (const one of byGoal) {
  const name = `${one.op} ${one.n} × ${one.d ? `${one.d} × ` : ''}${one.v} ${one.dtype}`;
  if (!name.includes(options.only) || done.includes(name)) continue;
  if (performance.now() - start > Number(options.seconds) * 1000) {
    console.log(`  and what is left after ${options.seconds} s`);
    break;
  }
  try {
    measured.push(await measure(options.tiny ? tiny(one) : one, torch));
    const { ours, rate, unit, limit, peers } = measured.at(-1)!;
    const share = limit ? ` = ${((100 * rate!) / limit).toFixed(0)} % of copy` : '';
    const ratio = peers.torch ? `, ${(peers.torch.median / ours.median).toFixed(2)}x torch` : '';
    console.log(
      `  ${name}: ${(ours.median * 1000).toFixed(1)} µs, ${rate!.toFixed(0)} ${unit}${share}${ratio}`,
    );
  } catch (error) {
    failed[name] = (error as Error).message;
    console.log(`  ${name}: ${failed[name]}`);
  }
  done.push(name);
  // What is there survives a run that is cut off.
  if (options.out) {
    const whole = { peer: torch?.version ?? 'none', rows: measured, failed, done };
    writeFileSync(options.out, JSON.stringify(whole));
  }
}
torch?.stop();
for (const { heads, cells } of tablesOf('kernels', 'terminal', measured))
  console.log(`\n${aligned(heads, cells)}`);
