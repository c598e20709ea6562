// A small causal transformer: embedding, then layers of attention and a SiLU MLP, each on its
// RMS-normed input and added to it, then a head over the whole vocabulary. Positions enter as ALiBi (Press et al. 2022): head h subtracts
// slope_h · distance from its scores. linearCrossEntropy scores the head without its logits.
import * as sp from 'surprisal';
import { type Batch, ignored } from './data.js';
import type { Size } from './options.js';

export type Weight = sp.Tensor<sp.FloatDType>;

interface Layer {
  attentionNorm: Weight;
  query: Weight;
  key: Weight;
  value: Weight;
  output: Weight;
  mlpNorm: Weight;
  up: Weight;
  down: Weight;
}

const hiddenFactor = 3; // width of the MLP in units of D
const eps = 1e-5;

/**
 * The slope of each head: 2, 1/2, 1/8, ... Steeper than in the paper, because what a small model can
 * learn from one book lies in the last few words.
 */
export function slopes(heads: number): number[] {
  return Array.from({ length: heads }, (_, h) => 2 ** (1 - 2 * h));
}

/** [H, T, T]: -slope · distance to what a position may see, -inf for what comes after it. */
function attentionBias(heads: number, length: number, dtype: sp.FloatDType): Weight {
  const values = new Float32Array(heads * length * length);
  for (const [h, slope] of slopes(heads).entries()) {
    for (let t = 0; t < length; t++) {
      for (let s = 0; s < length; s++) {
        values[(h * length + t) * length + s] = s <= t ? slope * (s - t) : -Infinity;
      }
    }
  }
  return sp.tensor(values, { shape: [heads, length, length], dtype });
}

/** Makes weights and lists them by name. */
class Weights {
  readonly all: Record<string, Weight> = {};
  constructor(private readonly dtype: sp.FloatDType) {}

  /** Normal numbers of the given deviation, 1/√rows unless given. */
  matrix(name: string, rows: number, columns: number, deviation = 1 / Math.sqrt(rows)): Weight {
    const drawn = sp.scope(() => sp.randn([rows, columns]).mul(deviation).to(this.dtype));
    return this.named(name, drawn);
  }

  vector(name: string, values: Float32Array): Weight {
    return this.named(name, sp.tensor(values, { dtype: this.dtype }));
  }

  private named(name: string, weight: Weight): Weight {
    this.all[name] = weight.requiresGrad_();
    return weight;
  }
}

export class LanguageModel {
  /** Every weight under its name in a checkpoint. */
  readonly weights: Readonly<Record<string, Weight>>;
  private readonly embedding: Weight;
  private readonly head: Weight;
  private readonly bias: Weight;
  private readonly norm: Weight;
  private readonly layers: Layer[];
  private readonly attentionBias: Weight;

  /**
   * The head's bias starts at the unigram log-probabilities: training begins at the unigram model's
   * perplexity and spends its time on what context adds.
   */
  constructor(
    readonly size: Size,
    dtype: sp.FloatDType,
    unigram: Float32Array,
  ) {
    const { width, layers, heads, length } = size;
    const make = new Weights(dtype);
    this.weights = make.all;
    this.embedding = make.matrix('embedding', unigram.length, width, 0.02);
    this.head = make.matrix('head', unigram.length, width, 0.02);
    this.bias = make.vector('bias', unigram);
    this.layers = Array.from({ length: layers }, (_, i) => layer(make, `layers.${i}`, size));
    this.norm = make.vector('norm', new Float32Array(width).fill(1));
    this.attentionBias = attentionBias(heads, length, dtype);
  }

  /** What the head reads of each token: inputs -> [tokens, D]. */
  features({ inputs, rows, length }: Omit<Batch, 'targets'>): Weight {
    const { width, heads } = this.size;
    const ids = sp.tensor(inputs, { shape: [rows * length] });
    const bias = this.attentionBias.slice(1, 0, length).slice(2, 0, length);
    const split = (x: sp.Tensor) =>
      x.reshape([rows, length, heads, width / heads]).permute([0, 2, 1, 3]);
    let x = sp.embedding(this.embedding, ids);
    for (const layer of this.layers) {
      const a = sp.rmsNorm(x, { weight: layer.attentionNorm, eps });
      const query = split(a.matmul(layer.query)).mul(1 / Math.sqrt(width / heads));
      const key = split(a.matmul(layer.key));
      const scores = query.matmul(key, { transposeB: true }).add(bias);
      const mixed = sp.softmax(scores).matmul(split(a.matmul(layer.value)));
      const joined = mixed.permute([0, 2, 1, 3]).reshape([rows * length, width]);
      x = x.add(joined.matmul(layer.output));
      const m = sp.rmsNorm(x, { weight: layer.mlpNorm, eps });
      x = x.add(sp.silu(m.matmul(layer.up)).matmul(layer.down));
    }
    return sp.rmsNorm(x, { weight: this.norm, eps }) as Weight;
  }

  /** Mean surprisal of the targets in nats, or their sum. */
  loss(batch: Batch, reduction: 'mean' | 'sum' = 'mean'): sp.Tensor {
    const target = sp.tensor(batch.targets, { shape: [batch.targets.length] });
    return sp.linearCrossEntropy(this.features(batch), this.head, target, {
      bias: this.bias,
      ignoreIndex: ignored,
      reduction,
    });
  }

  /** The logits [V] of what follows the given tokens, at most a window of them. */
  logitsAfter(tokens: readonly number[]): Float32Array {
    return sp.noGrad(() =>
      sp.scope(() => {
        const inputs = Int32Array.from(tokens.slice(-this.size.length));
        const features = this.features({ inputs, rows: 1, length: inputs.length });
        const last = features.slice(0, -1);
        const logits = last.matmul(this.head, { transposeB: true }).add(this.bias);
        return logits.dataSync() as Float32Array;
      }),
    );
  }
}

function layer(make: Weights, name: string, { width, layers }: Size): Layer {
  const ones = new Float32Array(width).fill(1);
  const wide = hiddenFactor * width;
  // Each layer adds two branches to x, whose variance so stays of order 1.
  const calm = 1 / Math.sqrt(2 * layers);
  return {
    attentionNorm: make.vector(`${name}.attention.norm`, ones),
    query: make.matrix(`${name}.attention.query`, width, width),
    key: make.matrix(`${name}.attention.key`, width, width),
    value: make.matrix(`${name}.attention.value`, width, width),
    output: make.matrix(`${name}.attention.output`, width, width, calm / Math.sqrt(width)),
    mlpNorm: make.vector(`${name}.mlp.norm`, ones),
    up: make.matrix(`${name}.mlp.up`, width, wide),
    down: make.matrix(`${name}.mlp.down`, wide, width, calm / Math.sqrt(wide)),
  };
}
