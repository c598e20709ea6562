// What the programs here share of a command line: options and their checks, plain words for what is
// wrong with them, the status that a program ends with.
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';

/** The user asked for something that cannot be. */
export class UsageError extends Error {}

export type Values = Record<string, string | boolean | undefined>;

export const text = { type: 'string' } as const;
export const flag = { type: 'boolean' } as const;
export const help = { type: 'boolean', short: 'h' } as const;

type Known = NonNullable<ParseArgsConfig['options']>;

export function parsed<T extends Known>(args: readonly string[], known: T) {
  try {
    return parseArgs({ args: [...args], options: known }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

export function numberOf(values: Values, name: string): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text !== '' && Number.isFinite(value) && value > 0) return value;
  throw new UsageError(`--${name}: expected a number above 0, got '${text}'`);
}

export function integerOf(values: Values, name: string, min = 1): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text !== '' && Number.isSafeInteger(value) && value >= min) return value;
  throw new UsageError(`--${name}: expected an integer from ${min} on, got '${text}'`);
}

export function wordOf<T extends string>(values: Values, name: string, words: readonly T[]) {
  const text = values[name] as T | undefined;
  if (text === undefined || words.includes(text)) return text;
  throw new UsageError(`--${name}: expected ${words.join(' or ')}, got '${text}'`);
}

/** A file to be written after the work, so its folder has to be there before it. */
export function fileOf(values: Values, name: string): string | undefined {
  const path = values[name] as string | undefined;
  if (path === undefined || (path !== '' && existsSync(dirname(path)))) return path;
  throw new UsageError(`--${name}: expected a file in an existing folder, got '${path}'`);
}

export const say = (text = '') => process.stdout.write(`${text}\n`);

/** Runs a program; the status to end with: 1 where it fails, 2 where it was asked wrongly. */
export async function statusOf(program: () => Promise<void>): Promise<number> {
  try {
    await program();
    return 0;
  } catch (error) {
    const { code, message, stack } = error as Error & { code?: string };
    const ours = error instanceof UsageError || code === 'ERR_DEVICE';
    const plain = ours || code !== undefined;
    process.stderr.write(`${plain ? message : stack}\n`);
    if (ours) process.stderr.write('--help lists the options\n');
    return ours ? 2 : 1;
  }
}
