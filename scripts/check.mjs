// npm run check: formats, lint, types under both compilers, import rules. npm run fix mends what
// tools can mend. Every step runs, so that one call shows everything.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bin, status } from './run.mjs';

const fix = process.argv.includes('--fix');

function clangFormat() {
  const files = readdirSync('native', { recursive: true })
    .filter((name) => /\.(h|cuh|cpp|cu)$/.test(name))
    .map((name) => join('native', name));
  if (files.length === 0) return 0;
  return status(bin('clang-format'), [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...files]);
}

const steps = {
  'format and lint (biome)': () =>
    status(bin('@biomejs/biome'), ['check', ...(fix ? ['--write'] : ['--error-on-warnings'])]),
  'format (clang-format)': clangFormat,
  'types (TypeScript 6)': () => status(bin('typescript', 'tsc'), ['-p', 'tsconfig.json']),
  'types (TypeScript 7)': () => status(bin('typescript-7', 'tsc'), ['-p', 'tsconfig.json']),
  'import rules': () => status('scripts/check-imports.mjs', []),
};

const failed = [];
for (const [name, step] of Object.entries(steps)) {
  if (fix && !name.startsWith('format')) continue;
  const start = performance.now();
  const ok = step() === 0;
  console.log(
    `${ok ? 'ok  ' : 'FAIL'} ${name} ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
  if (!ok) failed.push(name);
}
if (failed.length > 0) process.exitCode = 1;
