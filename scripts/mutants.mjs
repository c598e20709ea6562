// Whether the tests would notice: plants bugs in the CUDA kernels (mutators.mjs) and runs each
// operation's tests on the emulator with one bug awake at a time.
//   npm run mutants -- [operations] [--limit N]   N bugs an operation into test/cuda/mutants.json;
//                                                 goes on where a run was ended, survivors again
//   npm run mutants -- --again [operations]       the same from the beginning
//   npm run mutants -- --quick [operations]       the same by the first, short tests alone
//   npm run mutants -- --replay N                 N bugs of one operation, another with each commit
//   npm run mutants -- --stale                    what has changed since the report
// A survivor is a test that is missing, or a change that changes nothing: the latter are named, with
// the reason, in test/cuda/equivalent-mutants.json. A replay builds bugs of the report again; each
// must die, and an equivalent one must not.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { allBugs, buildWith } from './mutant-build.mjs';
import {
  changedSince,
  equivalents,
  hashes,
  hashOf,
  operations,
  readReport,
  reportPath,
  stale,
  survivors,
  words,
  writeEntry,
} from './mutant-report.mjs';
import { baseline, limitOf, runTests, testsOf } from './mutant-tests.mjs';
import { key, kinds } from './mutators.mjs';
import { fail, run } from './run.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    limit: { type: 'string', default: '16' },
    replay: { type: 'string', default: '0' },
    again: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    stale: { type: 'boolean', default: false },
  },
});

const limit = Number(options.limit);

/** A choice that stays the same from run to run. */
const shuffled = (list, salt) =>
  list
    .map((bug) => ({ bug, order: hashOf(`${salt}\n${key(bug)}`) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ bug }) => bug);

/** All bugs, kinds taken in turn, and of a kind the file that had the fewest. */
function spread(list, operation) {
  const queues = kinds.map((what) =>
    shuffled(
      list.filter((bug) => bug.what === what),
      operation,
    ),
  );
  // An operation's own files have twice the share of those that others plant bugs in as well.
  const share = (path) => (path.startsWith(`native/ops/${operation}/`) ? 0.5 : 1);
  const taken = new Map();
  const cost = (bug) => (taken.get(bug.path) ?? 0) * share(bug.path);
  const order = [];
  while (order.length < list.length) {
    for (const queue of queues.filter(({ length }) => length > 0)) {
      const next = queue.reduce((a, b) => (cost(b) < cost(a) ? b : a));
      queue.splice(queue.indexOf(next), 1);
      taken.set(next.path, (taken.get(next.path) ?? 0) + 1);
      order.push(next);
    }
  }
  return order;
}

/**
 * The bugs to try: `limit` of those that the operation has to answer for, not counting what changes
 * nothing, those of the report, and those of shared headers that no other operation's tests noticed.
 */
function choose(operation, planted, tests, old) {
  const known = equivalents();
  const isReached = (bug) => tests.some(({ seen }) => seen.has(bug.number));
  const isOwn = (bug) => bug.path.startsWith(`native/ops/${operation}/`);
  const open = new Set(survivors().map(key));
  let left = limit;
  const order = spread(
    planted.filter((bug) => isOwn(bug) || isReached(bug)),
    operation,
  );
  return order.filter((bug) => {
    if (left > 0) {
      if (!known.has(key(bug))) left--;
      return true;
    }
    return old.has(key(bug)) || (open.has(key(bug)) && !isOwn(bug));
  });
}

/** What the tests of the operation say with the bug awake: how it died, or undefined. */
function judge(addon, bug, reached) {
  for (const test of reached) {
    const result = runTests({ ...test, addon, bug: bug.number, limit: test.limit });
    if (result.died) return { ...result.died, ...(test.arch !== 90 && { arch: test.arch }) };
  }
  return undefined;
}

const recorded = ({ edits, number, ...bug }) => bug;

function tell(bug, start) {
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  const fate = bug.died ? bug.died.of : bug.reached ? 'SURVIVES' : 'IS NOT REACHED';
  console.log(`${fate}: ${words(bug)}  (${seconds} s)`);
}

