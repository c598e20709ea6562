// Thinning as its definition: the topology of a voxel's neighbourhood is counted component by
// component for every voxel anew, by searching.

type Place = readonly [number, number, number];
const three = [-1, 0, 1];
const around: Place[] = three.flatMap((z) =>
  three.flatMap((y) => three.map((x) => [z, y, x] as const)),
);
const steps = (a: Place, b: Place) => a.map((v, i) => Math.abs(v - b[i]));
const sum = (x: number[]) => x.reduce((a, b) => a + b, 0);
const middle: Place = [0, 0, 0];

/** Components of the places, joined as `joined` says. */
function components(places: Place[], joined: (a: Place, b: Place) => boolean): Place[][] {
  const rest = new Set(places);
  const found: Place[][] = [];
  for (const seed of places) {
    if (!rest.delete(seed)) continue;
    const one = [seed];
    for (const from of one)
      for (const other of rest) if (joined(from, other) && rest.delete(other)) one.push(other);
    found.push(one);
  }
  return found;
}

/** One mask of 0 and 1 (planes, rows, columns). */
export function skeleton(
  mask: ArrayLike<number>,
  [planes, rows, columns]: readonly [number, number, number],
  volume: boolean,
): number[] {
  const left = Array.from(mask);
  const at = (z: number, y: number, x: number) =>
    z < 0 || z >= planes || y < 0 || y >= rows || x < 0 || x >= columns
      ? 0
      : left[(z * rows + y) * columns + x];
  const inside = around.filter(([z]) => volume || z === 0);
  const place = (i: number): Place => [
    Math.floor(i / (rows * columns)),
    Math.floor(i / columns) % rows,
    i % columns,
  ];
  const isSimple = (i: number) => {
    const [z, y, x] = place(i);
    const others = inside.filter((d) => sum(steps(d, middle)) > 0);
    const [object, ground] = [1, 0].map((value) =>
      others.filter((d) => at(z + d[0], y + d[1], x + d[2]) === value),
    );
    const touching = components(object, (a, b) => Math.max(...steps(a, b)) <= 1);
    const near = ground.filter((d) => sum(steps(d, middle)) <= 2);
    const faces = components(near, (a, b) => sum(steps(a, b)) === 1).filter((one) =>
      one.some((d) => sum(steps(d, middle)) === 1),
    );
    return touching.length === 1 && faces.length === 1;
  };
  const neighbours = (i: number) => {
    const [z, y, x] = place(i);
    return sum(inside.map((d) => at(z + d[0], y + d[1], x + d[2]))) - 1;
  };
  const directions: Place[] = [
    [0, -1, 0],
    [0, 1, 0],
    [0, 0, 1],
    [0, 0, -1],
    ...(volume
      ? ([
          [1, 0, 0],
          [-1, 0, 0],
        ] as const)
      : []),
  ];
  for (let changed = true; changed; ) {
    changed = false;
    for (const [dz, dy, dx] of directions) {
      const candidates = left.flatMap((v, i) => {
        const [z, y, x] = place(i);
        const isBorder = v === 1 && at(z + dz, y + dy, x + dx) === 0;
        return isBorder && neighbours(i) !== 1 && isSimple(i) ? [i] : [];
      });
      for (const i of candidates) {
        if (!isSimple(i)) continue;
        left[i] = 0;
        changed = true;
      }
    }
  }
  return left;
}
