// Training: AdamW with warm-up and a cosine decay, gradients clipped, one scope a step so that every
// buffer of a step serves the next one.
import { setImmediate } from 'node:timers/promises';
import * as sp from 'surprisal';
import { type Corpus, scoringBatches, TrainingBatches } from './data.js';
import { LanguageModel, type Weight } from './model.js';
import type { Limits, Settings } from './options.js';
import type { StepRecord } from './report.js';
import { unigramLogProbabilities } from './unigram.js';

const warmupSteps = 20;
const lastRate = 0.02; // of the highest
const weightDecay = 0.1;
// A row of the two tables has a gradient worth following only where its token occurs; they can
// take larger steps than the matrices that every token trains.
export const tableRate = 8; // times the learning rate
const maxGradientNorm = 1;

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

export class Trainer {
  readonly model: LanguageModel;
  readonly optimizer: sp.optim.AdamW;
  readonly history: StepRecord[] = [];
  private readonly weights: Weight[];
  private readonly batches: TrainingBatches;
  /** The learning rate of the next step. */
  private rate = 0;

  constructor(
    corpus: Corpus,
    readonly settings: Settings,
  ) {
    const { dtype, batch, length, seed } = settings;
    sp.manualSeed(seed);
    const unigram = unigramLogProbabilities(corpus.train, corpus.vocabulary);
    this.model = new LanguageModel(settings, dtype, unigram);
    this.weights = Object.values(this.model.weights);
    this.batches = new TrainingBatches(corpus.train, batch, length, seed);
    const { embedding, head } = this.model.weights;
    const tables = [embedding, head];
    const matrices = this.weights.filter((w) => w.rank === 2 && !tables.includes(w));
    const vectors = this.weights.filter((w) => w.rank === 1);
    const groups = [
      { params: tables, lr: () => tableRate * this.rate, weightDecay },
      { params: matrices, lr: () => this.rate, weightDecay },
      // Gains and the unigram bias have no reason to go to 0.
      { params: vectors, lr: () => this.rate, weightDecay: 0 },
    ];
    this.optimizer = new sp.optim.AdamW(groups, { betas: [0.9, 0.95] });
  }

  get tokensPerStep(): number {
    return this.settings.batch * this.settings.length;
  }

  get parameterCount(): number {
    return sum(this.weights.map((w) => w.size));
  }

  get seconds(): number {
    return sum(this.history.map((step) => step.seconds));
  }

  /** One step; `progress` in [0, 1] is the place in the learning-rate schedule. */
  step(progress: number): StepRecord {
    const start = performance.now();
    const { history, settings } = this;
    const warmth = Math.min(1, (history.length + 1) / warmupSteps);
    const decay = lastRate + ((1 - lastRate) * (1 + Math.cos(Math.PI * progress))) / 2;
    this.rate = settings.learningRate * warmth * decay;
    const loss = sp.scope(() => {
      const mean = this.model.loss(this.batches.at(history.length));
      mean.backward();
      sp.clipGradNorm(this.weights, maxGradientNorm);
      this.optimizer.step();
      this.optimizer.zeroGrad();
      return mean.item();
    });
    const record = { loss, seconds: (performance.now() - start) / 1000 };
    history.push(record);
    return record;
  }

  /** Steps until a limit is reached or `stopped` says so. The event loop turns after each one. */
  async run(limits: Limits, stopped: () => boolean, onStep: (fraction: number) => void) {
    const before = { steps: this.history.length, seconds: this.seconds };
    let steps = 0;
    let seconds = 0;
    // A limit is counted from here, the schedule from the first step of a resumed run: continuing an
    // interrupted run to its old end takes the same learning rates as never stopping.
    const place = (a: Limits) => {
      const done = a.steps / (before.steps + limits.steps);
      return Math.min(1, Math.max(done, a.seconds / (before.seconds + limits.seconds)));
    };
    while (steps < limits.steps && seconds < limits.seconds && !stopped()) {
      const progress = place({ steps: before.steps + steps, seconds: before.seconds + seconds });
      seconds += this.step(progress).seconds;
      steps++;
      onStep(Math.min(1, Math.max(steps / limits.steps, seconds / limits.seconds)));
      await setImmediate();
    }
  }
}

/** Perplexity of a model on a text: exp of the mean surprisal of every token but the first. */
export async function perplexity(model: LanguageModel, tokens: Int32Array): Promise<number> {
  const rows = 8;
  let total = 0;
  for (const batch of scoringBatches(tokens, rows, model.size.length)) {
    total += sp.noGrad(() => sp.scope(() => model.loss(batch, 'sum').item()));
    await setImmediate();
  }
  return Math.exp(total / (tokens.length - 1));
}
