// Reference models in float64: matrices with a small tape of their own, every operation written out
// as its definition and its derivative. Slow and obvious; nothing is taken from the library.

/** A matrix, its gradient, and how to pass that gradient on. */
export class Matrix {
  readonly grad: Float64Array;
  constructor(
    readonly rows: number,
    readonly columns: number,
    readonly data: Float64Array = new Float64Array(rows * columns),
  ) {
    this.grad = new Float64Array(rows * columns);
  }
}

/** What backward has still to do, in the order of the forward pass. */
type Tape = (() => void)[];

/** Runs a model and puts the gradient of its loss into every matrix it used. */
export function differentiate(run: (ops: Operations) => Matrix): number {
  const tape: Tape = [];
  const loss = run(new Operations(tape));
  loss.grad[0] = 1;
  for (const step of tape.reverse()) step();
  return loss.data[0];
}

export class Operations {
  constructor(private readonly tape: Tape) {}

  /** a·b, or a·bᵀ. */
  matmul(a: Matrix, b: Matrix, transposed = false): Matrix {
    const n = transposed ? b.rows : b.columns;
    const out = new Matrix(a.rows, n);
    const at = (k: number, j: number) => (transposed ? j * b.columns + k : k * b.columns + j);
    const each = (visit: (i: number, j: number, k: number) => void) => {
      for (let i = 0; i < a.rows; i++)
        for (let j = 0; j < n; j++) for (let k = 0; k < a.columns; k++) visit(i, j, k);
    };
    each((i, j, k) => {
      out.data[i * n + j] += a.data[i * a.columns + k] * b.data[at(k, j)];
    });
    this.tape.push(() =>
      each((i, j, k) => {
        const g = out.grad[i * n + j];
        a.grad[i * a.columns + k] += g * b.data[at(k, j)];
        b.grad[at(k, j)] += g * a.data[i * a.columns + k];
      }),
    );
    return out;
  }

  /** a + b; a row b is added to every row of a. */
  add(a: Matrix, b: Matrix): Matrix {
    const out = new Matrix(a.rows, a.columns);
    for (let i = 0; i < out.data.length; i++) out.data[i] = a.data[i] + b.data[i % b.data.length];
    this.tape.push(() => {
      for (let i = 0; i < out.grad.length; i++) {
        a.grad[i] += out.grad[i];
        b.grad[i % b.data.length] += out.grad[i];
      }
    });
    return out;
  }

  private map(x: Matrix, f: (v: number) => number, derivative: (v: number) => number): Matrix {
    const out = new Matrix(x.rows, x.columns, x.data.map(f));
    this.tape.push(() => {
      for (let i = 0; i < x.data.length; i++) x.grad[i] += out.grad[i] * derivative(x.data[i]);
    });
    return out;
  }

  /** x·σ(x). */
  silu(x: Matrix): Matrix {
    const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
    return this.map(
      x,
      (v) => v * sigmoid(v),
      (v) => sigmoid(v) * (1 + v * (1 - sigmoid(v))),
    );
  }

  tanh(x: Matrix): Matrix {
    return this.map(x, Math.tanh, (v) => 1 - Math.tanh(v) ** 2);
  }

