// Whether the tests would notice: plants bugs in the CUDA kernels (mutators.mjs) and runs each
// operation's tests on the emulator with one bug awake at a time. Needs the emulator's build.
//   npm run mutants -- [operations] [--limit N]   writes test/cuda/mutants.json
//   npm run mutants -- --replay N                 N bugs of one operation, another with each commit
//   npm run mutants -- --stale                    operations whose kernels changed since the report
// A survivor is a test that is missing, or a change that changes nothing: the latter are named, with
// the reason, in test/cuda/equivalent-mutants.json.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bugs, header, plant } from './mutators.mjs';
import { bin, fail, root } from './run.mjs';

const reportPath = 'test/cuda/mutants.json';
const equivalentPath = 'test/cuda/equivalent-mutants.json';
const commandsPath = 'build/cmake/compile_commands.json';

// Test files of an operation, where they are not called as it is. Few and fast.
const testsOf = {
  cross_entropy: ['/cross-entropy.test', '/cross-entropy-gradients'],
  divergence: ['/divergence.test'],
  elementwise: ['/elementwise.test', '/activation.test'],
  indexing: ['/indexing.test'],
  linear_cross_entropy: ['/linear-cross-entropy.test'],
  matmul: ['/matmul.test'],
  movement: ['/shape-ops.test', '/slice.test', '/join.test'],
  optimiser: ['/optim.test'],
  reduce: ['/reduce.test'],
};
// Not kernels, or what the emulator replaces.
const untouched =
  /^native\/(core|node)\/|\/(op|plan)\.h$|^native\/cuda\/(device|ptx\w*|launch|runtime|fault|tensor_map)\.h$/;

const read = (path) => readFileSync(path, 'utf8');
const json = (path) => (existsSync(path) ? JSON.parse(read(path)) : {});
const hashOf = (text) => createHash('sha256').update(text).digest('hex');

function operations() {
  const names = readdirSync('native/ops').sort();
  return names.filter((name) =>
    readdirSync(join('native/ops', name)).some((f) => f.endsWith('.cu')),
  );
}

/** The .cu files of an operation and the project's headers that they include, but for `untouched`. */
function sourcesOf(operation) {
  const folder = join('native/ops', operation);
  const open = readdirSync(folder)
    .filter((f) => f.endsWith('.cu'))
    .map((f) => join(folder, f));
  const found = new Set();
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (found.has(path)) continue;
    found.add(path);
    for (const [, name] of read(path).matchAll(/^#include "(.*)"/gm)) {
      const file = join('native', name);
      if (!untouched.test(file) && existsSync(file)) open.push(file);
    }
  }
  return [...found].sort();
}
const hashes = (operation) =>
  Object.fromEntries(sourcesOf(operation).map((path) => [path, hashOf(read(path))]));

function staleOnes() {
  const report = json(reportPath);
  return operations().filter(
    (op) => JSON.stringify(report[op]?.sources) !== JSON.stringify(hashes(op)),
  );
}

// --- building ------------------------------------------------------------------------------------

