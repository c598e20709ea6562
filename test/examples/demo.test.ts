// `npm run demo` as its users see it. Runs what `npm run build` made of examples/.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';

const folder = mkdtempSync(join(tmpdir(), 'surprisal-'));
afterAll(() => rmSync(folder, { recursive: true }));

const program = 'build/ts/examples/language-model/main.js';
const small = '--width 16 --layers 1 --heads 2 --length 16 --batch 1'.split(' ');
const inFolder = (name: string) => join(folder, name);

function demo(...args: string[]) {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (text) => {
    out += text;
  });
  child.stderr.on('data', (text) => {
    err += text;
  });
  const ended = new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, out, err }));
  });
  return { child, ended };
}

/** Both perplexities that a run printed. */
function perplexities(out: string): { model: number; unigram: number } {
  const after = (name: string) => Number(out.match(new RegExp(`^ +${name} +([0-9.]+)$`, 'm'))?.[1]);
  return { model: after('this model'), unigram: after('unigram') };
}

const said = (child: ChildProcess, words: string) =>
  new Promise<void>((resolve) => {
    child.stdout!.on('data', (text) => {
      if (String(text).includes(words)) resolve();
    });
  });

const lossOf = (text: string, pattern: RegExp) => Number(text.match(pattern)?.[1]);

describe('the demo', () => {
  test('trains, compares, reports, and goes on from a checkpoint', async () => {
    const checkpoint = inFolder('a.safetensors');
    const page = inFolder('first.html');
    const save = ['--save', checkpoint, '--out', page];
    const first = await demo('--steps', '2', ...small, ...save).ended;
    expect(first).toMatchObject({ code: 0, err: '' });
    const { model, unigram } = perplexities(first.out);
    expect(unigram).toBeGreaterThan(1000);
    expect(model).toBeLessThan(1.05 * unigram);
    expect(first.out).toContain(`Report: file://${page}`);
    expect(first.out).not.toContain('\x1b');
    const html = readFileSync(page, 'utf8');
    expect(html).toContain(model.toFixed(1));
    expect(html).not.toMatch(/<script|<link|<img|https?:/);

    const resume = ['--resume', checkpoint, '--out', inFolder('second.html')];
    const second = await demo('--steps', '1', ...resume).ended;
    expect(second).toMatchObject({ code: 0, err: '' });
    const last = lossOf(second.out, /Resumed at step 2, loss ([0-9.]+)/);
    const saved = await sp.loadSafetensors(checkpoint);
    expect(last).toBeCloseTo(saved['history.loss'].dataSync()[1] as number, 3);
    expect(second.out).toMatch(/step 3 · loss/);
  }, 60_000);

  test('a reader that goes away ends it with a whole checkpoint and a report', async () => {
    const [checkpoint, page] = [inFolder('unread.safetensors'), inFolder('unread.html')];
    const files = ['--save', checkpoint, '--out', page];
    const { child, ended } = demo('--steps', '1000', ...small, ...files);
    await said(child, 'Model:');
    child.stdout!.destroy();
    expect(await ended).toMatchObject({ code: 0, err: '' });
    expect((await sp.loadSafetensors(checkpoint))['history.loss'].size).toBeLessThan(1000);
    expect(readFileSync(page, 'utf8')).toContain('<svg');
  }, 60_000);

  test('Ctrl-C ends it with a whole checkpoint and a result', async () => {
    const checkpoint = inFolder('b.safetensors');
    const files = ['--save', checkpoint, '--out', inFolder('third.html')];
    const { child, ended } = demo('--seconds', '1000', ...small, ...files);
    await said(child, 'Model:');
    setTimeout(() => child.kill('SIGINT'), 500);
    const { code, out, err } = await ended;
    expect(code).toBe(0);
    expect(err).toContain('stopping after this step');
    expect(perplexities(out).model).toBeGreaterThan(0);
    const saved = await sp.loadSafetensors(checkpoint);
    expect(saved['history.loss'].size).toBeGreaterThan(0);
    expect(Number(saved['optimizer.steps'].item())).toBe(saved['history.loss'].size);
  }, 60_000);

  test('what it cannot do is said plainly', async () => {
    const [help, wrong, missing, nowhere] = await Promise.all([
      demo('--help').ended,
      demo('--stesp', '2').ended,
      demo('--resume', inFolder('none.safetensors')).ended,
      demo('--device', 'gpu').ended,
    ]);
    expect(help.code).toBe(0);
    expect(help.out).toContain('--seconds <s>');
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain("Unknown option '--stesp'");
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/^ENOENT: no such file.*none\.safetensors'\n$/);
    expect(nowhere.code).toBe(2);
    expect(nowhere.err).toContain("expected device to be 'cpu', 'cuda'");
  }, 60_000);

  test.skipIf(sp.cuda.isAvailable())('without CUDA --device cuda gives the reason', async () => {
    const { code, out, err } = await demo('--device', 'cuda', '--steps', '1').ended;
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toContain(sp.cuda.status().reason);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});
