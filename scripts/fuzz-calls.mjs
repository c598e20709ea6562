// npm run fuzz -- calls [--calls 1000000] [--seed 1] [--piece 10000] [--only <number of a call>]
// [--fresh]: fuzzed calls of every public operation (test/fuzz), in processes of a piece each, so that
// one that dies is found: the piece is run again with every call named. Goes on where it was
// interrupted; what was done, and what was wrong, is in build/fuzz/<seed>.json. Ends with 1 if
// anything was wrong.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fail, run } from './run.mjs';

const number = (standard) => ({ type: 'string', default: standard });
const { values } = parseArgs({
  options: {
    calls: number('100000'),
    seed: number('1'),
    piece: number('10000'),
    only: { type: 'string' },
    fresh: { type: 'boolean' },
  },
});
const [calls, seed, piece] = [values.calls, values.seed, values.piece].map(Number);
if (![calls, seed, piece].every((n) => Number.isSafeInteger(n) && n > 0)) {
  fail('fuzz: expected --calls, --seed and --piece to be integers from 1 on');
}
run('scripts/build.mjs', ['native', 'ts']);
const program = 'build/ts/test/fuzz/main.js';
const secondsOfPiece = 600;

function attempt(from, to, trace = []) {
  return spawnSync(process.execPath, [program, seed, from, to, ...trace].map(String), {
    encoding: 'utf8',
    timeout: secondsOfPiece * 1000,
    maxBuffer: 2 ** 28,
  });
}

if (values.only !== undefined) {
  const { stdout, stderr, status } = attempt(Number(values.only), Number(values.only) + 1);
  console.log(stdout || stderr);
  process.exit(status ?? 1);
}

mkdirSync('build/fuzz', { recursive: true });
const file = `build/fuzz/${seed}.json`;
if (values.fresh) rmSync(file, { force: true });
const state = existsSync(file)
  ? JSON.parse(readFileSync(file, 'utf8'))
  : { seed, done: 0, seconds: 0, counts: {}, wrong: [] };
if (state.done > 0) console.log(`fuzz: going on after call ${state.done} of seed ${seed}`);

/** The call at which a process died or hung. */
function lastCallOf(from, to) {
  const { stderr, signal, status } = attempt(from, to, ['--trace']);
  const lines = stderr.split('\n').filter((line) => /^\d+ \w+$/.test(line));
  const [call, name] = (lines.at(-1) ?? `${from} ?`).split(' ');
  return { call: Number(call), name, problem: `the process ended with ${signal ?? status}` };
}

while (state.done < calls) {
  const start = performance.now();
  const [from, to] = [state.done, Math.min(calls, state.done + piece)];
  const { stdout, status } = attempt(from, to);
  if (status === 0) {
    const { counts, wrong, missing } = JSON.parse(stdout.trim().split('\n').at(-1));
    state.missing = missing;
    for (const [name, ends] of Object.entries(counts)) {
      state.counts[name] ??= {};
      for (const [end, n] of Object.entries(ends)) {
        state.counts[name][end] = (state.counts[name][end] ?? 0) + n;
      }
    }
    state.wrong.push(...wrong);
    state.done = to;
  } else {
    // What came before the call that ended it is done again with the next piece's size.
    const last = lastCallOf(from, to);
    state.wrong.push(last);
    state.done = last.call + 1;
  }
  state.seconds += (performance.now() - start) / 1000;
  writeFileSync(file, `${JSON.stringify(state)}\n`);
  console.log(`${state.done} calls, ${state.wrong.length} wrong, ${state.seconds.toFixed(0)} s`);
}

const total = { result: 0, refused: 0, declined: 0, wrong: 0 };
for (const ends of Object.values(state.counts)) for (const end in ends) total[end] += ends[end];
const { length } = Object.keys(state.counts);
console.log(
  `seed ${seed}: ${length} operations, ${total.result} results, ${total.refused} refusals`,
);
if (state.missing?.length > 0) console.log(`no calls of ${state.missing.join(', ')}`);
// Calls that were meant to be good and mostly are not test nothing.
for (const [name, { result, declined }] of Object.entries(state.counts)) {
  if (declined > result) console.log(`${name}: ${declined} good calls refused, ${result} not`);
}
for (const { call, name, problem } of state.wrong.slice(0, 50)) {
  console.log(
    `call ${call}, ${name}: ${problem}\n  again: npm run fuzz -- calls --seed ${seed} --only ${call}`,
  );
}
process.exitCode = state.wrong.length > 0 ? 1 : 0;