/** Object files of the emulator's addon, and how a kernel's source is compiled. */
function build(operation) {
  if (!existsSync(commandsPath)) fail('mutants: first `node scripts/build.mjs emulator`');
  const folder = 'build/cmake';
  const outputOf = (entry) => entry.output ?? / -o (\S+)/.exec(entry.command)[1];
  const entries = JSON.parse(read(commandsPath)).map((entry) => ({
    command: entry.command,
    source: entry.file.replace(`${root}/`, ''),
    output: outputOf(entry),
  }));
  const parts = entries.filter((e) => /(^|\/)(emulator|cpu)\.dir\//.test(e.output));
  const isKernel = (e) =>
    e.source.startsWith(`native/ops/${operation}/`) && e.source.endsWith('.cu');
  return {
    kernels: parts.filter(isKernel),
    objects: parts.filter((e) => !isKernel(e)).map((e) => join(folder, e.output)),
  };
}

/** Compiles; gives the lines that do not, as a set of "path:line". */
function compile(kernel, folder, object) {
  const words = kernel.command.split(/\s+/);
  const at = words.indexOf('-o');
  words.splice(at, 2);
  const args = words.slice(1).filter((w) => w !== '-c' && !w.endsWith(kernel.source));
  const result = spawnSync(
    words[0],
    [
      '-include',
      join(folder, 'mutant.h'),
      `-I${join(folder, 'native')}`,
      ...args,
      '-O1',
      // A register array has no memory that the emulator could watch.
      '-fsanitize=bounds',
      '-fsanitize-undefined-trap-on-error',
      '-w',
      '-fmax-errors=0',
      '-x',
      'c++',
      '-c',
      join(folder, kernel.source),
      '-o',
      object,
    ],
    { encoding: 'utf8', cwd: root, maxBuffer: 1 << 28 },
  );
  if (result.status === 0) return new Set();
  const lines = [...result.stderr.matchAll(/(native\/\S+?):(\d+):\d+:/g)].map(
    (m) => `${m[1]}:${m[2]}`,
  );
  if (lines.length === 0) fail(`mutants: ${kernel.source} does not compile\n${result.stderr}`);
  return new Set(lines);
}

/** An addon with all bugs of the operation planted and asleep; gives the bugs that it holds. */
function buildWithBugs(operation) {
  const folder = join(root, 'build/mutants', operation);
  const { kernels, objects } = build(operation);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'mutant.h'), header);
  let planted = [];
  for (const path of sourcesOf(operation)) {
    planted.push(...bugs(path, read(path), 1 + planted.length));
  }
  const write = () => {
    for (const path of sourcesOf(operation)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      const here = planted.filter((bug) => bug.path === path);
      writeFileSync(join(folder, path), plant(read(path), here));
    }
  };
  write();
  const own = [];
  for (const kernel of kernels) {
    const object = join(folder, `${kernel.source.replaceAll('/', '-')}.o`);
    for (let tries = 0; ; tries++) {
      const wrong = compile(kernel, folder, object);
      if (wrong.size === 0) break;
      if (tries === 8) fail(`mutants: ${kernel.source}: no end of lines that do not compile`);
      planted = planted.filter((bug) => !wrong.has(`${bug.path}:${bug.line}`));
      write();
    }
    own.push(object);
  }
  // First, so that of functions in shared headers these copies are linked.
  const addon = join(folder, 'surprisal.node');
  const link = ['-shared', '-o', addon, ...own, ...objects, '-Wl,-z,nodelete', '-pthread', '-ldl'];
  const linked = spawnSync(process.env.CXX ?? 'g++', link, { encoding: 'utf8' });
  if (linked.status !== 0) fail(`mutants: ${linked.stderr}`);
  return { addon, planted, folder };
}

// --- running -------------------------------------------------------------------------------------

/** Whether the operation's tests pass with bug `number` awake (0: none). */
function passes(operation, addon, number, limit, seen) {
  const filter = testsOf[operation] ?? [`/${operation.replaceAll('_', '-')}.test`];
  const env = {
    ...process.env,
    SURPRISAL_NATIVE: addon,
    SURPRISAL_TEST_DEVICE: 'cuda',
    SURPRISAL_MUTANT: String(number),
    ...(seen && { SURPRISAL_MUTANTS_SEEN: seen }),
  };
  const args = [bin('vitest'), 'run', '--bail=1', '--reporter=dot', '--maxWorkers=1', ...filter];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (output += data));
    // A bug may be an endless loop: the whole group of processes goes.
    const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), limit);
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ passed: status === 0, output });
    });
  });
}

/** A choice that stays the same from run to run. */
const shuffled = (list, salt) =>
  list
    .map((bug) => ({ bug, key: hashOf(`${salt}${bug.path}${bug.line}${bug.what}${bug.code}`) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ bug }) => bug);

