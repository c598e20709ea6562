// Times contenders turn by turn in one process: round 1 runs A B C, round 2 C B A, and so on, so
// that a slow minute of the machine falls on all of them. Medians of these rounds are compared.
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Contender {
  name: string;
  /** One run on input set `set`; gives its milliseconds when it has timed itself. */
  run(set: number): void | Promise<number>;
  /** Untimed, after each run: drops what it left, so that the next finds its memory free. */
  tidy?(set: number): void;
  /** Too slow to repeat: runs in the first round only. */
  once?: boolean;
}

export interface Sample {
  /** Milliseconds. */
  median: number;
  min: number;
  /** Half of the interquartile range over the median: 0.02 reads "± 2 %". */
  spread: number;
  rounds: number;
}

export interface Rounds {
  /** Number of input sets to rotate through, so that none is found in the cache. */
  sets?: number;
  /** Rounds go on for this long, within the two limits. */
  seconds?: number;
  atLeast?: number;
  atMost?: number;
}

/** Threads of the last contender may spin for a while; they must not slow the next one. */
const settleMs = 5;

function quantile(sorted: number[], q: number): number {
  const place = q * (sorted.length - 1);
  const low = sorted[Math.floor(place)] as number;
  const high = sorted[Math.ceil(place)] as number;
  return low + (high - low) * (place - Math.floor(place));
}

export function sample(times: number[]): Sample {
  const sorted = [...times].sort((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  return {
    median,
    min: sorted[0] as number,
    spread: (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 2 / median,
    rounds: sorted.length,
  };
}

/** As in a loop of training steps: a run on another set comes first, untimed, and wakes the threads. */
async function warm(contender: Contender, set: number, sets: number): Promise<number> {
  if (!contender.once) await once(contender, (set + 1) % sets);
  return once(contender, set);
}

async function once(contender: Contender, set: number): Promise<number> {
  await sleep(settleMs);
  const start = performance.now();
  const own = contender.run(set);
  const elapsed = performance.now() - start;
  const ms = own === undefined ? elapsed : await own;
  contender.tidy?.(set);
  return ms;
}

export async function interleave(
  contenders: Contender[],
  { sets = 1, seconds = 8, atLeast = 5, atMost = 40 }: Rounds = {},
): Promise<Map<string, Sample>> {
  const times = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  const repeated = contenders.filter((contender) => !contender.once);
  // Every set once: the first use of a buffer pays for its pages.
  for (let set = 0; set < sets; set++) for (const contender of repeated) await once(contender, set);
  const end = performance.now() + seconds * 1000;
  for (let round = 0; round < atMost; round++) {
    if (round >= atLeast && performance.now() > end) break;
    const turn = round === 0 ? contenders : repeated;
    for (const contender of round % 2 ? [...turn].reverse() : turn)
      times.get(contender.name)?.push(await warm(contender, round % sets, sets));
  }
  return new Map([...times].map(([name, list]) => [name, sample(list)]));
}

/** Input sets needed so that `bytes` a set are gone from a cache of `cacheBytes` when they return. */
export function setsBeyond(bytes: number, cacheBytes: number): number {
  return bytes > 2 * cacheBytes ? 1 : Math.min(16, Math.ceil((2 * cacheBytes) / bytes) + 1);
}
