// Optimal transport between clouds: x uniform in the unit cube, y in [0.2, 1)^D, float32.
//   passes      iterations of a fixed number: ns a pair and log-sum-exp, the cost held or streamed (in
//               D 3 never held), in CPU time, which other jobs disturb less
//   iterates    GeomLoss's own, forward and gradient, against it
//   converged   to 1e-3 of the marginals, against GeomLoss at the first scaling whose plan meets that
//               (where none does, also to the error of its last), and against the exact distance
//               (POT's network simplex)
//   batches     256 problems of 32 points, 20 iterations, against POT's batches
//   threads     all of them against one
import * as sp from '../../src/index.js';
import { uniform } from '../harness/data.js';
import type { PeerCase } from '../harness/peer.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import { peersOf, type Row } from '../harness/results.js';
import { type Contender, interleave } from '../harness/timing.js';

interface Shape {
  batch: number;
  n: number;
  d: number;
  blur: number;
}
const seed = 1;
const sizes: Shape[] = [
  { batch: 1, n: 1024, d: 3, blur: 0.05 },
  { batch: 1, n: 1024, d: 64, blur: 0.25 },
];

function clouds({ batch, n, d }: Shape) {
  const shape = batch > 1 ? [batch, n, d] : [n, d];
  const x = sp.tensor(uniform(seed, batch * n * d), { shape, requiresGrad: true });
  return { x, y: sp.tensor(uniform(seed + 1, batch * n * d, 0.8, 0.2), { shape }) };
}

const fixed = (count: number) => ({ tolerance: 0, maxIterations: count, onInfo: () => {} });

/** Forward and gradient in x. */
function step(name: string, shape: Shape, options: sp.SinkhornDivergenceOptions): Contender {
  const { x, y } = clouds(shape);
  return {
    name,
    run: () =>
      sp
        .sinkhornDivergence(x, y, { blur: shape.blur, ...options })
        .sum()
        .backward(),
    tidy: () => dropGradients(x),
  };
}

const peerCase = (run: Run, shape: Shape) => run.peer?.setup('sinkhorn', { ...shape, seed });
const theirs = (peer: PeerCase | undefined, ways: string[], once = false) =>
  ways.filter((way) => peer?.ways.includes(way)).map((way) => peer!.contender(way, way, once));

const title = ({ batch, n, d, blur }: Shape) =>
  `${batch > 1 ? `${batch} × ` : ''}${n} points, D ${d}, blur ${blur}`;

async function* passes(run: Run): AsyncGenerator<Row> {
  const threads = sp.getThreads();
  sp.setThreads(1);
  for (const shape of sizes) {
    const { x, y } = clouds(shape);
    const iterations = 20;
    const options = { ...fixed(iterations), blur: shape.blur, debias: false };
    const ways = { held: 2 ** 25, streamed: 0 };
    const ours = Object.entries(ways).map(([name, workspaceBytes]) => ({
      name,
      run: async () => {
        const before = process.cpuUsage();
        sp.sinkhornDivergence(x.detach(), y, { ...options, workspaceBytes }).dispose();
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1000;
      },
    }));
    const samples = await interleave(ours, { seconds: run.seconds / 2, atMost: 15 });
    for (const { name } of ours) {
      const sample = samples.get(name)!;
      const pairs = 2 * iterations * shape.n ** 2;
      const extra = { nsPerPair: (sample.min * 1e6) / pairs, iterations };
      const way = `passes, cost ${name}, CPU time of 1 thread`;
      yield { case: title(shape), dtype: 'float32', way, ours: sample, peers: {}, extra };
    }
  }
  sp.setThreads(threads);
}

async function* iterates(run: Run): AsyncGenerator<Row> {
  for (const shape of sizes) {
    const peer = await peerCase(run, shape);
    const contenders = [step('ours', shape, { solver: 'geomloss' }), ...theirs(peer, ['geomloss'])];
    const samples = await interleave(contenders, { seconds: run.seconds, atLeast: 3, atMost: 10 });
    const peers = peersOf(samples, ['geomloss']);
    const way = "GeomLoss's iterates, forward + gradient";
    const ours = samples.get('ours')!;
    yield { case: title(shape), dtype: 'float32', way, ours, peers, extra: {} };
    await peer?.drop();
  }
}

