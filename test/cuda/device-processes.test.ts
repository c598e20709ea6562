// A device and the ends of processes and workers.
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runChild } from '../addon/child.js';
import { needsCuda } from '../harness/device.js';

const entry = `file://${resolve('dist/index.js')}`;

describe.skipIf(needsCuda('processes with a device'))('processes', () => {
  test('a process ends with work and reads in flight', () => {
    const out = runChild(`
      import * as sp from 'surprisal';
      const a = sp.randn([300, 300], { device: 'cuda' });
      for (let i = 0; i < 8; i++) sp.matmul(a, a).data().catch(() => {});
      console.log('leaving');
      process.exit(0);
    `);
    expect(out.trim()).toBe('leaving');
  });

  test('pending reads keep the process alive until they are there', () => {
    const out = runChild(`
      import * as sp from 'surprisal';
      const a = sp.ones([100, 100], { device: 'cuda' });
      sp.matmul(a, a).data().then((c) => console.log(c[0]));
      sp.cuda.synchronizeAsync().then(() => console.log('done'));
    `);
    expect(out.trim().split('\n').sort()).toEqual(['100', 'done']);
  });

  test('what is left to the end of the process is no error', () => {
    const out = runChild(`
      import * as sp from 'surprisal';
      const x = sp.ones([100], { device: 'cuda', requiresGrad: true });
      globalThis.kept = [x, x.mul(2).sum(), sp.cuda.graph(() => x.mul(3))];
      globalThis.kept[2]();
      globalThis.kept[2]();
      console.log('end');
    `);
    expect(out.trim()).toBe('end');
  });

  test('workers share a device; half of them are terminated in the middle of their work', () => {
    const work = `
      import { parentPort } from 'node:worker_threads';
      import * as sp from '${entry}';
      const a = sp.full([64, 64], 0.5, { device: 'cuda' });
      parentPort.postMessage('up');
      for (let i = 0; i < rounds; i++) {
        const c = await sp.matmul(a, a).data();
        if (c[5] !== 16) throw new Error('wrong: ' + c[5]);
      }
      parentPort.postMessage('done');
    `;
    const out = runChild(
      `
      import { Worker } from 'node:worker_threads';
      import * as sp from 'surprisal';
      const url = (rounds) => new URL('data:text/javascript,' + encodeURIComponent('const rounds = ' + rounds + ';' + ${JSON.stringify(work)}));
      let done = 0;
      let terminated = 0;
      const one = (index) => new Promise((resolve, reject) => {
        const forever = index % 2 === 1;
        const worker = new Worker(url(forever ? 1e9 : 3));
        worker.on('error', reject);
        worker.on('message', (m) => {
          if (m === 'done') done++;
          if (m === 'up' && forever) setTimeout(() => worker.terminate().then(() => terminated++), 5 * index);
        });
        worker.on('exit', resolve);
      });
      await Promise.all(Array.from({ length: 8 }, (_, i) => one(i)));
      console.log(done, terminated, sp.ones([3], { device: 'cuda' }).sum().item());
    `,
      [],
      120_000,
    );
    expect(out.trim()).toBe('4 4 3');
  });
});
