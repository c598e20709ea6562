// Pooling as its definition: every window position by position, in float64.
import { type Arr, at, indicesOf } from './arrays.js';

export interface PoolOptions {
  kernel: number[];
  stride: number[];
  padding: number[];
  dilation: number[];
  ceilMode?: boolean;
  countIncludePad?: boolean;
  divisorOverride?: number;
}

export function resultSize(n: number, axis: number, o: PoolOptions): number {
  const extent = (o.kernel[axis] - 1) * o.dilation[axis] + 1;
  const steps = (n + 2 * o.padding[axis] - extent) / o.stride[axis];
  if (!o.ceilMode) return Math.floor(steps) + 1;
  const count = Math.ceil(steps) + 1;
  return (count - 1) * o.stride[axis] >= n + o.padding[axis] ? count - 1 : count;
}

/** The last `o.kernel.length` axes of x are the spatial ones. */
export function pool(x: Arr, kind: 'max' | 'avg', o: PoolOptions): Arr {
  const axes = o.kernel.length;
  const lead = x.shape.length - axes;
  const size = x.shape.slice(lead);
  const shape = [...x.shape.slice(0, lead), ...size.map((n, i) => resultSize(n, i, o))];
  const value = (index: number[]) => {
    const inside: number[] = [];
    let padded = 0;
    for (const k of indicesOf(o.kernel)) {
      const p = k.map((k, i) => index[lead + i] * o.stride[i] - o.padding[i] + k * o.dilation[i]);
      // What lies beyond the padding (ceilMode) is no position at all.
      if (p.every((v, i) => v < size[i] + o.padding[i])) padded++;
      if (p.every((v, i) => v >= 0 && v < size[i]))
        inside.push(at(x, [...index.slice(0, lead), ...p]));
    }
    if (kind === 'max') return inside.reduce((a, b) => Math.max(a, b), -Infinity);
    if (inside.length === 0) return 0;
    const divisor = o.countIncludePad === false ? inside.length : padded;
    return inside.reduce((a, b) => a + b, 0) / (o.divisorOverride ?? divisor);
  };
  return { shape, values: Array.from(indicesOf(shape), value) };
}
