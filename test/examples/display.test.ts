// What a run shows: the live line, plain lines when piped, and the report.
import { describe, expect, test } from 'vitest';
import { ticks } from '../../examples/chart.js';
import { type Results, reportPage } from '../../examples/language-model/report.js';
import { Progress, painter } from '../../examples/progress.js';

function screen(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) > 0 };
}

const words = ['step 12', 'loss 6.543', '3,457 tokens/s', '171 MB', '1:01 left'];

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal codes begin with one
const plain = (text: string) => text.replace(/\x1b\[[0-9;]*[mK]|[\r\n]/g, '');

describe('progress', () => {
  test('is a line every tenth of the run when piped', () => {
    const output = screen(false);
    const progress = new Progress(output);
    for (let i = 1; i <= 200; i++) progress.update(i / 200, words);
    progress.end();
    expect(output.written).toHaveLength(10);
    expect(output.written[0]).toBe(
      ' 10 % · step 12 · loss 6.543 · 3,457 tokens/s · 171 MB · 1:01 left\n',
    );
  });

  test('says where a run that stopped early got to', () => {
    const output = screen(false);
    const progress = new Progress(output);
    progress.update(0.05, words);
    progress.end();
    expect(output.written).toEqual([expect.stringMatching(/^ {2}5 % · step 12/)]);
  });

  test.each([40, 60, 80, 200])('overwrites one line of a terminal of %i columns', (columns) => {
    const output = screen(true, columns);
    const progress = new Progress(output);
    progress.update(0.3, words);
    progress.update(0.3001, words); // too soon to be drawn
    progress.end();
    expect(output.written).toHaveLength(3);
    expect(output.written[1]).toMatch(/^\r/);
    expect(output.written[2]).toBe('\n');
    for (const line of output.written) expect(plain(line).length).toBeLessThan(columns);
  });

  test('paints terminals only, and not with NO_COLOR', () => {
    expect(painter(screen(true), {})('bold', 'a')).toBe('\x1b[1ma\x1b[0m');
    expect(painter(screen(true), { NO_COLOR: '1' })('bold', 'a')).toBe('a');
    expect(painter(screen(true), { TERM: 'dumb' })('bold', 'a')).toBe('a');
    expect(painter(screen(false), {})('bold', 'a')).toBe('a');
  });
});

const results: Results = {
  modelPerplexity: 371.24,
  unigramPerplexity: 1071.1,
  unigramLoss: 6.976,
  heldOutTokens: 24523,
  trainTokens: 267643,
  tokensPerStep: 512,
  vocabulary: 50257,
  history: Array.from({ length: 900 }, (_, i) => ({ loss: 5 + 2 / (1 + i / 50), seconds: 0.15 })),
  peakBytes: 171e6,
  parameters: 4_900_000,
  sample: 'the <whale> & "Ahab"',
  settings: { dtype: 'float32' },
};

describe('report', () => {
  const page = reportPage(results);

  test('needs nothing but itself', () => {
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https?:/i);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  test('states the figures and escapes text', () => {
    for (const text of ['371.2', '1071.1', '3,413', '171 MB', '103 MB', '377 MB']) {
      expect(page).toContain(text);
    }
    expect(page).toContain('the &lt;whale&gt; &amp; &quot;Ahab&quot;');
  });

  test('every chart has a title and a description; both schemes are there', () => {
    expect(page.match(/<svg/g)).toHaveLength(3);
    expect(page.match(/<svg[^>]*role="img"[^>]*aria-labelledby/g)).toHaveLength(3);
    expect(page.match(/<title id/g)).toHaveLength(3);
    expect(page.match(/<desc id/g)).toHaveLength(3);
    expect(page).toContain('prefers-color-scheme: dark');
  });

  test.each([0, 1, 2])('a run of %i steps has one too', (steps) => {
    const short = reportPage({ ...results, history: results.history.slice(0, steps) });
    expect(short).not.toMatch(/NaN|undefined|Infinity/);
    expect(short).toContain('371.2');
  });
});

test.each([
  [0, 900, 8, [0, 200, 400, 600, 800, 1000]],
  [5.52, 7.61, 6, [5.5, 6, 6.5, 7, 7.5, 8]],
  [0, 0.3, 3, [0, 0.1, 0.2, 0.3]],
  [4, 4, 5, [4, 4.2]],
])('ticks from %f to %f, about %i, are round', (low, high, count, expected) => {
  expect(ticks(low, high, count)).toEqual(expected);
});
