// The text of the language model: what is held out, what a step reads, what is scored.
import { describe, expect, test } from 'vitest';
import {
  ignored,
  loadCorpus,
  scoringBatches,
  TrainingBatches,
  textOf,
  tokensOf,
} from '../../examples/language-model/data.js';
import {
  unigramLogProbabilities,
  unigramPerplexity,
} from '../../examples/language-model/unigram.js';

const count = (n: number) => Int32Array.from({ length: n }, (_, i) => i);

describe('corpus', () => {
  const { train, heldOut, vocabulary } = loadCorpus();

  test('is the whole book in tokens of r50k', () => {
    expect(vocabulary).toBe(50257);
    expect(train.length).toBeGreaterThan(250_000);
    expect(heldOut.length).toBeGreaterThan(20_000);
    expect(textOf(tokensOf('Call me Ishmael.'))).toBe('Call me Ishmael.');
  });

  test('no held-out chapter is in the training text', () => {
    const trainText = textOf(train);
    const chapters = textOf(heldOut).split('\n\n\n').slice(1, -1);
    const start = (chapter: string) => chapter.slice(0, 200);
    expect(chapters.every((chapter) => !trainText.includes(start(chapter)))).toBe(true);
  });

  test('the unigram model is a distribution that the training text fits better', () => {
    const logs = unigramLogProbabilities(train, vocabulary);
    expect(logs.reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 5);
    const perplexity = unigramPerplexity(heldOut, logs);
    expect(perplexity).toBeGreaterThan(unigramPerplexity(train, logs));
    expect(perplexity).toBeLessThan(1200);
  });
});

describe('training batches', () => {
  const tokens = count(1000);

  test('an epoch reads windows that do not overlap, targets one place later', () => {
    const batches = new TrainingBatches(tokens, 3, 10, 1);
    const seen = new Set<number>();
    for (let step = 0; step < batches.stepsPerEpoch; step++) {
      const { inputs, targets } = batches.at(step);
      expect(Array.from(targets)).toEqual(Array.from(inputs, (token) => token + 1));
      for (const token of inputs) seen.add(token);
    }
    expect(seen.size).toBe(batches.stepsPerEpoch * 30);
    expect(seen.size).toBeGreaterThan(930);
  });

  test('a step is a function of its number and the seed', () => {
    const batches = new TrainingBatches(tokens, 3, 10, 1);
    const late = batches.at(70);
    expect(batches.at(2)).not.toEqual(late);
    expect(new TrainingBatches(tokens, 3, 10, 1).at(70)).toEqual(late);
    expect(new TrainingBatches(tokens, 3, 10, 2).at(70)).not.toEqual(late);
  });

  test('the last window of any offset lies inside the text', () => {
    for (let seed = 0; seed < 40; seed++) {
      const batches = new TrainingBatches(count(41), 1, 10, seed);
      for (let step = 0; step < batches.stepsPerEpoch; step++) {
        expect(batches.at(step).targets.at(-1)).toBeLessThan(41);
      }
    }
  });

  test('a batch longer than the text is refused', () => {
    expect(() => new TrainingBatches(count(30), 4, 10, 1)).toThrow(RangeError);
  });
});

describe('scoring batches', () => {
  test.each([
    [57, 8],
    [64, 8],
    [9, 8],
    [1000, 7],
  ])(
    'a text of %i tokens in windows of %i scores every token but the first once',
    (size, length) => {
      const scored: number[] = [];
      for (const { inputs, targets } of scoringBatches(count(size), 3, length)) {
        for (const [i, target] of targets.entries()) {
          if (target === ignored) continue;
          expect(target).toBe(inputs[i] + 1);
          scored.push(target);
        }
      }
      expect(scored.sort((a, b) => a - b)).toEqual(Array.from(count(size)).slice(1));
    },
  );
});
