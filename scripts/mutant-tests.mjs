// Runs an operation's tests on an addon with planted bugs (mutant-build.mjs), and says what became
// of the one that is awake: a test failed, the process crashed, or it did not end.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bin, fail } from './run.mjs';

// Which test files judge an operation, by the begin of their names; those that compare values first.
const judges = {
  divergence: ['divergence'],
  emo: ['emo', 'linear-emo'],
  elementwise: ['elementwise', 'activation', 'reduce.'],
  linear_cross_entropy: [
    'linear-cross-entropy-device',
    'linear-cross-entropy-logprobs',
    'linear-cross-entropy.',
  ],
  movement: ['shape-ops', 'slice.', 'join'],
  optimiser: ['optim'],
  sinkhorn: ['sinkhorn-d', 'sinkhorn-e', 'sinkhorn-g', 'sinkhorn-r', 'transport-plans'],
};
// Of operations that take other kernels on devices without clusters, what runs there as well.
const differOn80 = ['cross-entropy', 'softmax', 'matmul', 'norm'].map(
  (name) => `test/ops/${name}.test.ts`,
);
// Every operation's kernels meet memory at any address there.
const addresses = 'test/cuda/device-addresses.test.ts';
// What has most kernels at small sizes, by operation: few and fast, so they judge first.
const small = readdirSync('test/cuda')
  .filter((file) => file.startsWith('device-small'))
  .map((file) => join('test/cuda', file));
// Not of kernels (launch plans, guard bytes, what the CPU alone does), or long beside what they add.
const leftOut = /-(fences|init|plan|accuracy|laws|fuzz|unrolled)\.test\.ts$/;

function filesOf(operation) {
  const begins = judges[operation] ?? [operation.replaceAll('_', '-')];
  return ['test/ops', 'test/optim']
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((path) => begins.some((word) => basename(path).startsWith(word)))
    .filter((path) => path.endsWith('.test.ts') && !leftOut.test(path));
}

/**
 * The tests that judge an operation, in the order in which they are asked, as lists of
 * { file, arch, only }; `only` is how the names of the tests begin.
 */
export function testsOf(operation) {
  const files = filesOf(operation);
  const older = files.filter((file) => differOn80.includes(file));
  const name = operation.replaceAll('_', '-');
  const own = small.filter((file) => readFileSync(file, 'utf8').includes(`describe('${name}'`));
  const on = (arch) => own.map((file) => ({ file, arch, only: `small ${name} ` }));
  return [
    [...on(90), ...(older.length > 0 ? on(80) : [])],
    [...files, addresses].map((file) => ({ file, arch: 90 })),
    older.map((file) => ({ file, arch: 80 })),
  ].filter((list) => list.length > 0);
}

// Processor time of a process tree is told by the shell that waited for it, and limited for each
// process: unlike time on the clock it does not depend on what else the machine does.
const shell = 'ulimit -t "$1"; shift; "$@"; status=$?; echo; times; exit $status';
const secondsOf = (text) => {
  const [, minutes, seconds] = /(\d+)m([\d.]+)s/.exec(text);
  return 60 * Number(minutes) + Number(seconds);
};
function cpuSeconds(output) {
  const [user, system] = output.trim().split('\n').at(-1).split(' ');
  return secondsOf(user) + secondsOf(system);
}

/** For a process with a bug, where one without takes `seconds`. */
export const limitOf = (seconds) => 5 + 2 * seconds;

const quoted = (name) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const firstLine = (text) =>
  text
    .split('\n')[0]

    .slice(0, 160);

/** The tests that ran, as vitest's report has them; [] without a report. */
function assertions(report) {
  if (!existsSync(report)) return [];
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
  const all = testResults.flatMap(({ assertionResults }) => assertionResults);
  return all.filter(({ status }) => status === 'passed' || status === 'failed');
}

