// Exact transport, against POT: the network simplex of a float64 cost between x uniform in the unit
// cube and y in [0.2, 1)^3; sorted lists of float32 and random directions, forward and gradient.
import * as sp from '../../src/index.js';
import { uniform } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import { peersOf, type Row } from '../harness/results.js';
import { type Contender, interleave } from '../harness/timing.js';

const seed = 1;

async function compare(run: Run, ours: Contender, kind: string, args: object) {
  const peer = await run.peer?.setup(kind, { ...args, seed });
  const theirs = peer?.ways.includes('pot') ? [peer.contender('pot', 'pot')] : [];
  const options = { seconds: run.seconds, atLeast: 3, atMost: 20 };
  const samples = await interleave([ours, ...theirs], options);
  await peer?.drop();
  return { ours: samples.get(ours.name)!, peers: peersOf(samples, ['pot']) };
}

function weights(of: number, n: number) {
  const w = Float64Array.from(uniform(of, n), (u) => u + 0.1);
  const mass = w.reduce((sum, v) => sum + v, 0);
  return sp.tensor(w.map((v) => v / mass));
}

async function* simplex(run: Run): AsyncGenerator<Row> {
  for (const n of [256, 1024]) {
    const cloud = (of: number, scale = 1, shift = 0) =>
      sp.tensor(uniform(of, n * 3, scale, shift), { shape: [n, 3] }).to('float64');
    const cost = sp
      .cdist(cloud(seed), cloud(seed + 1, 0.8, 0.2))
      .pow(2)
      .div(2);
    for (const weighted of [false, true]) {
      const sides = weighted ? { a: weights(seed + 2, n), b: weights(seed + 3, n) } : {};
      let pivots = 0;
      const solve = () => {
        const { value, iterations } = sp.emd(cost, sides);
        pivots = iterations;
        value.dispose();
      };
      const result = await compare(run, { name: 'ours', run: solve }, 'emd', { n, d: 3, weighted });
      const way = `emd, ${weighted ? 'random' : 'uniform'} weights`;
      yield { case: `${n} × ${n}, D 3`, dtype: 'float64', way, ...result, extra: { pivots } };
    }
  }
}

async function* lines(run: Run): AsyncGenerator<Row> {
  for (const { n, d, projections } of [
    { n: 100000, d: 0, projections: 1 },
    { n: 10000, d: 3, projections: 50 },
    { n: 1000, d: 64, projections: 200 },
  ]) {
    const shape = d ? [n, d] : [n];
    const size = n * Math.max(1, d);
    const x = sp.tensor(uniform(seed, size), { shape, requiresGrad: true });
    const y = sp.tensor(uniform(seed + 1, size), { shape });
    const value = () =>
      d ? sp.slicedWasserstein(x, y, { projections, seed: 1 }) : sp.emd1d(x, y, { p: 2 });
    const step = { name: 'ours', run: () => value().backward(), tidy: () => dropGradients(x) };
    const result = await compare(run, step, 'lines', { n, d, projections });
    const way = `${d ? `slicedWasserstein, ${projections} directions` : 'emd1d'}, forward + gradient`;
    const title = `${n} points${d ? `, D ${d}` : ''}`;
    yield { case: title, dtype: 'float32', way, ...result, extra: {} };
  }
}

const parts = { simplex, lines };

async function* measure(run: Run): AsyncGenerator<Row> {
  for (const [name, part] of Object.entries(parts)) if (name.includes(run.only)) yield* part(run);
}

await runBench({
  op: 'emd',
  sources: ['native/ops/emd', 'native/ops/emd1d', 'native/cpu', 'native/core'],
  run: measure,
});
