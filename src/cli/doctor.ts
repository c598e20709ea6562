// What was found on this machine, what is missing, and why: for people and, with --json, for reports.
// Says as much as it can where the addon does not load.
import { readFileSync, statSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import type { CudaStatus } from '../device.js';
import { type Attempt, libc, load, remedies, root } from '../loader.js';
import { columns, parsed, UsageError } from './options.js';

export const doctorHelp = `surprisal doctor [--json]
  What was found here and what is missing: Node, the addon, instruction sets, CUDA. Ends with 1
  where no addon could be loaded.`;

interface Cpu {
  model: string;
  /** What kernels run on, and all that this machine could. */
  instructionSet: string;
  instructionSets: readonly string[];
  threads: number;
}

/** What `doctor --json` prints. */
export interface Report {
  version: string;
  runtime: { name: string; version: string; nodeApi: string };
  machine: { platform: string; arch: string; libc: string; cores: number; memory: number };
  /** The environment variables that change what is loaded or run. */
  environment: Record<string, string>;
  addon: { loaded: string | null; bytes: number; attempts: readonly Attempt[] };
  cpu: Cpu | null;
  cuda: (CudaStatus & { driverVersion: string | null }) | null;
  /** What to do about an addon that is missing. */
  remedies: readonly string[];
}

export function packageVersion(): string {
  const text = readFileSync(join(root, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function runtimeOf(): Report['runtime'] {
  const { versions } = process as { versions: Record<string, string | undefined> };
  const name = versions.bun ? 'Bun' : versions.deno ? 'Deno' : 'Node';
  const version = versions.bun ?? versions.deno ?? versions.node ?? '';
  return { name, version, nodeApi: versions.napi ?? 'unknown' };
}

/** The driver's own version ('580.65.06'), where the kernel module is loaded. */
function driverVersion(): string | null {
  try {
    const text = readFileSync('/proc/driver/nvidia/version', 'utf8');
    return /(\d+(?:\.\d+)+)/.exec(text)?.[1] ?? null;
  } catch {
    return null;
  }
}

function environment(): Record<string, string> {
  const names = /^(SURPRISAL_|CUDA_VISIBLE_DEVICES$)/;
  const found = Object.entries(process.env).filter(([name]) => names.test(name));
  return Object.fromEntries(found as [string, string][]);
}

/** All that can be found out. */
export async function report(): Promise<Report> {
  const { addon, attempts } = load();
  const loaded = addon ? attempts[attempts.length - 1].path : null;
  const found: Report = {
    version: packageVersion(),
    runtime: runtimeOf(),
    machine: {
      platform: process.platform,
      arch: process.arch,
      libc,
      cores: availableParallelism(),
      memory: totalmem(),
    },
    environment: environment(),
    addon: { loaded, bytes: loaded ? statSync(loaded).size : 0, attempts },
    cpu: null,
    cuda: null,
    remedies: loaded ? [] : remedies(),
  };
  if (!loaded) return found;
  const { getThreads, instructionSet, status } = await import('../device.js');
  const { cpuTargets } = await import('../native.js');
  found.cpu = {
    model: cpus()[0]?.model.trim() ?? 'unknown',
    instructionSet: instructionSet(),
    instructionSets: cpuTargets,
    threads: getThreads(),
  };
  found.cuda = { ...status(), driverVersion: driverVersion() };
  return found;
}

const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function cudaRows(cuda: NonNullable<Report['cuda']>): string[][] {
  const driver = cuda.driver ? `driver for CUDA ${cuda.driver}` : 'no driver';
  const rows = [
    ['CUDA', cuda.available ? (cuda.emulated ? 'emulated' : 'available') : 'not available'],
    ['', `${cuda.built ? `built with CUDA ${cuda.runtime}` : 'not built in'}, ${driver}`],
  ];
  if (cuda.driverVersion) rows[1][1] += ` (${cuda.driverVersion})`;
  if (!cuda.available) rows.push(['', cuda.reason]);
  for (const { device, name, capability, processors, memory } of cuda.devices) {
    const size = `${processors} processors, ${gigabytes(memory)}`;
    rows.push([device, `${name}, compute capability ${capability}, ${size}`]);
  }
  return rows;
}

function readable(found: Report): string {
  const { runtime, machine, addon, cpu, cuda } = found;
  const rows = [
    ['surprisal', found.version],
    [runtime.name, `${runtime.version}, Node-API ${runtime.nodeApi}`],
    [
      'machine',
      `${machine.platform}-${machine.arch}, ${machine.libc}, ${gigabytes(freemem())} free`,
    ],
    ['addon', addon.loaded ? `${addon.loaded} (${(addon.bytes / 1e6).toFixed(1)} MB)` : 'none'],
  ];
  for (const { path, loaded, reason } of addon.attempts) {
    if (!loaded) rows.push(['', `tried ${path}: ${reason}`]);
  }
  if (cpu) {
    const others = cpu.instructionSets
      .filter((name) => name !== cpu.instructionSet)
      .map((name) => (name === 'avx512' ? 'avx512, unverified' : name));
    const also = others.length > 0 ? ` (also ${others.join('; ')})` : '';
    rows.push(['CPU', cpu.model]);
    rows.push(['', `${cpu.instructionSet}${also}, ${cpu.threads} of ${machine.cores} threads`]);
  }
  if (cuda) rows.push(...cudaRows(cuda));
  for (const [name, value] of Object.entries(found.environment)) rows.push([name, value]);
  return [columns(rows), ...found.remedies].join('\n');
}

export async function doctor(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsed(args, { json: { type: 'boolean' } });
  if (positionals.length > 0) {
    throw new UsageError(`doctor: expected no words, got '${positionals[0]}'`);
  }
  const found = await report();
  const text = values.json ? JSON.stringify(found, null, 2) : readable(found);
  process.stdout.write(`${text}\n`);
  return found.addon.loaded ? 0 : 1;
}
