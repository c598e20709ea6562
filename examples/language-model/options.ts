// The command line: what can be asked for, its defaults, and plain words for what is wrong with it.
import {
  fileOf,
  help,
  integerOf,
  numberOf,
  parsed,
  text,
  UsageError,
  wordOf,
} from '../command-line.js';

/** What the model is built with. */
export interface Size {
  /** Features of a token, D. */
  width: number;
  layers: number;
  heads: number;
  /** Tokens of a window. */
  length: number;
}

/** Everything that decides which numbers a step computes; a checkpoint remembers it. */
export interface Settings extends Size {
  /** Windows of a step. */
  batch: number;
  learningRate: number;
  dtype: 'float32' | 'bfloat16';
  seed: number;
}

/** How far one run goes: what is reached first ends it. */
export interface Limits {
  steps: number;
  seconds: number;
}

export interface Options extends Limits {
  device: string;
  save?: string;
  resume?: string;
  out: string;
  /** Settings that the command line names. */
  settings: Partial<Settings>;
}

/** Tuned for two minutes on two cores. */
export const defaults: Settings = {
  width: 64,
  layers: 2,
  heads: 4,
  length: 128,
  batch: 8,
  learningRate: 3e-3,
  dtype: 'float32',
  seed: 1,
};

export const usage = `npm run demo -- [options]

Trains a small transformer on Moby-Dick with linearCrossEntropy over 50,257 tokens, prints its
perplexity on held-out chapters beside the unigram model's, and writes a report.

  --steps <n>       stop after n steps
  --seconds <s>     stop after s seconds of training (default: 120, no limit with --steps)
  --device <name>   cpu or cuda (default: cpu)
  --dtype <name>    float32 or bfloat16 (default: ${defaults.dtype})
  --save <file>     write a checkpoint (safetensors) at the end, and on Ctrl-C
  --resume <file>   go on from a checkpoint, with the settings it was made with
  --out <file>      where the report goes (default: report.html)
  --seed <n>        of the weights, the order of the text and the sample (default: ${defaults.seed})
  --help            print this

The model, its defaults tuned for two minutes on two cores:
  --width ${defaults.width}  --layers ${defaults.layers}  --heads ${defaults.heads}  --length ${defaults.length} (tokens of a window)
  --batch ${defaults.batch} (windows of a step)  --learning-rate ${defaults.learningRate}`;

const known = {
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
  help,
} as const;

/** The options of a command line, or 'help'. Throws UsageError. */
export function readOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args, known);
  if (values.help) return 'help';
  const steps = integerOf(values, 'steps');
  const given: Partial<Settings> = {
    width: integerOf(values, 'width'),
    layers: integerOf(values, 'layers'),
    heads: integerOf(values, 'heads'),
    length: integerOf(values, 'length', 2),
    batch: integerOf(values, 'batch'),
    learningRate: numberOf(values, 'learning-rate'),
    dtype: wordOf(values, 'dtype', ['float32', 'bfloat16']),
    seed: integerOf(values, 'seed', 0),
  };
  const named = Object.entries(given).filter(([, value]) => value !== undefined);
  return {
    steps: steps ?? Number.POSITIVE_INFINITY,
    seconds: numberOf(values, 'seconds') ?? (steps ? Number.POSITIVE_INFINITY : 120),
    device: values.device ?? 'cpu',
    save: fileOf(values, 'save'),
    resume: values.resume,
    out: fileOf(values, 'out') ?? 'report.html',
    settings: Object.fromEntries(named),
  };
}

/** What was asked for, the defaults elsewhere. */
export function completeSettings(asked: Partial<Settings>): Settings {
  const settings = { ...defaults, ...asked };
  const { width, heads } = settings;
  if (width % heads === 0) return settings;
  throw new UsageError(`--width: expected a multiple of --heads (${heads}), got ${width}`);
}

/** A checkpoint's settings; whatever was asked for must agree with them. */
export function resumedSettings(asked: Partial<Settings>, checkpoint: Settings): Settings {
  for (const key of Object.keys(asked) as (keyof Settings)[]) {
    if (asked[key] === checkpoint[key]) continue;
    const option = key === 'learningRate' ? 'learning-rate' : key;
    throw new UsageError(
      `--${option}: the checkpoint was made with ${checkpoint[key]}, got ${asked[key]}`,
    );
  }
  return checkpoint;
}
