// npm run gpu -- [parts] [--emulated] [--seconds <n>] [--out <folder>]: everything that a machine
// with a GPU is needed for. Parts, all of them by default, in this order:
//   build      what is stale, where the tools are (a bundle comes built)
//   repeat     small steps of every kernel, 20 times and from a graph: the same bits
//   equality   the same steps on the GPU and on the emulator, within a stated tolerance
//   tests      the tests of operations, models and optimisers on the device, against float64
//   memcheck racecheck synccheck initcheck   compute-sanitizer over the steps
//   bench      the kernels and, where there is torch, its own
//   save       puts what the parts found into bench/results/cuda-<device>.json
// Each part keeps its findings in build/gpu/<hash of the kernels>/, so that parts can run one by one.
// --seconds ends `tests` after that time; called again it goes on. --out copies findings there.
// --emulated is a rehearsal: the emulator is the device, shapes of the bench are tiny, and what is
// saved goes to build/gpu/.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { emulator, nvcc } from './build.mjs';
import { bin, fail, found, root } from './run.mjs';
import { hashes } from './verification.mjs';

const sanitizers = ['memcheck', 'racecheck', 'synccheck', 'initcheck'];
const order = ['build', 'repeat', 'equality', 'tests', ...sanitizers, 'bench', 'save'];
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    emulated: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '3600' },
    out: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});
const unknown = positionals.filter((part) => !order.includes(part));
if (unknown.length > 0) fail(`gpu: no part '${unknown[0]}'; there are ${order.join(', ')}`);
const parts = order.filter((part) => positionals.length === 0 || positionals.includes(part));

const sources = hashes();
const digest = createHash('sha256').update(JSON.stringify(sources)).digest('hex').slice(0, 12);
const folder = join('build/gpu', digest + (options.emulated ? '-emulated' : ''));
mkdirSync(folder, { recursive: true });

const program = 'build/ts/test/cuda/program.js';
const onEmulator = { SURPRISAL_NATIVE: resolve(emulator) };
const environment = options.emulated ? onEmulator : {};

/** Runs a program, shows its output, keeps it in a log; gives status and output. */
function tool(log, command, args, env = {}, timeout = 590) {
  const result = spawnSync(command, args, {
    env: { ...process.env, ...environment, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: timeout * 1000,
  });
  const output = `${result.stdout}${result.stderr}`;
  writeFileSync(join(folder, `${log}.log`), output);
  const code = result.status ?? result.signal ?? result.error?.message;
  return { code, output, stdout: result.stdout ?? '' };
}

const node = (log, args, env, timeout) => tool(log, process.execPath, args, env, timeout);

/** The JSON of a program's last line, or what went wrong. */
function lastLine({ code, stdout, output }) {
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1));
  } catch {
    return { passed: 0, failed: { program: `ended with ${code}: ${output.slice(-500)}` } };
  }
}

