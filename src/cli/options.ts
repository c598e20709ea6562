// The command line: options by node:util, and plain words for what is wrong with them.
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../expect.js';

/** The user asked for something that cannot be. */
export class UsageError extends Error {}

type Known = NonNullable<ParseArgsConfig['options']>;
interface Config<T extends Known> {
  args: string[];
  options: T;
  allowPositionals: true;
  strict: true;
}
export type Parsed<T extends Known> = ReturnType<typeof parseArgs<Config<T>>>;

/** Options and words of a command, or an error that names the nearest option. */
export function parsed<T extends Known>(args: readonly string[], known: T): Parsed<T> {
  const config: Config<T> = {
    args: [...args],
    options: known,
    allowPositionals: true,
    strict: true,
  };
  try {
    return parseArgs(config);
  } catch (error) {
    const { message } = error as Error;
    const [, wrong] = /^Unknown option '--?([^'=]+)/.exec(message) ?? [];
    if (wrong === undefined) throw new UsageError(message);
    const names = Object.keys(known);
    const meant = nearest(wrong, names);
    throw new UsageError(
      `expected options among ${names.map((name) => `--${name}`).join(', ')}, got '--${wrong}'` +
        (meant ? ` (did you mean '--${meant}'?)` : ''),
    );
  }
}

/** One of the listed words. */
export function oneOf<T extends string>(what: string, value: string, words: readonly T[]): T {
  if (words.includes(value as T)) return value as T;
  const meant = nearest(value, words);
  throw new UsageError(
    `expected ${what} to be one of ${words.join(', ')}, got '${value}'` +
      (meant ? ` (did you mean '${meant}'?)` : ''),
  );
}

/** A whole number from 1 on, or undefined where the option was not given. */
export function countOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text !== '' && Number.isSafeInteger(value) && value >= 1) return value;
  throw new UsageError(`expected --${name} to be an integer from 1 on, got '${text}'`);
}

/** Columns of text, the first one to the left, all others too. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
