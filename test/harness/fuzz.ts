// Fuzzing: always the same runs in a plain test run; as many as fit SURPRISAL_FUZZ_SECONDS, from
// SURPRISAL_FUZZ_SEED on, where that is set.
import type { IRawProperty } from 'fast-check';
import fc from 'fast-check';
import { isEmulated } from './device.js';

const seconds = Number(process.env.SURPRISAL_FUZZ_SECONDS ?? 0);
const runs = isEmulated ? 100 : 300;

export function fuzz<Ts>(property: IRawProperty<Ts>): void {
  fc.assert(property, {
    seed: Number(process.env.SURPRISAL_FUZZ_SEED ?? 20),
    ...(seconds > 0
      ? { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: seconds * 1000 }
      : { numRuns: runs }),
    markInterruptAsFailure: false,
  });
}
