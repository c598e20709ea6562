// What every bench program shares: its arguments, the peer, the head line, printing and saving.
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import * as sp from '../../src/index.js';
import { tablesOf } from './columns.js';
import { type Machine, machine } from './machine.js';
import { Peer } from './peer.js';
import { type Row, save } from './results.js';
import { commit } from './sources.js';
import { aligned } from './table.js';

export interface Run {
  machine: Machine;
  /** PyTorch as it comes. */
  peer?: Peer;
  /** PyTorch asking for huge pages (THP_MEM_ALLOC_ENABLE), several times faster where it allocates. */
  hugePeer?: Peer;
  /** Includes what takes minutes: PyTorch's bfloat16 paths. */
  slow: boolean;
  /** Seconds a case. */
  seconds: number;
  /** A trained model's head (trained-head.ts). */
  weights?: string;
  /** Only cases whose name contains this. */
  only: string;
}

export interface Bench {
  op: string;
  /** Folders whose sources the figures belong to. */
  sources: string[];
  run(run: Run): AsyncIterable<Row>;
}

const usage = `npm run bench -- <op> [cpu] [options]
  --save           write bench/results/<device>.json
  --quick          1 second a case instead of 8
  --slow           include what takes minutes (PyTorch's bfloat16)
  --only <words>   only cases whose name contains this
  --threads <n>    default: all
  --weights <file> a trained model's head, for filtering: a checkpoint of npm run demo, or
                   safetensors with x [N,D], weight [V,D], target [N], bias [V]
SURPRISAL_BENCH_PYTHON names the Python that has torch; default python3.`;

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        save: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        slow: { type: 'boolean', default: false },
        only: { type: 'string', default: '' },
        threads: { type: 'string', default: String(cpus().length) },
        weights: { type: 'string' },
      },
    });
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`);
    process.exit(2);
  }
}

/** Frees the gradients of leaves at once, so that their memory is used again. */
export function dropGradients(...leaves: sp.Tensor[]) {
  for (const leaf of leaves) {
    leaf.grad?.dispose();
    leaf.zeroGrad();
  }
}

export async function runBench(bench: Bench): Promise<void> {
  const { values, positionals } = options();
  const device = positionals[0] ?? 'cpu';
  if (device !== 'cpu')
    throw new Error(`bench ${bench.op}: expected device 'cpu', got '${device}'`);
  sp.setThreads(Number(values.threads));
  const found = machine();
  const started = await Peer.start(found.threads);
  const peer = typeof started === 'string' ? undefined : started;
  const huge = peer && (await Peer.start(found.threads, { THP_MEM_ALLOC_ENABLE: '1' }));
  const hugePeer = typeof huge === 'string' ? undefined : huge;
  const revision = commit();
  console.log(
    `${bench.op} on ${found.cpu}, ${found.threads} of ${found.cores} threads, ${found.isa}, ` +
      `node ${found.node}, ${peer ? `${peer.version} (${peer.isa})` : 'no peer'}, commit ${revision}`,
  );
  if (!peer)
    console.log(`PyTorch is not measured: ${started} (SURPRISAL_BENCH_PYTHON names a Python)`);
  const rows: Row[] = [];
  try {
    const run: Run = {
      machine: found,
      peer,
      hugePeer,
      slow: values.slow,
      seconds: values.quick ? 1 : 8,
      weights: values.weights,
      only: values.only,
    };
    for await (const row of bench.run(run)) {
      rows.push(row);
      if (process.stdout.isTTY) console.log(`  ${row.case} ${row.dtype} ${row.way} done`);
    }
  } finally {
    peer?.stop();
    hugePeer?.stop();
  }
  for (const { heads, cells } of tablesOf(bench.op, 'terminal', rows))
    console.log(`\n${aligned(heads, cells)}`);
  for (const { notes } of rows) if (notes) console.log(notes);
  if (values.save && (values.only || !peer))
    console.log('not saved: --only, or no peer to compare with');
  else if (values.save) console.log(`saved ${save(bench, found, peer?.version, revision, rows)}`);
}
