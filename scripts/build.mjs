// Builds the addon and the TypeScript:
//   node scripts/build.mjs [native] [emulator] [ts] [second] [--cmake | --gyp] [--release]
// The addon goes by cmake-js where there is CMake (with CUDA where there are .cu files and nvcc),
// else by node-gyp, CPU only. The emulator's addon needs CMake. Nothing downloads headers. Nothing
// is done twice: what is newer than its sources stays.
// --release compiles for every architecture that nvcc 13 knows, into build/release, and runs the
// compile gates on it, which also read the PTX of the build for development.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { bin, fail, found, run } from './run.mjs';

export const addons = {
  cmake: 'build/cmake/Release/surprisal.node',
  gyp: 'build/Release/surprisal.node',
};
/** The addon whose `cuda` device is the kernel emulator; the loader takes it only by name. */
export const emulator = 'build/emulator/surprisal.node';

/** Newest modification time below the given files and folders, 0 for those that are absent. */
function newest(paths) {
  let latest = 0;
  for (const path of paths.filter((path) => existsSync(path))) {
    const stat = statSync(path);
    const inside = stat.isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [];
    latest = Math.max(latest, stat.mtimeMs, newest(inside));
  }
  return latest;
}

const nativeSources = ['native', 'CMakeLists.txt', 'binding.gyp', 'package-lock.json'];

// The stamp is dated when the build began: what was saved while it ran is newer.
const stampOf = (addon) => `${addon}.stamp`;

function upToDate(addon) {
  if (!existsSync(addon) || !existsSync(stampOf(addon))) return false;
  return statSync(stampOf(addon)).mtimeMs > newest(nativeSources);
}

/** One build at a time in this folder: two at once would write the same files. */
async function lock() {
  mkdirSync('build', { recursive: true });
  const path = 'build/lock';
  for (let told = false; ; told = true) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      process.on('exit', () => rmSync(path, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = Number(readFileSync(path, { encoding: 'utf8', flag: 'a+' }));
    if (owner && !alive(owner)) rmSync(path, { force: true });
    else if (!told) console.log(`build: waiting for process ${owner}, which is building here`);
    await setTimeout(300);
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** NVIDIA's compiler, or undefined. */
export const nvcc = () =>
  process.env.CUDACXX ?? (found('nvcc') || found('/usr/local/cuda/bin/nvcc'));

/** The build system this machine can use, and why. */
function pick() {
  if (!found('cmake')) return { system: 'gyp', why: 'no CMake: node-gyp, CPU only' };
  if (!nvcc()) return { system: 'cmake', why: 'CMake found, no nvcc: cmake-js, CPU only' };
  return { system: 'cmake', why: 'CMake and nvcc found: cmake-js, CPU and CUDA' };
}

/** Node's own headers where they are installed, else the few files node-gyp asks for. */
function nodeHeaders() {
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, 'include/node/common.gypi'))) return prefix;
  const include = resolve('build/headers/include');
  if (!existsSync(join(include, 'node/common.gypi'))) {
    rmSync(join(include, 'node'), { recursive: true, force: true });
    mkdirSync(join(include, 'node'), { recursive: true });
    const headers = resolve('node_modules/node-api-headers/include');
    for (const name of readdirSync(headers))
      symlinkSync(join(headers, name), join(include, 'node', name));
    writeFileSync(join(include, 'node/common.gypi'), minimalCommonGypi);
  }
  return dirname(include);
}

const minimalCommonGypi = `{
  'variables': { 'enable_lto%': 'false', 'python%': 'python3' },
  'target_defaults': {
    'default_configuration': 'Release',
    'configurations': { 'Release': {} },
    'cflags': ['-fPIC'],
    'conditions': [['OS=="mac"', { 'xcode_settings': { 'ALWAYS_SEARCH_USER_PATHS': 'NO' } }]],
  },
}
`;

/** Runs CMake's build of one target. */
function cmake(target, folder = 'build/cmake', definitions = []) {
  const jobs = String(availableParallelism());
  const options = ['-l', 'error', '-O', folder, '-p', jobs, '--CDSURPRISAL_WERROR=ON'];
  run(bin('cmake-js'), ['build', '--target', target, ...options, ...definitions]);
}

function gyp(definitions = []) {
  const options = ['--nodedir', nodeHeaders(), '--loglevel', 'error'];
  run(bin('node-gyp'), ['configure', ...options, '--', '-Dwerror=1', ...definitions]);
  run(bin('node-gyp'), ['build', '--jobs', String(availableParallelism()), ...options]);
}

/** Builds by the given system, when anything changed since; says what it does. */
function buildNative({ system, why, definitions }, addon = addons[system]) {
  if (upToDate(addon)) return console.log(`native: ${addon} is up to date`);
  console.log(`native: ${why}`);
  const start = new Date();
  if (system === 'cmake') cmake('surprisal');
  else gyp(definitions);
  if (!existsSync(addons[system])) fail(`native: the build left no ${addons[system]}`);
  if (addon !== addons[system]) {
    mkdirSync(dirname(addon), { recursive: true });
    renameSync(addons[system], addon);
  }
  stamp(addon, start);
}

