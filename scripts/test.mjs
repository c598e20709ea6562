// npm test                        build, check, every test; the op tests on each CPU path; the CUDA
//                                 kernels on the emulator; a few planted bugs; what a GPU has run
// npm test -- <words> [device]    build and the tests whose file names begin with one of the words;
//                                 'cuda' is the emulator where there is no GPU
// The last line counts the tests: "12 passed, 0 failed".
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { addons, emulator, noEmulator } from './build.mjs';
import { bin, root, run, status } from './run.mjs';
import { report } from './verification.mjs';

const isDevice = (word) => /^(cpu|cuda(:\d+)?)$/.test(word);
const args = process.argv.slice(2);
const words = args.filter((arg) => !isDevice(arg)).map(kebab);
const device = args.find(isDevice);

function kebab(word) {
  return word
    .replace(/([a-z])([A-Z])/g, '$1-$2')
    .replaceAll('_', '-')
    .toLowerCase();
}

/** vitest's filters: whole file names that begin with a word, else whatever contains it. */
function filters() {
  const names = readdirSync('test', { recursive: true }).map((name) => basename(name));
  const begins = (word) => names.some((name) => name.startsWith(word) && name.endsWith('.test.ts'));
  return words.map((word) => (begins(word) ? `/${word}` : word));
}

/** The CPU paths this machine can take, the best one last. */
function cpuPaths() {
  const addon = Object.values(addons).find((file) => existsSync(file));
  return createRequire(import.meta.url)(join(root, addon)).cpuTargets.split(' ');
}

const total = { passed: 0, failed: 0, skipped: 0 };
const broken = [];
const failures = [];

/** Runs vitest once and adds what its JSON report counts. */
function tests(name, filter, env = {}) {
  const start = performance.now();
  console.log(`\ntests: ${name} (${filter.join(' ') || 'everything'})`);
  const report = `build/test/${name}.json`;
  rmSync(report, { force: true });
  const options = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const code = status(bin('vitest'), ['run', ...options, ...filter], env);
  let failed = 0;
  try {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    const unloaded = result.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    failed = result.numFailedTests + unloaded.length;
    for (const file of unloaded) failures.push(`${name}: ${file.name}: ${file.message}`);
    for (const { assertionResults } of result.testResults)
      for (const test of assertionResults)
        if (test.status === 'failed')
          failures.push(`${name}: ${test.fullName}: ${test.failureMessages.join('\n')}`);
    total.passed += result.numPassedTests;
    total.skipped += result.numPendingTests + result.numTodoTests;
  } catch (error) {
    console.error(`tests: no report from vitest (${error.message})`);
  }
  total.failed += failed;
  if (code !== 0 && failed === 0) broken.push(`vitest, ${name}`);
  took(`tests: ${name}`, start);
}

const times = [];
const took = (what, start) =>
  times.push(`${what} ${((performance.now() - start) / 1000).toFixed(0)} s`);

/** What runs a script as part of the whole, and notes how long it took. */
function step(name, script, args = []) {
  const start = performance.now();
  if (status(script, args) !== 0) broken.push(name);
  took(name, start);
}

/** An environment in which `cuda` is the emulated device of an architecture. */
const emulated = (arch) => ({
  SURPRISAL_NATIVE: join(root, emulator),
  SURPRISAL_EMULATOR_ARCH: arch,
  SURPRISAL_TEST_DEVICE: 'cuda',
});

/** Whether the addon that the loader takes finds a GPU. */
function hasGpu() {
  const program =
    "import('./dist/index.js').then((sp) => process.exit(sp.cuda.isAvailable() ? 0 : 1))";
  return spawnSync(process.execPath, ['-e', program]).status === 0;
}

// What takes other kernels on devices without clusters, cross-entropy's by device-small.
const differ = [
  'cuda/device-small',
  'cuda/device-small-linear-cross-entropy',
  'cuda/device-small-transport',
  ...['ops/matmul', 'ops/norm', 'ops/softmax'],
];

/** The kernels on the emulator: all of them as on Hopper, those that differ as on Ampere. */
function emulatorTests() {
  const why = noEmulator();
  if (why) return console.log(`\ntests on the emulator: skipped, ${why}`);
  const folders = ['test/ops/', 'test/models/', 'test/optim/', 'test/core/', 'test/cuda/device'];
  tests('emulator-90', folders, emulated('90'));
  const on80 = differ.map((name) => `test/${name}.test.ts`);
  tests('emulator-80', on80, emulated('80'));
}

/** The build by node-gyp takes a tenth of the whole: every fourth commit has it, by its hash. */
function second() {
  const { stdout } = spawnSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' });
  if (!/^[1235679abdef]/.test(stdout)) return ['second'];
  console.log('build: the second one is not in turn (node scripts/build.mjs second)');
  rmSync('build/second', { recursive: true, force: true });
  return [];
}

function deviceEnvironment() {
  if (!device) return {};
  if (device === 'cpu' || hasGpu()) return { SURPRISAL_TEST_DEVICE: device };
  console.log('tests: no GPU here, so on the emulator');
  return emulated(process.env.SURPRISAL_EMULATOR_ARCH ?? '90');
}

mkdirSync('build/test', { recursive: true });
const all = words.length === 0;
if (all) {
  const start = performance.now();
  run('scripts/build.mjs', ['native', 'emulator', 'ts', ...second()]);
  took('build', start);
  step('check', 'scripts/check.mjs');
  tests('all', []);
  // The run above took the best path of this machine.
  for (const path of cpuPaths().slice(0, -1)) tests(path, ['test/ops/'], { SURPRISAL_CPU: path });
  emulatorTests();
  if (!noEmulator()) step('mutants', 'scripts/mutants.mjs', ['--replay', '3']);
  if (!report()) broken.push('docs/verification.md');
  console.log(`\ntimes: ${times.join(', ')}`);
} else {
  run('scripts/build.mjs', ['native', 'ts', ...(device?.startsWith('cuda') ? ['emulator'] : [])]);
  tests('subset', filters(), deviceEnvironment());
}
// Again at the end: what came in between fills many screens.
for (const failure of failures) console.log(`\nfailed: ${failure.slice(0, 2000)}`);
if (broken.length > 0) console.log(`\nnot clean: ${broken.join('; ')}`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 || broken.length > 0 ? 1 : 0;
