// npm run docs: the site, in build/site: every public symbol's comment by typedoc, and the guides of
// docs/. It is made of files only and needs no network, neither to be built nor to be read.
import { existsSync } from 'node:fs';
import { bin, fail, run } from './run.mjs';

if (!existsSync('node_modules/typedoc')) fail('docs: typedoc is not installed: npm ci');
run('scripts/build.mjs', ['ts']);
run('build/ts/bench/readme-tables.js', ['--check']);
run(bin('typedoc'), ['--options', 'typedoc.json']);
console.log('docs: build/site/index.html');
