// Windows of pools: sizes, strides, padding, dilation, ceiling mode, divisors, in two and three
// dimensions, with and without a batch, larger than a thread's share.
export interface PoolCase {
  kind: 'max' | 'avg';
  shape: readonly number[];
  options: {
    kernelSize: number | number[];
    stride?: number | number[];
    padding?: number | number[];
    dilation?: number | number[];
    ceilMode?: boolean;
    countIncludePad?: boolean;
    divisorOverride?: number;
  };
}

const both = ['max', 'avg'] as const;

export const poolCases: readonly PoolCase[] = [
  ...both.flatMap(
    (kind) =>
      [
        { kind, shape: [2, 3, 6, 7], options: { kernelSize: 2 } },
        { kind, shape: [3, 5, 4], options: { kernelSize: [3, 2], stride: 1 } },
        { kind, shape: [1, 2, 7, 8], options: { kernelSize: 3, stride: 2, padding: 1 } },
        { kind, shape: [1, 2, 8, 7], options: { kernelSize: 3, stride: 2, ceilMode: true } },
        {
          kind,
          shape: [1, 1, 5, 5],
          options: { kernelSize: 2, stride: [3, 2], padding: 1, ceilMode: true },
        },
        { kind, shape: [2, 2, 4, 5, 6], options: { kernelSize: 2 } },
        {
          kind,
          shape: [2, 3, 4, 5],
          options: { kernelSize: [2, 3, 2], stride: [1, 2, 1], padding: [1, 1, 0] },
        },
        { kind, shape: [1, 1, 1, 1], options: { kernelSize: 1 } },
      ] as PoolCase[],
  ),
  {
    kind: 'max',
    shape: [1, 2, 9, 8],
    options: { kernelSize: 3, dilation: 2, stride: 1, padding: 2 },
  },
  {
    kind: 'max',
    shape: [1, 5, 6, 6],
    options: { kernelSize: 2, dilation: [1, 3, 2], stride: 2, ceilMode: true },
  },
  {
    kind: 'avg',
    shape: [1, 2, 7, 8],
    options: { kernelSize: 3, stride: 2, padding: 1, countIncludePad: false },
  },
  {
    kind: 'avg',
    shape: [1, 2, 7, 6],
    options: { kernelSize: 3, stride: 2, padding: 1, divisorOverride: 5 },
  },
];

export const largePoolCases: readonly PoolCase[] = both.map((kind) => ({
  kind,
  shape: [3, 5, 40, 41],
  options: { kernelSize: 3, stride: 2, padding: 1 },
}));

/** Spatial axes: 2 for [C, H, W] and [B, C, H, W] of a 2-d pool. Rank 4 is 3-d if a list says so. */
export function axesOf({ shape, options }: PoolCase): 2 | 3 {
  const lists = [options.kernelSize, options.dilation].filter(Array.isArray) as number[][];
  if (lists.length) return lists[0].length as 2 | 3;
  return shape.length === 5 ? 3 : 2;
}
