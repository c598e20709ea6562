#!/usr/bin/env node
// npm run prebuild [-- --release | --gyp]: what an installed package needs besides its sources, and
// `npm pack` takes: lib/, dist/ for its types, prebuilds/<platform>-<arch>/surprisal.node by prebuildify, headers/ of Node-API for
// `npx surprisal build`. --release: machine code for every architecture that nvcc knows; --gyp: by
// node-gyp, CPU only.
// prebuildify calls this file in place of node-gyp, with 'rebuild': then it builds by scripts/build.mjs
// (CMake, with CUDA where nvcc is found) into the folder that prebuildify looks into.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { addons } from './build.mjs';
import { bin, fail, found, root, run } from './run.mjs';

// Of its own, so that prebuildify moves away a copy and not the build of the clone.
const folder = resolve('build/prebuild');
const options = process.env.SURPRISAL_PREBUILD?.split(' ') ?? process.argv.slice(2);
const isRelease = options.includes('--release');

function rebuild() {
  run('scripts/build.mjs', isRelease ? ['--release'] : ['native', ...options.filter(Boolean)]);
  const made = isRelease
    ? 'build/release/Release/surprisal.node'
    : Object.values(addons).find((file) => existsSync(file));
  const output = join(folder, 'build/Release');
  rmSync(output, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  copyFileSync(made, join(output, 'surprisal.node'));
}

/** The headers that CMakeLists.txt asks for, with their licences. */
function copyHeaders() {
  rmSync('headers', { recursive: true, force: true });
  for (const [name, from] of [
    ['node-api-headers', 'include'],
    ['node-addon-api', '.'],
  ]) {
    const installed = join('node_modules', name);
    const target = join('headers', name);
    mkdirSync(target, { recursive: true });
    for (const file of readdirSync(join(installed, from)).filter((file) => file.endsWith('.h'))) {
      copyFileSync(join(installed, from, file), join(target, file));
    }
    const licence = readdirSync(installed).find((file) => /^licen[cs]e/i.test(file));
    if (licence) cpSync(join(installed, licence), join(target, 'LICENSE'));
  }
}

function prebuild() {
  run('scripts/build.mjs', ['ts']);
  copyHeaders();
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "surprisal" }\n');
  rmSync('prebuilds', { recursive: true, force: true });
  const settings = ['--napi', '--cwd', folder, '--out', root, '--target', process.versions.node];
  if (found('strip')) settings.push('--strip');
  const gyp = join(root, 'scripts/prebuild.mjs');
  run(bin('prebuildify'), [...settings, '--node-gyp', gyp], {
    SURPRISAL_PREBUILD: options.join(' '),
  });
  const made = join('prebuilds', `${process.platform}-${process.arch}`, 'surprisal.node');
  if (!existsSync(made)) fail(`prebuild: prebuildify left no ${made}`);
  console.log(`prebuild: ${made} ${(statSync(made).size / 1e6).toFixed(1)} MB`);
}

if (process.argv[2] === 'rebuild') rebuild();
else prebuild();