const read = (name) => {
  const path = join(folder, `${name}.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
};
const keep = (name, value) =>
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(value, null, 1)}\n`);

function tell(name, { passed = 0, failed = {}, missing = [], ...rest }) {
  const names = Object.entries(failed);
  for (const [step, why] of names) console.log(`  FAIL ${step}: ${String(why).split('\n')[0]}`);
  const absent = missing.length > 0 ? `, ${missing.length} without a CUDA form` : '';
  const more = rest.worst ? `, largest differences ${JSON.stringify(rest.worst)}` : '';
  console.log(`${name}: ${passed} passed, ${names.length} failed${absent}${more}`);
  if (names.length > 0) process.exitCode = 1;
}

/** What the addon says of its device; ends the script where there is none. */
function device() {
  const text = `import('./dist/index.js').then((sp) => console.log(JSON.stringify(sp.cuda.status())))`;
  const status = lastLine(node('device', ['-e', text]));
  if (!status.available) {
    const why = status.reason ?? status.failed.program;
    fail(`gpu: ${why}; --emulated rehearses on the emulator`);
  }
  const args = [
    '--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit',
    '--format=csv,noheader',
  ];
  const smi = found('nvidia-smi') ? tool('nvidia-smi', 'nvidia-smi', args).stdout.trim() : '';
  const [driver, sm, memory, power] = smi.split(', ');
  const [{ name, capability }] = status.devices;
  return {
    name,
    capability,
    emulated: status.emulated,
    driver: driver || null,
    clocks: { sm, memory, power },
  };
}

/** nvcc as it is here, or as it was where the bundle was made. */
function compiler() {
  if (existsSync('COMPILER')) return readFileSync('COMPILER', 'utf8').trim();
  const path = nvcc();
  const release =
    path && /release ([\d.]+), V([\d.]+)/.exec(tool('nvcc', path, ['--version']).stdout);
  return release ? `nvcc ${release[2]}` : null;
}

function commit() {
  if (existsSync('COMMIT')) return readFileSync('COMMIT', 'utf8').trim();
  const git = (...args) => spawnSync('git', args, { encoding: 'utf8' }).stdout?.trim() ?? '';
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', 'native');
  return git('rev-parse', '--short=10', 'HEAD') + (changed ? '+' : '');
}

const work = {
  build() {
    if (existsSync('node_modules/cmake-js')) {
      const wanted = ['native', 'ts', ...(existsSync(emulator) ? [] : ['emulator'])];
      const { code, output } = node('build', ['scripts/build.mjs', ...wanted], {}, 3600);
      console.log(output.trim().split('\n').at(-1));
      if (code !== 0) fail(`gpu: the build failed\n${output.slice(-3000)}`);
    } else console.log('build: as it came in the bundle');
  },

  repeat() {
    const result = lastLine(
      node('repeat', [program, 'repeat', options.emulated ? '3' : '20', '--only', options.only]),
    );
    keep('repeat', result);
    tell('repeat', result);
  },

  equality() {
    const files = ['device', 'emulator'].map((name) => join(folder, `values-${name}.json`));
    const run = (file, env) =>
      node('values', [program, 'values', file, '--only', options.only], env);
    tell('values on the device', lastLine(run(files[0], {})));
    // The rehearsal compares the emulator with the CPU, so that something can differ.
    const other = options.emulated ? ['--device', 'cpu'] : [];
    const second = node(
      'values',
      [program, 'values', files[1], ...other, '--only', options.only],
      onEmulator,
    );
    tell('values on the emulator', lastLine(second));
    const result = lastLine(node('equality', [program, 'compare', ...files]));
    keep('equality', result);
    tell('equality', result);
  },

  tests() {
    const end = Date.now() + Number(options.seconds) * 1000;
    const state = read('tests') ?? { files: {}, failures: [], errors: [] };
    const left = testFiles().filter(
      (file) => !(file in state.files) && file.includes(options.only),
    );
    while (left.length > 0 && Date.now() < end) {
      const batch = left.splice(0, 4);
      Object.assign(state, added(state, batch));
      keep('tests', state);
    }
    const all = Object.values(state.files);
    const sum = (field) => all.reduce((total, file) => total + file[field], 0);
    const shown = 40;
    for (const { file, name } of state.failures.slice(0, shown))
      console.log(`  FAIL ${file}: ${name}`);
    if (state.failures.length > shown)
      console.log(`  and ${state.failures.length - shown} more, in ${join(folder, 'tests.json')}`);
    console.log(
      `tests: ${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped; ${left.length} files left`,
    );
    if (sum('failed') > 0) process.exitCode = 1;
  },

  bench() {
    const out = join(folder, 'bench.json');
    const tiny = options.emulated ? ['--tiny'] : ['--quick'];
    const args = [
      'build/ts/bench/ops/kernels.bench.js',
      '--out',
      out,
      '--only',
      options.only,
      ...tiny,
    ];
    const { output } = node('bench', args);
    console.log(output.trim());
  },

  save() {
    const { name, ...about } = device();
    const tests = read('tests') ?? { files: {}, failures: [], errors: [] };
    const measured = read('bench');
    const result = {
      device: { name, ...about },
      compiler: compiler(),
      commit: commit(),
      date: new Date().toISOString().slice(0, 10),
      sources,
      checks: Object.fromEntries(
        ['repeat', 'equality', ...sanitizers].map((part) => [part, read(part) ?? 'not run']),
      ),
      tests: tests.files,
      failures: tests.failures,
      errors: tests.errors,
      kernels: measured && {
        date: new Date().toISOString().slice(0, 10),
        commit: commit(),
        peer: measured.peer,
        machine: { gpu: name, driver: about.driver, compiler: compiler() },
        sources: {},
        rows: measured.rows,
        failed: measured.failed,
      },
    };
    const slug = name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-|-$/g, '');
    const path = options.emulated
      ? `build/gpu/cuda-${slug}.json`
      : `bench/results/cuda-${slug}.json`;
    const short = (_, value) =>
      typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
    writeFileSync(path, `${JSON.stringify(result, short, 1)}\n`);
    console.log(`save: ${path}`);
    if (options.out) copyFileSync(path, join(options.out, basename(path)));
  },
};

