// Betti matching and its loss against boundary matrices on random images full of ties, to the index,
// with every option: SURPRISAL_BETTI_CASES pairs of images from SURPRISAL_FUZZ_SEED on (the first is
// seed * 1e7), 450 in a plain run; `npm run fuzz -- betti 100000` for many.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { checkSeed } from '../harness/betti.js';
import { needsCpu } from '../harness/device.js';

const count = Number(process.env.SURPRISAL_BETTI_CASES ?? 450);
const first = Number(process.env.SURPRISAL_FUZZ_SEED ?? 0) * 1e7;

test.skipIf(needsCpu('matching runs on the host'))(
  `${count} random pairs`,
  { timeout: Math.max(60_000, count * 100) },
  () => {
    const failures: unknown[] = [];
    // Images this small are not worth waking a thread for.
    const threads = sp.getThreads();
    sp.setThreads(1);
    for (let seed = first; seed < first + count; seed++) {
      try {
        checkSeed(seed);
      } catch (error) {
        failures.push(error);
        console.error(`seed ${seed}`);
        if (failures.length === 5) break;
      }
    }
    sp.setThreads(threads);
    if (failures.length > 0) throw failures[0];
    expect(count).toBeGreaterThan(0);
  },
);
