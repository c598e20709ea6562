// What a representative cycle has to be, by F2 chains of cells that are named by their voxels.

/** The values of voxels in the order of a sublevel filtration. */
export interface Field {
  shape: readonly number[];
  values: ArrayLike<number>;
}

const key = (voxels: readonly number[]) => voxels.join(' ');
const voxelsOf = (cell: string) => cell.split(' ').map(Number);

export const levelOf = ({ values }: Field, cell: string) =>
  Math.max(...voxelsOf(cell).map((v) => values[v]));

/** The cells of dimension k by their voxels in row-major order. */
export function cellsOf({ shape }: Field, k: number): string[] {
  const steps = shape.map((_, a) => shape.slice(a + 1).reduce((x, y) => x * y, 1));
  const size = shape.reduce((x, y) => x * y, 1);
  const cells: string[] = [];
  for (let axes = 0; axes < 1 << shape.length; axes++) {
    const own = shape.map((_, a) => a).filter((a) => axes & (1 << a));
    if (own.length !== k) continue;
    for (let v = 0; v < size; v++) {
      if (own.some((a) => (Math.floor(v / steps[a]) % shape[a]) + 1 === shape[a])) continue;
      const corners = own.reduce((at, a) => at.flatMap((u) => [u, u + steps[a]]), [v]);
      cells.push(key(corners.sort((a, b) => a - b)));
    }
  }
  return cells;
}

/** The faces of a cell of dimension k: of its voxels the halves on either side of each axis. */
function facesOf(cell: string, k: number): string[] {
  const voxels = voxelsOf(cell);
  return Array.from({ length: k }, (_, a) => a).flatMap((a) =>
    [0, 1].map((side) => key(voxels.filter((_, i) => ((i >> a) & 1) === side))),
  );
}

function toggle(chain: Set<string>, cells: readonly string[]): void {
  for (const cell of cells) if (!chain.delete(cell)) chain.add(cell);
}

export function boundaryOf(cells: readonly string[], k: number): Set<string> {
  const out = new Set<string>();
  for (const cell of cells) toggle(out, facesOf(cell, k));
  return out;
}

/** The cells of a cycle as it is listed, as keys. */
export function cellsIn(cycle: Int32Array, k: number): string[] {
  return Array.from({ length: cycle.length >> k }, (_, i) =>
    key(Array.from(cycle.subarray(i << k, (i + 1) << k))),
  );
}

/** The least value at which a chain of k-cells is a boundary; Infinity if it never is. */
export function deathOf(field: Field, chain: readonly string[], k: number): number {
  const rest = new Set<string>();
  toggle(rest, chain);
  const owner = new Map<string, Set<string>>();
  const reduce = (column: Set<string>) => {
    // The greatest name is the pivot: any order will do.
    const pivot = () => [...column].reduce((a, b) => (a > b ? a : b));
    while (column.size > 0 && owner.has(pivot())) toggle(column, [...owner.get(pivot())!]);
    return column.size > 0 ? pivot() : undefined;
  };
  const columns = cellsOf(field, k + 1)
    .map((cell) => ({ cell, value: levelOf(field, cell) }))
    .sort((a, b) => a.value - b.value);
  for (const [i, { cell, value }] of columns.entries()) {
    const column = boundaryOf([cell], k + 1);
    const pivot = reduce(column);
    if (pivot !== undefined) owner.set(pivot, column);
    if (columns[i + 1]?.value === value) continue;
    reduce(rest);
    if (rest.size === 0) return value;
  }
  return Number.POSITIVE_INFINITY;
}
