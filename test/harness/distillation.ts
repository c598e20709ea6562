// Answers of torch for unrolled iterations and distillation losses (make_distillation.py).
import { readFileSync } from 'node:fs';
import type { FloatDType } from './rounding.js';

const file = new URL('./golden/distillation.json', import.meta.url);
const golden = JSON.parse(readFileSync(file, 'utf8'));

export interface KnoppCase {
  batch: number;
  n: number;
  m: number;
  iterations: number;
  temperature: number;
  input: 'logits' | 'matrix';
  last: 'columns' | 'rows';
  sums: boolean;
  seed: number;
  plan: number[];
  gradient: number[];
}
export interface SinkdCase {
  problems: number;
  b: number;
  v: number;
  temperature: number;
  lambda: number;
  iterations: number;
  detached: boolean;
  scale: number;
  seed: number;
  loss: number[];
  gradient: number[];
}
export interface UldCase {
  tokens: number;
  student: number;
  teacher: number;
  temperature: number;
  scale: number;
  seed: number;
  loss: number[];
  gradient: number[];
}
export interface EmoCase {
  tokens: number;
  classes: number;
  width: number;
  plain: boolean;
  combination: 'emo' | 'emo1' | 'emo2';
  clamp: number;
  ratio: number;
  seed: number;
  target: number[];
  loss: number[];
  rows: number[];
  gradient: number[];
}
export const goldens: {
  sinkhornKnopp: KnoppCase[];
  sinkd: SinkdCase[];
  uld: UldCase[];
  emo: EmoCase[];
} = golden;

export const floatDTypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

/** Errors allowed to float64's answers: of the accumulator, and of one rounding to the dtype. */
export function allowed(dtype: FloatDType, wide: number) {
  const unit = { float64: 1e-10, float32: wide, float16: 2 ** -10, bfloat16: 2 ** -7 }[dtype];
  return (values: ArrayLike<number>) => {
    const top = Array.from(values, Math.abs).reduce((a, b) => Math.max(a, b), 1e-3);
    return () => unit * top;
  };
}
