// Prints the resident bytes that one training step adds at its peak, gradients included:
// node --expose-gc memory-probe.js <N> <D> <V> <dtype> <threads>. A process of its own, because
// memory that an earlier step left for reuse would hide what a step needs.
import { setTimeout as sleep } from 'node:timers/promises';
import * as sp from '../../src/index.js';
import { type Float, lossAndGradients, makeHead } from './head.js';
import { peakExtraBytes } from './machine.js';

const [n, d, v, dtype, threads] = process.argv.slice(2);
sp.setThreads(Number(threads));
const float = dtype as Float;
// A small step first: the pool's threads and the loaded code are not the step's.
lossAndGradients(makeHead([32, 32, 64], float, 1)).dispose();
const head = makeHead([Number(n), Number(d), Number(v)], float, 1);
// What made the inputs must be gone: its pages would be used again and not be counted. V8 frees
// array buffers on a thread of its own some time after it has found them dead.
sp.releaseRecycled();
for (let i = 0; i < 5; i++) {
  globalThis.gc?.();
  await sleep(100);
}
console.log(peakExtraBytes(() => lossAndGradients(head).dispose()) ?? 0);
