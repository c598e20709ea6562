// npm run leaks [-- --steps 36000] [--seconds 600]: as many training steps as an hour has at ten a second,
// small ones, so that it takes minutes: losses of every family, asynchronous forms, graphs that are
// dropped, calls that are refused. After a tenth of them neither the process nor what the library
// counts as live may grow. Ends with 1 where one does.
import { parseArgs } from 'node:util';
import { fail, run } from './run.mjs';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '36000' },
    seconds: { type: 'string', default: '600' },
  },
});
const [steps, seconds] = [Number(values.steps), Number(values.seconds)];
if (!(steps >= 100) || !(seconds > 0)) fail('leaks: expected --steps from 100 on, and --seconds');
const mostGrowth = 24; // MB, of V8's heap most of all
if (!process.env.SURPRISAL_NATIVE) run('scripts/build.mjs', ['native', 'ts']);
const sp = await import('../lib/index.js');

const x = sp.randn([16, 24]);
const w = sp.randn([50, 24], { requiresGrad: true });
const target = sp.randint(0, 50, [16], { dtype: 'int32' });
const [a, b] = [sp.rand([12, 3], { requiresGrad: true }), sp.rand([10, 3])];
const [image, mask] = [sp.rand([8, 8], { requiresGrad: true }), sp.rand([8, 8])];
const kernel = sp.randn([4, 1, 3, 3], { requiresGrad: true });
const adam = new sp.optim.AdamW([w, a, image, kernel]);

async function step() {
  const losses = [
    sp.crossEntropy(sp.matmul(x, w, { transposeB: true }), target),
    sp.linearCrossEntropy(x, w, target),
    sp.sinkhornDivergence(a, b, { blur: 0.2 }),
    sp.bettiMatchingLoss(sp.sigmoid(image).reshape([1, 8, 8]), mask.reshape([1, 8, 8])),
    sp.emd({ x: a, y: b }).value,
    sp.conv2d(sp.reshape(image, [1, 1, 8, 8]), kernel).sum(),
  ];
  for (const loss of losses) loss.backward();
  adam.step();
  adam.zeroGrad();
  await sp.crossEntropy.async(sp.randn([4, 50]), sp.zeros([4], { dtype: 'int32' }));
  // Dropped without a backward, and refused.
  sp.mul(w, w).exp();
  try {
    sp.crossEntropy(x, sp.zeros([3], { dtype: 'int32' }));
  } catch (error) {
    if (error.code !== 'ERR_SHAPE') throw error;
  }
}

const rest = () => new Promise((done) => setTimeout(done, 20));
async function megabytes() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.();
    await rest();
  }
  return { process: process.memoryUsage().rss / 2 ** 20, live: sp.memory().cpu.live / 2 ** 20 };
}

const start = performance.now();
const elapsed = () => (performance.now() - start) / 1000;
let first;
let done = 0;
for (; done < steps && elapsed() < seconds; done++) {
  if (done === Math.ceil(steps / 10)) first = await megabytes();
  await step();
  if (done % Math.ceil(steps / 20) === 0) {
    const now = process.memoryUsage().rss / 2 ** 20;
    console.log(`leaks: ${done} steps, ${now.toFixed(0)} MB, ${elapsed().toFixed(0)} s`);
  }
}
const last = await megabytes();
if (!first) fail(`leaks: ${done} steps in ${seconds} s are fewer than a tenth of ${steps}`);
const growth = last.process - first.process;
const live = last.live - first.live;
console.log(
  `leaks: ${done} steps, ${elapsed().toFixed(0)} s: the process ${growth.toFixed(1)} MB, live tensors ${live.toFixed(2)} MB`,
);
process.exitCode = growth > mostGrowth || live > 1 ? 1 : 0;
