// The report of a run: one HTML file that needs nothing else (no scripts, fonts or images), with
// the charts of chart.ts, light or dark as the reader's system is.
import { writeFileSync } from 'node:fs';
import { barChart, escaped, lineChart, type Point } from './chart.js';
import { megabytes, minutes, thousands } from './progress.js';

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

function tile(value: string, name: string): string {
  return `<div class="tile"><dd>${escaped(value)}</dd><dt>${escaped(name)}</dt></div>`;
}

function figure(heading: string, chart: string, caption: string): string {
  return `<section><h2>${escaped(heading)}</h2><figure>${chart}<figcaption>${escaped(caption)}</figcaption></figure></section>`;
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
  const rows = Object.entries(results.settings).map(
    ([name, value]) => `<tr><th scope="row">${escaped(name)}</th><td>${escaped(value)}</td></tr>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Moby-Dick in ${minutes(seconds)}: perplexity ${modelPerplexity.toFixed(1)}</title>
<style>${style}</style>
</head>
<body>
<main>
<header>
<h1>Moby-Dick, ${thousands(results.vocabulary)} tokens to choose from, no logits stored</h1>
<p>A transformer of ${thousands(results.parameters)} weights, trained on ${thousands(results.trainTokens)} tokens and
scored on ${thousands(results.heldOutTokens)} tokens of chapters it never saw.</p>
</header>
<dl class="tiles">${tiles.join('')}</dl>
${trained(results)}
<section><h2>Sample</h2><blockquote>${escaped(results.sample)}</blockquote></section>
<section><h2>Settings</h2><table>${rows.join('')}</table></section>
</main>
</body>
</html>
`;
}

const style = `
:root { --paper: #fbfbf9; --ink: #1b1f24; --soft: #59636e; --rule: #dfe2e6; --card: #ffffff;
  --ours: #0b6e8f; --theirs: #b9c2cb; --accent: #b4441f; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161b; --ink: #e8eaed; --soft: #9aa5b1; --rule: #2b323a; --card: #1a2027;
    --ours: #4fb3d4; --theirs: #47525e; --accent: #f08a5d; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 800px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 8px; letter-spacing: -0.01em; }
h2 { font-size: 1.05rem; margin: 0 0 12px; }
header p { margin: 0; color: var(--soft); }
section { margin-top: 40px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px;
  margin: 28px 0 0; }
.tile { display: flex; flex-direction: column; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; }
.tile dd { margin: 0; font-size: 1.5rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile:first-child dd { color: var(--ours); }
.tile dt { color: var(--soft); font-size: 0.85rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 18px 20px 14px; }
figcaption { color: var(--soft); font-size: 0.88rem; margin-top: 8px; }
svg { display: block; width: 100%; height: auto; font-size: 12.5px; }
svg text { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--ink); }
svg .value { fill: var(--ink); font-size: 14px; font-weight: 600; }
svg .note { fill: var(--accent); }
svg .grid { stroke: var(--rule); }
svg .level { stroke: var(--accent); stroke-dasharray: 5 4; }
svg polyline { fill: none; stroke-linejoin: round; }
svg .strong { stroke: var(--ours); stroke-width: 2.2; }
svg .faint { stroke: var(--ours); stroke-width: 1; opacity: 0.4; }
svg .dot { fill: var(--ours); }
svg .ours { fill: var(--ours); }
svg .theirs { fill: var(--theirs); }
blockquote { margin: 0; padding: 4px 0 4px 18px; border-left: 3px solid var(--ours);
  font: italic 1.1rem/1.6 Georgia, "Times New Roman", serif; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule);
  font-size: 0.92rem; }
th { color: var(--soft); font-weight: 500; width: 40%; }
`;

export function writeReport(path: string, results: Results): void {
  writeFileSync(path, reportPage(results));
}
