// Refuses what would not fit the memory of the machine before anything is allocated.
import { freemem, totalmem } from 'node:os';
import { OutOfMemoryError } from './native.js';

/** `requested`: bytes, an estimate. Little is not worth looking. */
export function expectFreeMemory(op: string, requested: number): void {
  if (requested < 2 ** 26) return;
  const free = process.availableMemory?.() ?? freemem();
  if (requested <= free) return;
  throw new OutOfMemoryError(
    `${op}: out of memory: this takes about ${requested} bytes, ${free} are free`,
    requested,
    free,
    totalmem(),
  );
}
