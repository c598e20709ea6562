// Exact optimal transport by trying everything: weights are whole numbers of units, and every way to
// assign the units of x to those of y is tried.

const units = (weights: readonly number[]) =>
  weights.flatMap((w, i) => Array(w).fill(i) as number[]);

/** The least sum of costs over all assignments of the units of rows to those of columns. */
export function leastCost(
  cost: (i: number, j: number) => number,
  a: readonly number[],
  b: readonly number[],
): number {
  const rows = units(a);
  const open = [...b];
  let best = Number.POSITIVE_INFINITY;
  const assign = (k: number, sum: number) => {
    if (k === rows.length) best = Math.min(best, sum);
    else {
      for (let j = 0; j < open.length; j++) {
        if (open[j] === 0) continue;
        open[j]--;
        assign(k + 1, sum + cost(rows[k], j));
        open[j]++;
      }
    }
  };
  assign(0, 0);
  return best;
}

/** Transport on the line: the distance between quantiles, at the middle of each unit's share. */
export function lineCost(
  x: readonly number[],
  y: readonly number[],
  a: readonly number[],
  b: readonly number[],
  p: number,
): number {
  const quantiles = (points: readonly number[], weights: readonly number[]) =>
    units(weights)
      .map((i) => points[i])
      .sort((u, v) => u - v);
  const [u, v] = [quantiles(x, a), quantiles(y, b)];
  return u.reduce((sum, t, k) => sum + Math.abs(t - v[k]) ** p, 0);
}
