// What scripts/pack-check.mjs does with an installed package, under every runtime and way of importing:
// copied into a project and called with what the package exports there. Throws where anything is off.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';

function expect(fact, message) {
  if (!fact) throw new Error(message);
}
const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

async function losses(sp) {
  const rows = [
    [1, 2, 3],
    [1, 0, -1],
  ];
  const x = sp.tensor(rows, { requiresGrad: true });
  const target = sp.tensor([2, 0], { dtype: 'int32' });
  const loss = sp.crossEntropy(x, target);
  loss.backward();
  expect(Math.abs(loss.item() - 0.407606) < 1e-5, `the loss is ${loss.item()}`);
  expect(same(x.grad.shape, [2, 3]), 'no gradient');
  const again = await sp.crossEntropy.async(x, target);
  expect(again.item() === loss.item(), 'the asynchronous form differs');
  expect(inspect(x).includes('float32'), `a tensor prints as ${inspect(x)}`);
}

/** Random numbers with and without a seed, which node:crypto gives. */
function random(sp) {
  const free = sp.randn([64]).dataSync();
  expect(free.some((value) => value !== 0) && free.every(Number.isFinite), 'randn');
  const [first, second] = [0, 1].map(() => {
    sp.manualSeed(5);
    return sp.randn([64]).dataSync();
  });
  expect(same(first, second), 'a seed does not repeat');
}

async function training(sp) {
  sp.manualSeed(1);
  const weight = sp.randn([2, 3], { requiresGrad: true });
  const [x, labels] = [sp.randn([16, 3]), sp.randint(2, [16])];
  const optimiser = new sp.optim.AdamW([weight], { lr: 0.1 });
  const values = [];
  for (let step = 0; step < 5; step++) {
    const loss = sp.linearCrossEntropy(x, weight, labels);
    await loss.backwardAsync();
    optimiser.step();
    optimiser.zeroGrad();
    values.push(loss.item());
  }
  expect(values.at(-1) < values[0], `losses of five steps: ${values}`);
}

/** Files, whose drafts have random names. */
async function files(sp) {
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-files-'));
  try {
    const t = sp.arange(6).reshape([2, 3]);
    await sp.saveNpy(join(folder, 'a.npy'), t);
    const npy = await sp.loadNpy(join(folder, 'a.npy'));
    await sp.saveSafetensors(join(folder, 'a.safetensors'), { t });
    const { t: other } = await sp.loadSafetensors(join(folder, 'a.safetensors'));
    for (const back of [npy, other]) expect(same(back.dataSync(), t.dataSync()), 'a file differs');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A picture, whose images are compressed by node:zlib. */
function picture(sp) {
  const [p, t] = [sp.rand([8, 8]), sp.eye(8)];
  const svg = sp.bettiMatching(p, t).toSVG();
  expect(svg.startsWith('<svg') && svg.includes('data:image/png;base64,'), 'toSVG');
}

function refusal(sp) {
  try {
    sp.zeros([2]).add(sp.zeros([3]));
  } catch (error) {
    expect(error.code === 'ERR_SHAPE' && error instanceof RangeError, inspect(error));
    return;
  }
  throw new Error('shapes that do not fit were added');
}

/** In another thread, which has a copy of the library. */
async function thread() {
  const worker = new Worker(new URL('./use-thread.mjs', import.meta.url));
  const sum = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  expect(sum === 6, `the sum of a thread is ${sum}`);
}

/** The program of that thread, in a file of its own beside this one. */
export const threadProgram = `
import { parentPort } from 'node:worker_threads';
import * as sp from 'surprisal';
parentPort.postMessage(sp.tensor([1, 2, 3]).sum().item());
`;

function adapters({ tfjs }, { fromOrt, toOrt }) {
  for (const adapter of [tfjs, fromOrt, toOrt]) expect(typeof adapter === 'function', 'adapters');
}

/** Imported and required by one program it must be one library: tensors of one pass in the other. */
function oneClass(sp, other) {
  expect(sp.Tensor === other.Tensor, 'import and require give two classes Tensor');
  expect(
    other
      .add(sp.ones([2]), other.ones([2]))
      .sum()
      .item() === 4,
    'they do not add',
  );
}

/** `other` is what the program got the other way. */
export async function use(sp, tfjs, onnx, other) {
  await losses(sp);
  random(sp);
  await training(sp);
  await files(sp);
  picture(sp);
  refusal(sp);
  await thread();
  adapters(tfjs, onnx);
  oneClass(sp, other);
  console.log('fine');
}