async function* converged(run: Run): AsyncGenerator<Row> {
  const shape = sizes[0];
  const peer = await peerCase(run, shape);
  // Minutes: GeomLoss is tried at six scalings.
  const tries = run.slow && peer?.ways.includes('geomloss converged');
  const found = tries ? (await peer?.tune())?.split(' ').map(Number) : undefined;
  const iterations: Record<string, number> = {};
  const ours = (name: string, options: sp.SinkhornDivergenceOptions) =>
    step(name, shape, {
      ...options,
      onInfo: (info) => {
        iterations[name] = info.iterations;
      },
    });
  const against: Record<string, string[]> = {
    'debiased, marginals to 1e-3': ['geomloss converged'],
    'biased, marginals to 1e-3': ['exact'],
  };
  const [toGoal, biased] = Object.keys(against) as [string, string];
  const contenders = [ours(toGoal, {}), ours(biased, { debias: false })];
  if (found && found[1] > 1e-3) {
    const toTheirs = `debiased, marginals to ${found[1].toExponential(1)}`;
    contenders.push(ours(toTheirs, { tolerance: found[1] }));
    against[toTheirs] = ['geomloss converged'];
  }
  const slow = tries ? theirs(peer, ['geomloss converged'], true) : [];
  const samples = await interleave([...contenders, ...slow, ...theirs(peer, ['exact'])], {
    seconds: run.seconds,
    atLeast: 3,
    atMost: 10,
  });
  for (const [name, theirs] of Object.entries(against)) {
    const extra: Record<string, number> = { iterations: iterations[name] ?? 0 };
    if (found && name !== biased) [extra.scaling, extra.itsError] = found;
    const way = `${name}, forward + gradient`;
    const peers = peersOf(samples, theirs);
    yield { case: title(shape), dtype: 'float32', way, ours: samples.get(name)!, peers, extra };
  }
  await peer?.drop();
}

async function* batches(run: Run): AsyncGenerator<Row> {
  const shape = { batch: 256, n: 32, d: 3, blur: 0.05 };
  const peer = await peerCase(run, shape);
  const contenders = [
    step('ours', shape, { ...fixed(20), debias: false }),
    ...theirs(peer, ['pot batch']),
  ];
  const samples = await interleave(contenders, { seconds: run.seconds, atLeast: 3, atMost: 20 });
  const peers = peersOf(samples, ['pot batch']);
  const way = '20 iterations, forward + gradient';
  const ours = samples.get('ours')!;
  yield { case: title(shape), dtype: 'float32', way, ours, peers, extra: {} };
  await peer?.drop();
}

/** How much of each thread all of them together use. */
async function* threads(run: Run): AsyncGenerator<Row> {
  const most = sp.getThreads();
  if (most === 1) return;
  for (const shape of [...sizes, { batch: 1, n: 4096, d: 3, blur: 0.05 }]) {
    const on = (count: number): Contender => {
      const { run: body, tidy } = step('', shape, fixed(20));
      const name = String(count);
      const work = () => {
        sp.setThreads(count);
        body(0);
      };
      return { name, run: work, tidy };
    };
    const samples = await interleave([on(1), on(most)], { seconds: run.seconds, atMost: 20 });
    sp.setThreads(most);
    const [alone, all] = [samples.get('1')!, samples.get(String(most))!];
    const extra = { iterations: 20, efficiency: alone.min / all.min / most };
    const way = `${most} threads against one, 20 iterations, forward + gradient`;
    yield { case: title(shape), dtype: 'float32', way, ours: all, peers: {}, extra };
  }
}

const parts = { passes, iterates, converged, batches, threads };

async function* measure(run: Run): AsyncGenerator<Row> {
  for (const [name, part] of Object.entries(parts)) if (name.includes(run.only)) yield* part(run);
}

await runBench({
  op: 'sinkhorn',
  sources: ['native/ops/sinkhorn', 'native/cpu', 'native/core'],
  run: measure,
});
