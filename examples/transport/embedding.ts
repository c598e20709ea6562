// A map of things of which only the distances are known. Classical scaling (Torgerson 1952) gives
// the start, majorisation (SMACOF: de Leeuw 1977) lowers the raw stress, sum (|x_i - x_j| - δ_ij)².

export interface Embedding {
  /** [n, 2], row-major. */
  places: Float64Array;
  /** Kruskal's stress-1, √(raw stress / sum |x_i - x_j|²): before each step and after the last. */
  stress: number[];
}

/** Row sums over n columns. */
const rowMeans = (matrix: Float64Array, n: number) =>
  Float64Array.from(
    { length: n },
    (_, i) => matrix.subarray(i * n, i * n + n).reduce((a, b) => a + b, 0) / n,
  );

/** -½·J·δ²·J with J = I - 1/n: the scalar products of centred points, if there are such points. */
function products(distances: Float64Array, n: number): Float64Array {
  const squares = distances.map((d) => d * d);
  const means = rowMeans(squares, n);
  const mean = means.reduce((a, b) => a + b, 0) / n;
  return squares.map((s, k) => -(s - means[Math.floor(k / n)] - means[k % n] + mean) / 2);
}

/** matrix · vector, and the length of that. */
function applied(matrix: Float64Array, vector: Float64Array): [Float64Array, number] {
  const n = vector.length;
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += matrix[i * n + j] * vector[j];
    out[i] = sum;
  }
  return [out, Math.hypot(...out)];
}

const powerSteps = 200;

/** The eigenvector of the largest eigenvalue, times its root; it is taken out of the matrix. */
function leading(matrix: Float64Array, n: number): Float64Array {
  let vector: Float64Array = Float64Array.from({ length: n }, (_, i) => Math.cos(i + 1));
  let value = 0;
  for (let step = 0; step < powerSteps; step++) {
    const [next, length] = applied(matrix, vector);
    value = length;
    vector = next.map((v) => v / (length || 1));
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) matrix[i * n + j] -= value * vector[i] * vector[j];
  }
  return vector.map((v) => v * Math.sqrt(value));
}

function classical(distances: Float64Array, n: number): Float64Array {
  const matrix = products(distances, n);
  const [first, second] = [leading(matrix, n), leading(matrix, n)];
  return Float64Array.from({ length: 2 * n }, (_, k) => (k % 2 === 0 ? first : second)[k >> 1]);
}

/** One step of majorisation (Guttman's transform), and the stress before it. */
function majorise(distances: Float64Array, places: Float64Array): [Float64Array, number] {
  const n = places.length / 2;
  const next = new Float64Array(2 * n);
  let [raw, total] = [0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const across = places[2 * i] - places[2 * j];
      const up = places[2 * i + 1] - places[2 * j + 1];
      const length = Math.hypot(across, up);
      const wanted = distances[i * n + j];
      raw += (length - wanted) ** 2;
      total += length * length;
      const ratio = length > 0 ? wanted / length : 0;
      next[2 * i] += (ratio * across) / n;
      next[2 * i + 1] += (ratio * up) / n;
    }
  }
  return [next, Math.sqrt(raw / (total || 1))];
}

/** The places in the plane whose distances are nearest to the given ones, [n, n]. */
export function embed(distances: Float64Array, steps = 200): Embedding {
  const n = Math.sqrt(distances.length);
  let places = classical(distances, n);
  const stress: number[] = [];
  for (let step = 0; step < steps; step++) {
    const [next, before] = majorise(distances, places);
    stress.push(before);
    places = next;
  }
  stress.push(majorise(distances, places)[1]);
  return { places, stress };
}
