// Distances to the outside of a mask by looking at every voxel, and warping by counting components.

export interface Mask {
  shape: readonly number[];
  values: readonly boolean[];
}

function places(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (all, n) => all.flatMap((at) => Array.from({ length: n }, (_, i) => [...at, i])),
    [[]],
  );
}

/** Of each voxel of the mask the distance to the nearest one outside it; 0 outside. */
export function distancesOf({ shape, values }: Mask, spacing = shape.map(() => 1)): number[] {
  const at = places(shape);
  const outside = at.filter((_, i) => !values[i]);
  const apart = (a: number[], b: number[]) =>
    Math.hypot(...a.map((x, k) => (x - b[k]) * spacing[k]));
  return at.map((a, i) =>
    values[i] ? outside.reduce((least, b) => Math.min(least, apart(a, b)), Infinity) : 0,
  );
}

/** Offsets to the neighbours of a voxel that differ in at most `most` coordinates. */
function around(axes: number, most: number): number[][] {
  return places(Array.from({ length: axes }, () => 3))
    .map((at) => at.map((x) => x - 1))
    .filter((at) => {
      const steps = at.filter((x) => x !== 0).length;
      return steps > 0 && steps <= most;
    });
}

const key = (at: readonly number[]) => at.join();

/** The components of a set of offsets that neighbour one another that hold one of `seeds`. */
function componentsWith(set: number[][], axes: number, most: number, seeds: number[][]): number {
  const rest = new Map(set.map((at) => [key(at), at]));
  const steps = around(axes, most);
  let count = 0;
  for (const seed of seeds) {
    const stack = rest.has(key(seed)) ? [seed] : [];
    count += stack.length;
    rest.delete(key(seed));
    for (let at = stack.pop(); at; at = stack.pop()) {
      for (const step of steps) {
        const next = at.map((x, a) => x + step[a]);
        if (!rest.delete(key(next))) continue;
        stack.push(next);
      }
    }
  }
  return count;
}

/**
 * Whether flipping a voxel changes no topology: each side has one component about it that touches it.
 * The side joined by faces is looked at among the voxels that share an edge (in a plane, a corner).
 */
function isSimple(mask: Mask, voxel: number[], corners: boolean): boolean {
  const axes = voxel.length;
  const inside = (offset: number[]) => {
    const at = voxel.map((x, a) => x + offset[a]);
    if (at.some((x, a) => x < 0 || x >= mask.shape[a])) return false;
    return mask.values[at.reduce((index, x, a) => index * mask.shape[a] + x, 0)];
  };
  const side = (isForeground: boolean) => {
    const byCorners = isForeground === corners;
    const near = around(axes, byCorners ? axes : 2);
    const set = near.filter((offset) => inside(offset) === isForeground);
    return componentsWith(set, axes, byCorners ? axes : 1, byCorners ? set : around(axes, 1));
  };
  return side(true) === 1 && side(false) === 1;
}

function warp(from: Mask, to: Mask, corners: boolean): boolean[] {
  const warped = { shape: from.shape, values: [...from.values] };
  const at = places(from.shape);
  for (const was of [true, false]) {
    const where = from.values.map((x) => x === was);
    const distances = distancesOf({ shape: from.shape, values: where });
    const order = at
      .map((_, i) => i)
      .filter((i) => from.values[i] === was && to.values[i] !== was)
      .sort((i, j) => distances[i] - distances[j] || i - j);
    for (const i of order) if (isSimple(warped, at[i], corners)) warped.values[i] = !was;
  }
  return warped.values;
}

/** What stays different when either mask is warped to the other. */
export function criticalOf(predicted: Mask, truth: Mask, corners: boolean): boolean[] {
  const [a, b] = [warp(truth, predicted, corners), warp(predicted, truth, corners)];
  return a.map((x, i) => x !== predicted.values[i] || b[i] !== truth.values[i]);
}
