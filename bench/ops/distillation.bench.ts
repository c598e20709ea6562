// Matrix scaling, distillation and sequence losses, float32, forward and gradient, against their
// official formulations in torch and against the cross-entropy that a step has anyway:
//   knopp   4096 matrices of 4 x 4 (mixing of residual streams), and one of 512 x 512
//   sinkd   64 rows of 32,128 classes
//   uld     64 rows of 32,000 classes, student and teacher of different sharpness, and alike
//   emo     64 rows of 32,000 classes, cosines from a table; from an embedding; without logits
import * as sp from '../../src/index.js';
import { classes, normal } from '../harness/data.js';
import { dropGradients, type Run, runBench } from '../harness/program.js';
import { peersOf, type Row } from '../harness/results.js';
import { type Contender, interleave } from '../harness/timing.js';

const seed = 1;

const leaf = (at: number, shape: number[], std: number, requiresGrad = true) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return sp.tensor(normal(at, size, std), { shape, requiresGrad });
};

function step(name: string, loss: () => sp.Tensor, ...leaves: sp.Tensor[]): Contender {
  return { name, run: () => loss().backward(), tidy: () => dropGradients(...leaves) };
}

/** Times ours and torch's ways of a case in turn; the first of ours is the row's. */
async function* row(
  run: Run,
  title: string,
  way: string,
  ours: Contender[],
  kind: string,
  args: Record<string, unknown>,
  ways: string[],
): AsyncGenerator<Row> {
  const peer = await run.peer?.setup(kind, { ...args, seed });
  const theirs = ways.filter(() => peer).map((w) => peer!.contender(w, `torch ${w}`));
  const limits = { seconds: run.seconds, atLeast: 3, atMost: 15 };
  const samples = await interleave([...ours, ...theirs], limits);
  const names = [...ours.slice(1), ...theirs].map((c) => c.name);
  const peers = peersOf(samples, names);
  const own = samples.get(ours[0].name)!;
  yield { case: title, dtype: 'float32', way, ours: own, peers, extra: {} };
  await peer?.drop();
}

async function* knopp(run: Run): AsyncGenerator<Row> {
  for (const [batch, n] of [
    [4096, 4],
    [1, 512],
  ]) {
    const args = { batch, n, iterations: 20 };
    const x = leaf(seed, [batch, n, n], 1);
    const up = leaf(seed + 1, [batch, n, n], 1, false);
    const ours = {
      name: 'ours',
      run: () => sp.sinkhornKnopp(x).backward(up as never),
      tidy: () => dropGradients(x),
    };
    const title = `${batch} × ${n} × ${n}, 20 iterations`;
    yield* row(run, title, 'sinkhornKnopp', [ours], 'sinkhornKnopp', args, ['official']);
  }
}

async function* sinkd(run: Run): AsyncGenerator<Row> {
  const args = { b: 64, v: 32128 };
  const student = leaf(seed, [args.b, args.v], 2);
  const teacher = leaf(seed + 1, [args.b, args.v], 2, false);
  const ours = step('ours', () => sp.sinkd(student, teacher), student);
  yield* row(run, `B ${args.b}, V ${args.v}`, 'sinkd', [ours], 'sinkd', args, ['official']);
}

async function* uld(run: Run): AsyncGenerator<Row> {
  const args = { n: 64, v: 32000 };
  const shape = [args.n, args.v];
  const student = leaf(seed, shape, 2);
  const target = sp.tensor(classes(seed + 2, args.n, args.v));
  const plain = step('crossEntropy', () => sp.crossEntropy(student, target as never), student);
  for (const [name, std] of [
    ['the teacher sharper', 3],
    ['alike', 2],
  ] as const) {
    const teacher = leaf(seed + 1, shape, std, false);
    const ours = step('ours', () => sp.uldLoss(student, teacher), student);
    const title = `N ${args.n}, V ${args.v}, ${name}`;
    const ways = ['official', 'cross-entropy'];
    yield* row(run, title, 'uldLoss', [ours, plain], 'uld', args, ways);
  }
}

async function* emo(run: Run): AsyncGenerator<Row> {
  const args = { n: 64, v: 32000, d: 256 };
  const { n, v, d } = args;
  const x = leaf(seed, [n, d], 1);
  const weight = leaf(seed + 1, [v, d], 2 / Math.sqrt(d));
  const logits = leaf(seed + 2, [n, v], 2);
  const target = sp.tensor(classes(seed + 3, n, v)) as never;
  const embedding = weight.detach();
  const title = `N ${n}, V ${v}, D ${d}`;
  const made = step('ours', () => sp.emo(logits, target, { embedding }), logits);
  const plain = step('crossEntropy', () => sp.crossEntropy(logits, target), logits);
  const ways = ['official', 'cross-entropy'];
  yield* row(run, title, 'emo, an embedding', [made, plain], 'emo', args, ways);
  const linear = step(
    'linearCrossEntropy',
    () => sp.linearCrossEntropy(x, weight, target),
    x,
    weight,
  );
  for (const [name, options] of Object.entries({
    adaptive: {},
    fixed: { embedding: weight.mul(2).detach() },
  })) {
    const ours = step('ours', () => sp.linearEmo(x, weight, target, options), x, weight);
    yield* row(run, title, `linearEmo, ${name}`, [ours, linear], 'emo', args, ['head']);
  }
}

/** The table is V x V: rows of 8000 classes, so that it takes 128 MB. */
async function* table(run: Run): AsyncGenerator<Row> {
  const args = { n: 256, v: 8000, d: 64 };
  const { n, v, d } = args;
  const weight = leaf(seed + 1, [v, d], 2 / Math.sqrt(d), false);
  const logits = leaf(seed + 2, [n, v], 2);
  const target = sp.tensor(classes(seed + 3, n, v)) as never;
  const e = sp.normalize(weight, { dim: 1 });
  const cosines = sp.matmul(e, e, { transposeB: true }).to('bfloat16');
  const ours = step('ours', () => sp.emo(logits, target, { cosines }), logits);
  const plain = step('crossEntropy', () => sp.crossEntropy(logits, target), logits);
  const title = `N ${n}, V ${v}, D ${d}`;
  const ways = ['official', 'cross-entropy'];
  yield* row(run, title, 'emo, a bfloat16 table', [ours, plain], 'emo', args, ways);
}

const parts = { knopp, sinkd, uld, emo, table };

async function* measure(run: Run): AsyncGenerator<Row> {
  for (const [name, part] of Object.entries(parts)) if (name.includes(run.only)) yield* part(run);
}

await runBench({
  op: 'distillation',
  sources: [
    'native/ops/sinkhorn_knopp',
    'native/ops/sinkd',
    'native/ops/uld',
    'native/ops/emo',
    'native/cpu',
    'native/core',
  ],
  run: measure,
});
