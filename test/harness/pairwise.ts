// Pairwise covering of an option matrix: every pair of values of two options meets in some row.
// The greedy construction of AETG (Cohen et al. 1997), seeded and so the same in every run:
// each new row is the best of a few candidates, each grown around a pair that is still uncovered.
import { Random } from './random.js';

export type Matrix = Record<string, readonly unknown[]>;
export type Row<M extends Matrix> = { [K in keyof M]: M[K][number] };

/** Rows covering all pairs that `allowed` admits; `allowed` also sees rows with options missing. */
export function pairwise<M extends Matrix>(
  matrix: M,
  allowed: (row: Partial<Row<M>>) => boolean = () => true,
  seed = 1,
): Row<M>[] {
  const names = Object.keys(matrix);
  const random = new Random(seed);
  const uncovered = admissiblePairs(matrix, names, allowed);
  const rows: Row<M>[] = [];
  while (uncovered.size > 0) {
    let best: number[] | undefined;
    let bestGain = 0;
    for (let attempt = 0; attempt < 8; attempt++) {
      const row = grow(matrix, names, allowed, uncovered, random);
      const gain = row === undefined ? 0 : pairsOf(row).filter((key) => uncovered.has(key)).length;
      if (gain > bestGain) [best, bestGain] = [row, gain];
    }
    // No admissible row holds this pair: it is excluded by three options at once.
    if (best === undefined) uncovered.delete(uncovered.values().next().value as string);
    else {
      for (const key of pairsOf(best)) uncovered.delete(key);
      rows.push(toRow(matrix, names, best));
    }
  }
  return rows;
}

function grow<M extends Matrix>(
  matrix: M,
  names: string[],
  allowed: (row: Partial<Row<M>>) => boolean,
  uncovered: Set<string>,
  random: Random,
): number[] | undefined {
  const row = new Array<number>(names.length).fill(-1);
  const [a, x, b, y] = (uncovered.values().next().value as string).split(',').map(Number);
  row[a!] = x!;
  row[b!] = y!;
  const order = [...random.permutation(names.length)].filter((i) => row[i] === -1);
  for (const i of order) {
    let best = -1;
    let bestGain = -1;
    for (const value of random.permutation(matrix[names[i]].length)) {
      row[i] = value;
      if (!allowed(toRow(matrix, names, row))) continue;
      const gain = pairsOf(row).filter((key) => uncovered.has(key)).length;
      if (gain > bestGain) [best, bestGain] = [value, gain];
    }
    if (best === -1) return undefined;
    row[i] = best;
  }
  return row;
}

function admissiblePairs<M extends Matrix>(
  matrix: M,
  names: string[],
  allowed: (row: Partial<Row<M>>) => boolean,
): Set<string> {
  const pairs = new Set<string>();
  for (let a = 0; a < names.length; a++) {
    for (let b = a + 1; b < names.length; b++) {
      matrix[names[a]].forEach((_, x) => {
        matrix[names[b]].forEach((_, y) => {
          const row = new Array<number>(names.length).fill(-1);
          row[a] = x;
          row[b] = y;
          if (allowed(toRow(matrix, names, row))) pairs.add([a, x, b, y].join());
        });
      });
    }
  }
  return pairs;
}

function pairsOf(row: number[]): string[] {
  const keys: string[] = [];
  for (let a = 0; a < row.length; a++) {
    for (let b = a + 1; b < row.length; b++) {
      if (row[a] >= 0 && row[b] >= 0) keys.push([a, row[a], b, row[b]].join());
    }
  }
  return keys;
}

function toRow<M extends Matrix>(matrix: M, names: string[], row: number[]): Row<M> {
  const entries = names.flatMap((name, i) => (row[i] < 0 ? [] : [[name, matrix[name][row[i]]]]));
  return Object.fromEntries(entries) as Row<M>;
}
