// What the distances say beside what is known of the languages: their codes and where they live.
import type { Language } from './languages.js';

/** For each row of a distance matrix the columns by distance, itself left out. */
export function nearest(distances: Float64Array, count: number): number[][] {
  const n = Math.sqrt(distances.length);
  return Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (_, j) => j)
      .filter((j) => j !== i)
      .sort((a, b) => distances[i * n + a] - distances[i * n + b] || a - b)
      .slice(0, count),
  );
}

/** Of the texts whose language has another text, the share whose nearest text is one of those. */
export function twinShare(languages: readonly Language[], neighbours: readonly number[][]) {
  const twinned = languages
    .map(({ iso }, i) => ({ iso, i }))
    .filter(({ iso, i }) => languages.some((other, j) => j !== i && other.iso === iso));
  const found = twinned.filter(({ iso, i }) => languages[neighbours[i][0]].iso === iso);
  return { texts: twinned.length, found: found.length, share: found.length / twinned.length };
}

const earthRadius = 6371; // km

export function kilometres(a: Language, b: Language): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const halfAcross = Math.sin(radians(a.longitude - b.longitude) / 2);
  const halfUp = Math.sin(radians(a.latitude - b.latitude) / 2);
  const flat = Math.cos(radians(a.latitude)) * Math.cos(radians(b.latitude));
  return 2 * earthRadius * Math.asin(Math.sqrt(halfUp ** 2 + flat * halfAcross ** 2));
}

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Medians of the way on the globe to the nearest text of another language, and to any of them. */
export function travel(languages: readonly Language[], neighbours: readonly number[][]) {
  const ways = (from: Language, to: readonly Language[]) =>
    to.filter(({ iso }) => iso !== from.iso).map((other) => kilometres(from, other));
  return {
    nearest: median(
      languages.flatMap((from, i) =>
        ways(
          from,
          neighbours[i].map((j) => languages[j]),
        ).slice(0, 1),
      ),
    ),
    any: median(languages.flatMap((from) => ways(from, languages))),
  };
}
