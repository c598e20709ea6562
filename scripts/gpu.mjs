// npm run gpu -- [parts] [--emulated] [--seconds <n>] [--out <folder>] [--from <file>] [--only <words>]:
// everything that a machine with a GPU is needed for (docs/gpu.md: what to run there in which
// order). Parts, all of them by default, in this order:
//   build      what is stale, where the tools are (a bundle comes built)
//   repeat     small steps of every kernel, 20 times and from a graph: the same bits
//   equality   the same steps on the GPU and on the emulator, within a stated tolerance
//   tests      the tests that take a device, against float64; library: matmul's with cuBLASLt
//   memcheck racecheck synccheck initcheck   compute-sanitizer over the steps
//   bench      the kernels and, where there is torch, its own
//   save       puts what the parts found into bench/results/cuda-<device>.json
// Each part keeps its findings in build/gpu/<hash of native, src and test>/, so that parts can run
// one by one. --seconds ends the parts after that time; called again they go on. --out copies
// findings and result there, --from takes such findings up again. With --only nothing is kept.
// --emulated is a rehearsal: the emulator is the device, shapes of the bench are tiny, and what is
// saved goes to build/gpu/.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { nvcc } from './build.mjs';
import { runSanitizer } from './gpu-sanitizers.mjs';
import { folderOf, lastLine, onEmulator, openSuite, program, runSteps } from './gpu-suite.mjs';
import { runLibrary, runTests } from './gpu-tests.mjs';
import { fail, found } from './run.mjs';
import { hashes, sanitizers } from './verification.mjs';

const order = ['build', 'repeat', 'equality', 'tests', 'library', ...sanitizers, 'bench', 'save'];
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    emulated: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '3600' },
    out: { type: 'string' },
    from: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});
const unknown = positionals.filter((part) => !order.includes(part));
if (unknown.length > 0) fail(`gpu: no part '${unknown[0]}'; there are ${order.join(', ')}`);
const parts = order.filter((part) => positionals.length === 0 || positionals.includes(part));

if (options.from) {
  mkdirSync(dirname(folderOf(options.emulated)), { recursive: true });
  const args = ['-xzf', options.from, '-C', dirname(folderOf(options.emulated))];
  if (spawnSync('tar', args).status !== 0) fail(`gpu: no findings in ${options.from}`);
}
const suite = openSuite(options);
const { folder, tool, node, read, keep } = suite;

function tell(name, { passed = 0, failed = {}, ...rest }) {
  const names = Object.entries(failed);
  for (const [step, why] of names) console.log(`  FAIL ${step}: ${String(why).split('\n')[0]}`);
  const more = rest.worst ? `, largest differences ${JSON.stringify(rest.worst)}` : '';
  console.log(`${name}: ${passed} passed, ${names.length} failed${more}`);
  if (names.length > 0 || passed === 0) process.exitCode = 1;
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
  const changed = git(
    'status',
    '--porcelain',
    '--untracked-files=no',
    '--',
    'native',
    'src',
    'test',
  );
  return git('rev-parse', '--short=10', 'HEAD') + (changed ? '+' : '');
}

function benchInto(name, seconds, only, env = {}) {
  const out = join(folder, options.only ? `${name}-only.json` : `${name}.json`);
  const size = options.emulated ? ['--tiny'] : ['--quick'];
  const limit = ['--seconds', String(Math.max(0, Math.floor(seconds)))];
  const args = ['--out', out, '--resume', ...limit, '--only', only, ...size];
  const { output } = node(name, ['build/ts/bench/ops/kernels.bench.js', ...args], env);
  console.log(output.trim());
}

