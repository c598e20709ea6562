// npm run check: formats, lint, types under both compilers, import rules, comments of public
// symbols. Every step runs, so that one call shows everything. npm run fix [-- <paths>] mends
// formats, and lint where that is safe.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bin, status } from './run.mjs';

const args = process.argv.slice(2);
const fix = args.includes('--fix');
const paths = args.filter((arg) => !arg.startsWith('--'));

function biome() {
  const how = fix ? ['--write', '--no-errors-on-unmatched'] : ['--error-on-warnings'];
  return status(bin('@biomejs/biome'), ['check', ...how, ...paths]);
}

function clangFormat() {
  const files = readdirSync('native', { recursive: true })
    .map((name) => join('native', name))
    .filter((file) => /\.(h|cuh|cpp|cu)$/.test(file))
    .filter((file) => paths.length === 0 || paths.some((path) => file.startsWith(path)));
  if (files.length === 0) return 0;
  return status(bin('clang-format'), [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...files]);
}

const types = (compiler) => () => status(bin(compiler, 'tsc'), ['-p', 'tsconfig.json']);

const formats = { 'format and lint (biome)': biome, 'format (clang-format)': clangFormat };
const rules = {
  'types (TypeScript 6)': types('typescript'),
  'types (TypeScript 7)': types('typescript-7'),
  'import rules': () => status('scripts/check-imports.mjs', []),
  'comments of public symbols': () => status('scripts/check-docs.mjs', []),
};

for (const [name, step] of Object.entries(fix ? formats : { ...formats, ...rules })) {
  const start = performance.now();
  const ok = step() === 0;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name} ${seconds} s`);
  if (!ok) process.exitCode = 1;
}
