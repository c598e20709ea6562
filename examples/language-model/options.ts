// The command line: what can be asked for, its defaults, and plain words for what is wrong with it.
import { parseArgs } from 'node:util';

/** What the model is built with; a checkpoint remembers it. */
export interface Size {
  /** Features of a token, D. */
  width: number;
  layers: number;
  heads: number;
  /** Tokens of a window. */
  length: number;
}

export interface Options extends Size {
  steps: number;
  seconds: number;
  /** Windows of a step. */
  batch: number;
  learningRate: number;
  device: string;
  dtype: 'float32' | 'bfloat16';
  seed: number;
  save?: string;
  resume?: string;
  out: string;
}

export const usage = `npm run demo -- [options]

Trains a small transformer on Moby-Dick with linearCrossEntropy over 50,257 tokens, prints its
perplexity on held-out chapters beside the unigram model's, and writes a report.

  --steps <n>       stop after n steps (default: no limit)
  --seconds <s>     stop after s seconds of training (default: 120, or no limit with --steps)
  --device <name>   cpu or cuda (default: cpu)
  --dtype <name>    float32 or bfloat16 (default: float32)
  --save <file>     write a checkpoint at the end, and on Ctrl-C
  --resume <file>   go on from a checkpoint
  --out <file>      where the report goes (default: report.html)
  --seed <n>        of the weights, the order of the text and the sample (default: 1)

The model: --width, --layers, --heads, --length (tokens of a window), --batch (windows of a step),
--learning-rate. The defaults are tuned for two minutes on two cores.`;

export class UsageError extends Error {}

type Values = Record<string, string | boolean | undefined>;

function numberOf(values: Values, name: string, standard: number, above = 0): number {
  const text = values[name];
  if (text === undefined) return standard;
  const value = Number(text);
  if (text === '' || !Number.isFinite(value) || value <= above) {
    throw new UsageError(`--${name}: expected a number above ${above}, got '${text}'`);
  }
  return value;
}

function integerOf(values: Values, name: string, standard: number, min = 1): number {
  const text = values[name];
  if (text === undefined) return standard;
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value) || value < min) {
    throw new UsageError(`--${name}: expected an integer from ${min} on, got '${text}'`);
  }
  return value;
}

function oneOf<T extends string>(values: Values, name: string, words: readonly T[]): T {
  const text = values[name] ?? words[0];
  if (words.includes(text as T)) return text as T;
  throw new UsageError(`--${name}: expected ${words.join(' or ')}, got '${text}'`);
}

function parsed(args: readonly string[]): Values {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        steps: text,
        seconds: text,
        device: text,
        dtype: text,
        save: text,
        resume: text,
        out: text,
        seed: text,
        width: text,
        layers: text,
        heads: text,
        length: text,
        batch: text,
        'learning-rate': text,
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The options of a command line, or 'help'. Throws UsageError. */
export function readOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args);
  if (values.help) return 'help';
  const limited = values.steps !== undefined && values.seconds === undefined;
  const options: Options = {
    steps: integerOf(values, 'steps', Number.POSITIVE_INFINITY),
    seconds: numberOf(values, 'seconds', limited ? Number.POSITIVE_INFINITY : 120),
    device: String(values.device ?? 'cpu'),
    dtype: oneOf(values, 'dtype', ['float32', 'bfloat16']),
    save: values.save as string | undefined,
    resume: values.resume as string | undefined,
    out: String(values.out ?? 'report.html'),
    seed: integerOf(values, 'seed', 1, 0),
    width: integerOf(values, 'width', 96),
    layers: integerOf(values, 'layers', 2),
    heads: integerOf(values, 'heads', 4),
    length: integerOf(values, 'length', 128, 2),
    batch: integerOf(values, 'batch', 4),
    learningRate: numberOf(values, 'learning-rate', 3e-3),
  };
  if (options.width % options.heads !== 0) {
    throw new UsageError(
      `--width: expected a multiple of --heads (${options.heads}), got ${options.width}`,
    );
  }
  return options;
}
