// npm run fuzz -- calls [options]         calls of every public operation: scripts/fuzz-calls.mjs
// npm run fuzz -- betti [count] [seed]   so many random pairs of images (100000) from a seed (0) on
//                                        against the boundary matrices of test/reference
// The last line is for the record: pairs, seed, commit, mismatches.
import { execFileSync } from 'node:child_process';
import { bin, fail, run, status } from './run.mjs';

const [what, count = '100000', seed = '0'] = process.argv.slice(2);
if (what === 'calls') {
  run('scripts/fuzz-calls.mjs', process.argv.slice(3));
  process.exit();
}
if (what !== 'betti' || ![count, seed].every((n) => /^\d+$/.test(n)))
  fail('fuzz: expected calls [options] or betti [count] [seed]');
const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).trim();
const commit = git('rev-parse', '--short', 'HEAD');
const changed = git('status', '--porcelain', '--untracked-files=no') ? ', changed since' : '';
const code = status(bin('vitest'), ['run', 'test/ops/betti-fuzz.test.ts'], {
  SURPRISAL_BETTI_CASES: count,
  SURPRISAL_FUZZ_SEED: seed,
});
const outcome = code === 0 ? 'no mismatch' : 'mismatches: see above';
console.log(`betti: ${count} pairs, seed ${seed}, commit ${commit}${changed}: ${outcome}`);
process.exitCode = code;
