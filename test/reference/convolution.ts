// Convolutions as their definition, pixel by pixel, in float64. Spatial axes are brought to three.
import type { Arr } from './arrays.js';

export interface ConvolutionOptions {
  stride?: number | number[];
  padding?: number | number[] | 'same' | 'valid';
  outputPadding?: number | number[];
  dilation?: number | number[];
  groups?: number;
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Three numbers, of which `fill` stand in front. */
function three(value: number | number[], axes: number, fill: number): number[] {
  const list = Array.isArray(value) ? value : new Array(axes).fill(value);
  return [...new Array(3 - axes).fill(fill), ...list];
}

function geometry(weight: Arr, axes: number, o: ConvolutionOptions) {
  const kernel = three(weight.shape.slice(2), axes, 1);
  const stride = three(o.stride ?? 1, axes, 1);
  const dilation = three(o.dilation ?? 1, axes, 1);
  const given = o.padding ?? 0;
  const same = () => kernel.map((k, i) => Math.floor(((k - 1) * dilation[i]) / 2));
  const padding =
    given === 'same' ? same() : three(given === 'valid' ? 0 : (given as number), axes, 0);
  return { kernel, stride, dilation, padding, groups: o.groups ?? 1 };
}

/** Calls f(place in image, place in filter, place in result) for every product of the sum. */
function products(
  batch: number,
  channels: number,
  filters: number,
  from: readonly number[],
  to: readonly number[],
  g: ReturnType<typeof geometry>,
  f: (image: number, filter: number, result: number) => void,
): void {
  const [inner, rows] = [channels / g.groups, filters / g.groups];
  const taps = size(g.kernel);
  const place = (q: number, k: number, a: number) =>
    q * g.stride[a] - g.padding[a] + k * g.dilation[a];
  for (let b = 0; b < batch; b++)
    for (let o = 0; o < filters; o++)
      for (let c = 0; c < inner; c++)
        for (let q = 0; q < size(to); q++)
          for (let k = 0; k < taps; k++) {
            const z = place(
              Math.floor(q / (to[1] * to[2])),
              Math.floor(k / (g.kernel[1] * g.kernel[2])),
              0,
            );
            const y = place(
              Math.floor(q / to[2]) % to[1],
              Math.floor(k / g.kernel[2]) % g.kernel[1],
              1,
            );
            const x = place(q % to[2], k % g.kernel[2], 2);
            if (z < 0 || y < 0 || x < 0 || z >= from[0] || y >= from[1] || x >= from[2]) continue;
            const channel = Math.floor(o / rows) * inner + c;
            f(
              ((b * channels + channel) * from[0] + z) * from[1] * from[2] + y * from[2] + x,
              (o * inner + c) * taps + k,
              (b * filters + o) * size(to) + q,
            );
          }
}

/** The shape of a result, with x's leading axes, and an array that holds the bias. */
function filled(x: Arr, axes: number, channels: number, to: number[], bias?: Arr): Arr {
  const lead = x.shape.slice(0, x.shape.length - axes);
  const shape = [...lead.slice(0, -1), channels, ...to.slice(3 - axes)];
  const channel = (i: number) => Math.floor(i / size(to)) % channels;
  return {
    shape,
    values: Array.from({ length: size(shape) }, (_, i) => bias?.values[channel(i)] ?? 0),
  };
}

function sides(x: Arr, axes: number) {
  const lead = x.shape.slice(0, x.shape.length - axes);
  const from = three(x.shape.slice(lead.length), axes, 1);
  return { batch: size(lead.slice(0, -1)), channels: lead[lead.length - 1], from };
}

export function convolve(
  x: Arr,
  weight: Arr,
  bias: Arr | undefined,
  axes: number,
  o: ConvolutionOptions,
): Arr {
  const g = geometry(weight, axes, o);
  const { batch, channels, from } = sides(x, axes);
  const to = from.map((n, a) => {
    if (o.padding === 'same') return n;
    return (
      Math.floor((n + 2 * g.padding[a] - g.dilation[a] * (g.kernel[a] - 1) - 1) / g.stride[a]) + 1
    );
  });
  const y = filled(x, axes, weight.shape[0], to, bias);
  products(batch, channels, weight.shape[0], from, to, g, (i, k, q) => {
    y.values[q] += x.values[i] * weight.values[k];
  });
  return y;
}

export function transposed(
  x: Arr,
  weight: Arr,
  bias: Arr | undefined,
  axes: number,
  o: ConvolutionOptions,
): Arr {
  const g = geometry(weight, axes, o);
  const { batch, channels, from } = sides(x, axes);
  const more = three(o.outputPadding ?? 0, axes, 0);
  const to = from.map(
    (n, a) =>
      (n - 1) * g.stride[a] - 2 * g.padding[a] + g.dilation[a] * (g.kernel[a] - 1) + more[a] + 1,
  );
  const y = filled(x, axes, weight.shape[1] * g.groups, to, bias);
  products(batch, weight.shape[1] * g.groups, channels, to, from, g, (i, k, q) => {
    y.values[i] += x.values[q] * weight.values[k];
  });
  return y;
}
