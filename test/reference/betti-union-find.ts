// Betti matching of larger images than boundary matrices take, in the two degrees that are graphs:
// degree 0 (voxels joined by edges, ascending: the younger component dies) and the last one (cells of
// all axes joined by the faces between them, descending, the outside being the oldest). One plain
// union-find for every barcode and every image barcode, without pruning. In the order of sublevels.
import type { Matching } from './betti-matching.js';

type Values = ArrayLike<number>;

/** Cells that span `axes` from a corner: numbered corner * types + type, the index order. */
interface Cells {
  numbers: number[];
  types: number;
  /** The vertices of a cell in the order in which one is chosen among those of its value. */
  vertices: (cell: number) => number[];
}

class Grid {
  readonly size: number;
  readonly strides: number[];

  constructor(readonly shape: readonly number[]) {
    this.size = shape.reduce((a, b) => a * b, 1);
    this.strides = shape.map((_, a) => shape.slice(a + 1).reduce((x, y) => x * y, 1));
  }

  /** Whether a step along the axis stays inside. */
  hasNext = (voxel: number, axis: number) =>
    (Math.floor(voxel / this.strides[axis]) % this.shape[axis]) + 1 < this.shape[axis];
  hasPrevious = (voxel: number, axis: number) =>
    Math.floor(voxel / this.strides[axis]) % this.shape[axis] > 0;

  /** Cells of these lists of axes, one a type. */
  cells(types: readonly (readonly number[])[]): Cells {
    const numbers: number[] = [];
    for (let v = 0; v < this.size; v++) {
      for (const [type, axes] of types.entries())
        if (axes.every((a) => this.hasNext(v, a))) numbers.push(v * types.length + type);
    }
    const corners = types.map((axes) => {
      const near = axes.reduce((list, a) => list.flatMap((o) => [o, o + this.strides[a]]), [0]);
      return axes.length < 3 ? near.reverse() : near;
    });
    const vertices = (cell: number) => {
      const v = Math.floor(cell / types.length);
      return corners[cell % types.length].map((offset) => v + offset);
    };
    return { numbers, types: types.length, vertices };
  }
}

const outside = -1;

/** Graphs of a shape, which images share. */
const graphs = new Map<string, Graph[]>();

/** A graph whose components are the features of one degree. */
interface Graph {
  nodes: Cells;
  edges: Cells;
  ends: (edge: number) => [number, number];
  /** Whether edges come in descending order and later nodes survive. */
  isDual: boolean;
}

function primal(grid: Grid): Graph {
  const d = grid.shape.length;
  const ends = (edge: number): [number, number] => {
    const v = Math.floor(edge / d);
    return [v, v + grid.strides[edge % d]];
  };
  const edges = grid.cells(grid.shape.map((_, axis) => [axis]));
  return { nodes: grid.cells([[]]), edges, ends, isDual: false };
}

function dual(grid: Grid): Graph {
  const d = grid.shape.length;
  const all = grid.shape.map((_, axis) => axis);
  // The axis that a face lacks: of an edge in planes the other one, of a square its type.
  const normalOf = (type: number) => (d === 2 ? 1 - type : type);
  const faces = grid.cells(all.map((_, type) => all.filter((a) => a !== normalOf(type))));
  const ends = (face: number): [number, number] => {
    const [v, normal] = [Math.floor(face / d), normalOf(face % d)];
    const before = grid.hasPrevious(v, normal) ? v - grid.strides[normal] : outside;
    return [before, grid.hasNext(v, normal) ? v : outside];
  };
  return { nodes: grid.cells([all]), edges: faces, ends, isDual: true };
}

/** By number the values of cells: the largest of their vertices. */
function valuesOf(cells: Cells, values: Values): Float64Array {
  const all = new Float64Array(values.length * cells.types).fill(Number.NaN);
  for (const cell of cells.numbers) {
    all[cell] = -Infinity;
    for (const v of cells.vertices(cell)) if (values[v] > all[cell]) all[cell] = values[v];
  }
  return all;
}

/** An image seen by a graph. */
class View {
  readonly node: Float64Array;
  readonly edge: Float64Array;
  readonly order: number[];

  constructor(
    readonly graph: Graph,
    readonly values: Values,
  ) {
    this.node = valuesOf(graph.nodes, values);
    this.edge = valuesOf(graph.edges, values);
    this.order = graph.edges.numbers.slice().sort((a, b) => this.edge[a] - this.edge[b] || a - b);
    if (graph.isDual) this.order.reverse();
  }

  /** Whether node a survives node b. */
  older(a: number, b: number): boolean {
    if (a === outside || b === outside) return a === outside;
    const isEarlier = this.node[a] < this.node[b] || (this.node[a] === this.node[b] && a < b);
    return this.graph.isDual ? !isEarlier : isEarlier;
  }
}

/** Joins along one image's edges by the ages of another's nodes: which node each edge ends. */
function join(edges: View, ages: View): Map<number, number> {
  // Behind those of the nodes the outside's.
  const parent = Int32Array.from({ length: ages.node.length + 1 }, (_, node) => node);
  const find = (node: number): number => {
    let root = node < 0 ? ages.node.length : node;
    while (parent[root] !== root) root = parent[root] = parent[parent[root]];
    return root === ages.node.length ? outside : root;
  };
  const ended = new Map<number, number>();
  for (const edge of edges.order) {
    const [a, b] = edges.graph.ends(edge).map(find);
    if (a === b) continue;
    const [old, young] = ages.older(a, b) ? [a, b] : [b, a];
    parent[young] = old === outside ? ages.node.length : old;
    ended.set(edge, young);
  }
  return ended;
}

