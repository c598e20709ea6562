// crossEntropy on logits. Floor: forward reads the logits once; forward + gradient reads them once
// and writes the gradient once, at the bandwidth measured in the same rounds. The last rows are one
// core's: cycles an element by the clock that a chain of dependent additions shows.
import * as sp from '../../src/index.js';
import { classes, normal } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import { peersOf, type Row } from '../harness/results.js';
import { coreClock, limit, probes } from '../harness/roofline.js';
import { type Contender, interleave, setsBeyond } from '../harness/timing.js';

type Float = 'float32' | 'bfloat16';
const shapes = [
  [4096, 32000],
  [8192, 1000],
  [1024, 50257],
] as const;
const dtypes: Float[] = ['float32', 'bfloat16'];
const bytesOf = { float32: 4, bfloat16: 2 };
const spreadOfLogits = 2;
const seed = 1;

interface Inputs {
  logits: sp.Tensor;
  target: sp.Tensor;
}

function inputs(n: number, v: number, dtype: Float, set: number): Inputs {
  const data = normal(seed + 2 * set, n * v, spreadOfLogits);
  return {
    logits: sp.tensor(data, { dtype, shape: [n, v] }),
    target: sp.tensor(classes(seed + 2 * set + 1, n, v)),
  };
}

function forward(sets: Inputs[]): Contender {
  return {
    name: 'forward',
    run(set) {
      const { logits, target } = sets[set];
      sp.noGrad(() => sp.crossEntropy(logits, target)).dispose();
    },
  };
}

function forwardGradient(sets: Inputs[]): Contender {
  return {
    name: 'forward + gradient',
    run(set) {
      const { logits, target } = sets[set];
      const loss = sp.crossEntropy(logits.requiresGrad_(), target);
      loss.backward();
      loss.dispose();
    },
    tidy: (set) => dropGradients(sets[set].logits),
  };
}

async function* measure(run: Run): AsyncGenerator<Row> {
  const limits = probes(['read', 'copy']);
  for (const [n, v] of shapes)
    for (const dtype of dtypes) {
      const name = `${n} × ${v}`;
      if (!`${name} ${dtype}`.includes(run.only)) continue;
      const bytes = n * v * bytesOf[dtype];
      const count = setsBeyond(bytes, run.machine.lastLevelCacheBytes);
      const sets = Array.from({ length: count }, (_, set) => inputs(n, v, dtype, set));
      const args = { n, v, dtype, sets: count, seed };
      const torch = await run.peer?.setup('crossEntropy', args);
      const huge = await run.hugePeer?.setup('crossEntropy', args);
      for (const [ours, way] of [
        [forward(sets), 'forward'],
        [forwardGradient(sets), 'forwardGrad'],
      ] as const) {
        const theirs = [torch?.contender(way, 'torch'), huge?.contender(way, 'torch huge')];
        const samples = await interleave(
          [ours, ...theirs.filter((one) => one !== undefined), ...limits],
          { sets: count, seconds: run.seconds },
        );
        const sample = samples.get(ours.name)!;
        const moved = way === 'forward' ? bytes : 2 * bytes;
        yield {
          case: name,
          dtype,
          way: ours.name,
          ours: sample,
          rate: moved / sample.median / 1e6,
          unit: 'GB/s',
          limit: limit(samples, way === 'forward' ? 'read' : 'copy'),
          peers: peersOf(samples, ['torch', 'torch huge']),
          extra: {},
        };
      }
      await torch?.drop();
      await huge?.drop();
      yield await oneCore(sets, n, v, dtype, run);
      for (const { logits, target } of sets) {
        logits.dispose();
        target.dispose();
      }
    }
}

/**
 * Forward on one core: the arithmetic's own speed, where memory allows. Cycles are of the fastest
 * round at the fastest clock, which a machine that is shared disturbs least.
 */
async function oneCore(sets: Inputs[], n: number, v: number, dtype: Float, run: Run): Promise<Row> {
  sp.setThreads(1);
  const clocks: number[] = [];
  const samples = await interleave(
    [forward(sets), { name: 'clock', run: () => void clocks.push(coreClock()) }],
    { sets: sets.length, seconds: run.seconds / 2 },
  );
  sp.setThreads(run.machine.threads);
  const ours = samples.get('forward')!;
  const clock = Math.max(...clocks);
  return {
    case: `${n} × ${v}`,
    dtype,
    way: 'forward, 1 core',
    ours,
    rate: (n * v * bytesOf[dtype]) / ours.median / 1e6,
    unit: 'GB/s',
    peers: {},
    extra: { clockGHz: clock, cyclesPerElement: (ours.min * 1e6 * clock) / (n * v) },
  };
}

await runBench({
  op: 'cross-entropy',
  sources: ['native/ops/cross_entropy', 'native/cpu', 'native/core'],
  run: measure,
});
