// Losses of topology forward and backward, beside plain forms in numpy, scipy and torch
// (bench/peers/topology_peer.py, which SURPRISAL_TOPOLOGY_PEER=1 starts with the python on the path).
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import * as sp from '../../src/index.js';
import { normal } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { type Contender, interleave } from '../harness/timing.js';

const size = 256;

/** The peer's process: a line with a case, a line with its milliseconds. */
class Peer {
  private readonly child: ChildProcess;
  private readonly lines: Interface;
  constructor() {
    this.child = spawn('python', ['bench/peers/topology_peer.py', String(size)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.lines = createInterface({ input: this.child.stdout! });
  }
  async ask(name: string): Promise<number> {
    const reply = once(this.lines, 'line');
    this.child.stdin!.write(`${name}\n`);
    return Number((await reply)[0]);
  }
  stop() {
    this.child.stdin!.end();
  }
}

/** Smooth noise: a sum of boxes along either axis, three times. */
function smooth(seed: number): Float32Array {
  let out = Float32Array.from(normal(seed, size * size, 1));
  for (let round = 0; round < 3; round++)
    for (const [step, row] of [
      [1, size],
      [size, 1],
    ]) {
      const next = new Float32Array(out.length);
      for (let line = 0; line < size; line++)
        for (let i = 0; i < size; i++)
          for (let d = -4; d <= 4; d++) {
            const at = Math.min(size - 1, Math.max(0, i + d));
            next[line * row + i * step] += out[line * row + at * step];
          }
      out = next;
    }
  const scale = Math.sqrt(out.reduce((sum, x) => sum + x * x, 0) / out.length);
  return out.map((x) => x / scale);
}

async function* measure(run: Run): AsyncGenerator<Row> {
  const peer = process.env.SURPRISAL_TOPOLOGY_PEER ? new Peer() : undefined;
  if (!peer)
    console.log('numpy, scipy and torch are not measured: SURPRISAL_TOPOLOGY_PEER is unset');
  const [base, other] = [smooth(1), smooth(2)];
  const pixel = normal(3, size * size, 1);
  const scores = base.map((x, i) => 2 * (0.9 * x + 0.45 * other[i]) + 0.1 * pixel[i]);
  const logits = sp.stack([
    sp.tensor(scores.map((x) => -x / 2)),
    sp.tensor(scores.map((x) => x / 2)),
  ]);
  const two = sp.reshape(logits, [1, 2, size, size]).detach().requiresGrad_();
  const p = sp
    .sigmoid(sp.tensor(scores, { shape: [1, 1, size, size] }))
    .detach()
    .requiresGrad_();
  const labels = sp.tensor(
    base.map((x) => (x > 0 ? 1 : 0)),
    { shape: [1, size, size], dtype: 'int32' },
  );
  const mask = sp.reshape(labels, [1, 1, size, size]);
  const target = sp.to(mask, 'float32');
  const losses: Record<string, () => sp.Tensor> = {
    topologyLoss: () => sp.topologyLoss(p, target),
    barcodeLengthLoss: () => sp.barcodeLengthLoss(p, { bettiNumbers: [5, 5] }),
    topographLoss: () => sp.topographLoss(two, labels, { fromLogits: true }),
    warpingLoss: () => sp.warpingLoss(two, labels),
    regionWiseLoss: () => sp.regionWiseLoss(two, labels, { fromLogits: true }),
  };
  const threads = sp.getThreads();
  sp.setThreads(1);
  try {
    const backward: Contender[] = Object.entries(losses).map(([name, loss]) => ({
      name,
      run: () => loss().backward(),
      tidy: () => dropGradients(p, two),
    }));
    const cycles = {
      name: 'cycles',
      run: () => void sp.persistenceBarcode(sp.reshape(p.detach(), [size, size]), { cycles: true }),
    };
    const diu = { name: 'diuError', run: () => sp.diuError(two, labels).dispose() };
    for (const ours of [...backward, cycles, diu]) {
      if (!ours.name.includes(run.only)) continue;
      const theirs: Contender[] = [];
      if (peer && (await peer.ask(ours.name)) >= 0)
        theirs.push({ name: 'plain', run: () => peer.ask(ours.name) });
      const samples = await interleave([ours, ...theirs], { seconds: run.seconds, atLeast: 3 });
      const plain = samples.get('plain');
      yield {
        case: `${size}² ${ours.name}`,
        dtype: 'float32',
        way: ours.name === 'cycles' || ours.name === 'diuError' ? 'forward' : 'forward + backward',
        ours: samples.get(ours.name)!,
        peers: plain ? { plain } : {},
        extra: {},
      };
    }
  } finally {
    sp.setThreads(threads);
    peer?.stop();
  }
}

await runBench({
  op: 'topology',
  sources: [
    'native/ops/betti_matching',
    'native/ops/topograph',
    'native/ops/warping',
    'native/ops/region_wise',
    'native/core',
  ],
  run: measure,
});
