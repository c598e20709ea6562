// The device that tests run on: SURPRISAL_TEST_DEVICE, 'cpu' (default) or 'cuda', which may be the
// emulator's (SURPRISAL_NATIVE=build/emulator/surprisal.node). Every test file starts with it as the
// default device, so that one list of cases serves all devices.
import { afterAll } from 'vitest';
import * as sp from '../../src/index.js';
import { collectGarbage } from '../../src/native.js';

const wanted = (process.env.SURPRISAL_TEST_DEVICE ?? 'cpu') as sp.Device;
sp.setDefaultDevice(wanted);

/** As a tensor reports it. */
export const device: sp.Device = wanted === 'cuda' ? 'cuda:0' : wanted;
export const isOnCpu = device === 'cpu';

/** Whether that is the emulator, some thousand times slower than a GPU. */
export const isEmulated = !isOnCpu && sp.cuda.status().emulated;

/** Whether all cases are too many: on the emulator, and on a CPU path that is not the best one. */
const isThinned = isEmulated || (process.env.SURPRISAL_CPU ?? '') !== '';

/** Then every turns-th case, so that each runs once in all turns; else all cases. */
export function inTurn<C>(cases: readonly C[], turn: number, turns: number): C[] {
  return cases.filter((_, i) => !isThinned || i % turns === turn);
}

const skipped = new Map<string, number>();

/** For `test.skipIf`: true where tests run on a device, for what only the CPU has. */
export function needsCpu(reason: string): boolean {
  if (!isOnCpu) skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
  return !isOnCpu;
}

/** For `test.skipIf`: true without CUDA. */
export function needsCuda(reason: string): boolean {
  const isMissing = !sp.cuda.isAvailable();
  if (isMissing) {
    const why = `${reason}: ${sp.cuda.status().reason}`;
    skipped.set(why, (skipped.get(why) ?? 0) + 1);
  }
  return isMissing;
}

afterAll(() => {
  // A worker runs many files; what dropped tensors hold on a device is no weight to the collector.
  if (!isOnCpu) collectGarbage();
  for (const [reason, count] of skipped) console.info(`skipped on ${device}: ${count} x ${reason}`);
});

/** Runs `call` and what it has enqueued, so that errors of values are thrown on every device. */
export function throughDevice<R>(call: () => R): R {
  const result = call();
  if (!isOnCpu) sp.cuda.synchronize();
  return result;
}

/** The same for a promise. */
export async function awaited<R>(promise: Promise<R>): Promise<R> {
  const result = await promise;
  if (!isOnCpu) await sp.cuda.synchronizeAsync();
  return result;
}
