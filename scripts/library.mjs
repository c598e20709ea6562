// node scripts/library.mjs: lib/, what an installed package runs: the modules of src/ in three files, for
// finding, opening and compiling 130 of them takes longer than all that they do. Types stay in dist/.
// Programs of this repository use dist/ throughout, so that there is one copy of the library.
import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { rolldown } from 'rolldown';
import { root } from './run.mjs';

// All in lib/ itself: loader.ts finds the package's folder one above its own.
const entries = {
  index: 'src/index.ts',
  tfjs: 'src/adapters/tfjs.ts',
  onnx: 'src/adapters/onnx.ts',
  cli: 'src/cli/main.ts',
};
const below = (id) => relative(join(root, 'src'), id).split(sep).join('/');
// The command line has to run where the addon, which the library loads, is missing.
const groups = [
  { name: 'loader', test: (id) => /^(loader|expect)\.ts$/.test(below(id)), priority: 1 },
  { name: 'library', test: (id) => /^(?!\.\.|cli\/|adapters\/)/.test(below(id)) },
];

// Beside the old one, which serves until the new one is whole.
const fresh = 'build/lib.new';
const old = 'build/lib.old';
for (const folder of [fresh, old]) rmSync(folder, { recursive: true, force: true });
const bundle = await rolldown({
  input: entries,
  platform: 'node',
  tsconfig: false,
  preserveEntrySignatures: 'allow-extension', // entries are left with nothing but their exports
});
await bundle.write({
  dir: fresh,
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: '[name].js',
  codeSplitting: { groups, includeDependenciesRecursively: false },
  comments: false,
});
await bundle.close();
if (existsSync('lib')) renameSync('lib', old);
renameSync(fresh, 'lib');
rmSync(old, { recursive: true, force: true });
const files = readdirSync('lib').filter((name) => name.endsWith('.js'));
const bytes = files.reduce((sum, name) => sum + statSync(join('lib', name)).size, 0);
console.log(`library: ${files.length} files, ${(bytes / 1e3).toFixed(0)} kB`);
