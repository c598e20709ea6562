// What the fixtures hold, comparison with it, and Python as a second opinion where it has NumPy.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { AnyTensor } from '../harness/tensors.js';

export interface Content {
  dtype: string;
  shape: number[];
  values: (number | string)[];
}

export function fixture(name: string): URL {
  return new URL(`fixtures/${name}`, import.meta.url);
}

export const fixtures: Record<string, unknown> = JSON.parse(
  readFileSync(fixture('expected.json'), 'utf8'),
);

export function expectContent(t: AnyTensor, { dtype, shape, values }: Content): void {
  expect(t.dtype).toBe(dtype);
  expect(t.shape).toEqual(shape);
  const wanted = dtype === 'int64' ? values.map(BigInt) : values.map(Number);
  expect([...(t.dataSync() as Iterable<number | bigint>)]).toEqual(wanted);
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'surprisal-io-'));
}

const python = process.env.SURPRISAL_PYTHON || 'python3';

export const pythonHasNumpy =
  spawnSync(python, ['-c', 'import numpy'], { stdio: 'ignore' }).status === 0;

/** Runs a Python script and gives what it prints as JSON. */
export function fromPython(script: string, ...args: string[]): unknown {
  const { status, stdout, stderr } = spawnSync(python, ['-c', script, ...args]);
  if (status !== 0) throw new Error(String(stderr));
  return JSON.parse(String(stdout));
}
