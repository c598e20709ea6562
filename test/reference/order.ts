// Running sums and sorting along one axis, by definition.
import { type Arr, at, build, indicesOf } from './arrays.js';

const changed = (list: readonly number[], at: number, value: number) =>
  list.map((v, i) => (i === at ? value : v));

export function cumsum(x: Arr, dim: number): Arr {
  const sums = build(x.shape, (index) => at(x, index));
  const step = x.shape.slice(dim + 1).reduce((a, b) => a * b, 1);
  for (const [i, index] of [...indicesOf(x.shape)].entries())
    if (index[dim] > 0) sums.values[i] += sums.values[i - step];
  return sums;
}

/** NaN above all numbers; -0 equals 0. */
function compare(a: number, b: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The first `count` of each line in order, and their positions. */
export function sort(x: Arr, dim: number, descending = false, count = x.shape[dim]) {
  const shape = changed(x.shape, dim, count);
  const sign = descending ? -1 : 1;
  const orders = new Map<string, number[]>();
  const order = (index: number[]) => {
    const key = changed(index, dim, 0).join();
    const known = orders.get(key);
    if (known) return known;
    const line = Array.from({ length: x.shape[dim] }, (_, i) => at(x, changed(index, dim, i)));
    const own = line.map((_, i) => i).sort((a, b) => sign * compare(line[a], line[b]) || a - b);
    orders.set(key, own);
    return own;
  };
  const indices = build(shape, (index) => order(index)[index[dim]]);
  const values = build(shape, (index) => at(x, changed(index, dim, at(indices, index))));
  return { values, indices };
}
