// npm test                        build, check, every test; the op tests on each CPU path
// npm test -- <words> [device]    build and the tests whose file names begin with one of the words
// The last line counts the tests: "12 passed, 0 failed".
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { addons } from './build.mjs';
import { bin, root, run, status } from './run.mjs';

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

/** Runs vitest once and adds what its JSON report counts. */
function tests(name, filter, env = {}) {
  console.log(`\ntests: ${name}`);
  const report = `build/test/${name}.json`;
  rmSync(report, { force: true });
  const options = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  if (device) env.SURPRISAL_TEST_DEVICE = device;
  const code = status(bin('vitest'), ['run', ...options, ...filter], env);
  let failed = 0;
  try {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    const unloaded = result.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    failed = result.numFailedTests + unloaded.length;
    total.passed += result.numPassedTests;
    total.skipped += result.numPendingTests + result.numTodoTests;
  } catch (error) {
    console.error(`tests: no report from vitest (${error.message})`);
  }
  total.failed += failed;
  if (code !== 0 && failed === 0) broken.push(`vitest, ${name}`);
}

mkdirSync('build/test', { recursive: true });
const all = words.length === 0;
run('scripts/build.mjs', all ? ['native', 'emulator', 'ts', 'second'] : []);
if (all) {
  if (status('scripts/check.mjs', []) !== 0) broken.push('check');
  tests('all', []);
  // The run above took the best path of this machine.
  for (const path of cpuPaths().slice(0, -1)) tests(path, ['test/ops/'], { SURPRISAL_CPU: path });
} else {
  tests('subset', filters());
}
if (broken.length > 0) console.log(`\nnot clean: ${broken.join('; ')}`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 || broken.length > 0 ? 1 : 0;
