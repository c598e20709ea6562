// npm run bundle: build/surprisal-gpu.tar.xz, everything that the GPU suite needs on a machine that
// has a driver and nothing else: Node, the built addons (real and emulator), compiled benches, tests
// with the test runner, sources to build again from. There: unpack, ./run.sh [parts of npm run gpu].
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { addons, buildForBundle, emulator, nvcc } from './build.mjs';
import { needless } from './gpu-suite.mjs';
import { fail, found, run } from './run.mjs';

// Beside the addons, for a test that has torch in its own process.
const python = join(dirname(emulator), 'python.node');
const limit = 40e6;
const name = 'surprisal-gpu';
const folder = join('build/bundle', name);
const archive = `build/${name}.tar.xz`;

if (process.platform !== 'linux') fail('bundle: made on Linux only');
if (!nvcc()) fail('bundle: needs nvcc, or the addon would have no CUDA');
run('scripts/build.mjs', ['native', 'emulator', 'ts']);
const addon = buildForBundle();

/** Packages that the tests run on, with all they depend on. */
function packages() {
  const seen = new Set();
  const todo = ['vitest', 'fast-check', 'node-addon-api', 'node-api-headers'];
  while (todo.length > 0) {
    const dependency = todo.pop();
    const file = join('node_modules', dependency, 'package.json');
    if (seen.has(dependency) || !existsSync(file)) continue;
    seen.add(dependency);
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(file, 'utf8'));
    todo.push(...Object.keys({ ...dependencies, ...optionalDependencies }));
  }
  // vite asks for it only to minify style sheets.
  return [...seen].filter((dependency) => !dependency.startsWith('lightningcss-'));
}

function copy(path, to = path) {
  const target = join(folder, to);
  mkdirSync(dirname(target), { recursive: true });
  const filter = (file) => !needless.test(file) && !file.endsWith('/node_modules/.vite');
  cpSync(path, target, { recursive: true, dereference: false, verbatimSymlinks: true, filter });
}

/** The program without what only a debugger reads. */
function strip(file) {
  if (found('strip')) execFileSync('strip', [join(folder, file)]);
}

rmSync('build/bundle', { recursive: true, force: true });
const sources = ['native', 'src', 'test', 'bench', 'scripts', 'examples', 'docs', 'dist', 'lib'];
const settings = readdirSync('.').filter((file) =>
  /^(package(-lock)?\.json|tsconfig.*\.json|vitest\.config\.ts|CMakeLists\.txt|README\.md|LICENSE)$/.test(
    file,
  ),
);
for (const path of [...sources, ...settings, 'build/ts', emulator, python]) copy(path);
copy(addon, addons.cmake);
for (const dependency of packages()) copy(join('node_modules', dependency));
copy(process.execPath, 'bin/node');
for (const file of ['bin/node', addons.cmake, emulator, python]) strip(file);

const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).trim();
const changed = git('status', '--porcelain', '--untracked-files=no') ? '+' : '';
writeFileSync(join(folder, 'COMMIT'), `${git('rev-parse', '--short=10', 'HEAD')}${changed}\n`);
const version = execFileSync(nvcc(), ['--version'], { encoding: 'utf8' });
writeFileSync(join(folder, 'COMPILER'), `nvcc ${/V([\d.]+)/.exec(version)?.[1]}\n`);
writeFileSync(
  join(folder, 'run.sh'),
  `#!/bin/sh
# ./run.sh [parts] [--seconds n] [--out folder]: see scripts/gpu.mjs. ./run.sh rebuild compiles the
# addon here with CMake and nvcc, for a machine on which the one that came along does not load.
cd "$(dirname "$0")" || exit 1
PATH="$PWD/bin:$PATH"
if [ "$1" = rebuild ]; then
  include="$PWD/node_modules/node-api-headers/include;$PWD/node_modules/node-addon-api"
  cmake -S . -B build/again -DCMAKE_BUILD_TYPE=Release -DCMAKE_JS_INC="$include" \\
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/build/cmake/Release" &&
    cmake --build build/again --target surprisal --parallel
  exit
fi
exec node scripts/gpu.mjs "$@"
`,
);
chmodSync(join(folder, 'run.sh'), 0o755);

// Both addons hold the CPU's code: side by side, and within the dictionary, it is there once. Jumps
// of x86 repeat when they are absolute.
const first = [emulator, addons.cmake, 'bin/node'].map((file) => join(name, file));
const without = first.map((file) => `--exclude=${file}`);
const tar = join('build/bundle', `${name}.tar`);
execFileSync('tar', ['-C', 'build/bundle', '-cf', tar, ...first]);
execFileSync('tar', ['-C', 'build/bundle', '-rf', tar, ...without, name]);
execFileSync('xz', ['-zf', '--x86', '--lzma2=preset=6e,dict=128MiB', tar]);
renameSync(`${tar}.xz`, archive);
const { size } = statSync(archive);
console.log(`bundle: ${archive} ${(size / 1e6).toFixed(1)} MB`);
if (size > limit) fail(`bundle: more than ${limit / 1e6} MB`);
