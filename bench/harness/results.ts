// Results files: bench/results/<device>.json, one entry an op, replaced by each saved run.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine } from './machine.js';
import type { Bench } from './program.js';
import { root, sourceHashes } from './sources.js';
import type { Sample } from './timing.js';

export interface Row {
  case: string;
  dtype: string;
  /** What was computed: 'forward', 'forward + gradient', ... */
  way: string;
  ours: Sample;
  /** Work at the median time: GB/s or GFLOP/s. */
  rate?: number;
  unit?: 'GB/s' | 'GFLOP/s' | 'TFLOP/s';
  /** The machine's limit for that work in this run, in the same unit. */
  limit?: number;
  peers: Record<string, Sample>;
  /** What else the bench measures, by name; bytes, fractions, GHz. */
  extra: Record<string, number>;
  notes?: string;
}

export interface Measured {
  date: string;
  commit: string;
  peer: string;
  machine: Machine;
  sources: Record<string, string>;
  rows: Row[];
}

export type Results = Record<string, Measured>;

/** Share of the machine's limit that was reached. */
export function ofLimit(row: Row): number | undefined {
  return row.rate && row.limit ? row.rate / row.limit : undefined;
}

/** The samples of those peers that ran. */
export function peersOf(samples: Map<string, Sample>, names: string[]): Record<string, Sample> {
  const ran = names.filter((name) => samples.has(name));
  return Object.fromEntries(ran.map((name) => [name, samples.get(name)!]));
}

/** How many times ours is faster than a peer, from medians of interleaved rounds. */
export function ratio(row: Row, peer: string): number | undefined {
  const theirs = row.peers[peer];
  return theirs && theirs.median / row.ours.median;
}

export function resultsFolder(): string {
  return join(root, 'bench/results');
}

function fileName({ cpu, threads }: Machine): string {
  const slug = cpu
    .toLowerCase()
    .replace(/\(r\)|\(tm\)|\bcpu\b|@.*|,/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  return `cpu-${slug}-${threads}t.json`;
}

const rounded = (_: string, value: unknown) =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;

export function save(
  bench: Bench,
  machine: Machine,
  peer: string | undefined,
  commit: string,
  rows: Row[],
): string {
  mkdirSync(resultsFolder(), { recursive: true });
  const name = fileName(machine);
  const path = join(resultsFolder(), name);
  const results: Results = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  results[bench.op] = {
    date: new Date().toISOString().slice(0, 10),
    commit,
    peer: peer ?? 'none',
    machine,
    sources: sourceHashes(bench.sources),
    rows,
  };
  writeFileSync(path, `${JSON.stringify(results, rounded, 2)}\n`);
  return `bench/results/${name}`;
}
