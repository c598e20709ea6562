// Cases of logit-free cross-entropy: shapes, options and the seeded data of each.
import { isEmulated } from '../harness/device.js';
import { pairwise } from '../harness/pairwise.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';
import { round, roundAll } from '../harness/rounding.js';
import type { Options, Problem } from '../reference/linear-cross-entropy.js';
import type { OptionCase } from './cross-entropy.js';
import {
  describeCase,
  drawClassWeight,
  drawIndices,
  drawTokenWeight,
  isAllowed,
  optionMatrix,
  plain,
} from './cross-entropy.js';

export type Input = 'x' | 'weight' | 'bias' | 'tokenWeight';

export interface Case extends OptionCase {
  name: string;
  shape: readonly number[]; // of the target
  width: number;
  classes: number;
  bias: boolean;
  shift: number;
  /** Which inputs need a gradient. */
  needs: readonly Input[];
  /** The least workspace, which makes many waves of the smallest blocks; else the default. */
  leastWorkspace: boolean;
  mainGrad: boolean;
}

export interface Data {
  rows: number; // scored rows
  problem: Problem;
  options: Options;
  upstream: Float64Array; // 1, or a value per scored row for 'none'
}

const everything: readonly Input[] = ['x', 'weight', 'bias', 'tokenWeight'];

/** Every pair of option values, at sizes no tile divides. */
export const optionCases: Case[] = pairwise(
  {
    ...optionMatrix,
    bias: [false, true],
    shift: [0, 1, 2],
    needs: [everything, ['x'], ['weight'], ['bias', 'x'], ['tokenWeight']],
    leastWorkspace: [false, true],
    mainGrad: [false, true],
    shape: [[3], [40], [2, 9], [3, 2, 7]],
    width: [1, 7, 31, 64],
    classes: [1, 5, 123, 517],
  } as const,
  // A main gradient takes the place of weight's own.
  (row) => isAllowed(row) && !(row.mainGrad && row.needs && !row.needs.includes('weight' as never)),
  2,
).map((row, i) => ({ ...row, name: `options ${i}: ${describeCase(row)}` }));

function sized(rows: number, width: number, classes: number): Case {
  return {
    ...plain,
    name: `${rows} x ${width} x ${classes}`,
    shape: [rows],
    width,
    classes,
    bias: true,
    shift: 0,
    ignored: rows > 3 ? 0.2 : 0,
    needs: everything,
    leastWorkspace: false,
    mainGrad: false,
  };
}

/** Tiny, odd, tile-sized and tile-sized ± 1; the last takes a minute of reference time. */
export const shapeCases: Case[] = [
  sized(0, 7, 5),
  sized(1, 1, 1),
  sized(3, 7, 5),
  sized(127, 9, 33),
  sized(128, 8, 32),
  sized(129, 17, 65),
  sized(188, 31, 123),
  sized(193, 70, 517),
  sized(252, 123, 507),
  sized(256, 128, 512),
  ...(isEmulated ? [sized(100, 20, 531), sized(130, 16, 1031)] : [sized(130, 48, 4099)]),
  ...(process.env.SURPRISAL_TEST_LARGE ? [sized(1024, 512, 4099)] : []),
];

/**
 * The least sizes at which kernels of wgmma take their large tiles on 132 processors, each ragged,
 * and which do; with a gradient that shows what they leave and takes the emulator least.
 * Of the first a cluster has more than one tile of slopes.
 */
export const largeCases = [
  { rows: 129, width: 8, classes: 16910, kernels: ['states', 'slopes'], needs: ['bias'] },
  { rows: 8200, width: 136, classes: 40, kernels: ['dx'], needs: ['x'] },
  { rows: 20, width: 136, classes: 8200, kernels: ['dweight'], needs: ['weight'] },
] as const;

/** A value that every float dtype holds: one reference then serves all of them. */
export function common(value: number): number {
  return round(round(value, 'float16'), 'bfloat16');
}

/** The data of a case, rounded to the dtype or to what all dtypes hold. */
export function draw(c: Case, dtype: FloatDType | 'common', seed = 1): Data {
  const random = new Random(seed);
  const stored = (values: Float64Array) =>
    dtype === 'common' ? values.map(common) : roundAll(values, dtype);
  const length = c.shape[c.shape.length - 1];
  const targets = c.shape.reduce((product, size) => product * size, 1);
  const batch = length === 0 ? 0 : targets / length;
  const rows = batch * (length - c.shift);
  const { width, classes, reduction, labelSmoothing, zLoss, temperature, softcap } = c;
  const problem: Problem = {
    batch,
    length,
    width,
    classes,
    x: stored(random.normals(targets * width)),
    // Logits of standard deviation 3, whatever the width.
    weight: stored(random.normals(classes * width, 3 / Math.sqrt(width))),
    bias: c.bias ? stored(random.normals(classes)) : undefined,
    target: drawIndices(random, targets, classes, c.ignored),
  };
  const weights = roundAll(drawClassWeight(random, classes), 'float32');
  const options: Options = {
    reduction,
    labelSmoothing,
    zLoss,
    temperature,
    softcap,
    capFirst: c.capFirst,
    epilogue: c.epilogue,
    shift: c.shift,
    classWeight: c.weighted ? weights : undefined,
    tokenWeight: c.tokens === 'none' ? undefined : drawTokenWeight(random, targets, c.tokens),
  };
  const count = reduction === 'none' ? rows : 1;
  const one = new Float64Array(count).fill(1);
  const upstream = c.upstream === 'one' ? one : roundAll(random.normals(count), 'float32');
  return { rows, problem, options, upstream };
}
