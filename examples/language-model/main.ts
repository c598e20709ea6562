// Trains a language model on Moby-Dick and says how well it predicts chapters it never saw.

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as sp from 'surprisal';
import { say, statusOf } from '../command-line.js';
import { megabytes, minutes, Progress, painter, thousands } from '../progress.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { type Corpus, loadCorpus } from './data.js';
import { completeSettings, type Options, readOptions, usage } from './options.js';
import { logitBytes, meanRate, type Results, writeReport } from './report.js';
import { sentence } from './sample.js';
import { perplexity, Trainer, tableRate } from './train.js';
import { unigramLogProbabilities, unigramPerplexity } from './unigram.js';

const paint = painter(process.stdout);

const counted = (n: number, noun: string) => `${thousands(n)} ${noun}${n === 1 ? '' : 's'}`;

/** Bytes of tensors and of what kernels work in. */
function memoryInUse(): number {
  const { live, scratch } = sp.memory().cpu;
  return live + scratch;
}

/** Whoever read the output is gone (`| head`): an end like that of Ctrl-C, with nobody to tell. */
let unread = false;
process.stdout.on('error', () => {
  unread = true;
});

/** The first Ctrl-C asks for an end, a later one ends the process. */
function listenForStop(): () => boolean {
  let stoppedAt = Number.POSITIVE_INFINITY;
  const stop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    if (stoppedAt === Number.POSITIVE_INFINITY) {
      stoppedAt = now;
      process.stderr.write('\nstopping after this step; again to end at once\n');
    } else if (now - stoppedAt > 1000) {
      // Not the same key press again, which npm passes on after the terminal did.
      process.exit(signal === 'SIGINT' ? 130 : 143);
    }
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  return () => unread || stoppedAt < Number.POSITIVE_INFINITY;
}

async function train(trainer: Trainer, options: Options): Promise<number> {
  const stopped = listenForStop();
  const progress = new Progress();
  const started = trainer.history.length;
  sp.memory({ resetPeak: true });
  let tokensPerSecond = 0;
  let loss = Number.NaN;
  await trainer.run(options, stopped, (fraction) => {
    const last = trainer.history[trainer.history.length - 1];
    const steps = trainer.history.length - started;
    // Running means: the first steps weigh fully, later ones a twentieth.
    const weight = Math.max(1 / steps, 0.05);
    loss = steps === 1 ? last.loss : loss + weight * (last.loss - loss);
    tokensPerSecond += weight * (trainer.tokensPerStep / last.seconds - tokensPerSecond);
    const spent = trainer.history.slice(started).reduce((sum, step) => sum + step.seconds, 0);
    progress.update(fraction, [
      `step ${trainer.history.length}`,
      `loss ${loss.toFixed(3)}`,
      `${thousands(tokensPerSecond)} tokens/s`,
      megabytes(memoryInUse()),
      `${minutes((spent * (1 - fraction)) / fraction)} left`,
    ]);
  });
  progress.end();
  const { peak, scratchPeak } = sp.memory().cpu;
  return peak + scratchPeak;
}

function settingsTable(trainer: Trainer, options: Options): Record<string, string> {
  const { width, layers, heads, length, batch, dtype, learningRate, seed } = trainer.settings;
  return {
    model: `width ${width}, ${counted(layers, 'layer')} of ${counted(heads, 'head')}, SiLU, RMSNorm, ALiBi`,
    step: `${batch} windows of ${length} tokens`,
    dtype,
    optimiser: `AdamW, learning rate ${learningRate} (${tableRate} times that for embedding and head), cosine decay`,
    seed: String(seed),
    device: `${options.device}, ${sp.instructionSet()}, ${sp.getThreads()} threads`,
    'resident memory of the process at its peak': megabytes(process.resourceUsage().maxRSS * 1024),
    'run with': `Node ${process.versions.node}`,
  };
}

async function prepare(options: Options): Promise<{ corpus: Corpus; trainer: Trainer }> {
  // Fails here, before anything slow, where there is no such device.
  sp.setDefaultDevice(options.device as sp.Device);
  const corpus = loadCorpus();
  say(
    `Moby-Dick: ${thousands(corpus.train.length)} tokens to learn from, ` +
      `${thousands(corpus.heldOut.length)} held out, ${thousands(corpus.vocabulary)} to choose from`,
  );
  const trainer = options.resume
    ? await loadCheckpoint(options.resume, corpus, options.settings)
    : new Trainer(corpus, completeSettings(options.settings));
  const { width, layers, dtype } = trainer.settings;
  say(
    `Model: ${thousands(trainer.parameterCount)} weights (width ${width}, ${counted(layers, 'layer')}), ` +
      `${dtype} on ${options.device}, ${sp.getThreads()} threads`,
  );
  const last = trainer.history[trainer.history.length - 1];
  if (options.resume) {
    say(`Resumed at step ${trainer.history.length}, loss ${last?.loss.toFixed(4) ?? 'none yet'}`);
  }
  return { corpus, trainer };
}

async function run(options: Options): Promise<void> {
  const { corpus, trainer } = await prepare(options);
  const peakBytes = await train(trainer, options);
  if (options.save) {
    await saveCheckpoint(options.save, trainer);
    say(`Saved step ${trainer.history.length} to ${resolve(options.save)}`);
  }
  const { history, tokensPerStep } = trainer;
  const logs = unigramLogProbabilities(corpus.train, corpus.vocabulary);
  const unigram = unigramPerplexity(corpus.heldOut, logs);
  const results: Results = {
    modelPerplexity: await perplexity(trainer.model, corpus.heldOut),
    unigramPerplexity: unigram,
    unigramLoss: Math.log(unigram),
    heldOutTokens: corpus.heldOut.length,
    trainTokens: corpus.train.length,
    tokensPerStep,
    vocabulary: corpus.vocabulary,
    history,
    peakBytes,
    parameters: trainer.parameterCount,
    sample: sentence(trainer.model, 'The whale', trainer.settings.seed),
    settings: settingsTable(trainer, options),
  };
  conclude(results, options.out);
}

function conclude(results: Results, out: string): void {
  const { history, modelPerplexity, unigramPerplexity, peakBytes, sample } = results;
  const seconds = history.reduce((sum, step) => sum + step.seconds, 0);
  writeReport(out, results);
  if (history.length > 0) {
    say(
      `Trained ${counted(history.length, 'step')} in ${minutes(seconds)}, ` +
        `${thousands(meanRate(results))} tokens/s, peak memory ${megabytes(peakBytes)} ` +
        `(stored logits and their gradient would add ${megabytes(2 * logitBytes(results))})`,
    );
  }
  say();
  say('Perplexity on the held-out chapters (lower is better)');
  say(`  this model ${paint('bold', modelPerplexity.toFixed(1).padStart(9))}`);
  say(`  unigram    ${unigramPerplexity.toFixed(1).padStart(9)}`);
  say();
  say(sample);
  say();
  say(`Report: ${pathToFileURL(resolve(out))}`);
}

process.exitCode = await statusOf(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') say(usage);
  else await run(options);
});