/** How a run that did not pass ended; fails where that cannot be told, as then nothing is shown. */
function death(result, tests, file, limit) {
  const failed = tests.find(({ status }) => status === 'failed');
  if (failed) {
    const says = firstLine(failed.failureMessages[0] ?? '');
    return { of: 'a failed test', by: file, test: failed.fullName, says };
  }
  if (result.error) fail(`mutants: ${result.error.message}`);
  if (result.signal === 'SIGKILL' || result.status === 137) return { of: 'no end', by: file };
  const output = `${result.stdout}${result.stderr}`;
  if (/Worker exited unexpectedly/.test(output)) {
    return { of: cpuSeconds(result.stdout) < limit ? 'a crash' : 'no end', by: file };
  }
  return fail(`mutants: what became of ${file}?\n${output}`);
}

/**
 * Runs one test file, or one test of it, with bug number `bug` awake (0: none). `limit` is in
 * seconds of processor time; `log` a file for the numbers of the bugs that were reached.
 * Gives { ran, died, seconds }: how many tests ran, how the bug died.
 */
export function runTests({ file, arch = 90, test, only, addon, bug, limit = 600, log = '' }) {
  mkdirSync('build/mutants', { recursive: true });
  const report = `build/mutants/vitest-${process.pid}.json`;
  rmSync(report, { force: true });
  const how = [
    '--bail=1',
    '--maxWorkers=1',
    '--testTimeout=0',
    '--reporter=dot',
    '--reporter=json',
  ];
  const names = test ? `^${quoted(test)}$` : only ? `^${quoted(only)}` : '';
  const vitest = [
    bin('vitest'),
    'run',
    ...how,
    `--outputFile.json=${report}`,
    ...(names ? ['-t', names] : []),
    file,
  ];
  const cpu = Math.ceil(limit);
  // What waits for ever takes no processor time: a limit on the clock as well, for the whole group.
  const limited = ['-s', 'KILL', String(60 + 10 * cpu), 'bash', '-c', shell, 'bash', String(cpu)];
  const result = spawnSync('timeout', [...limited, process.execPath, ...vitest], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {
      ...process.env,
      SURPRISAL_NATIVE: addon,
      SURPRISAL_TEST_DEVICE: 'cuda',
      SURPRISAL_EMULATOR_ARCH: String(arch),
      SURPRISAL_MUTANT: String(bug),
      SURPRISAL_MUTANTS_SEEN: log,
      NO_COLOR: '1',
    },
  });
  const tests = assertions(report);
  rmSync(report, { force: true });
  const passed = result.status === 0;
  const died = passed ? undefined : death(result, tests, file, limit);
  return { ran: tests.length, died, seconds: passed ? cpuSeconds(result.stdout) : undefined };
}

/**
 * The tests without a bug awake: [{ file, arch, only, limit, seen }], the quickest first. What was
 * found is kept beside the addon, for a run that goes on with the same one.
 */
export function baseline(list, addon, folder, id) {
  const tests = list.map(({ file, arch, only }) => {
    const log = join(folder, `seen-${basename(file)}-${arch}`);
    const known = `${log}.json`;
    const version = `${id} ${readFileSync(file, 'utf8')}`;
    const old = existsSync(known) ? JSON.parse(readFileSync(known, 'utf8')) : undefined;
    const seconds = old?.version === version ? old.seconds : undefined;
    const time = seconds ?? measured({ file, arch, only, addon, log });
    writeFileSync(known, JSON.stringify({ version, seconds: time }));
    const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n') : [];
    const seen = new Set(lines.filter(Boolean).map(Number));
    console.log(`  ${file} sm_${arch}: ${time.toFixed(1)} s, ${seen.size} bugs reached`);
    return { file, arch, only, seconds: time, limit: limitOf(time), seen };
  });
  return tests.filter(({ seen }) => seen.size > 0).sort((a, b) => a.seconds - b.seconds);
}

function measured(test) {
  rmSync(test.log, { force: true });
  const { died, seconds } = runTests({ ...test, bug: 0 });
  if (died) fail(`mutants: ${test.file} fails without a bug: ${JSON.stringify(died)}`);
  return seconds;
}
