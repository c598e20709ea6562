// The test files of the GPU suite, some at a time, so that a run that is cut off goes on where it
// ended. What is kept of a file holds for the file as it was: a changed one runs again.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { bin, root } from './run.mjs';
import { sha256 } from './verification.mjs';

const onDevice = { SURPRISAL_TEST_DEVICE: 'cuda' };
const folders = ['test/ops/', 'test/models/', 'test/optim/', 'test/core/', 'test/cuda/device-'];
const workers = Math.max(2, Math.min(8, Math.floor(availableParallelism() / 2)));

const inProject = (path) => path.slice(root.length + 1);

/** What runs on a device, as vitest.config.ts has it. */
export function testFiles(suite) {
  const path = join(suite.folder, 'list.json');
  rmSync(path, { force: true });
  const args = ['list', '--filesOnly', `--json=${path}`, ...folders];
  const { output } = suite.node('list', [bin('vitest'), ...args], onDevice);
  if (!existsSync(path)) throw new Error(`gpu: vitest lists no tests: ${output.slice(-500)}`);
  const files = JSON.parse(readFileSync(path, 'utf8')).map(({ file }) => inProject(file));
  return [...new Set(files)].sort();
}

/** Findings without those of files that are no longer, or are others now. */
export function current(state, files, hash = sha256) {
  const wanted = new Set(files);
  const kept = Object.entries(state.files).filter(
    ([file, { sha256 }]) => wanted.has(file) && sha256 === hash(file),
  );
  const has = new Set(kept.map(([file]) => file));
  return {
    expected: files,
    files: Object.fromEntries(kept),
    failures: state.failures.filter(({ file }) => has.has(file)),
    errors: state.errors.filter(({ file }) => has.has(file)),
  };
}

const nothing = { expected: [], files: {}, failures: [], errors: [] };

/** Runs what is left until time is over. */
export function runTests(suite) {
  const files = testFiles(suite);
  let state = current(suite.read('tests') ?? nothing, files);
  const left = files.filter((file) => !(file in state.files) && file.includes(suite.only));
  let size = workers * 2;
  while (left.length > 0 && suite.secondsLeft() > 5) {
    const batch = left.splice(0, size);
    const found = run(suite, batch);
    if (found.isCut && suite.secondsLeft() === 0) {
      left.unshift(...batch);
    } else if (found.isCut && batch.length > 1) {
      size = 1; // so that the one that hangs is found
      left.unshift(...batch);
    } else {
      state = added(state, found);
      suite.keep('tests', state);
    }
  }
  return { ...state, left };
}

/** What vitest says of some files; `isCut` where it had to be ended. */
function run(suite, files, log = 'vitest', env = {}) {
  const report = join(suite.folder, 'vitest-report.json');
  const errors = join(suite.folder, 'errors.jsonl');
  for (const file of [report, errors]) rmSync(file, { force: true });
  const options = ['--reporter=json', `--outputFile.json=${report}`, `--maxWorkers=${workers}`];
  const environment = { ...onDevice, ...env, SURPRISAL_TEST_ERRORS: resolve(errors) };
  const limit = suite.emulated ? 590 : 240;
  const timeout = Math.max(1, Math.min(limit, suite.secondsLeft()));
  const args = [bin('vitest'), 'run', ...options, ...files];
  const { code, output, isCut } = suite.node(log, args, environment, timeout);
  if (isCut || !existsSync(report)) {
    const name = `vitest ended with ${code}: ${output.slice(-500)}`;
    const lost = Object.fromEntries(files.map((file) => [file, lostFile(file)]));
    const failures = files.map((file) => ({ file, name }));
    return { isCut, files: lost, failures, errors: [] };
  }
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
  return { isCut, ...counted(testResults, files), errors: linesOf(errors) };
}

const lostFile = (file) => ({ passed: 0, failed: 1, skipped: 0, sha256: sha256(file) });

function linesOf(file) {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Of vitest's report: what passed and failed in each file that was asked for. */
function counted(testResults, asked) {
  const files = Object.fromEntries(asked.map((file) => [file, lostFile(file)]));
  const failures = [];
  for (const { name, status, message, assertionResults } of testResults) {
    const file = inProject(name);
    const count = (wanted) => assertionResults.filter((test) => test.status === wanted).length;
    const isUnloaded = status === 'failed' && assertionResults.length === 0;
    const [passed, failed] = [count('passed'), count('failed') + (isUnloaded ? 1 : 0)];
    const skipped = assertionResults.length - passed - count('failed');
    files[file] = { passed, failed, skipped, sha256: sha256(file) };
    if (isUnloaded) failures.push({ file, name: `not loaded: ${message.slice(0, 300)}` });
    for (const test of assertionResults) {
      if (test.status === 'failed')
        failures.push({ file, name: test.fullName, why: test.failureMessages[0]?.slice(0, 300) });
    }
    console.log(`  ${file}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  }
  const reported = new Set(testResults.map(({ name }) => inProject(name)));
  for (const file of asked)
    if (!reported.has(file)) failures.push({ file, name: 'vitest says nothing of it' });
  return { files, failures };
}

function added(state, { files, failures, errors }) {
  return {
    expected: state.expected,
    files: { ...state.files, ...files },
    failures: [...state.failures, ...failures],
    errors: merged(state.errors, errors),
  };
}

/** The largest error of each test, relative to what was allowed. */
function merged(before, found) {
  const all = new Map();
  for (const one of [...before, ...found]) {
    const key = `${one.file} ${one.test}`;
    const known = all.get(key);
    if (!known || one.ofAllowed > known.ofAllowed) all.set(key, one);
  }
  return [...all.values()];
}

/** The tests of matmul with cuBLASLt in place of our products. */
export function runLibrary(suite) {
  const file = 'test/ops/matmul.test.ts';
  const found = run(suite, [file], 'library', { SURPRISAL_CUBLASLT: '1' });
  const failed = found.failures.map(({ name, why }) => [name, why ?? '']);
  return { passed: found.files[file].passed, failed: Object.fromEntries(failed) };
}
