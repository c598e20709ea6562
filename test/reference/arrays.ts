// Arrays of float64 with a shape, and the operations that move, pick or combine their elements,
// each written as its definition: element by element from the index of the result.

export interface Arr {
  shape: number[];
  values: number[];
}

/** Every index of a shape in row-major order. */
export function* indicesOf(shape: readonly number[]): Generator<number[]> {
  const size = shape.reduce((a, b) => a * b, 1);
  for (let i = 0; i < size; i++) {
    let rest = i;
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    yield index;
  }
}

export function build(shape: readonly number[], value: (index: number[]) => number): Arr {
  return { shape: [...shape], values: Array.from(indicesOf(shape), value) };
}

/** Where the element of an index lies in `values`. */
export function placeOf(a: Arr, index: readonly number[]): number {
  return index.reduce((place, i, axis) => place * a.shape[axis] + i, 0);
}

export function at(a: Arr, index: readonly number[]): number {
  return a.values[placeOf(a, index)];
}

const changed = (list: readonly number[], at: number, value: number) =>
  list.map((v, i) => (i === at ? value : v));

/** The index into an array that was broadcast to the shape of `index`. */
const shrunk = (index: readonly number[], shape: readonly number[]) =>
  shape.map((n, i) => (n === 1 ? 0 : index[i + index.length - shape.length]));

export function permute(a: Arr, dims: readonly number[]): Arr {
  const shape = dims.map((d) => a.shape[d]);
  return build(shape, (index) => {
    const from = [...index];
    for (const [i, d] of dims.entries()) from[d] = index[i];
    return at(a, from);
  });
}

export function expand(a: Arr, shape: readonly number[]): Arr {
  return build(shape, (index) => at(a, shrunk(index, a.shape)));
}

export function slice(a: Arr, dim: number, start: number, count: number, step = 1): Arr {
  return build(changed(a.shape, dim, count), (index) =>
    at(a, changed(index, dim, start + index[dim] * step)),
  );
}

export function concat(list: readonly Arr[], dim: number): Arr {
  const total = list.reduce((sum, a) => sum + a.shape[dim], 0);
  return build(changed(list[0].shape, dim, total), (index) => {
    let place = index[dim];
    let k = 0;
    while (place >= list[k].shape[dim]) place -= list[k++].shape[dim];
    return at(list[k], changed(index, dim, place));
  });
}

export function stack(list: readonly Arr[], dim: number): Arr {
  const shape = [...list[0].shape];
  shape.splice(dim, 0, list.length);
  return build(shape, (index) =>
    at(
      list[index[dim]],
      index.filter((_, i) => i !== dim),
    ),
  );
}

/** [before, after] per axis, negative ones cut. */
export function pad(a: Arr, amounts: readonly (readonly number[])[], value: number): Arr {
  const shape = a.shape.map((n, i) => n + amounts[i][0] + amounts[i][1]);
  return build(shape, (index) => {
    const from = index.map((i, axis) => i - amounts[axis][0]);
    return from.every((i, axis) => i >= 0 && i < a.shape[axis]) ? at(a, from) : value;
  });
}

export function triangle(a: Arr, diagonal: number, lower: boolean): Arr {
  return build(a.shape, (index) => {
    const offset = index.at(-1)! - index.at(-2)!;
    return (lower ? offset <= diagonal : offset >= diagonal) ? at(a, index) : 0;
  });
}

export function indexSelect(a: Arr, dim: number, index: readonly number[]): Arr {
  return build(changed(a.shape, dim, index.length), (i) => at(a, changed(i, dim, index[i[dim]])));
}

export function gather(a: Arr, dim: number, index: Arr): Arr {
  return build(index.shape, (i) => at(a, changed(i, dim, at(index, i))));
}

export function scatterAdd(a: Arr, dim: number, index: Arr, src: Arr): Arr {
  const out = { shape: a.shape, values: [...a.values] };
  for (const i of indicesOf(index.shape)) {
    const to = changed(i, dim, at(index, i));
    out.values[placeOf(a, to)] += at(src, i);
  }
  return out;
}

export function maskedFill(a: Arr, mask: Arr, value: number): Arr {
  return build(a.shape, (i) => (at(mask, shrunk(i, mask.shape)) ? value : at(a, i)));
}

/** a [..., M, K] and b [..., K, N] of rank 2 or more; leading axes broadcast. */
export function matmul(a: Arr, b: Arr): Arr {
  const rank = Math.max(a.shape.length, b.shape.length);
  const size = (x: Arr, i: number) => x.shape[i - rank + x.shape.length] ?? 1;
  const shape = Array.from({ length: rank - 2 }, (_, i) =>
    size(a, i) === 1 ? size(b, i) : size(a, i),
  );
  const [inner, columns] = b.shape.slice(-2);
  const batch = (x: Arr, index: readonly number[]) =>
    shrunk(index.slice(0, -2), x.shape.slice(0, -2));
  return build([...shape, a.shape.at(-2)!, b.shape.at(-1)!], (index) => {
    const [i, j] = index.slice(-2);
    const row = placeOf(a, [...batch(a, index), i, 0]);
    const column = placeOf(b, [...batch(b, index), 0, j]);
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += a.values[row + k] * b.values[column + k * columns];
    return sum;
  });
}

export function transpose(a: Arr): Arr {
  const dims = a.shape.map((_, i) => i);
  return permute(a, [...dims.slice(0, -2), dims.length - 1, dims.length - 2]);
}
