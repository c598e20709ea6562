// The command line: what can be asked for and its defaults.
import { fileOf, help, integerOf, numberOf, parsed, text, UsageError } from '../command-line.js';

/** Everything that decides which numbers the study computes. */
export interface Settings {
  /** Pixels a degree; at 16 one is 7 km high. */
  scale: number;
  /** Pixels along a side of a piece, a multiple of 8. */
  size: number;
  /** Channels of the first scale. */
  width: number;
  batch: number;
  /** Steps that all losses share, of Dice alone, and those of each after them. */
  sharedSteps: number;
  steps: number;
  learningRate: number;
  /** Of the topology losses beside Dice. */
  bettiWeight: number;
  clDiceWeight: number;
  /** Pieces that results are measured on. */
  heldOut: number;
  seed: number;
}

export interface Options extends Settings {
  device: string;
  out: string;
}

export const defaultOut = 'build/topology/report.html';

/** Tuned for a minute on two idle cores. */
export const defaults: Settings = {
  scale: 16,
  size: 64,
  width: 8,
  batch: 8,
  sharedSteps: 300,
  steps: 250,
  learningRate: 5e-3,
  bettiWeight: 0.05,
  clDiceWeight: 0.2,
  heldOut: 48,
  seed: 1,
};

export const usage = `npm run demo -- topology [options]

Trains a small U-Net to find land in hazy, noisy pictures of coasts: with the Dice loss alone, with
Betti matching beside it, and with clDice. Compares on coasts it never saw how many islands and
enclosed waters are wrong, and writes a report with the matched pairs. About a minute on two
idle cores.

  --steps <n>        steps of each loss after the shared ones (default: ${defaults.steps})
  --shared-steps <n> steps of Dice alone before them (default: ${defaults.sharedSteps})
  --device <name>    cpu, or cuda once convolutions have a CUDA form (default: cpu)
  --out <file>       where the report goes (default: ${defaultOut})
  --seed <n>         of the weights, the pieces and the noise (default: ${defaults.seed})
  --help             print this

The model, its defaults tuned for that:
  --scale ${defaults.scale} (pixels a degree)  --size ${defaults.size} (pixels of a piece)  --width ${defaults.width}  --batch ${defaults.batch}  --learning-rate ${defaults.learningRate}
  --betti-weight ${defaults.bettiWeight}  --cl-dice-weight ${defaults.clDiceWeight}  --held-out ${defaults.heldOut} (pieces)`;

const known = {
  steps: text,
  'shared-steps': text,
  device: text,
  out: text,
  seed: text,
  scale: text,
  size: text,
  width: text,
  batch: text,
  'learning-rate': text,
  'betti-weight': text,
  'cl-dice-weight': text,
  'held-out': text,
  help,
} as const;

/** A positive multiple of `step`, which a U-Net halves evenly or group norms divide. */
function multipleOf(step: number, name: string, value: number): number {
  if (value % step === 0) return value;
  throw new UsageError(`--${name}: expected a multiple of ${step}, got ${value}`);
}

/** The options of a command line, or 'help'. Throws UsageError. */
export function readOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args, known);
  if (values.help) return 'help';
  const d = defaults;
  return {
    scale: integerOf(values, 'scale') ?? d.scale,
    size: multipleOf(8, 'size', integerOf(values, 'size', 16) ?? d.size),
    width: multipleOf(4, 'width', integerOf(values, 'width', 4) ?? d.width),
    batch: integerOf(values, 'batch') ?? d.batch,
    sharedSteps: integerOf(values, 'shared-steps', 0) ?? d.sharedSteps,
    steps: integerOf(values, 'steps') ?? d.steps,
    learningRate: numberOf(values, 'learning-rate') ?? d.learningRate,
    bettiWeight: numberOf(values, 'betti-weight') ?? d.bettiWeight,
    clDiceWeight: numberOf(values, 'cl-dice-weight') ?? d.clDiceWeight,
    heldOut: integerOf(values, 'held-out') ?? d.heldOut,
    seed: integerOf(values, 'seed', 0) ?? d.seed,
    device: values.device ?? 'cpu',
    out: fileOf(values, 'out') ?? defaultOut,
  };
}
