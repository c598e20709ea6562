// Distances as their definition, in float64.
import { type Arr, build, placeOf } from './arrays.js';

/** x [..., N, D] and y [..., M, D], whose leading axes broadcast. */
export function cdist(x: Arr, y: Arr, p: number): Arr {
  const rank = Math.max(x.shape.length, y.shape.length);
  const size = (a: Arr, i: number) => a.shape[i - rank + a.shape.length] ?? 1;
  const batch = Array.from({ length: rank - 2 }, (_, i) => Math.max(size(x, i), size(y, i)));
  const place = (a: Arr, index: number[]) =>
    a.shape.slice(0, -2).map((n, i) => (n === 1 ? 0 : index[i + rank - a.shape.length]));
  return build([...batch, x.shape.at(-2)!, y.shape.at(-2)!], (index) => {
    const [i, j] = index.slice(-2);
    const [from, to] = [
      placeOf(x, [...place(x, index), i, 0]),
      placeOf(y, [...place(y, index), j, 0]),
    ];
    const terms = Array.from({ length: x.shape.at(-1)! }, (_, k) =>
      Math.abs(x.values[from + k] - y.values[to + k]),
    );
    if (p === 0) return terms.filter((t) => t !== 0).length;
    if (p === Infinity) return terms.reduce((a, b) => Math.max(a, b), 0);
    return terms.reduce((sum, t) => sum + t ** p, 0) ** (1 / p);
  });
}
