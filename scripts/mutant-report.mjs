// test/cuda/mutants.json, what became of the bugs that scripts/mutants.mjs planted in each operation's
// kernels, and test/cuda/equivalent-mutants.json, planted bugs that change nothing, with the reason.
// A report holds for the text that it was made of: the SHA-256 of the operation's .cu files and of
// the headers with parts of its kernels.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { key } from './mutators.mjs';

export const reportPath = 'test/cuda/mutants.json';
export const equivalentPath = 'test/cuda/equivalent-mutants.json';

// Not kernels, or what the emulator replaces.
const untouched =
  /^native\/(core|node|cuda\/emulator)\/|\/(op|plan|check)\.h$|^native\/cuda\/(ptx\w*|launch|runtime|fault|tensor_map|row_hold_plan|cublaslt)\.h$/;

export const hashOf = (text) => createHash('sha256').update(text).digest('hex');
const json = (path, otherwise) =>
  existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : otherwise;

/** The operations that have kernels. */
export function operations() {
  const hasKernels = (name) =>
    readdirSync(join('native/ops', name)).some((file) => file.endsWith('.cu'));
  return readdirSync('native/ops').sort().filter(hasKernels);
}

/** The .cu files of an operation and the headers with parts of its kernels. */
export function sourcesOf(operation) {
  const folder = join('native/ops', operation);
  const open = readdirSync(folder)
    .filter((file) => file.endsWith('.cu'))
    .map((file) => join(folder, file));
  const found = new Set();
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (found.has(path)) continue;
    found.add(path);
    for (const [, name] of readFileSync(path, 'utf8').matchAll(/^#include "(.*)"/gm)) {
      const file = join('native', name);
      if (!untouched.test(file) && existsSync(file)) open.push(file);
    }
  }
  return [...found].sort();
}

export const hashes = (operation) =>
  Object.fromEntries(sourcesOf(operation).map((path) => [path, hashOf(readFileSync(path))]));

/** The report: undefined without one, else { operation: { sources, possible, mutants } }. */
export const readReport = () => json(reportPath);

/** Replaced as a whole, so that a run may be killed at any time. */
export function writeEntry(operation, entry) {
  const all = Object.entries({ ...readReport(), [operation]: entry });
  const sorted = Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(`${reportPath}.new`, `${JSON.stringify(sorted, null, 1)}\n`);
  renameSync(`${reportPath}.new`, reportPath);
}

/** Reasons of equivalents by the key of the bug. */
export function equivalents() {
  const list = json(equivalentPath, { mutants: [] }).mutants;
  return new Map(list.map((bug) => [key(bug), bug]));
}

/** What has changed since the operation's report; undefined if it has none. */
export function changedSince(operation, report = readReport()) {
  const then = report?.[operation]?.sources;
  if (!then) return undefined;
  const now = hashes(operation);
  const paths = [...new Set([...Object.keys(then), ...Object.keys(now)])].sort();
  return paths.filter((path) => then[path] !== now[path]);
}

/** Operations whose kernels are not those of the report, as text. */
export function stale(report = readReport()) {
  return operations().flatMap((operation) => {
    const changed = changedSince(operation, report);
    if (!changed) return [`${operation} (no report)`];
    return changed.length > 0 ? [`${operation} (changed: ${changed.join(' ')})`] : [];
  });
}

/** Bugs of the report that the tests of no operation have noticed and nobody called equivalent. */
export function survivors(report = readReport()) {
  const known = equivalents();
  const all = Object.values(report ?? {}).flatMap(({ mutants }) => mutants);
  const dead = new Set(all.filter((bug) => bug.died).map(key));
  const alive = all.filter((bug) => !dead.has(key(bug)) && !known.has(key(bug)));
  return [...new Map(alive.map((bug) => [key(bug), bug])).values()];
}

export const words = (bug) => `${bug.path}:${bug.line} (${bug.in}): ${bug.what}: ${bug.bug}`;

/** Rows of a table in Markdown: what became of what was planted in each file. */
export function tableRows(report = readReport()) {
  const known = equivalents();
  const rows = new Map();
  const rowOf = (path) => {
    if (!rows.has(path)) rows.set(path, { planted: new Set(), died: new Set(), same: new Set() });
    return rows.get(path);
  };
  for (const operation of operations()) {
    const { mutants = [], sources = {} } = report?.[operation] ?? {};
    const now = hashes(operation);
    for (const path of Object.keys(now)) {
      const row = rowOf(path);
      if (sources[path]) row.stale ||= sources[path] !== now[path];
      row.hash = sources[path] ?? row.hash;
    }
    for (const bug of mutants) {
      const row = rowOf(bug.path);
      (known.has(key(bug)) ? row.same : row.planted).add(key(bug));
      if (bug.died) row.died.add(key(bug));
    }
  }
  return [...rows]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([path, row]) => {
      const { planted, died, same, stale: isStale, hash } = row;
      if (planted.size + same.size === 0 && !path.endsWith('.cu')) return [];
      const state = !hash ? 'no report' : isStale ? 'changed since' : 'as it is';
      const text = `\`${hash?.slice(0, 12) ?? ''}\``;
      return `| \`${path}\` | ${hash ? text : ''} | ${planted.size} | ${died.size} | ${same.size} | ${state} |`;
    });
}