function examine(operation) {
  const report = readReport();
  const isCurrent = !options.again && changedSince(operation, report)?.length === 0;
  const old = new Map(isCurrent ? report[operation].mutants.map((bug) => [key(bug), bug]) : []);
  const known = equivalents();
  const isSettled = (bug) => known.has(key(bug)) || old.get(key(bug))?.died !== undefined;
  const sources = hashes(operation);
  const { addon, planted, folder } = buildWith(operation, allBugs(operation));
  const id = hashOf(
    planted.map((bug) => `${bug.number} ${key(bug)}`).join() + Object.values(sources),
  );
  const lists = testsOf(operation).slice(0, options.quick ? 1 : undefined);
  const first = baseline(lists[0], addon, folder, id);
  const chosen = choose(operation, planted, first, old);
  const done = new Map(
    chosen.filter(isSettled).map((bug) => [key(bug), old.get(key(bug)) ?? recorded(bug)]),
  );
  const write = () => writeEntry(operation, { sources, mutants: [...done.values()] });
  // Longer tests see only what the shorter ones let live.
  let alive = chosen.filter((bug) => !done.has(key(bug)));
  const reached = new Set();
  for (const [i, list] of lists.entries()) {
    if (alive.length === 0) break;
    const tests = i === 0 ? first : baseline(list, addon, folder, id);
    for (const bug of alive) {
      const start = performance.now();
      const reaching = tests.filter(({ seen }) => seen.has(bug.number));
      if (reaching.length > 0) reached.add(bug);
      const died = judge(addon, bug, reaching);
      const result = { ...recorded(bug), ...(died ? { died } : { reached: reached.has(bug) }) };
      done.set(key(bug), result);
      write();
      tell(result, start);
    }
    alive = alive.filter((bug) => !done.get(key(bug)).died);
  }
  write();
  const dead = [...done.values()].filter(({ died }) => died).length;
  const same = [...done.keys()].filter((k) => known.has(k)).length;
  console.log(`${operation}: ${dead} of ${done.size - same} died, ${same} change nothing`);
}

// --- replay --------------------------------------------------------------------------------------

/** Bugs of an operation's report that its kernels still have room for: `count`, and a harmless one. */
function pick(operation, report, count, salt) {
  const known = equivalents();
  const now = new Map(allBugs(operation).map((bug) => [key(bug), bug]));
  const here = shuffled(report[operation].mutants, salt)
    .filter((bug) => now.has(key(bug)))
    .map((bug) => ({ ...now.get(key(bug)), died: bug.died }));
  const mortal = here.filter((bug) => bug.died && !known.has(key(bug))).slice(0, count);
  const harmless = here.filter((bug) => known.has(key(bug))).slice(0, 1);
  return { operation, mortal, harmless };
}

/** The operation whose turn it is: those that are as they were reported come first. */
function turn(report, count) {
  const commit = spawnSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
  const isStale = (operation) => changedSince(operation, report).length > 0;
  const names = operations()
    .filter((operation) => report[operation])
    .map((operation) => ({
      operation,
      order: `${isStale(operation)}${hashOf(commit + operation)}`,
    }))
    .sort((a, b) => (a.order < b.order ? -1 : 1));
  for (const { operation } of names) {
    const picked = pick(operation, report, count, commit);
    if (picked.mortal.length > 0) return picked;
  }
  return fail(`mutants: no bug of ${reportPath} is to be found in the kernels`);
}

/** The test that noticed the bug, as it ends without one; all of the operation's if it has gone. */
function witnesses(operation, addon, { by: file, test, arch }) {
  const one = { file, arch, test };
  const { died, ran, seconds } = existsSync(file) ? runTests({ ...one, addon, bug: 0 }) : {};
  if (died) fail(`mutants: ${file} fails without a bug: ${JSON.stringify(died)}`);
  if (ran > 0) return [{ ...one, limit: limitOf(seconds) }];
  return testsOf(operation).flat();
}

/** Rebuilds some bugs of the report: true if they die, and one that changes nothing does not. */
function replay(count) {
  const report = readReport();
  if (!report)
    fail(
      `mutants: there is no ${reportPath}, so nothing says that bugs are noticed: npm run mutants`,
    );
  const alive = survivors(report);
  for (const bug of alive) console.log(`mutants: the report has a survivor: ${words(bug)}`);
  const { operation, mortal, harmless } = turn(report, count);
  console.log(`mutants: ${mortal.length} of ${operation} again`);
  const { addon, planted } = buildWith(operation, [...mortal, ...harmless]);
  let good = alive.length === 0;
  let tests = [];
  for (const bug of planted) {
    const isMortal = mortal.includes(bug);
    // What finds another bug shall not find one that changes nothing: it can tell them apart.
    if (isMortal) tests = witnesses(operation, addon, bug.died);
    const died = judge(addon, bug, tests);
    const isRight = isMortal === (died !== undefined);
    console.log(`${isRight ? 'ok  ' : 'FAIL'} ${died ? died.of : 'survives'}: ${words(bug)}`);
    good &&= isRight;
  }
  if (planted.length < mortal.length + harmless.length)
    console.log('mutants: some no longer compile');
  return good && planted.some((bug) => mortal.includes(bug));
}

const count = Number(options.replay);
if (count > 0) {
  if (!replay(count)) process.exitCode = 1;
} else if (!options.stale) {
  run('scripts/build.mjs', ['emulator']);
  const unknown = positionals.find((name) => !operations().includes(name));
  if (unknown) fail(`mutants: no operation '${unknown}' with kernels: ${operations().join(', ')}`);
  for (const operation of positionals.length > 0 ? positionals : operations()) {
    console.log(`\n${operation}`);
    examine(operation);
  }
  for (const bug of survivors()) console.log(`survives: ${words(bug)}`);
  if (survivors().length > 0) process.exitCode = 1;
}
for (const text of stale()) console.log(`mutants: no report of these kernels as they are: ${text}`);