const work = {
  build() {
    if (existsSync('node_modules/cmake-js')) {
      const wanted = ['native', 'ts', 'emulator'];
      const { code, output } = node('build', ['scripts/build.mjs', ...wanted], {}, 3600);
      console.log(output.trim().split('\n').at(-1));
      if (code !== 0) fail(`gpu: the build failed\n${output.slice(-3000)}`);
    } else console.log('build: as it came in the bundle');
  },

  repeat() {
    const result = runSteps(suite, 'repeat', ['repeat', options.emulated ? '3' : '20']);
    keep('repeat', result);
    tell('repeat', result);
  },

  equality() {
    const files = ['device', 'emulator'].map((name) => join(folder, `values-${name}.jsonl`));
    for (const file of files) rmSync(file, { force: true });
    tell('values on the device', runSteps(suite, 'values', ['values', files[0]]));
    // The rehearsal compares the emulator with the CPU, so that something can differ.
    const other = options.emulated ? ['--device', 'cpu'] : [];
    const args = ['values', files[1], ...other];
    tell('values on the emulator', runSteps(suite, 'values-emulator', args, onEmulator));
    const compare = [program, 'compare', ...files, '--only', options.only];
    const result = lastLine(node('equality', compare));
    keep('equality', result);
    tell('equality', result);
  },

  tests() {
    const { files, failures, left } = runTests(suite);
    const all = Object.values(files);
    const sum = (field) => all.reduce((total, file) => total + file[field], 0);
    const shown = 40;
    for (const { file, name } of failures.slice(0, shown)) console.log(`  FAIL ${file}: ${name}`);
    if (failures.length > shown)
      console.log(`  and ${failures.length - shown} more, in ${join(folder, 'tests.json')}`);
    console.log(
      `tests: ${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped; ${left.length} files left`,
    );
    if (sum('failed') > 0 || left.length > 0) process.exitCode = 1;
  },

  library() {
    const env = { SURPRISAL_CUBLASLT: '1' };
    const { passed } = lastLine(node('library', [program, 'library'], env));
    if (passed !== 1) {
      keep('library', { code: 'cuBLASLt is not here' });
      return console.log('library: skipped, cuBLASLt is not here');
    }
    const result = runLibrary(suite);
    keep('library', result);
    tell('library', result);
  },

  bench() {
    const total = Math.max(60, suite.secondsLeft() - 30);
    benchInto('bench', total, options.only);
    // Our products have been measured, beside torch, which has NVIDIA's too.
    if (read('library')?.passed > 0)
      benchInto('bench-library', suite.secondsLeft() - 20, 'matmul', { SURPRISAL_CUBLASLT: '1' });
  },

  save() {
    const { name, ...about } = device();
    const tests = read('tests') ?? { expected: [], files: {}, failures: [], errors: [] };
    const measured = read('bench');
    const result = {
      device: { name, ...about },
      compiler: compiler(),
      commit: commit(),
      date: new Date().toISOString().slice(0, 10),
      sources: hashes(),
      checks: Object.fromEntries(
        ['repeat', 'equality', 'library', ...sanitizers].map((part) => [part, saved(part)]),
      ),
      expected: tests.expected,
      tests: tests.files,
      failures: tests.failures,
      errors: tests.errors,
      kernels: measured && {
        date: new Date().toISOString().slice(0, 10),
        commit: commit(),
        peer: measured.peer,
        machine: { gpu: name, driver: about.driver, compiler: compiler() },
        sources: {},
        rows: [...measured.rows, ...(read('bench-library')?.rows ?? [])],
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
    if (options.out) mkdirSync(options.out, { recursive: true });
    if (options.out) copyFileSync(path, join(options.out, basename(path)));
  },
};

/** A part's findings as they are saved: steps by their number. */
function saved(part) {
  const { steps, ...rest } = read(part) ?? { code: 'not run' };
  return steps ? { ...rest, steps: steps.length } : rest;
}

sanitizers.forEach((name) => {
  work[name] = () => {
    // What is left of the time is shared with those that come after.
    const after = parts.slice(parts.indexOf(name)).filter((part) => sanitizers.includes(part));
    const result = runSanitizer(suite, name, suite.secondsLeft() / after.length);
    const { code, steps = [], shards = [], failed = {}, left } = result;
    for (const { summary, lines = [] } of shards.filter((shard) => shard.code !== 0))
      console.log([`  ${summary}`, ...lines.slice(0, 8)].join('\n  '));
    for (const [step, why] of Object.entries(failed)) console.log(`  FAIL ${step}: ${why}`);
    const rest = left > 0 ? `, ${left} steps left` : '';
    console.log(`${name}: ${code === 0 ? 'clean' : code}, ${steps.length} steps${rest}`);
    if (code !== 0) process.exitCode = 1;
  };
});

/** Findings without what only one machine reads, and the result, for taking home. */
function copyOut() {
  mkdirSync(options.out, { recursive: true });
  const archive = join(options.out, 'findings.tar.gz');
  const args = ['--exclude=values-*', '-czf', archive, '-C', dirname(folder), basename(folder)];
  if (spawnSync('tar', args).status !== 0) console.log('gpu: the findings could not be packed');
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
  if (options.out) copyOut();
}
