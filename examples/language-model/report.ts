// The report of a run: one HTML file that needs nothing else (no scripts, fonts or images), with
// the charts of chart.ts, light or dark as the reader's system is.
import { writeFileSync } from 'node:fs';
import { barChart, escaped, lineChart, type Point } from '../chart.js';
import { figure, page, settingsTable, tile } from '../page.js';
import { megabytes, minutes, thousands } from '../progress.js';

/** One training step, as a checkpoint remembers it. */
export interface StepRecord {
  loss: number;
  /** Wall-clock seconds of the step. */
  seconds: number;
}

export interface Results {
  modelPerplexity: number;
  unigramPerplexity: number;
  /** Mean surprisal of the held-out text under the unigram model, in nats. */
  unigramLoss: number;
  heldOutTokens: number;
  trainTokens: number;
  tokensPerStep: number;
  vocabulary: number;
  history: readonly StepRecord[];
  /** Most bytes of tensors and kernel scratch at one time during training. */
  peakBytes: number;
  parameters: number;
  sample: string;
  /** What the table at the end lists. */
  settings: Readonly<Record<string, string>>;
}

/** Bytes of one step's float32 logits: what linearCrossEntropy never allocates. */
export function logitBytes({ tokensPerStep, vocabulary }: Results): number {
  return tokensPerStep * vocabulary * 4;
}

const most = 1000; // points of a curve: more than the drawing can show apart

/** Means of equal stretches: at most `most` points. */
function thinned(values: readonly number[]): Point[] {
  const stretch = Math.max(1, Math.ceil(values.length / most));
  const points: Point[] = [];
  for (let i = 0; i < values.length; i += stretch) {
    const part = values.slice(i, i + stretch);
    const mean = part.reduce((a, b) => a + b, 0) / part.length;
    points.push({ x: i + (part.length + 1) / 2, y: mean });
  }
  return points;
}

/** The mean of each value and its neighbours, a thirtieth of the run to either side. */
function smoothed(values: readonly number[]): number[] {
  const reach = Math.ceil(values.length / 30);
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, i) => {
    const first = Math.max(0, i - reach);
    const end = Math.min(values.length, i + reach + 1);
    return (sums[end] - sums[first]) / (end - first);
  });
}

function lossChart(results: Results): string {
  const losses = results.history.map((step) => step.loss);
  const smooth = smoothed(losses);
  const last = smooth[smooth.length - 1];
  return lineChart({
    title: 'Training loss',
    description: `The loss over ${losses.length} steps, from ${losses[0].toFixed(2)} to about ${last.toFixed(2)} nats a token.`,
    xLabel: 'step',
    yLabel: 'loss, nats a token',
    lines: [
      { name: 'each step', points: thinned(losses), style: 'faint' },
      { name: 'running mean', points: thinned(smooth), style: 'strong' },
    ],
    levels: [{ name: 'unigram model, held-out text', y: results.unigramLoss }],
  });
}

function speedChart(results: Results): string {
  const rates = results.history.map((step) => results.tokensPerStep / step.seconds);
  return lineChart({
    title: 'Training speed',
    description: `Tokens a second of each step; ${thousands(meanRate(results))} on average.`,
    xLabel: 'step',
    yLabel: 'tokens a second',
    lines: [{ name: 'tokens a second', points: thinned(rates), style: 'strong' }],
    yFrom: 0,
  });
}

function memoryChart(results: Results): string {
  const { peakBytes, tokensPerStep, vocabulary } = results;
  const logits = logitBytes(results);
  const bar = (name: string, value: number, style: string) => {
    return { name, value, text: megabytes(value), style };
  };
  return barChart(
    'Peak memory',
    `This run needed ${megabytes(peakBytes)}; stored logits and their gradient would have added ${megabytes(2 * logits)}.`,
    [
      bar('this run: weights, gradients, AdamW, activations, kernel scratch', peakBytes, 'ours'),
      bar(`stored logits alone, [${tokensPerStep}, ${vocabulary}] float32`, logits, 'theirs'),
      bar('this run with stored logits and their gradient', peakBytes + 2 * logits, 'theirs'),
    ],
  );
}

export function meanRate({ history, tokensPerStep }: Pick<Results, 'history' | 'tokensPerStep'>) {
  const seconds = history.reduce((sum, step) => sum + step.seconds, 0);
  return (history.length * tokensPerStep) / seconds;
}

function trained(results: Results): string {
  const { history } = results;
  if (history.length === 0) return '';
  const logits = megabytes(logitBytes(results));
  return [
    figure(
      'Loss',
      lossChart(results),
      'Pale: each step. Strong: running mean. Dashed: what guessing by frequency alone scores.',
    ),
    figure(
      'Memory',
      memoryChart(results),
      `The loss reads the head weight in blocks and keeps no logits, which take ${logits} a step and grow with the batch.`,
    ),
    figure('Speed', speedChart(results), 'Forward, backward and the update of every weight.'),
  ].join('\n');
}

/** The whole page. */
export function reportPage(results: Results): string {
  const { modelPerplexity, unigramPerplexity, history } = results;
  const seconds = history.reduce((sum, step) => sum + step.seconds, 0);
  const tiles = [
    tile(modelPerplexity.toFixed(1), 'held-out perplexity'),
    tile(unigramPerplexity.toFixed(1), 'unigram model'),
    tile(minutes(seconds), `training, ${thousands(history.length)} steps`),
    ...(history.length > 0
      ? [
          tile(thousands(meanRate(results)), 'tokens a second'),
          tile(megabytes(results.peakBytes), 'peak memory'),
        ]
      : []),
  ];
  return page({
    title: `Moby-Dick in ${minutes(seconds)}: perplexity ${modelPerplexity.toFixed(1)}`,
    heading: `Moby-Dick, ${thousands(results.vocabulary)} tokens to choose from, no logits stored`,
    lead: `A transformer of ${thousands(results.parameters)} weights, trained on ${thousands(results.trainTokens)} tokens and
scored on ${thousands(results.heldOutTokens)} tokens of chapters it never saw.`,
    body: [
      `<dl class="tiles">${tiles.join('')}</dl>`,
      trained(results),
      `<section><h2>Sample</h2><blockquote>${escaped(results.sample)}</blockquote></section>`,
      `<section><h2>Settings</h2>${settingsTable(results.settings)}</section>`,
    ],
  });
}

export function writeReport(path: string, results: Results): void {
  writeFileSync(path, reportPage(results));
}
