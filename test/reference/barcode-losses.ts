// The matching of least cost of two barcodes by trying all, in float64.

/** Birth and death. */
export type Point = readonly [number, number];

/** Σ |p - q|² over matched points plus half the squared length of the others, at its least. */
export function wassersteinOf(ours: readonly Point[], theirs: readonly Point[]): number {
  const alone = ([b, d]: Point) => (b - d) ** 2 / 2;
  // best[taken]: of the points so far, with those of the mask's partners used up.
  let best = new Float64Array(1 << theirs.length).fill(Number.POSITIVE_INFINITY);
  best[0] = 0;
  for (const p of ours) {
    const next = best.map((cost) => cost + alone(p));
    for (const [taken, cost] of best.entries())
      for (const [j, q] of theirs.entries()) {
        if (taken & (1 << j)) continue;
        const joined = cost + (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2;
        next[taken | (1 << j)] = Math.min(next[taken | (1 << j)], joined);
      }
    best = next;
  }
  const rest = (taken: number) =>
    theirs.reduce((sum, q, j) => (taken & (1 << j) ? sum : sum + alone(q)), 0);
  return best.reduce((least, cost, taken) => Math.min(least, cost + rest(taken)), Infinity);
}
