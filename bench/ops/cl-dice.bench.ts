// The soft-clDice loss of 10 iterations, forward and with its gradient, against the official code's
// poolings in torch. Goal: 50 times as fast at 512².
import * as sp from '../../src/index.js';
import { normal } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import type { Row } from '../harness/results.js';
import { limit, probes } from '../harness/roofline.js';
import { type Contender, interleave } from '../harness/timing.js';

const shapes = [
  [1, 1, 512, 512],
  [4, 1, 128, 128],
  [1, 1, 64, 64, 64],
];
const iterations = 10;
const seed = 1;

async function* measure(run: Run): AsyncGenerator<Row> {
  for (const shape of shapes) {
    const name = `clDice [${shape.join(', ')}], ${iterations} iterations`;
    if (!name.includes(run.only)) continue;
    const size = shape.reduce((a, b) => a * b, 1);
    const p = sp.sigmoid(sp.tensor(normal(seed, size, 1), { shape })).requiresGrad_();
    const y = sp.tensor(
      Float32Array.from(normal(seed + 1, size, 1), (x) => (x > 0 ? 1 : 0)),
      { shape },
    );
    const ours: Contender[] = [
      { name: 'forward', run: () => sp.noGrad(() => sp.clDice(p, y, { iterations })).dispose() },
      {
        name: 'forward + backward',
        run: () => sp.clDice(p, y, { iterations }).backward(),
        tidy: () => dropGradients(p),
      },
    ];
    const torch = await run.peer?.setup('clDice', { shape, iterations, seed });
    const theirs = ours.flatMap((one) =>
      torch ? [torch.contender(one.name, `torch ${one.name}`)] : [],
    );
    const samples = await interleave([...ours, ...theirs, ...probes(['copy'])], {
      sets: 1,
      seconds: run.seconds,
      atLeast: 3,
      atMost: 60,
    });
    await torch?.drop();
    for (const { name: way } of ours) {
      const sample = samples.get(way)!;
      const peer = samples.get(`torch ${way}`);
      yield {
        case: name,
        dtype: 'float32',
        way,
        ours: sample,
        // Each level once read and once written, of the prediction and the target.
        rate: (2 * 8 * size * (iterations + 1)) / sample.median / 1e6,
        unit: 'GB/s',
        limit: limit(samples, 'copy'),
        peers: peer ? { torch: peer } : {},
        extra: {},
      };
    }
  }
}

await runBench({
  op: 'cl-dice',
  sources: ['native/ops/cl_dice', 'native/cpu', 'native/core'],
  run: measure,
});
