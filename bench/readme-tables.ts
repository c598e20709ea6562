// Rewrites the tables of README.md and docs/benchmarks.md from bench/results/: everything between `<!-- bench <op> -->`
// and `<!-- /bench -->`. With --check it changes nothing and fails where one is stale.
// Kernels that have changed since they were measured are named either way.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tablesOf } from './harness/columns.js';
import { type Measured, type Results, resultsFolder } from './harness/results.js';
import { root, sourceHashes } from './harness/sources.js';
import { markdown } from './harness/table.js';

const pages = ['README.md', 'docs/benchmarks.md'];

function measured(op: string): Measured[] {
  return readdirSync(resultsFolder())
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(resultsFolder(), name), 'utf8')) as Results)
    .flatMap((results) => results[op] ?? []);
}

function table(op: string, { machine, peer, date, commit, rows }: Measured): string {
  const tables = tablesOf(op, 'readme', rows).map(({ heads, cells }) => markdown(heads, cells));
  const where = `${machine.cpu}, ${machine.threads} threads, ${machine.isa}, Node ${machine.node}`;
  return `${tables.join('\n\n')}\n\n${where}, ${peer}; ${date}, commit ${commit}.`;
}

function stale({ sources }: Measured): string[] {
  const folders = [...new Set(Object.keys(sources).map((path) => path.replace(/\/[^/]*$/, '')))];
  const now = sourceHashes(folders);
  return Object.keys({ ...sources, ...now }).filter((path) => sources[path] !== now[path]);
}

function rewritten(text: string): string {
  return text.replace(
    /(<!-- bench ([a-z-]+) -->\n)[\s\S]*?(<!-- \/bench -->)/g,
    (_, head: string, op: string, foot: string) => {
      const all = measured(op);
      if (all.length === 0) {
        console.error(`bench/results has no '${op}': npm run bench -- ${op} --save`);
        process.exitCode = 1;
      }
      for (const one of all) {
        const changed = stale(one);
        if (changed.length)
          console.warn(`${op}: changed since it was measured: ${changed.join(' ')}`);
      }
      return [head, ...all.map((one) => `${table(op, one)}\n`), foot].join('');
    },
  );
}

for (const page of pages) {
  const before = readFileSync(join(root, page), 'utf8');
  const after = rewritten(before);
  if (before === after) console.log(`${page}: tables are those of bench/results`);
  else if (process.argv.includes('--check')) {
    console.error(
      `${page}: tables differ from bench/results; run node build/ts/bench/readme-tables.js`,
    );
    process.exitCode = 1;
  } else {
    writeFileSync(join(root, page), after);
    console.log(`${page}: tables rewritten from bench/results`);
  }
}
