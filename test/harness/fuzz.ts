// Bounded fuzzing: as many runs as fit the time, and always the same ones in a plain test run.
import type { IRawProperty } from 'fast-check';
import fc from 'fast-check';

const milliseconds = Number(process.env.SURPRISAL_FUZZ_SECONDS ?? 8) * 1000;

export function fuzz<Ts>(property: IRawProperty<Ts>): void {
  fc.assert(property, {
    seed: Number(process.env.SURPRISAL_FUZZ_SEED ?? 20),
    numRuns: process.env.SURPRISAL_FUZZ_SECONDS ? Number.MAX_SAFE_INTEGER : 400,
    interruptAfterTimeLimit: milliseconds,
    markInterruptAsFailure: false,
  });
}
