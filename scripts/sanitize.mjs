// npm run sanitize [-- thread] [<op words>]: the op tests, on the best CPU path and on the baseline, with
// an addon built with AddressSanitizer and UndefinedBehaviorSanitizer; without words also the kernel
// emulator's own tests. Leaks are not looked for: Node itself holds handles at exit. thread: with
// ThreadSanitizer instead, on the best path, what is no fault of the addon's being left out
// (scripts/sanitize-thread.txt).
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { bin, fail, found, run } from './run.mjs';

if (process.platform !== 'linux' || !found('cmake')) fail('sanitize: needs Linux and CMake');
const ofThreads = process.argv.includes('thread');
const out = ofThreads ? 'build/sanitize-thread' : 'build/sanitize';
const options = ['-l', 'error', '-O', out, '-p', String(availableParallelism())];
const defines = [
  `--CDSURPRISAL_SANITIZE=${ofThreads ? 'thread' : 'address'}`,
  '--CDSURPRISAL_CUDA=OFF',
];
run(bin('cmake-js'), ['build', '--target', 'surprisal', ...options, ...defines]);

/** Node itself is not instrumented, so the sanitizers' libraries must be there before the addon. */
function library(name) {
  const compiler = process.env.CXX ?? 'c++';
  return execFileSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
}

const words = process.argv.slice(2).filter((word) => word !== 'thread');
const filters = words.length > 0 ? words.map((word) => `test/ops/${word}`) : ['test/ops/'];
const emulator = words.length > 0 || ofThreads ? [] : ['test/cuda/emulator.test.ts'];
for (const path of ofThreads ? [''] : ['', 'base']) {
  console.log(`\nsanitize: ${path || 'best'} CPU path`);
  run(bin('vitest'), ['run', ...filters, ...(path ? [] : emulator)], {
    SURPRISAL_CPU: path,
    SURPRISAL_NATIVE: resolve(out, 'Release/surprisal.node'),
    SURPRISAL_SANITIZE: '1',
    LD_PRELOAD: (ofThreads ? ['libtsan.so'] : ['libasan.so', 'libubsan.so']).map(library).join(' '),
    TSAN_OPTIONS: `suppressions=${resolve('scripts/sanitize-thread.txt')}:halt_on_error=1`,
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
}
