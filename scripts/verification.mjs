// node scripts/verification.mjs [--write | --check]: for each CUDA kernel file, whether a GPU has run
// it as it is now. A file counts as verified by a saved run (bench/results/cuda-*.json) if the
// SHA-256 of the file and of every project header it includes is that of the run, every test file of
// its operation ran and passed there, and every step was repeated, compared with the emulator and
// clean under each sanitizer. Below it what scripts/mutants.mjs planted in each file and what
// became of it. --write puts both into docs/verification.md; --check fails where that file says
// something else.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { tableRows } from './mutant-report.mjs';
import './run.mjs';

const page = 'docs/verification.md';
/** The tools of compute-sanitizer that watch the steps. */
export const sanitizers = ['memcheck', 'racecheck', 'synccheck', 'initcheck'];
const results = 'bench/results';

/** Every file of kernels, sorted. */
export function kernelFiles() {
  return readdirSync('native', { recursive: true })
    .filter((name) => name.endsWith('.cu'))
    .map((name) => join('native', name))
    .sort();
}

const isEmulator = (path) => path.startsWith('native/cuda/emulator/');

/** The file and the project headers that nvcc reads with it, sorted. */
export function sourcesOf(file, seen = new Set()) {
  if (seen.has(file) || isEmulator(file) || !existsSync(file)) return [...seen];
  seen.add(file);
  for (const [, path] of readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s*"([^"]+)"/gm))
    sourcesOf(join('native', path), seen);
  return [...seen].sort();
}

export const sha256 = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');

/** Hash of every kernel file and of what they include. */
export function hashes(files = kernelFiles()) {
  const paths = [...new Set(files.flatMap((file) => sourcesOf(file)))].sort();
  return Object.fromEntries(paths.map((path) => [path, sha256(path)]));
}

// Operations whose tests are not named after their folder.
const testsNamed = {
  elementwise: ['elementwise', 'activation'],
  movement: ['slice', 'join', 'shape-ops'],
  optimiser: ['optim'],
};

/** The test files that judge a kernel file; all of them for what all operations share. */
function testsOf(file, tests) {
  const onDevice = tests.filter((path) => !/-plan\.test\.ts$/.test(path));
  const operation = /^native\/ops\/([^/]+)\//.exec(file)?.[1];
  if (!operation) return onDevice;
  const words = testsNamed[operation] ?? [operation.replaceAll('_', '-')];
  return onDevice.filter((path) => words.some((word) => basename(path).startsWith(word)));
}

/** The saved runs on GPUs: those of the emulator prove nothing here. */
function runs() {
  if (!existsSync(results)) return [];
  return readdirSync(results)
    .filter((name) => /^cuda-.*\.json$/.test(name))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(results, name), 'utf8')))
    .filter(({ device }) => device && !device.emulated);
}

/** What of the steps is not as it must be, in words; nothing where all is. */
function openChecks(checks = {}) {
  const steps = ['repeat', 'equality'].filter((name) => {
    const { passed = 0, failed } = checks[name] ?? {};
    return passed === 0 || !failed || Object.keys(failed).length > 0;
  });
  return [...steps, ...sanitizers.filter((name) => checks[name]?.code !== 0)];
}

/**
 * What a run says of a file; undefined where it does not know it. `wrong`: tests that failed there;
 * `open`: what did not run, or did not run to its end, or found something.
 */
export function compare(file, run, hash = sha256) {
  const { device, commit, sources = {}, tests = {}, expected = [], checks } = run;
  if (!(file in sources)) return undefined;
  const judges = testsOf(file, expected);
  const wrong = judges.filter((path) => tests[path]?.failed > 0);
  const unseen = judges.filter((path) => !(tests[path]?.passed > 0) && !wrong.includes(path));
  const open = [
    ...(judges.length === 0 ? ['its tests'] : unseen.map((path) => basename(path))),
    ...openChecks(checks),
  ];
  const changed = sourcesOf(file).filter((path) => sources[path] !== hash(path));
  return { device: device.name, commit, changed, wrong, open };
}

/** The state of one file by what runs say of it. */
export function stateOf(file, seen) {
  const same = seen.filter((run) => run.changed.length === 0);
  const good = same.filter((run) => run.wrong.length + run.open.length === 0);
  const at = ({ commit, device }) => `${commit} (${device})`;
  if (good.length > 0)
    return { file, state: 'verified', text: `GPU-verified at ${good.map(at).join(', ')}` };
  const failed = same.find((run) => run.wrong.length > 0);
  if (failed) {
    const names = failed.wrong.map((path) => basename(path)).join(' ');
    return { file, state: 'failed', text: `fails on a GPU at ${at(failed)}: ${names}` };
  }
  if (same.length > 0) {
    const text = `not verified at ${at(same[0])}: ${same[0].open.join(' ')}`;
    return { file, state: 'open', text };
  }
  if (seen.length > 0) {
    const [old] = seen;
    return { file, state: 'changed', text: `changed since ${at(old)}: ${old.changed.join(' ')}` };
  }
  return { file, state: 'never', text: 'never run on a GPU' };
}

/** One line a kernel file: its state, on which device, since which commit. */
export function verification() {
  const saved = runs();
  return kernelFiles().map((file) =>
    stateOf(file, saved.map((run) => compare(file, run)).filter(Boolean)),
  );
}

function markdown(list) {
  const rows = list.map(({ file, text }) => `| \`${file}\` | ${text} |`);
  return `# Which kernels a GPU has run

Written by \`node scripts/verification.mjs --write\` from \`bench/results/cuda-*.json\`; \`npm test\`
prints the same list. A kernel file counts as verified only if the SHA-256 of the file and of every
project header it includes is the one that was run, all test files of its operation ran and passed
there, and the steps of the suite gave the same bits again, agreed with the emulator and were clean
under memcheck, racecheck, synccheck and initcheck.
What holds without a GPU: each kernel runs in \`npm test\` on the emulator, against float64.

| kernel file | state |
|---|---|
${rows.join('\n')}

## Whether the tests would notice

\`npm run mutants\` plants bugs in the kernels, one at a time (a barrier or a wait less, an index, a
bound or a stride off by one, a tail not masked, ...), and runs the tests of the operation on the
emulator: a bug has died when a test fails, crashes or does not end (arrays in registers are compiled
with checks of their bounds for that, which the emulator's own build does without). Its report,
\`test/cuda/mutants.json\`, names for each bug the test that noticed it;
\`test/cuda/equivalent-mutants.json\` gives the reason where a change changes nothing. \`npm test\`
builds some of the bugs again, of another operation with each commit, and fails if one lives.

| kernel file | SHA-256 then | planted | died | change nothing | now |
|---|---|---:|---:|---:|---|
${tableRows().join('\n')}
`;
}

/** Prints the list; gives false where the page in docs/ is another one. */
export function report() {
  const list = verification();
  const width = Math.max(0, ...list.map(({ file }) => file.length));
  console.log('\nCUDA kernels:');
  for (const { file, text } of list) console.log(`  ${file.padEnd(width)}  ${text}`);
  if (list.length === 0) console.log('  none');
  const current = existsSync(page) && readFileSync(page, 'utf8') === markdown(list);
  if (!current) console.log(`  ${page} is out of date: node scripts/verification.mjs --write`);
  return current;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--write')) writeFileSync(page, markdown(verification()));
  if (!report() && process.argv.includes('--check')) process.exitCode = 1;
}
