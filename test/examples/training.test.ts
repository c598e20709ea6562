// The training loop: limits, what a seed decides, and checkpoints that change nothing.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadCheckpoint, saveCheckpoint } from '../../examples/language-model/checkpoint.js';
import type { Corpus } from '../../examples/language-model/data.js';
import { defaults, type Settings } from '../../examples/language-model/options.js';
import { perplexity, Trainer } from '../../examples/language-model/train.js';
import * as sp from '../../src/index.js';

const folder = mkdtempSync(join(tmpdir(), 'surprisal-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Text with a rule to learn: mostly, token i is followed by 3i + 1. */
function text(length: number, start: number): Int32Array {
  let token = start;
  return Int32Array.from({ length }, (_, i) => {
    token = i % 7 === 0 ? (i * 5) % 29 : (3 * token + 1) % 29;
    return token;
  });
}

const corpus: Corpus = { train: text(2000, 1), heldOut: text(200, 2), vocabulary: 29 };
const small: Settings = { ...defaults, width: 16, layers: 1, heads: 2, length: 16, batch: 2 };
const forever = { steps: Infinity, seconds: Infinity };
const never = () => false;
const losses = (trainer: Trainer) => trainer.history.map((step) => step.loss);

/** `total` steps, ended after `taken` of them as by Ctrl-C. */
async function trained(trainer: Trainer, total: number, taken = total): Promise<Trainer> {
  const end = trainer.history.length + taken;
  const stopped = () => trainer.history.length === end;
  await trainer.run({ ...forever, steps: total }, stopped, () => {});
  return trainer;
}

describe('training', () => {
  test.each(['float32', 'bfloat16'] as const)('learns the text in %s', async (dtype) => {
    const trainer = new Trainer(corpus, { ...small, dtype });
    const before = await perplexity(trainer.model, corpus.heldOut);
    await trained(trainer, 120);
    expect(await perplexity(trainer.model, corpus.heldOut)).toBeLessThan(0.3 * before);
  });

  test('a seed decides every number', async () => {
    const [a, b] = [await trained(new Trainer(corpus, small), 5), new Trainer(corpus, small)];
    expect(losses(await trained(b, 5))).toEqual(losses(a));
    const other = await trained(new Trainer(corpus, { ...small, seed: 2 }), 5);
    expect(losses(other)).not.toEqual(losses(a));
  });

  test('ends at the first limit reached and tells how far it is', async () => {
    const trainer = new Trainer(corpus, small);
    const fractions: number[] = [];
    await trainer.run({ ...forever, steps: 4 }, never, (fraction) => fractions.push(fraction));
    expect(fractions).toEqual([0.25, 0.5, 0.75, 1]);
    const before = trainer.history.length;
    await trainer.run({ steps: 100_000, seconds: 0.05 }, never, () => {});
    expect(trainer.history.length).toBeGreaterThan(before);
    expect(trainer.seconds).toBeGreaterThanOrEqual(0.05);
  });

  test('memory does not grow with the steps', async () => {
    const trainer = await trained(new Trainer(corpus, small), 3);
    const { live } = sp.memory().cpu;
    await trained(trainer, 20);
    expect(sp.memory().cpu.live).toBeLessThan(live + 100_000);
  });
});

describe('checkpoints', () => {
  test.each(['float32', 'bfloat16'] as const)(
    'an interrupted run in %s goes on as if it had not been',
    async (dtype) => {
      const settings = { ...small, dtype };
      const whole = await trained(new Trainer(corpus, settings), 9);
      const path = join(folder, `${dtype}.safetensors`);
      await saveCheckpoint(path, await trained(new Trainer(corpus, settings), 9, 4));
      const resumed = await loadCheckpoint(path, corpus, {});
      expect(losses(resumed)).toEqual(losses(whole).slice(0, 4));
      expect(resumed.settings).toEqual(settings);
      expect(losses(await trained(resumed, 5))).toEqual(losses(whole));
      expect(await perplexity(resumed.model, corpus.heldOut)).toBe(
        await perplexity(whole.model, corpus.heldOut),
      );
    },
  );

  test('one that was never trained can be saved and loaded', async () => {
    const path = join(folder, 'new.safetensors');
    await saveCheckpoint(path, new Trainer(corpus, small));
    const resumed = await loadCheckpoint(path, corpus, {});
    expect(losses(await trained(resumed, 3))).toEqual(
      losses(await trained(new Trainer(corpus, small), 3)),
    );
  });

  test('another file, or other settings, are refused', async () => {
    const path = join(folder, 'other.safetensors');
    await sp.saveSafetensors(path, { a: sp.zeros([2]) });
    await expect(loadCheckpoint(path, corpus, {})).rejects.toThrow('not a checkpoint');
    await saveCheckpoint(path, new Trainer(corpus, small));
    await expect(loadCheckpoint(path, corpus, { width: 32 })).rejects.toThrow(
      '--width: the checkpoint was made with 16, got 32',
    );
  });
});
