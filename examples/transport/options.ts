// The command line: what can be asked for and its defaults.
import { fileOf, flag, help, integerOf, parsed, text } from '../command-line.js';
import type { Settings } from './study.js';

export interface Options extends Settings {
  out: string;
}

export const defaultOut = 'build/transport/report.html';

export const usage = `npm run demo -- transport [options]

Finds the motion between two clouds of points (the Stanford bunny, moved; then also cropped and
noisy) by descending a Sinkhorn divergence, and draws a map of languages by the letters they write.
Less than a minute on two cores; writes a report with the pictures.

  --quick        fewer points, steps and languages: seconds
  --out <file>   where the report goes (default: ${defaultOut})
  --seed <n>     of the points drawn and of the noise (default: 1)
  --help         print this`;

const known = { quick: flag, out: text, seed: text, help } as const;

/** The options of a command line, or 'help'. Throws UsageError. */
export function readOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args, known);
  if (values.help) return 'help';
  return {
    quick: values.quick ?? false,
    out: fileOf(values, 'out') ?? defaultOut,
    seed: integerOf(values, 'seed', 0) ?? 1,
  };
}
