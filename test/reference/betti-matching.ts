// Betti matching by its definition: boundary matrices of all cells, reduced column by column. Cells
// of the V-construction are ordered by (value, index); see native/ops/betti_matching/op.h. Everything
// is in the order of a sublevel filtration; callers negate for superlevels.

export interface Matching {
  /** Per degree: voxel indices, sorted. */
  matched: number[][];
  unmatched: [number[][], number[][]];
}

export interface MatchingOptions {
  intersection?: boolean;
  positive?: boolean;
}

interface Cell {
  corner: readonly number[];
  /** Bit a: the cell extends along axis a. */
  axes: number;
  /** Its vertices in the order in which it looks for the one of its value. */
  vertices: readonly number[];
  /** Numbers of the cells of its boundary. */
  faces: readonly number[];
}

/** The cells of a grid by dimension, each list in index order, and their numbers by key. */
class Complex {
  readonly cells: Cell[][];
  private readonly orders = new WeakMap<object, number[][]>();

  constructor(readonly shape: readonly number[]) {
    const d = shape.length;
    this.cells = Array.from({ length: d + 2 }, () => []);
    const size = shape.reduce((a, b) => a * b, 1);
    for (let voxel = 0; voxel < size; voxel++) {
      const corner = this.coordinates(voxel);
      const here = Array.from({ length: 1 << d }, (_, axes) => axes)
        .filter((axes) => corner.every((c, a) => !(axes & (1 << a)) || c + 1 < shape[a]))
        .map((axes): Cell => {
          return { corner, axes, vertices: this.verticesOf(corner, axes), faces: [] };
        })
        .sort((a, b) => this.type(a) - this.type(b));
      for (const cell of here) this.cells[dimension(cell.axes)].push(cell);
    }
    const numbers = this.cells.map(
      (list) => new Map(list.map(({ corner, axes }, i) => [keyOf(corner, axes), i])),
    );
    for (const cell of this.cells.slice(1).flat())
      cell.faces = this.boundary(cell, numbers[dimension(cell.axes) - 1]);
  }

  coordinates(voxel: number): number[] {
    const corner: number[] = [];
    for (let a = this.shape.length - 1, rest = voxel; a >= 0; a--) {
      corner[a] = rest % this.shape[a];
      rest = Math.floor(rest / this.shape[a]);
    }
    return corner;
  }

  index(corner: readonly number[]): number {
    return corner.reduce((index, c, a) => index * this.shape[a] + c, 0);
  }

  /** An edge's axis; the normal axis of a square in three dimensions. */
  private type({ axes }: Cell): number {
    if (dimension(axes) === 1) return Math.log2(axes);
    return dimension(axes) === 2 && this.shape.length === 3 ? Math.log2(7 - axes) : 0;
  }

  private boundary({ corner, axes }: Cell, faces: ReadonlyMap<string, number>): number[] {
    return corner.flatMap((_, a) => {
      if (!(axes & (1 << a))) return [];
      const far = corner.map((c, i) => (i === a ? c + 1 : c));
      const rest = axes & ~(1 << a);
      return [corner, far].map((at) => faces.get(keyOf(at, rest))!);
    });
  }

  private verticesOf(corner: readonly number[], axes: number): number[] {
    const own = corner.map((_, a) => a).filter((a) => axes & (1 << a));
    const offsets = Array.from({ length: 1 << own.length }, (_, bits) =>
      own.map((_, i) => (bits >> (own.length - 1 - i)) & 1),
    );
    // A cube begins with the nearest corner, an edge and a square with the farthest.
    if (own.length < 3) offsets.reverse();
    return offsets.map((offset) =>
      this.index(corner.map((c, a) => (own.includes(a) ? c + offset[own.indexOf(a)] : c))),
    );
  }

  value(values: ArrayLike<number>, cell: Cell): number {
    let most = -Infinity;
    for (const v of cell.vertices) if (values[v] > most) most = values[v];
    return most;
  }

  /** The k-cells by value and number. */
  order(values: ArrayLike<number>, k: number): number[] {
    let known = this.orders.get(values);
    if (!known) {
      known = [];
      this.orders.set(values, known);
    }
    if (!known[k]) {
      const own = this.cells[k].map((cell) => this.value(values, cell));
      known[k] = this.cells[k].map((_, i) => i).sort((a, b) => own[a] - own[b] || a - b);
    }
    return known[k];
  }

  voxel(values: ArrayLike<number>, cell: Cell): number {
    const value = this.value(values, cell);
    return cell.vertices.find((v) => values[v] === value)!;
  }
}

const dimension = (axes: number) => (axes & 1) + ((axes >> 1) & 1) + ((axes >> 2) & 1);
const keyOf = (corner: readonly number[], axes: number) => `${corner} ${axes}`;

interface CellPair {
  birth: number;
  death: number;
}

