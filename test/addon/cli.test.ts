// npx surprisal: what it prints, how it ends, and what it says to a command line that is wrong.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test, vi } from 'vitest';
import { run } from '../../src/cli/commands.js';
import type { Report } from '../../src/cli/doctor.js';
import * as sp from '../../src/index.js';
import { loadedAddon } from './loaded.js';

const program = resolve('dist/cli/main.js');
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));

function surprisal(args: string[], env: Record<string, string> = {}) {
  const options = {
    encoding: 'utf8',
    env: { ...process.env, SURPRISAL_NATIVE: loadedAddon, NODE_OPTIONS: '', ...env },
  } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], options);
  return { status, stdout, stderr };
}

test('doctor --json says what is there', () => {
  const { status, stdout, stderr } = surprisal(['doctor', '--json']);
  expect([status, stderr]).toEqual([0, '']);
  const report: Report = JSON.parse(stdout);
  expect(report.runtime).toMatchObject({ name: 'Node', version: process.versions.node });
  expect(report.addon.loaded).toBe(loadedAddon);
  expect(report.addon.attempts).toEqual([{ path: loadedAddon, loaded: true, reason: '' }]);
  expect(report.addon.bytes).toBeGreaterThan(100_000);
  expect(report.environment.SURPRISAL_NATIVE).toBe(loadedAddon);
  expect(report.cpu?.instructionSets).toContain(report.cpu?.instructionSet);
  expect(report.cuda?.built).toBe(sp.cuda.status().built);
  expect(report.cuda?.reason).toBe(sp.cuda.status().reason);
});

test('the version', () => {
  const { status, stdout } = surprisal(['--version']);
  expect([status, stdout]).toEqual([0, `${manifest.version}\n`]);
});

test('doctor in words', () => {
  const { status, stdout } = surprisal(['doctor']);
  expect(status).toBe(0);
  for (const word of [loadedAddon, process.versions.node, 'threads', 'CUDA'])
    expect(stdout).toContain(word);
});

test('doctor where nothing loads says what was tried and what to do, and ends with 1', () => {
  const { status, stdout } = surprisal(['doctor'], { SURPRISAL_NATIVE: '/nowhere/a.node' });
  expect(status).toBe(1);
  expect(stdout).toContain('tried /nowhere/a.node: not there');
  expect(stdout).toContain('npm run build');
});

test('build --print shows the commands for CUDA, for given architectures, for the CPU', () => {
  const [plain, cuda, cpu] = [[], ['--arch', '80,90a', '--jobs', '2'], ['--cpu']].map((args) =>
    surprisal(['build', '--print', ...args]),
  );
  for (const { status, stdout } of [plain, cuda, cpu]) {
    expect(status).toBe(0);
    expect(stdout).toMatch(/cmake -S .* -B /);
    expect(stdout).toContain('--target surprisal');
  }
  expect(plain.stdout).toContain('-DSURPRISAL_CUDA=AUTO');
  expect(cuda.stdout).toContain('-DSURPRISAL_CUDA=ON');
  expect(cuda.stdout).toContain("'-DSURPRISAL_CUDA_ARCHITECTURES=80;90a'");
  expect(cuda.stdout).toContain('--parallel 2');
  expect(cpu.stdout).toContain('-DSURPRISAL_CUDA=OFF');
  const [, headers] = /-DCMAKE_JS_INC=([^']*)/.exec(plain.stdout)!;
  for (const folder of headers.split(';')) expect(existsSync(folder), folder).toBe(true);
});

test('build names the tools that are missing', () => {
  const { status, stderr } = surprisal(['build', '--cuda'], { PATH: '/nowhere', CUDACXX: '' });
  expect(status).toBe(1);
  for (const tool of ['CMake', 'C++ compiler', 'make']) expect(stderr).toContain(tool);
});

test('bench times what is asked for', () => {
  const args = ['bench', 'matmul', '--seconds', '0.01', '--threads', '1'];
  const { status, stdout } = surprisal([...args, '--json']);
  expect(status).toBe(0);
  const { threads, device, cases } = JSON.parse(stdout);
  expect([threads, device, cases.length, cases[0].case]).toEqual([1, 'cpu', 1, 'matmul']);
  expect(cases[0].withGradient).toBeGreaterThan(0);
});

test.each([
  [
    ['doktor'],
    "expected a command among doctor, build, bench, got 'doktor' (did you mean 'doctor'?)",
  ],
  [['doctor', '--jason'], "got '--jason' (did you mean '--json'?)"],
  [['doctor', 'now'], "doctor: expected no words, got 'now'"],
  [['version', 'extra'], "version: expected no words, got 'extra'"],
  [['--version', '--json'], "--version: expected no words, got '--json'"],
  [['build', '--cuda', '--cpu'], 'expected --cuda or --cpu, got both'],
  [['build', '--arch', 'hopper'], "such as 80 or 90a, or native, got 'hopper'"],
  [['build', '--jobs', '0'], "expected --jobs to be an integer from 1 on, got '0'"],
  [['bench', 'crossentropy'], "(did you mean 'crossEntropy'?)"],
  [
    ['bench', '--dtype', 'float8'],
    "expected --dtype to be one of float32, float64, float16, bfloat16, got 'float8'",
  ],
])('%j is told what was expected, and ends with 2', async (args, message) => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const status = await run(args);
  const stderr = said.mock.calls.join('');
  said.mockRestore();
  expect(stderr).toContain(message);
  expect(stderr).toContain('--help');
  expect(status).toBe(2);
});

test('help, of all and of one', async () => {
  const said = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const printed = async (args: string[]) => {
    said.mockClear();
    const status = await run(args);
    return [status, said.mock.calls.join('').trim()] as const;
  };
  const [status, all] = await printed(['--help']);
  expect([status, (await printed([]))[0]]).toEqual([0, 2]);
  for (const name of ['doctor', 'build', 'bench']) {
    const [own, text] = await printed([name, '--help']);
    expect([own, text !== '' && all.includes(text)]).toEqual([0, true]);
  }
  said.mockRestore();
});
