// Refuses what would not fit the memory of the machine before anything is allocated.
import { freemem, totalmem } from 'node:os';
import { getThreads } from './device.js';
import { OutOfMemoryError } from './native.js';

/** For `images` of so many voxels, of which each thread works on one. */
export function expectMemoryOfImages(
  op: string,
  images: number,
  voxels: number,
  bytes: { each: number; scratch: number },
): void {
  const atOnce = Math.min(images, getThreads());
  expectFreeMemory(op, voxels * (images * bytes.each + atOnce * bytes.scratch));
}

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
