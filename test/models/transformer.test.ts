// The language model of examples/, tiny, trained beside the same model in plain float64 code.
import { describe, expect, test } from 'vitest';
import { type Batch, ignored } from '../../examples/language-model/data.js';
import { LanguageModel, slopes } from '../../examples/language-model/model.js';
import * as sp from '../../src/index.js';
import { isEmulated } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { AdamW, clip, differentiate, Matrix } from '../reference/models.js';

const size = { width: 8, layers: 2, heads: 2, length: 6 };
const vocabulary = 19;
const rows = 2;
const steps = isEmulated ? 6 : 40;
const rate = 5e-3;
const optimiser = { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
const maxNorm = 1;
const eps = 1e-5;

function batchOf(random: Random): Batch {
  const tokens = () =>
    Int32Array.from({ length: rows * size.length }, () => random.integer(vocabulary));
  return { inputs: tokens(), targets: tokens(), rows, length: size.length };
}

const decayOf = (rank: number) => (rank === 2 ? 0.1 : 0);

function modelOf(dtype: 'float32' | 'float64'): LanguageModel {
  sp.manualSeed(3);
  const unigram = Float32Array.from(new Random(5).normals(vocabulary));
  return new LanguageModel(size, dtype, unigram);
}

/** The same weights as matrices; vectors are single rows. */
function referenceOf(model: LanguageModel): Record<string, Matrix> {
  return Object.fromEntries(
    Object.entries(model.weights).map(([name, w]) => {
      const [m, n] = w.rank === 2 ? w.shape : [1, w.size];
      return [name, new Matrix(m, n, Float64Array.from(w.dataSync() as Float64Array))];
    }),
  );
}

function referenceLoss(w: Record<string, Matrix>, { inputs, targets }: Batch): number {
  return differentiate((f) => {
    let x = f.embedding(w.embedding, inputs);
    for (let i = 0; i < size.layers; i++) {
      const at = (name: string) => w[`layers.${i}.${name}`];
      const a = f.rmsNorm(x, at('attention.norm'), eps);
      const [q, k, v] = ['query', 'key', 'value'].map((name) =>
        f.matmul(a, at(`attention.${name}`)),
      );
      const mixed = f.attention(q, k, v, size.length, slopes(size.heads));
      x = f.add(x, f.matmul(mixed, at('attention.output')));
      const m = f.rmsNorm(x, at('mlp.norm'), eps);
      x = f.add(x, f.matmul(f.silu(f.matmul(m, at('mlp.up'))), at('mlp.down')));
    }
    const features = f.rmsNorm(x, w.norm, eps);
    const logits = f.add(f.matmul(features, w.head, true), w.bias);
    return f.crossEntropy(logits, targets);
  });
}

function referenceCurve(model: LanguageModel): number[] {
  const weights = referenceOf(model);
  const all = Object.values(weights);
  const adam = new AdamW(optimiser, (m) => decayOf(m.rows > 1 ? 2 : 1));
  const random = new Random(7);
  return Array.from({ length: steps }, () => {
    const loss = referenceLoss(weights, batchOf(random));
    clip(all, maxNorm);
    adam.step(all, rate);
    return loss;
  });
}

function curve(model: LanguageModel): number[] {
  const weights = Object.values(model.weights);
  const groups = [1, 2].map((rank) => ({
    params: weights.filter((w) => w.rank === rank),
    weightDecay: decayOf(rank),
  }));
  const { beta1, beta2, eps } = optimiser;
  const adam = new sp.optim.AdamW(groups, { lr: rate, betas: [beta1, beta2], eps });
  const random = new Random(7);
  return Array.from({ length: steps }, () =>
    sp.scope(() => {
      const loss = model.loss(batchOf(random));
      loss.backward();
      sp.clipGradNorm(weights, maxNorm);
      adam.step();
      adam.zeroGrad();
      return loss.item() as number;
    }),
  );
}

describe('a small causal transformer', () => {
  // About ten times what rounding gives in forty steps.
  test.each([
    ['float64', 1e-14],
    ['float32', 1e-6],
  ] as const)('in %s follows the loss curve of the float64 reference', (dtype, tolerance) => {
    const expected = referenceCurve(modelOf(dtype));
    const actual = curve(modelOf(dtype));
    for (const [i, loss] of expected.entries()) {
      expect(Math.abs(actual[i] - loss), `step ${i}: ${actual[i]}, expected ${loss}`).toBeLessThan(
        tolerance * loss,
      );
    }
    expect(expected[steps - 1]).not.toBeCloseTo(expected[0], 3);
  });

  test('gradients of every weight equal those of the reference', () => {
    const model = modelOf('float64');
    const reference = referenceOf(model);
    const batch = batchOf(new Random(11));
    const expected = referenceLoss(reference, batch);
    const loss = model.loss(batch);
    loss.backward();
    expect(loss.item()).toBeCloseTo(expected, 12);
    for (const [name, { grad }] of Object.entries(reference)) {
      const actual = model.weights[name].grad?.dataSync() as Float64Array;
      const scale = Math.max(...grad.map(Math.abs));
      for (const [i, g] of grad.entries()) {
        expect(Math.abs(actual[i] - g), `${name}[${i}]`).toBeLessThan(1e-12 * scale);
      }
    }
  });

  test('what comes later changes nothing before it', () => {
    const model = modelOf('float64');
    const batch = batchOf(new Random(13));
    const scored = (from: Batch) => {
      const targets = from.targets.map((t, i) => (i % size.length < 4 ? t : ignored));
      return model.loss({ ...from, targets }).item();
    };
    const inputs = batch.inputs.map((t, i) => (i % size.length < 4 ? t : (t + 1) % vocabulary));
    expect(scored({ ...batch, inputs })).toBe(scored(batch));
  });
});
