// node scripts/verification.mjs [--write | --check]: for each CUDA kernel file, whether a GPU has run
// it as it is now. A file counts as verified by a saved run (bench/results/cuda-*.json) if the
// SHA-256 of the file and of every project header it includes is that of the run, and every test
// of its operation passed there. Below it what scripts/mutants.mjs planted in each file and what
// became of it. --write puts both into docs/verification.md; --check fails where that file says
// something else.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { tableRows } from './mutant-report.mjs';
import './run.mjs';

const page = 'docs/verification.md';
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

/** The files of a run's tests that judge a kernel file; all of them for what all operations share. */
function testsOf(file, tests) {
  const operation = /^native\/ops\/([^/]+)\//.exec(file)?.[1];
  if (!operation) return tests;
  const words = testsNamed[operation] ?? [operation.replaceAll('_', '-')];
  return tests.filter((path) => words.some((word) => basename(path).startsWith(word)));
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

/** What a run says of a file; undefined where it has not run its tests. */
function compare(file, { device, commit, sources = {}, tests = {} }) {
  const judges = testsOf(file, Object.keys(tests)).map((path) => tests[path]);
  if (!(file in sources) || !judges.some((t) => t.passed + t.failed > 0)) return undefined;
  const changed = sourcesOf(file).filter((path) => sources[path] !== sha256(path));
  const passed = judges.every((t) => t.failed === 0);
  return { device: device.name, commit, changed, passed };
}

/** One line a kernel file: its state, on which device, since which commit. */
export function verification() {
  const saved = runs();
  return kernelFiles().map((file) => {
    const seen = saved.map((run) => compare(file, run)).filter(Boolean);
    const good = seen.filter((run) => run.changed.length === 0 && run.passed);
    if (good.length > 0) {
      const where = good.map(({ commit, device }) => `${commit} (${device})`).join(', ');
      return { file, state: 'verified', text: `GPU-verified at ${where}` };
    }
    const failed = seen.find((run) => run.changed.length === 0);
    if (failed) {
      const text = `fails on a GPU at ${failed.commit} (${failed.device})`;
      return { file, state: 'failed', text };
    }
    const [old] = seen;
    if (old) {
      const text = `changed since ${old.commit} (${old.device}): ${old.changed.join(' ')}`;
      return { file, state: 'changed', text };
    }
    return { file, state: 'never', text: 'never run on a GPU' };
  });
}

function markdown(list) {
  const rows = list.map(({ file, text }) => `| \`${file}\` | ${text} |`);
  return `# Which kernels a GPU has run

Written by \`node scripts/verification.mjs --write\` from \`bench/results/cuda-*.json\`; \`npm test\`
prints the same list. A kernel file counts as verified only if the SHA-256 of the file and of every
project header it includes is the one that was run, and all tests of its operation passed there.
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
