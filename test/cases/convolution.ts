// Convolutions: sizes around the tiles of the product, strides with and without phases that no tap
// reaches, dilation, groups, depthwise, kernels of one pixel, sums of several parts.
export interface ConvolutionCase {
  f: 'conv2d' | 'conv3d' | 'convTranspose2d' | 'convTranspose3d';
  x: readonly number[];
  weight: readonly number[];
  bias?: boolean;
  options?: {
    stride?: number | number[];
    padding?: number | number[] | 'same' | 'valid';
    outputPadding?: number | number[];
    dilation?: number | number[];
    groups?: number;
  };
  large?: boolean;
}

export const convolutionCases: readonly ConvolutionCase[] = [
  { f: 'conv2d', x: [1, 1, 1, 1], weight: [1, 1, 1, 1], bias: true },
  { f: 'conv2d', x: [2, 3, 5, 6], weight: [4, 3, 3, 2], bias: true },
  { f: 'conv2d', x: [2, 5, 4], weight: [3, 2, 3, 3], options: { padding: 'same' } },
  {
    f: 'conv2d',
    x: [1, 2, 5, 6],
    weight: [3, 2, 2, 4],
    bias: true,
    options: { padding: 'same', dilation: [1, 2] },
  },
  {
    f: 'conv2d',
    x: [1, 4, 7, 6],
    weight: [6, 2, 3, 2],
    bias: true,
    options: { stride: [2, 3], padding: [1, 2], groups: 2 },
  },
  {
    f: 'conv2d',
    x: [1, 3, 6, 6],
    weight: [6, 1, 3, 3],
    options: { groups: 3, dilation: 2, padding: 2 },
  },
  { f: 'conv2d', x: [2, 4, 3, 5], weight: [7, 4, 1, 1], bias: true },
  { f: 'conv2d', x: [1, 3, 4, 5], weight: [2, 3, 3, 1], options: { padding: [1, 0] } },
  { f: 'conv2d', x: [1, 2, 5, 5], weight: [2, 2, 1, 1], options: { stride: 2 } },
  { f: 'conv2d', x: [1, 1, 2, 2], weight: [2, 1, 3, 3], options: { padding: 2, stride: 3 } },
  {
    f: 'conv3d',
    x: [2, 2, 3, 4, 3],
    weight: [3, 2, 2, 3, 2],
    bias: true,
    options: { padding: [1, 0, 1] },
  },
  {
    f: 'conv3d',
    x: [2, 4, 3, 4],
    weight: [4, 1, 2, 2, 2],
    options: { groups: 2, stride: [2, 1, 2] },
  },
  {
    f: 'conv3d',
    x: [1, 2, 4, 3, 3],
    weight: [2, 2, 3, 1, 1],
    bias: true,
    options: { padding: [1, 0, 0] },
  },
  { f: 'convTranspose2d', x: [2, 3, 3, 4], weight: [3, 2, 3, 2], bias: true },
  { f: 'convTranspose2d', x: [3, 3, 4], weight: [3, 2, 2, 2], bias: true, options: { stride: 2 } },
  {
    f: 'convTranspose2d',
    x: [1, 4, 3, 3],
    weight: [4, 1, 3, 3],
    bias: true,
    options: { stride: 3, padding: 1, outputPadding: 2, groups: 2, dilation: 2 },
  },
  {
    f: 'convTranspose2d',
    x: [1, 2, 3, 4],
    weight: [2, 3, 2, 2],
    options: { stride: [3, 1], dilation: [1, 3] },
  },
  {
    f: 'convTranspose2d',
    x: [1, 2, 2, 2],
    weight: [2, 2, 1, 1],
    bias: true,
    options: { stride: 3 },
  },
  {
    f: 'convTranspose3d',
    x: [1, 2, 2, 3, 2],
    weight: [2, 2, 3, 2, 3],
    bias: true,
    options: { stride: [2, 1, 3], padding: [1, 0, 1], outputPadding: [1, 0, 0] },
  },
  {
    f: 'conv2d',
    x: [2, 40, 15, 17],
    weight: [13, 40, 3, 3],
    bias: true,
    options: { padding: 1 },
    large: true,
  },
  {
    f: 'conv2d',
    x: [2, 8, 30, 31],
    weight: [20, 8, 3, 3],
    options: { stride: 2, padding: 1 },
    large: true,
  },
  {
    f: 'convTranspose2d',
    x: [2, 20, 9, 8],
    weight: [20, 12, 4, 4],
    options: { stride: 2, padding: 1 },
    large: true,
  },
];
