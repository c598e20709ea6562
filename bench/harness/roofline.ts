// The machine's own limits, measured through the addon in the run whose figures they judge:
// bandwidth of reading and of copying with streaming stores, float32 multiply-adds, core clock.
import { performance } from 'node:perf_hooks';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import type { Contender, Sample } from './timing.js';

const floats = 64 << 20; // 256 MiB a buffer: beyond every cache
const fmaRounds = 500_000;

export type Probe = 'read' | 'copy' | 'fma';

const fmaOut = new Float64Array(2);

/** Contenders that measure the limits a bench divides by, turn by turn with what it measures. */
export function probes(wanted: Probe[]): Contender[] {
  const sum = new Float64Array(1);
  const source = wanted.every((name) => name === 'fma') ? undefined : sp.ones([floats]).raw;
  const destination = wanted.includes('copy') ? sp.zeros([floats]).raw : undefined;
  const run: Record<Probe, () => void> = {
    read: () => launch(native.rooflineRead, { source, sum }),
    copy: () => launch(native.rooflineCopy, { source, destination }),
    fma: () => launch(native.rooflineFma, { rounds: fmaRounds, out: fmaOut }),
  };
  return wanted.map((name) => ({ name: `roofline ${name}`, run: run[name] }));
}

/** GB/s (of a copy: bytes read plus bytes written), or GFLOP/s, from a probe's sample. */
export function limit(samples: Map<string, Sample>, name: Probe): number {
  const ms = samples.get(`roofline ${name}`)?.median ?? Number.NaN;
  const work = name === 'fma' ? fmaOut[0] : (name === 'copy' ? 8 : 4) * floats;
  return work / ms / 1e6;
}

/** Clock of one core in GHz, from a chain of dependent additions, one cycle each. */
export function coreClock(): number {
  const additions = 100_000_000;
  const start = performance.now();
  launch(native.rooflineClock, { additions });
  return additions / (performance.now() - start) / 1e6;
}
