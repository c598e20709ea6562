// Cases of cross-entropy on logits: which shapes and options, and the seeded data of each.
// Tests, gradient checks, sanitizers and benches read this one list.
import { pairwise } from '../harness/pairwise.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';
import { roundAll } from '../harness/rounding.js';
import type { Epilogue, Options, Target } from '../reference/cross-entropy.js';

export const floatDTypes: readonly FloatDType[] = ['float64', 'float32', 'float16', 'bfloat16'];

export interface OptionCase {
  reduction: 'mean' | 'sum' | 'none';
  labelSmoothing: number;
  /** Class weights; class 1 of three or more has weight 0. */
  weighted: boolean;
  tokens: 'none' | 'positive' | 'signed';
  zLoss: number;
  temperature: number;
  softcap: number | undefined;
  capFirst: boolean;
  epilogue: Epilogue | undefined;
  /** Share of ignored rows. */
  ignored: number;
  upstream: 'one' | 'random';
}

export interface Case extends OptionCase {
  name: string;
  shape: readonly number[]; // of the target: the leading axes of the logits
  classes: number;
  target: 'indices' | 'probabilities';
}

export interface Data {
  rows: number;
  logits: Float64Array; // (N, V), rounded to the dtype
  target: Target;
  options: Options;
  upstream: Float64Array; // 1, or N for 'none'
}

export const plain: OptionCase = {
  reduction: 'mean',
  labelSmoothing: 0,
  weighted: false,
  tokens: 'none',
  zLoss: 0,
  temperature: 1,
  softcap: undefined,
  capFirst: false,
  epilogue: undefined,
  ignored: 0,
  upstream: 'one',
};

export const epilogues: readonly (Epilogue | undefined)[] = [
  undefined,
  { kind: 'focal', gamma: 2 },
  { kind: 'focal', gamma: 0.5 },
  { kind: 'generalized', q: 0.7 },
  { kind: 'compSum', tau: 1.5 },
  { kind: 'compSum', tau: 0.5 },
];

/** The values of every option, for pairwise coverings. */
export const optionMatrix = {
  reduction: ['mean', 'sum', 'none'],
  labelSmoothing: [0, 0.1, 0.9],
  weighted: [false, true],
  tokens: ['none', 'positive', 'signed'],
  zLoss: [0, 1e-4, 0.1],
  temperature: [1, 0.7],
  softcap: [undefined, 20, 30],
  capFirst: [false, true],
  epilogue: epilogues,
  ignored: [0, 0.2],
  upstream: ['one', 'random'],
} as const;

/** What the contract refuses, or what says nothing new: capFirst without a cap. */
export function isAllowed(row: Partial<Case>): boolean {
  const refused = row.labelSmoothing || row.target === 'probabilities';
  if (row.epilogue && refused) return false;
  if (row.target === 'probabilities' && row.ignored) return false;
  return !(row.capFirst && 'softcap' in row && row.softcap === undefined);
}

const shapes = [[1], [3], [9], [2, 3], [1, 2, 2]] as const;

/** Every pair of option values, at sizes around the vector width and the block of the kernels. */
export const optionCases: Case[] = pairwise(
  {
    ...optionMatrix,
    target: ['indices', 'probabilities'],
    shape: shapes,
    classes: [1, 2, 7, 41, 192, 2049, 4099],
  } as const,
  isAllowed,
).map((row, i) => ({ ...row, name: `options ${i}: ${describeCase(row)}` }));

function sized(rows: number, classes: number): Case {
  const name = `${rows} x ${classes}`;
  return { ...plain, name, shape: [rows], classes, target: 'indices', ignored: rows > 3 ? 0.2 : 0 };
}

/** Sizes at and around powers of two, primes, and real vocabularies. */
export const shapeCases: Case[] = [
  ...[1, 2, 31, 41, 47, 192, 668, 1024, 1128, 4096, 4099].map((V) => sized(3, V)),
  ...[32000, 32768, 50257, 64000, 65535, 65536, 65537].map((V) => sized(2, V)),
  ...[128256, 131072, 151936, 262144, 1e6 + 3].map((V) => sized(1, V)),
  ...[0, 1, 9, 77, 289, 8192].map((N) => sized(N, 41)),
  ...[0, 77, 289].map((N) => sized(N, 1000)),
];

/** Names what differs from the defaults. */
export function describeCase(row: Partial<Case>): string {
  return Object.entries(row)
    .filter(([key, value]) => value !== (plain as unknown as Record<string, unknown>)[key])
    .map(([key, value]) => `${key} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(', ');
}

/** Weights of rows, float32; the third is 0, and the signed ones are negative now and then. */
export function drawTokenWeight(
  random: Random,
  rows: number,
  kind: 'positive' | 'signed',
): Float64Array {
  const weights = random.uniforms(rows, kind === 'signed' ? -0.3 : 0.5, 2);
  if (rows >= 3) weights[2] = 0;
  return roundAll(weights, 'float32');
}

export function drawClassWeight(random: Random, classes: number): Float64Array {
  const weights = random.uniforms(classes, 0.2, 2);
  if (classes >= 3) weights[1] = 0;
  return weights;
}

/** Labels over all classes, the first and last among them, some of them ignored. */
export function drawIndices(
  random: Random,
  rows: number,
  classes: number,
  ignored: number,
): Int32Array {
  return Int32Array.from({ length: rows }, (_, n) => {
    const label = n === 0 ? classes - 1 : n === 1 ? 0 : random.integer(classes);
    return random.uniform() < ignored ? -100 : label;
  });
}

/** The data of a case; weights are float32 values, whatever the dtype of the logits. */
export function draw(c: Case, dtype: FloatDType, seed = 1): Data {
  const random = new Random(seed);
  const rows = c.shape.reduce((product, size) => product * size, 1);
  const { reduction, labelSmoothing, zLoss, temperature, softcap, capFirst, epilogue } = c;
  const logits = roundAll(random.normals(rows * c.classes, 4), dtype);
  const indices = drawIndices(random, rows, c.classes, c.ignored);
  const weights = roundAll(drawClassWeight(random, c.classes), 'float32');
  const options: Options = {
    reduction,
    labelSmoothing,
    zLoss,
    temperature,
    softcap,
    capFirst,
    epilogue,
    classWeight: c.weighted ? weights : undefined,
    tokenWeight: c.tokens === 'none' ? undefined : drawTokenWeight(random, rows, c.tokens),
  };
  const probabilities = () => roundAll(random.uniforms(rows * c.classes, 0, 2 / c.classes), dtype);
  const target: Target = c.target === 'indices' ? { indices } : { probabilities: probabilities() };
  const count = reduction === 'none' ? rows : 1;
  const one = new Float64Array(count).fill(1);
  const upstream = c.upstream === 'one' ? one : roundAll(random.normals(count), 'float32');
  return { rows, logits, target, options, upstream };
}
