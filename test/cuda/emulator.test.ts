// The kernel emulator's own tests (test/cuda/emulator/*.cpp): every intrinsic against its
// definition, every detector on a planted bug. They need g++ and nothing else.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const compiler = process.env['CXX'] ?? 'g++';
const launcher = process.env['CMAKE_CXX_COMPILER_LAUNCHER'];
const present = spawnSync(compiler, ['--version']).status === 0;
if (!present) console.log(`skipped: the emulator's own tests, as there is no ${compiler}`);

// In `npm run sanitize` the program is instrumented, and so needs nothing preloaded.
const isSanitized = process.env['SURPRISAL_SANITIZE'] === '1';
const sanitizers = isSanitized
  ? ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer']
  : [];
const env = { ...process.env, LD_PRELOAD: '' };
const output = isSanitized ? 'build/sanitize/selftest' : 'build/emulator/selftest';
const program = join(output, 'selftest');
const flags =
  '-std=c++17 -O1 -g -Wall -Wextra -Werror -Wno-unknown-pragmas -ffp-contract=off -Inative ' +
  '-DSURPRISAL_CUDA -DSURPRISAL_EMULATOR';

function files(folder: string, pattern: RegExp): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => pattern.test(name)).map((name) => join(folder, name));
}

async function compile(sources: string[]): Promise<void> {
  for (let source = sources.pop(); source !== undefined; source = sources.pop()) {
    const folder = source.startsWith('test') ? 'test' : 'native';
    const object = join(output, `${folder}-${basename(source)}.o`);
    const words = [compiler, ...flags.split(' '), ...sanitizers, '-c', source, '-o', object];
    const [command = compiler, ...args] = launcher === undefined ? words : [launcher, ...words];
    await promisify(execFile)(command, args, { env });
  }
}

async function build(): Promise<void> {
  const headers = ['native/core', 'native/cuda', 'test/cuda/emulator'];
  const all = headers.flatMap((folder) => files(folder, /\.(h|cpp)$/));
  const newest = Math.max(...all.map((path) => statSync(path).mtimeMs));
  if (existsSync(program) && statSync(program).mtimeMs > newest) return;
  mkdirSync(output, { recursive: true });
  // Of the emulator all but the driver, which stands on the runtime.
  const parts = files('native/cuda/emulator', /\.cpp$/).filter(
    (path) => !/driver|identity/.test(path),
  );
  const sources = [...parts, ...files('test/cuda/emulator', /\.cpp$/)];
  const objects = sources.map((source) => {
    return join(output, `${source.startsWith('test') ? 'test' : 'native'}-${basename(source)}.o`);
  });
  await Promise.all([compile(sources), compile(sources)]);
  const link = ['-g', ...sanitizers, ...objects, '-pthread', '-o', program];
  await promisify(execFile)(compiler, link, { env });
}

test.skipIf(!present)(
  'the emulator finds every planted bug and nothing else',
  { timeout: 600_000 },
  async () => {
    await build();
    const { stdout, status } = spawnSync(program, { encoding: 'utf8', env });
    expect(stdout.split('\n').filter((line) => !line.startsWith('ok'))).toEqual(['']);
    expect(status).toBe(0);
    expect(stdout.split('\n').length).toBeGreaterThan(20);
  },
);
