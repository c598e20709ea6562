// What a fuzzed call is made of: sizes, dtypes, tensors with the float64 values that they hold.
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { floats, indices } from '../harness/tensors.js';
import type { Arr } from '../reference/arrays.js';

/** A call that a user might make. */
export interface Planned {
  args: unknown[];
  /** The result by definition, where there is one that is as wide as the operation's options. */
  expected?: () => Arr | readonly number[];
  /** What an error is relative to, besides the value itself: sums of many terms (default 1). */
  scale?: number;
  /** The result draws random numbers, or depends on time: two runs differ. */
  isRandom?: boolean;
}

export type Maker = (d: Draw) => Planned;

const floatDTypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];

export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export class Draw extends Random {
  /** True once in `n` times. */
  once(n: number): boolean {
    return this.integer(n) === 0;
  }

  between(low: number, high: number): number {
    return low + this.integer(high - low + 1);
  }

  /** Mostly small, sometimes 0 or beyond the width of a vector. */
  size(most = 6): number {
    if (this.once(20)) return 0;
    return this.once(12) ? this.between(7, 70) : this.between(1, most);
  }

  shape(low = 0, high = 4, most = 5): number[] {
    const rank = this.between(low, high);
    // One long axis at the most.
    const sizes = Array.from({ length: rank }, () => this.between(this.once(20) ? 0 : 1, most));
    if (rank > 0 && this.once(4)) sizes[this.integer(rank)] = this.size();
    return sizes;
  }

  dtype(): FloatDType {
    return this.pick(floatDTypes);
  }

  maybe<T>(value: T): T | undefined {
    return this.once(2) ? value : undefined;
  }

  /** Options that are there half of the time. */
  options(all: Record<string, unknown>): Record<string, unknown> {
    return Object.fromEntries(Object.entries(all).filter(() => this.once(2)));
  }

  /** A tensor of random numbers, and them. */
  floats(
    shape: readonly number[],
    dtype: FloatDType,
    draw: (index: number) => number = () => this.normal(),
  ): { t: sp.Tensor; a: Arr } {
    const values = [...roundAll(this.fill(sizeOf(shape), draw), dtype)];
    const t = floats(values, dtype, shape, this.once(2)) as unknown as sp.Tensor;
    return { t, a: { shape: [...shape], values } };
  }

  tensor(shape: readonly number[], dtype: FloatDType, draw?: () => number): sp.Tensor {
    return this.floats(shape, dtype, draw).t;
  }

  probabilities(shape: readonly number[], dtype: FloatDType): sp.Tensor {
    return this.tensor(shape, dtype, () => this.uniform());
  }

  indices(shape: readonly number[], below: number): { t: sp.Tensor; a: Arr } {
    const values = [...this.fill(sizeOf(shape), () => this.integer(Math.max(1, below)))];
    const dtype = this.pick(['int32', 'int64'] as const);
    const t = indices(values, shape, dtype) as unknown as sp.Tensor;
    return { t, a: { shape: [...shape], values } };
  }

  mask(shape: readonly number[]): { t: sp.Tensor; a: Arr } {
    const values = [...this.fill(sizeOf(shape), () => this.integer(2))];
    const dtype = this.pick(['bool', 'uint8'] as const);
    const t = sp.tensor(values, { dtype, shape: [...shape] }) as unknown as sp.Tensor;
    return { t, a: { shape: [...shape], values } };
  }

  axis(rank: number): number {
    return rank === 0 ? 0 : this.between(-rank, rank - 1);
  }
}

export const wrapped = (dim: number, rank: number) => (dim + rank) % Math.max(1, rank);
