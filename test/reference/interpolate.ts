// Resampling as its definition, in float64: each result from the corners around its position.
import { type Arr, at, build, indicesOf } from './arrays.js';

export interface InterpolateOptions {
  size?: number | number[];
  scaleFactor?: number | number[];
  mode?: string;
  alignCorners?: boolean;
}

export function interpolate(x: Arr, o: InterpolateOptions): Arr {
  const own = x.shape.slice(2);
  const listed = (v: number | number[]) => (Array.isArray(v) ? v : own.map(() => v));
  const factors = o.scaleFactor === undefined ? undefined : listed(o.scaleFactor);
  const sizes = factors ? own.map((n, i) => Math.floor(n * factors[i])) : listed(o.size!);
  const source = (q: number, i: number): [number, number] => {
    const scale = factors ? 1 / factors[i] : own[i] / sizes[i];
    if ((o.mode ?? 'nearest') === 'nearest')
      return [Math.min(own[i] - 1, Math.floor(q * scale)), 0];
    const corners = sizes[i] > 1 ? (q * (own[i] - 1)) / (sizes[i] - 1) : 0;
    const place = o.alignCorners ? corners : Math.max(0, (q + 0.5) * scale - 0.5);
    const low = Math.min(own[i] - 1, Math.floor(place));
    return [low, Math.min(1, place - low)];
  };
  return build([...x.shape.slice(0, 2), ...sizes], (index) => {
    const places = index.slice(2).map(source);
    let sum = 0;
    for (const corner of indicesOf(own.map(() => 2))) {
      const weight = corner.reduce((w, c, i) => w * (c ? places[i][1] : 1 - places[i][1]), 1);
      if (weight === 0) continue;
      const from = corner.map((c, i) => Math.min(own[i] - 1, places[i][0] + c));
      sum += weight * at(x, [...index.slice(0, 2), ...from]);
    }
    return sum;
  });
}