const voxelOf = (cells: Cells, cell: number, values: Values, value: number) =>
  cells.vertices(cell).find((v) => values[v] === value)!;

/** Birth and death voxel of what an edge of an image does to a node of it. */
function voxels(view: View, edge: number, node: number): number[] {
  const { graph, values } = view;
  const atEdge = voxelOf(graph.edges, edge, values, view.edge[edge]);
  const atNode = voxelOf(graph.nodes, node, values, view.node[node]);
  return graph.isDual ? [atEdge, atNode] : [atNode, atEdge];
}

function match(graph: Graph, images: readonly Values[], intersection: boolean): Matching {
  const pick = intersection ? Math.max : Math.min;
  const comparison = Array.from(images[0], (x, i) => pick(x, images[1][i]));
  const [first, second, both] = [...images, comparison].map((values) => new View(graph, values));
  const bars = (view: View) => {
    const all = [...join(view, view)];
    return all.filter(([edge, node]) => view.edge[edge] !== view.node[node]);
  };
  const own = [first, second].map(bars);
  // The union's image barcodes have births in the input and deaths in the comparison, the
  // intersection's the other way round; of a dual graph births are the edges.
  const alongInput = intersection !== graph.isDual;
  const partner = [first, second].map((view, i) => {
    const ended = alongInput ? join(view, both) : join(both, view);
    const [edgeOf, nodeOf] = [new Map(own[i]), new Map(own[i].map(([e, n]) => [n, e]))];
    const byNode = new Map([...ended].map(([e, n]) => [n, e]));
    return ([edge, node]: [number, number]): [number, number] | undefined => {
      if (alongInput) {
        const met = byNode.get(node);
        const ends = met === undefined ? undefined : edgeOf.get(met);
        return ends === undefined ? undefined : [met!, ends];
      }
      const met = ended.get(edge);
      const by = met === undefined ? undefined : nodeOf.get(met);
      return by === undefined ? undefined : [by, met!];
    };
  });
  const taken = [new Set<number>(), new Set<number>()];
  const matched: number[][] = [];
  for (const bar of bars(both)) {
    const [p, q] = partner.map((of) => of(bar));
    if (!p || !q) continue;
    matched.push([...voxels(first, ...p), ...voxels(second, ...q)]);
    taken[0].add(p[0]);
    taken[1].add(q[0]);
  }
  const alone = (i: number) =>
    own[i].filter(([edge]) => !taken[i].has(edge)).map((p) => voxels([first, second][i], ...p));
  return { matched, unmatched: [alone(0), alone(1)] };
}

/** By degree: 0 and the last one. Finite values, no axis of length 1 where the last one counts. */
export function graphMatching(
  prediction: Values,
  target: Values,
  shape: readonly number[],
  intersection = false,
): Map<number, Matching> {
  const key = String(shape);
  const grid = new Grid(shape);
  const both = graphs.get(key) ?? [primal(grid), dual(grid)];
  graphs.set(key, both);
  const images = [prediction, target];
  const found = new Map([[0, match(both[0], images, intersection)]]);
  const last = shape.length - 1;
  if (last > 0) found.set(last, match(both[1], images, intersection));
  return found;
}

/** The number of components of the voxels where `isIn` is true, by faces or by corners, too. */
export function components(
  shape: readonly number[],
  isIn: (voxel: number) => boolean,
  corners: boolean,
): number {
  const grid = new Grid(shape);
  const seen = new Uint8Array(grid.size);
  const neighbours = (voxel: number) => {
    let list = [{ at: voxel, moved: 0 }];
    for (const axis of shape.keys()) {
      const here = Math.floor(voxel / grid.strides[axis]) % shape[axis];
      list = list.flatMap(({ at, moved }) =>
        [-1, 0, 1]
          .filter((step) => here + step >= 0 && here + step < shape[axis])
          .map((step) => ({ at: at + step * grid.strides[axis], moved: moved + Math.abs(step) })),
      );
    }
    return list.filter(({ moved }) => moved === 1 || (corners && moved > 0)).map(({ at }) => at);
  };
  let count = 0;
  for (let start = 0; start < grid.size; start++) {
    if (seen[start] || !isIn(start)) continue;
    count++;
    seen[start] = 1;
    for (const stack = [start]; stack.length > 0; ) {
      for (const next of neighbours(stack.pop()!)) {
        if (seen[next] || !isIn(next)) continue;
        seen[next] = 1;
        stack.push(next);
      }
    }
  }
  return count;
}

/** The Euler characteristic of the voxels with a value of at most `level`, which cells count. */
export function euler(values: Values, shape: readonly number[], level: number): number {
  const grid = new Grid(shape);
  let sum = 0;
  for (let axes = 0; axes < 1 << shape.length; axes++) {
    const own = [...shape.keys()].filter((a) => axes & (1 << a));
    const { numbers, vertices } = grid.cells([own]);
    const count = numbers.filter((cell) => vertices(cell).every((v) => values[v] <= level)).length;
    sum += own.length % 2 ? -count : count;
  }
  return sum;
}
