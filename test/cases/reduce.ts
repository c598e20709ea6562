// Shapes and axes for reductions: each layout that the kernel knows (all, rows, columns, both
// sides, gathered), odd sizes, empty ones, and ones that are cut into chunks.

export interface AxesCase {
  shape: readonly number[];
  /** Absent: all. */
  dim?: number | readonly number[];
}

export const axesCases: readonly AxesCase[] = [
  { shape: [] },
  { shape: [1] },
  { shape: [7], dim: 0 },
  { shape: [3, 5] },
  { shape: [3, 5], dim: 0 },
  { shape: [3, 5], dim: -1 },
  { shape: [5, 33], dim: [1] },
  { shape: [33, 9], dim: 0 },
  { shape: [2, 3, 4], dim: 1 },
  { shape: [2, 3, 4], dim: [0, 2] },
  { shape: [2, 3, 4, 5], dim: [-1, 1] },
  { shape: [2, 1, 3, 2, 2], dim: [0, 2, 4] },
  { shape: [4, 3, 1], dim: 2 },
  { shape: [70, 530], dim: 0 },
  { shape: [3, 600], dim: 1 },
];

/** Beyond one chunk of rows or columns, and beyond one thread. */
export const longCases: readonly AxesCase[] = [
  { shape: [40_001] },
  { shape: [2, 20_001], dim: 1 },
  { shape: [1000, 3], dim: 0 },
  { shape: [700, 520], dim: 0 },
  { shape: [3, 300, 40], dim: 1 },
];

export const emptyCases: readonly AxesCase[] = [
  { shape: [0] },
  { shape: [0, 3], dim: 0 },
  { shape: [3, 0], dim: 1 },
  { shape: [2, 0, 3], dim: [0, 1] },
];

export function dimsOf({ shape, dim }: AxesCase): number[] {
  if (dim === undefined) return shape.map((_, d) => d);
  const list = typeof dim === 'number' ? [dim] : dim;
  return list.map((d) => (d < 0 ? d + shape.length : d));
}

export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