  /** Rows x / sqrt(mean(x²) + eps), times a row of weights. */
  rmsNorm(x: Matrix, weight: Matrix, eps: number): Matrix {
    const n = x.columns;
    const out = new Matrix(x.rows, n);
    for (let i = 0; i < x.rows; i++) {
      const row = x.data.subarray(i * n, (i + 1) * n);
      const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / n + eps);
      for (let j = 0; j < n; j++) out.data[i * n + j] = row[j] * scale * weight.data[j];
      this.tape.push(() => {
        const g = out.grad.subarray(i * n, (i + 1) * n);
        let dot = 0;
        for (let j = 0; j < n; j++) dot += g[j] * weight.data[j] * row[j];
        for (let j = 0; j < n; j++) {
          weight.grad[j] += g[j] * row[j] * scale;
          x.grad[i * n + j] += scale * (g[j] * weight.data[j] - (row[j] * dot * scale * scale) / n);
        }
      });
    }
    return out;
  }

  /** Rows of a table. */
  embedding(table: Matrix, ids: ArrayLike<number>): Matrix {
    const n = table.columns;
    const out = new Matrix(ids.length, n);
    for (let i = 0; i < ids.length; i++) {
      for (let j = 0; j < n; j++) out.data[i * n + j] = table.data[ids[i] * n + j];
    }
    this.tape.push(() => {
      for (let i = 0; i < ids.length; i++) {
        for (let j = 0; j < n; j++) table.grad[ids[i] * n + j] += out.grad[i * n + j];
      }
    });
    return out;
  }

  /**
   * Causal attention of windows of `length` rows: head h owns columns [h·d, (h+1)·d), and position t
   * sees s <= t with weight softmax(q·k/√d - slope·(t - s)).
   */
  attention(q: Matrix, k: Matrix, v: Matrix, length: number, slopes: readonly number[]): Matrix {
    const out = new Matrix(q.rows, q.columns);
    const d = q.columns / slopes.length;
    for (let row = 0; row < q.rows; row++) {
      for (const [head, slope] of slopes.entries()) {
        const first = row - (row % length);
        const at = (r: number, j: number) => r * q.columns + head * d + j;
        const p = attentionWeights(q, k, first, row, head * d, d, slope);
        for (const [s, weight] of p.entries()) {
          for (let j = 0; j < d; j++) out.data[at(row, j)] += weight * v.data[at(first + s, j)];
        }
        this.tape.push(() => {
          const dp = p.map((_, s) => {
            let sum = 0;
            for (let j = 0; j < d; j++) sum += out.grad[at(row, j)] * v.data[at(first + s, j)];
            return sum;
          });
          const mean = p.reduce((sum, weight, s) => sum + weight * dp[s], 0);
          for (const [s, weight] of p.entries()) {
            const dz = (weight * (dp[s] - mean)) / Math.sqrt(d);
            for (let j = 0; j < d; j++) {
              v.grad[at(first + s, j)] += weight * out.grad[at(row, j)];
              q.grad[at(row, j)] += dz * k.data[at(first + s, j)];
              k.grad[at(first + s, j)] += dz * q.data[at(row, j)];
            }
          }
        });
      }
    }
    return out;
  }

  /** Mean over rows of -log softmax(z)[target]. */
  crossEntropy(z: Matrix, target: ArrayLike<number>): Matrix {
    const n = z.columns;
    const out = new Matrix(1, 1);
    const p = new Float64Array(z.data.length);
    for (let i = 0; i < z.rows; i++) {
      const row = z.data.subarray(i * n, (i + 1) * n);
      p.set(softmax(Array.from(row)), i * n);
      out.data[0] -= Math.log(p[i * n + target[i]]) / z.rows;
    }
    this.tape.push(() => {
      for (let i = 0; i < p.length; i++) {
        const hit = i % n === target[Math.floor(i / n)] ? 1 : 0;
        z.grad[i] += (out.grad[0] * (p[i] - hit)) / z.rows;
      }
    });
    return out;
  }
}

function softmax(z: number[]): number[] {
  const max = Math.max(...z);
  const e = z.map((v) => Math.exp(v - max));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

function attentionWeights(
  q: Matrix,
  k: Matrix,
  first: number,
  row: number,
  column: number,
  d: number,
  slope: number,
): number[] {
  const z = Array.from({ length: row - first + 1 }, (_, s) => {
    let dot = 0;
    for (let j = column; j < column + d; j++) {
      dot += q.data[row * q.columns + j] * k.data[(first + s) * k.columns + j];
    }
    return dot / Math.sqrt(d) - slope * (row - first - s);
  });
  return softmax(z);
}

/** Scales all gradients by min(1, most / (their joint norm + 1e-6)), as PyTorch does. */
export function clip(parameters: readonly Matrix[], most: number): void {
  const squares = parameters.map(({ grad }) => grad.reduce((sum, g) => sum + g * g, 0));
  const norm = Math.sqrt(squares.reduce((a, b) => a + b, 0));
  const factor = Math.min(1, most / (norm + 1e-6));
  for (const { grad } of parameters) for (let i = 0; i < grad.length; i++) grad[i] *= factor;
}

/** AdamW (Loshchilov & Hutter 2019) with decoupled weight decay; clears the gradients it used. */
export class AdamW {
  private readonly moments = new Map<Matrix, [Float64Array, Float64Array]>();
  private steps = 0;

  constructor(
    private readonly settings: { beta1: number; beta2: number; eps: number },
    private readonly decayOf: (m: Matrix) => number,
  ) {}

  step(parameters: readonly Matrix[], rate: number): void {
    const { beta1, beta2, eps } = this.settings;
    this.steps++;
    for (const p of parameters) {
      const size = p.data.length;
      const fresh = (): [Float64Array, Float64Array] => [
        new Float64Array(size),
        new Float64Array(size),
      ];
      const [m, v] = this.moments.get(p) ?? fresh();
      this.moments.set(p, [m, v]);
      for (let i = 0; i < size; i++) {
        const g = p.grad[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        const unbiased = v[i] / (1 - beta2 ** this.steps);
        p.data[i] -= rate * this.decayOf(p) * p.data[i];
        p.data[i] -= (rate * m[i]) / (1 - beta1 ** this.steps) / (Math.sqrt(unbiased) + eps);
        p.grad[i] = 0;
      }
    }
  }
}
