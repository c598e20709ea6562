// Betti matching against boundary matrices on random images full of ties, to the index:
// SURPRISAL_BETTI_CASES pairs of images, 600 in a plain run.
import { expect, test } from 'vitest';
import { drawPair } from '../cases/betti-matching.js';
import { checkPair } from '../harness/betti.js';
import { needsCpu } from '../harness/device.js';
import { Random } from '../harness/random.js';

const count = Number(process.env.SURPRISAL_BETTI_CASES ?? 600);

test.skipIf(needsCpu('matching runs on the host'))(
  `${count} random pairs`,
  { timeout: Math.max(60_000, count * 40) },
  () => {
    for (let seed = 0; seed < count; seed++) {
      const random = new Random(seed + Number(process.env.SURPRISAL_FUZZ_SEED ?? 0) * 1e7);
      const pair = drawPair(random, 1 + (seed % 3));
      const options = {
        filtration: random.pick(['sublevel', 'superlevel'] as const),
        comparison: random.pick(['union', 'union', 'intersection'] as const),
        imageBars: random.pick(['all', 'all', 'positive'] as const),
      };
      checkPair(pair, options, random.pick(['float32', 'float64'] as const));
    }
    expect(count).toBeGreaterThan(0);
  },
);
