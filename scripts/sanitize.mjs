// npm run sanitize [-- thread] [<op words>]: the op tests, on the best CPU path and on the baseline, with
// an addon built with AddressSanitizer and UndefinedBehaviorSanitizer; without words also the kernel
// emulator's own tests. Leaks are not looked for: Node itself holds handles at exit. thread: with
// ThreadSanitizer instead, on the best path; only in the processes that run tests, for the test runner
// itself breaks under it.
// npm run sanitize -- valgrind [calls]: so many fuzzed calls (300) of every operation, with the built
// addon, under valgrind's Memcheck, Node without compiled JavaScript.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { bin, fail, found, run } from './run.mjs';

if (process.platform !== 'linux' || !found('cmake')) fail('sanitize: needs Linux and CMake');
if (process.argv[2] === 'valgrind') {
  valgrind(process.argv[3] ?? '300');
  process.exit();
}
const ofThreads = process.argv.includes('thread');
const out = ofThreads ? 'build/sanitize-thread' : 'build/sanitize';
const options = ['-l', 'error', '-O', out, '-p', String(availableParallelism())];
const defines = [
  `--CDSURPRISAL_SANITIZE=${ofThreads ? 'thread' : 'address'}`,
  '--CDSURPRISAL_CUDA=OFF',
];
run(bin('cmake-js'), ['build', '--target', 'surprisal', ...options, ...defines]);

function valgrind(calls) {
  if (!found('valgrind')) fail('sanitize: valgrind is not installed');
  if (!process.env.SURPRISAL_NATIVE) run('scripts/build.mjs', ['native', 'ts']);
  const options = ['--smc-check=all-non-file', '--num-callers=20', '--error-exitcode=99'];
  const program = ['--jitless', 'build/ts/test/fuzz/main.js', '1', '0', calls];
  const { status } = spawnSync('valgrind', [...options, process.execPath, ...program], {
    stdio: 'inherit',
  });
  if (status !== 0) fail(`sanitize: valgrind ended with ${status}`);
  console.log(`sanitize: ${calls} fuzzed calls, nothing found by valgrind`);
}

/** Node itself is not instrumented, so the sanitizers' libraries must be there before the addon. */
function library(name) {
  const compiler = process.env.CXX ?? 'c++';
  return execFileSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
}

const words = process.argv.slice(2).filter((word) => word !== 'thread');
const filters = words.length > 0 ? words.map((word) => `test/ops/${word}`) : ['test/ops/'];
const emulator = words.length > 0 ? [] : ['test/cuda/emulator.test.ts'];

function threads() {
  const worker = resolve(out, 'node');
  const preload = `LD_PRELOAD=${library('libtsan.so')}`;
  writeFileSync(worker, `#!/bin/sh\n${preload} exec ${process.execPath} "$@"\n`);
  chmodSync(worker, 0o755);
  run('scripts/vitest-under.mjs', [worker, 'run', ...filters], {
    SURPRISAL_NATIVE: resolve(out, 'Release/surprisal.node'),
    SURPRISAL_SANITIZE: '1',
    TSAN_OPTIONS: 'halt_on_error=1',
  });
  process.exit();
}
if (ofThreads) threads();

for (const path of ['', 'base']) {
  console.log(`\nsanitize: ${path || 'best'} CPU path`);
  run(bin('vitest'), ['run', ...filters, ...(path ? [] : emulator)], {
    SURPRISAL_CPU: path,
    SURPRISAL_NATIVE: resolve(out, 'Release/surprisal.node'),
    SURPRISAL_SANITIZE: '1',
    LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
}
