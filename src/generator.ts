// The random number generator: a seed and a count of the blocks of four words drawn so far. A draw
// takes a range of blocks, so what it gives depends on the seed and on the draws before it, and on
// no device or thread. One generator per JavaScript thread, seeded at random until `manualSeed`.
import { refuseInGraph } from './capture.js';
import { expectNumber } from './expect.js';

let seed: number | undefined;
let next = 0;

/**
 * Starts the generator anew: the same seed and the same draws give the same numbers on every device
 * and with any number of threads.
 */
export function manualSeed(n: number): void {
  expectNumber('manualSeed', 'n', n, { min: 0, integer: true });
  seed = n;
  next = 0;
}

/** Loading node:crypto would take a tenth of the time of loading this library. */
function randomSeed(): number {
  const { getRandomValues } = process.getBuiltinModule('node:crypto');
  return Number(getRandomValues(new BigUint64Array(1))[0] >> 11n);
}

/** @internal Reserves `count` blocks: the key and first counter of a draw. */
export function takeBlocks(count: number): { seed: number; offset: number } {
  refuseInGraph('random numbers', 'draw them outside and write them in with copy_: a step repeats');
  seed ??= randomSeed();
  const offset = next;
  next += count;
  return { seed, offset };
}
