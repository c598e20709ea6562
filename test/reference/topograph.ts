// Topograph loss and DIU by their definitions: explicit regions and sets of neighbours, and homology by
// counting the classes of maps between lists of components. One image of one class against the rest.

export interface Plane {
  height: number;
  width: number;
  /** Predicted and true foreground. */
  masks: readonly [ArrayLike<number>, ArrayLike<number>];
}

type Pair = readonly [number, number];

function sides({ height, width }: Plane): Pair[] {
  const out: Pair[] = [];
  for (let i = 0; i < height * width; i++) {
    if ((i + 1) % width) out.push([i, i + 1]);
    if (i + width < height * width) out.push([i, i + width]);
  }
  return out;
}

/** Pixels that share a corner, with the other two pixels there. */
function corners({ height, width }: Plane): [Pair, Pair][] {
  const out: [Pair, Pair][] = [];
  for (let i = 0; i + width < height * width; i++) {
    if (!((i + 1) % width)) continue;
    const [a, b]: Pair[] = [
      [i, i + width + 1],
      [i + 1, i + width],
    ];
    out.push([a, b], [b, a]);
  }
  return out;
}

/** A name for the component of each pixel under the joins. */
function components(size: number, joins: readonly Pair[]): number[] {
  const name = Array.from({ length: size }, (_, i) => i);
  for (let changed = true; changed; ) {
    changed = false;
    for (const [i, j] of joins) {
      const least = Math.min(name[i], name[j]);
      if (name[i] === least && name[j] === least) continue;
      name[i] = name[j] = least;
      changed = true;
    }
  }
  return name;
}

/** The pixels of each critical region, foreground being 8-connected. */
export function criticalRegions(plane: Plane): number[][] {
  const [ours, theirs] = plane.masks;
  const size = plane.height * plane.width;
  const kind = Array.from({ length: size }, (_, i) => `${Number(ours[i])}${Number(theirs[i])}`);
  const full: Pair[] = [...sides(plane)];
  const half: Pair[] = [];
  for (const [[i, j], [u, v]] of corners(plane)) {
    if (kind[i] === '00' || kind[j] === '00') continue;
    if (kind[i] === '11' || kind[j] === '11') full.push([i, j]);
    else if (kind[u] === '00' && kind[v] === '00') full.push([i, j]);
    else if (kind[i] === kind[j]) {
      const opposite = kind[i] === '10' ? '01' : '10';
      const others = [kind[u], kind[v]].sort().join();
      if (others === ['00', opposite].sort().join()) half.push([i, j]);
    }
  }
  const region = components(
    size,
    full.filter(([i, j]) => kind[i] === kind[j]),
  );
  const clusters = [0, 1].map((k) =>
    components(
      size,
      [...full, ...half].filter(([i, j]) => kind[i][k] === '1' && kind[j][k] === '1'),
    ),
  );
  const wrong = [...new Set(region)].filter((r) => kind[r] === '10' || kind[r] === '01');
  return wrong
    .filter((r) => {
      const background = new Set<number>();
      const foreground = new Set<number>();
      for (const [a, b] of full) {
        for (const [i, j] of [
          [a, b],
          [b, a],
        ]) {
          if (region[i] !== r || kind[j] === kind[i]) continue;
          if (kind[j] === '00') background.add(region[j]);
          else foreground.add(clusters[kind[i] === '10' ? 1 : 0][j]);
        }
      }
      return background.size !== 1 || foreground.size !== 1;
    })
    .map((r) => region.flatMap((name, i) => (name === r ? [i] : [])));
}
