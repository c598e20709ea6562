// Environments come and go: workers that end, workers that are terminated in the middle of a kernel,
// two copies of the library in one process.
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { runChild } from './child.js';
import { loadedAddon } from './loaded.js';

const entry = resolve('dist/index.js');
// What a worker runs: kernels on its own thread and on the runners, again and again.
const work = `
  import { parentPort } from 'node:worker_threads';
  import * as sp from 'file://${entry}';
  const a = sp.randn([200, 200]);
  parentPort.postMessage('up');
  for (let i = 0; i < rounds; i++) {
    const c = sp.matmul.async(a, a);
    sp.matmul(a, a);
    await c;
  }
  parentPort.postMessage('done');
`;

test('50 workers, half of them terminated in the middle of kernels, end clean', () => {
  const out = runChild(
    `
    import { Worker } from 'node:worker_threads';
    const url = (rounds) => new URL('data:text/javascript,' + encodeURIComponent('const rounds = ' + rounds + ';' + ${JSON.stringify(work)}));
    let done = 0;
    let terminated = 0;
    const one = (index) => new Promise((resolve, reject) => {
      const forever = index % 2 === 1;
      const worker = new Worker(url(forever ? 1e9 : 3));
      worker.on('error', reject);
      worker.on('message', (m) => {
        if (m === 'done') done++;
        if (m === 'up' && forever) setTimeout(() => worker.terminate().then(() => terminated++), index);
      });
      worker.on('exit', resolve);
    });
    for (let start = 0; start < 50; start += 10)
      await Promise.all(Array.from({ length: 10 }, (_, i) => one(start + i)));
    console.log(done, terminated);
  `,
    [],
    120_000,
  );
  expect(out.trim()).toBe('25 25');
});

test.skipIf(process.platform !== 'linux')(
  'the addon stays in memory after the only worker that loaded it, for its threads do',
  () => {
    const out = runChild(`
      import { readFileSync } from 'node:fs';
      import { Worker } from 'node:worker_threads';
      const addon = ${JSON.stringify(loadedAddon)};
      const load = 'require(' + JSON.stringify(addon) + ').fill.call(new Float32Array(1e6), 1)';
      await new Promise((resolve, reject) => {
        new Worker(load, { eval: true, execArgv: [] }).on('exit', resolve).on('error', reject);
      });
      console.log(readFileSync('/proc/self/maps', 'utf8').includes(addon));
    `);
    expect(out.trim()).toBe('true');
  },
);

test('a process ends while kernels run', () => {
  const out = runChild(`
    import * as sp from 'surprisal';
    const a = sp.randn([600, 600]);
    for (let i = 0; i < 8; i++) sp.matmul.async(a, a).catch(() => {});
    console.log('leaving');
    process.exit(0);
  `);
  expect(out.trim()).toBe('leaving');
});

test('pending work keeps the process alive until it is done', () => {
  const out = runChild(`
    import * as sp from 'surprisal';
    const a = sp.ones([300, 300]);
    sp.matmul.async(a, a).then((c) => console.log(c.dataSync()[0]));
  `);
  expect(out.trim()).toBe('300');
});

test('two copies of the library live side by side, and refuse each other’s tensors', () => {
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-copy-'));
  try {
    cpSync('dist', join(folder, 'dist'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
    const addon = join(folder, 'build', 'Release', 'surprisal.node');
    copyFileSync(loadedAddon, addon);
    const out = runChild(`
      import * as one from 'surprisal';
      process.env.SURPRISAL_NATIVE = ${JSON.stringify(addon)};
      const two = await import(${JSON.stringify(join(folder, 'dist', 'index.js'))});
      const a = one.ones([300, 300]);
      const b = two.ones([300, 300]);
      const [c, d] = await Promise.all([one.matmul.async(a, a), two.matmul.async(b, b)]);
      console.log(c.dataSync()[0], d.dataSync()[0]);
      const refused = [() => one.add(a, b), () => new one.optim.SGD([b])];
      for (const work of refused) try { work() } catch (error) { console.log(error.message) }
    `);
    expect(out.trim().split('\n')).toEqual([
      '300 300',
      'add: expected b to be a Tensor, got a Tensor of another copy of surprisal',
      'SGD: expected params[0] to be a Tensor, got a Tensor of another copy of surprisal',
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('CommonJS gets the same package', () => {
  const out = runChild(
    `
    import { createRequire } from 'node:module';
    const sp = createRequire(${JSON.stringify(resolve('package.json'))})('surprisal');
    console.log(sp.ones([2]).toArray().join());
  `,
    ['--no-warnings'],
  );
  expect(out.trim()).toBe('1,1');
});