for (const name of sanitizers) {
  work[name] = () => {
    const sanitizer = found('compute-sanitizer') ?? found('/usr/local/cuda/bin/compute-sanitizer');
    if (!sanitizer) {
      keep(name, 'compute-sanitizer is not here');
      return console.log(`${name}: skipped, compute-sanitizer is not here`);
    }
    const values = join(folder, `values-${name}.json`);
    const args = ['--tool', name, '--error-exitcode', '9', '--print-limit', '20'];
    const run = [process.execPath, program, 'values', values, '--only', options.only];
    const { code, output } = tool(name, sanitizer, [...args, ...run]);
    const summary = /(?:ERROR|RACECHECK) SUMMARY: .*/.exec(output)?.[0] ?? `ended with ${code}`;
    keep(name, { code, summary });
    console.log(`${name}: ${summary}`);
    if (code !== 0) process.exitCode = 1;
  };
}

function testFiles() {
  return ['ops', 'models', 'optim', 'core']
    .map((name) => join('test', name))
    .flatMap((name) => readdirSync(name).map((file) => join(name, file)))
    .filter((file) => file.endsWith('.test.ts'))
    .sort();
}

/** The findings with those of some more test files. */
function added(state, files) {
  const report = join(folder, 'vitest.json');
  const errors = join(folder, 'errors.jsonl');
  for (const file of [report, errors]) rmSync(file, { force: true });
  const args = ['run', '--reporter=json', `--outputFile.json=${report}`, ...files];
  const env = { SURPRISAL_TEST_DEVICE: 'cuda', SURPRISAL_TEST_ERRORS: resolve(errors) };
  const { code, output } = node('vitest', [bin('vitest'), ...args], env);
  if (!existsSync(report)) {
    const lost = Object.fromEntries(
      files.map((file) => [file, { passed: 0, failed: 1, skipped: 0 }]),
    );
    const name = `vitest ended with ${code}: ${output.slice(-500)}`;
    return {
      ...state,
      files: { ...state.files, ...lost },
      failures: [...state.failures, ...files.map((file) => ({ file, name }))],
    };
  }
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
  const found = {};
  const failures = [...state.failures];
  for (const { name, status, message, assertionResults } of testResults) {
    const file = name.slice(root.length + 1);
    const count = (wanted) => assertionResults.filter((test) => test.status === wanted).length;
    const unloaded = status === 'failed' && assertionResults.length === 0;
    found[file] = {
      passed: count('passed'),
      failed: count('failed') + (unloaded ? 1 : 0),
      skipped: assertionResults.length - count('passed') - count('failed'),
    };
    if (unloaded) failures.push({ file, name: `not loaded: ${message.slice(0, 300)}` });
    for (const test of assertionResults) {
      if (test.status === 'failed')
        failures.push({ file, name: test.fullName, why: test.failureMessages[0]?.slice(0, 300) });
    }
    console.log(`  ${file}: ${found[file].passed} passed, ${found[file].failed} failed`);
  }
  return { files: { ...state.files, ...found }, failures, errors: merged(state.errors, errors) };
}

/** The largest error of each test, relative to what was allowed. */
function merged(before, file) {
  const all = new Map(before.map((one) => [`${one.file} ${one.test}`, one]));
  if (existsSync(file)) {
    for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
      const one = JSON.parse(line);
      const key = `${one.file} ${one.test}`;
      const known = all.get(key);
      if (!known || one.ofAllowed > known.ofAllowed) all.set(key, one);
    }
  }
  return [...all.values()];
}

if (!parts.includes('build') || existsSync('dist')) {
  if (parts.some((part) => part !== 'build')) {
    const { name, driver, clocks, emulated } = device();
    console.log(
      `gpu: ${name}, driver ${driver}, clocks ${JSON.stringify(clocks)}, commit ${commit()}`,
    );
    if (emulated !== options.emulated) fail('gpu: the addon is that of the emulator, or is not');
  }
}
for (const part of parts) {
  const start = Date.now();
  work[part]();
  console.log(`${part}: ${((Date.now() - start) / 1000).toFixed(0)} s\n`);
  if (options.out) {
    mkdirSync(options.out, { recursive: true });
    for (const file of readdirSync(folder)) {
      if (!file.startsWith('values')) copyFileSync(join(folder, file), join(options.out, file));
    }
  }
}