/** Pairs of k-cells and (k+1)-cells: rows in the order of one image, columns in another's. */
function reduce(
  complex: Complex,
  rows: ArrayLike<number>,
  columns: ArrayLike<number>,
  k: number,
): CellPair[] {
  const rowOrder = complex.order(rows, k);
  const rank: number[] = [];
  for (const [i, cell] of rowOrder.entries()) rank[cell] = i;
  const words = (rowOrder.length >> 5) + 1;
  const owner: Uint32Array[] = [];
  const pairs: CellPair[] = [];
  for (const death of complex.order(columns, k + 1)) {
    // A bit a row.
    const column = new Uint32Array(words);
    for (const face of complex.cells[k + 1][death].faces)
      column[rank[face] >> 5] ^= 1 << (rank[face] & 31);
    for (let w = words - 1; w >= 0; ) {
      if (column[w] === 0) {
        w--;
        continue;
      }
      const pivot = 32 * w + 31 - Math.clz32(column[w]);
      const reduced = owner[pivot];
      if (!reduced) {
        owner[pivot] = column;
        pairs.push({ birth: rowOrder[pivot], death });
        break;
      }
      for (let i = 0; i <= w; i++) column[i] ^= reduced[i];
    }
  }
  return pairs;
}

const byList = (a: number[], b: number[]) => {
  const i = a.findIndex((x, j) => x !== b[j]);
  return i < 0 ? 0 : a[i] - b[i];
};

const complexes = new Map<string, Complex>();

function complexOf(shape: readonly number[]): Complex {
  const key = String(shape);
  const known = complexes.get(key) ?? new Complex(shape);
  complexes.set(key, known);
  return known;
}

/** The pairs of degree k of two images, matched through their comparison image. */
function matchDegree(
  complex: Complex,
  images: readonly [ArrayLike<number>, ArrayLike<number>],
  comparison: ArrayLike<number>,
  k: number,
  { intersection = false, positive = false }: MatchingOptions,
): Matching {
  const birthOf = (values: ArrayLike<number>, p: CellPair) =>
    complex.value(values, complex.cells[k][p.birth]);
  const deathOf = (values: ArrayLike<number>, p: CellPair) =>
    complex.value(values, complex.cells[k + 1][p.death]);
  const bars = (values: ArrayLike<number>) =>
    reduce(complex, values, values, k).filter(
      (p) => birthOf(values, p) !== deathOf(values, p) && deathOf(values, p) < Infinity,
    );
  const own = images.map(bars);
  const image = images.map((values) => {
    const pairs = intersection
      ? reduce(complex, comparison, values, k)
      : reduce(complex, values, comparison, k);
    return new Map(
      pairs.map((p): [number, number] => (intersection ? [p.birth, p.death] : [p.death, p.birth])),
    );
  });
  const taken = [new Set<CellPair>(), new Set<CellPair>()];
  const voxels = (i: number, p: CellPair) => [
    complex.voxel(images[i], complex.cells[k][p.birth]),
    complex.voxel(images[i], complex.cells[k + 1][p.death]),
  ];
  const matched: number[][] = [];
  for (const bar of bars(comparison)) {
    const partners = [0, 1].map((i) => {
      const cell = image[i].get(intersection ? bar.birth : bar.death);
      return own[i].find((p) => (intersection ? p.death : p.birth) === cell);
    });
    if (!partners[0] || !partners[1]) continue;
    const isEmpty = (p: CellPair, i: number) =>
      intersection
        ? birthOf(comparison, bar) >= deathOf(images[i], p)
        : birthOf(images[i], p) >= deathOf(comparison, bar);
    if (positive && partners.some((p, i) => isEmpty(p!, i))) continue;
    matched.push(partners.flatMap((p, i) => voxels(i, p!)));
    for (const i of [0, 1]) taken[i].add(partners[i]!);
  }
  const rest = (i: number) =>
    own[i]
      .filter((p) => !taken[i].has(p))
      .map((p) => voxels(i, p))
      .sort(byList);
  return { matched: matched.sort(byList), unmatched: [rest(0), rest(1)] };
}

/** One matching per degree of homology. */
export function bettiMatching(
  prediction: ArrayLike<number>,
  target: ArrayLike<number>,
  shape: readonly number[],
  options: MatchingOptions = {},
): Matching[] {
  const complex = complexOf(shape);
  const pick = options.intersection ? Math.max : Math.min;
  const comparison = Array.from(prediction, (x, i) => pick(x, target[i]));
  const images = [prediction, target] as const;
  return shape.map((_, k) => matchDegree(complex, images, comparison, k, options));
}

/** Betti numbers of a mask by its Euler characteristic's terms: rank of boundary matrices. */
export function bettiNumbers(mask: ArrayLike<number>, shape: readonly number[]): number[] {
  const complex = complexOf(shape);
  const values = Array.from(mask, (x) => (x ? 0 : 1));
  const count = (k: number) =>
    complex.cells[k].filter((cell) => complex.value(values, cell) === 0).length;
  const rank = (k: number) =>
    k < 0
      ? 0
      : reduce(complex, values, values, k).filter(
          (p) => complex.value(values, complex.cells[k + 1][p.death]) === 0,
        ).length;
  return shape.map((_, k) => count(k) - rank(k - 1) - rank(k));
}

/** The loss of one image from its matching, values as the filtration compares them. */
export function lossOf(
  matching: readonly Matching[],
  prediction: ArrayLike<number>,
  target: ArrayLike<number>,
): number {
  let sum = 0;
  for (const { matched, unmatched } of matching) {
    for (const [a, b, c, d] of matched)
      sum += 2 * ((prediction[a] - target[c]) ** 2 + (prediction[b] - target[d]) ** 2);
    for (const [b, d] of unmatched[0]) sum += (prediction[b] - prediction[d]) ** 2;
    for (const [b, d] of unmatched[1]) sum += (target[b] - target[d]) ** 2;
  }
  return sum;
}
