// npm run sanitize [-- <op words>]: the CPU op tests on an addon built with AddressSanitizer and
// UndefinedBehaviorSanitizer. Leaks are not looked for: Node itself holds handles at exit.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { bin, fail, found, run } from './run.mjs';

if (process.platform !== 'linux' || !found('cmake')) fail('sanitize: needs Linux and CMake');
const compiler = process.env.CXX ?? 'g++';
const out = 'build/sanitize';
const options = ['-l', 'error', '-O', out, '-p', String(availableParallelism())];
run(bin('cmake-js'), ['build', ...options, '--CDSURPRISAL_SANITIZE=ON', '--CDSURPRISAL_CUDA=OFF']);

const library = (name) =>
  execFileSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
const words = process.argv.slice(2);
run(
  bin('vitest'),
  ['run', ...(words.length > 0 ? words.map((word) => `test/ops/${word}`) : ['test/ops/'])],
  {
    SURPRISAL_NATIVE: resolve(out, 'Release/surprisal.node'),
    SURPRISAL_SANITIZE: '1',
    LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  },
);
