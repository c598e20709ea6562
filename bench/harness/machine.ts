// Names the machine that a figure was measured on, and says what memory this process takes of it.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import * as sp from '../../src/index.js';

export interface Machine {
  cpu: string;
  cores: number;
  threads: number;
  isa: string;
  lastLevelCacheBytes: number;
  memoryBytes: number;
  node: string;
  os: string;
}

/** Size of the largest cache; 32 MiB where the system does not say. */
function lastLevelCacheBytes(): number {
  const folder = '/sys/devices/system/cpu/cpu0/cache';
  if (!existsSync(folder)) return 32 << 20;
  const sizes = readdirSync(folder)
    .filter((name) => name.startsWith('index'))
    .map((name) => Number.parseInt(readFileSync(join(folder, name, 'size'), 'utf8'), 10) * 1024);
  return Math.max(...sizes);
}

/** "AMD EPYC, family 25 model 1": a hypervisor often hides the product's name. */
function cpuName(): string {
  const name = cpus()[0]?.model.trim() ?? 'unknown CPU';
  if (!existsSync('/proc/cpuinfo')) return name;
  const info = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (label: string) => info.match(new RegExp(`^${label}\\s*: (\\d+)$`, 'm'))?.[1];
  const family = field('cpu family');
  return family ? `${name}, family ${family} model ${field('model')}` : name;
}

export function machine(): Machine {
  return {
    cpu: cpuName(),
    cores: cpus().length,
    threads: sp.getThreads(),
    isa: sp.instructionSet(),
    lastLevelCacheBytes: lastLevelCacheBytes(),
    memoryBytes: totalmem(),
    node: process.version,
    os: `${process.platform} ${process.arch}`,
  };
}

function status(field: 'VmRSS' | 'VmHWM'): number {
  const line = readFileSync('/proc/self/status', 'utf8').match(
    new RegExp(`^${field}:\\s+(\\d+)`, 'm'),
  );
  return Number(line?.[1] ?? 0) * 1024;
}

/** Resident memory added at the peak of `run`; undefined where the system does not tell (Linux does). */
export function peakExtraBytes(run: () => void): number | undefined {
  if (!existsSync('/proc/self/clear_refs')) return undefined;
  writeFileSync('/proc/self/clear_refs', '5'); // sets VmHWM back to VmRSS
  const before = status('VmRSS');
  run();
  return Math.max(0, status('VmHWM') - before);
}