function stamp(addon, start) {
  writeFileSync(stampOf(addon), '');
  utimesSync(stampOf(addon), start, start);
  console.log(`native: ${addon} ${since(start)}`);
}

/** Why there can be no emulator here, or undefined. */
export function noEmulator() {
  if (process.platform !== 'linux') return 'the kernel emulator is built on Linux only';
  if (!found('cmake')) return 'no CMake, which builds the kernel emulator';
  return undefined;
}

function buildEmulator() {
  const why = noEmulator();
  if (why) return console.log(`native: ${why}`);
  if (upToDate(emulator)) return console.log(`native: ${emulator} is up to date`);
  console.log('native: CUDA kernels as C++ on the emulator');
  const start = new Date();
  cmake('emulator');
  if (!existsSync(emulator)) fail(`native: the build left no ${emulator}`);
  stamp(emulator, start);
}

/**
 * Machine code for what CUDA 13 supports, and PTX for what comes after. Nothing ends it early: what
 * ptxas says of all files is judged at the end.
 */
function buildRelease() {
  if (!found('cmake') || !nvcc()) fail('native: --release needs CMake and nvcc');
  const real = ['75', '80', '86', '89', '90a', '100', '120'].map((arch) => `${arch}-real`);
  const start = new Date();
  cmake('surprisal', 'build/release', [
    `--CDSURPRISAL_CUDA_ARCHITECTURES=${[...real, '80-virtual'].join(';')}`,
    '--CDSURPRISAL_CUDA=ON',
    '--CDSURPRISAL_COMPRESS=ON',
    '--CDSURPRISAL_SPILLS=ON',
  ]);
  const addon = 'build/release/Release/surprisal.node';
  const megabytes = (statSync(addon).size / 1e6).toFixed(1);
  console.log(`native: ${addon} ${megabytes} MB ${since(start)}`);
  run(bin('vitest'), ['run', 'test/cuda/gates.test.ts'], {
    SURPRISAL_GATES: 'build/release',
    SURPRISAL_NATIVE: resolve(addon),
  });
}

/**
 * The addon of the bundle: machine code for Hopper, and PTX from which a driver makes that of other
 * devices. What else the compile gates read would be more than a fifth of it.
 */
export function buildForBundle() {
  const addon = 'build/bundled/Release/surprisal.node';
  if (upToDate(addon)) return addon;
  const start = new Date();
  cmake('surprisal', 'build/bundled', [
    '--CDSURPRISAL_CUDA_ARCHITECTURES=80-virtual;90a-real',
    '--CDSURPRISAL_CUDA=ON',
  ]);
  stamp(addon, start);
  return addon;
}

/**
 * The build that `pick` does not take, out of the loader's way: tests compare the two. Unoptimised,
 * in a third of the time: no bit of a result may depend on that either.
 */
function buildSecond() {
  if (pick().system !== 'cmake' || !found('python3') || !found('make')) {
    return console.log('native: one build system here, so no second build to compare');
  }
  buildNative(
    { system: 'gyp', why: 'node-gyp as well, to compare', definitions: ['-Doptimise=-O0'] },
    'build/second/surprisal.node',
  );
}

const since = (start) => `in ${((Date.now() - start) / 1000).toFixed(1)} s`;

export function buildTypeScript() {
  const start = new Date();
  mkdirSync('build/ts', { recursive: true });
  run(bin('typescript', 'tsc'), ['--build', 'tsconfig.programs.json']);
  if (!lstatSync('build/ts/src', { throwIfNoEntry: false })) {
    symlinkSync(
      process.platform === 'win32' ? resolve('dist') : '../../dist',
      'build/ts/src',
      'junction',
    );
  }
  run('scripts/library.mjs', []);
  console.log(`TypeScript: dist/ and lib/ ${since(start)}`);
}

async function main(args) {
  await lock();
  if (args.includes('--release')) return buildRelease();
  const asked = ['cmake', 'gyp'].find((system) => args.includes(`--${system}`));
  const choice = asked ? { system: asked, why: `${asked}, as asked` } : pick();
  const parts = args.filter((arg) => !arg.startsWith('--'));
  const wants = (part) => parts.length === 0 || parts.includes(part);
  if (wants('native')) {
    // The loader would not know which of two development builds is the newer one.
    for (const [system, file] of Object.entries(addons)) {
      if (system !== choice.system) rmSync(file, { force: true });
    }
    buildNative(choice);
  }
  if (parts.includes('emulator')) buildEmulator();
  if (wants('ts')) buildTypeScript();
  if (parts.includes('second')) buildSecond();
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(process.argv.slice(2));