const plain = ({ path, line, what, code }) => ({ path, line, what, code });
const words = (bug) => `${bug.path}:${bug.line}: ${bug.what}: ${bug.code}`;

/** Builds, runs the tests once without a bug, then with those of `choose(reached)`. */
async function examine(operation, choose) {
  const { addon, planted, folder } = buildWithBugs(operation);
  const seen = join(folder, 'seen');
  const start = performance.now();
  const { passed, output } = await passes(operation, addon, 0, 600_000, seen);
  if (!passed) fail(`mutants: the tests of ${operation} fail without a bug\n${output}`);
  const limit = 20_000 + 5 * (performance.now() - start);
  const numbers = new Set(existsSync(seen) ? read(seen).split('\n').map(Number) : []);
  const equivalent = json(equivalentPath).mutants ?? [];
  const counts = (bug) =>
    !equivalent.some((e) => e.path === bug.path && e.what === bug.what && e.code === bug.code);
  const reached = planted.filter((bug) => numbers.has(bug.number) && counts(bug));
  const queue = choose(reached);
  const chosen = queue.length;
  const survivors = [];
  const worker = async () => {
    for (let bug = queue.shift(); bug; bug = queue.shift()) {
      const { passed: unnoticed } = await passes(operation, addon, bug.number, limit);
      if (unnoticed) survivors.push(bug);
      console.log(`${unnoticed ? 'SURVIVES' : 'killed  '} ${words(bug)}`);
    }
  };
  await Promise.all([worker(), worker()]);
  const unreached = planted.filter((bug) => !numbers.has(bug.number) && counts(bug));
  return { planted: planted.length, chosen, survivors, unreached };
}

async function report(names, limit) {
  for (const operation of names) {
    console.log(`\n${operation}`);
    const result = await examine(operation, (all) => shuffled(all, operation).slice(0, limit));
    const order = (a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line);
    const entry = {
      sources: hashes(operation),
      planted: result.planted,
      unreached: result.unreached.length,
      run: result.chosen,
      killed: result.chosen - result.survivors.length,
      survivors: result.survivors.sort(order).map(plain),
    };
    const all = { ...json(reportPath), [operation]: entry };
    const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
    writeFileSync(reportPath, `${JSON.stringify(sorted, null, 2)}\n`);
    console.log(
      `${operation}: ${entry.killed} of ${entry.run} killed, ${entry.unreached} not reached`,
    );
  }
}

/** Some bugs of one operation, chosen by the commit. True if all that should be found are. */
async function replay(count) {
  const all = json(reportPath);
  const names = operations().filter((name) => all[name]);
  if (names.length === 0) return true;
  const commit = spawnSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
  const turn = Number.parseInt(hashOf(commit).slice(0, 8), 16);
  const operation = names[turn % names.length];
  const known = all[operation].survivors;
  const survived = (bug) =>
    known.some((k) => k.path === bug.path && k.code === bug.code && k.what === bug.what);
  console.log(`\nmutants: ${count} of ${operation}`);
  const { survivors } = await examine(operation, (reached) =>
    shuffled(
      reached.filter((bug) => !survived(bug)),
      commit,
    ).slice(0, count),
  );
  const fresh = !staleOnes().includes(operation);
  return survivors.length === 0 || !fresh;
}

const args = process.argv.slice(2);
const option = (name, otherwise) => {
  const at = args.indexOf(name);
  return at < 0 ? otherwise : Number(args.splice(at, 2)[1]);
};
const limit = option('--limit', 40);
const count = option('--replay', 0);
if (count > 0) process.exitCode = (await replay(count)) ? 0 : 1;
else if (!args.includes('--stale')) await report(args.length > 0 ? args : operations(), limit);
const stale = staleOnes();
if (stale.length > 0)
  console.log(`mutants: no report of these kernels as they are: ${stale.join(', ')}`);
