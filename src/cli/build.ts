// Compiles the addon where the package lies, by CMake alone: what npm installed is enough, since the
// package brings its sources and the headers of Node-API. In a clone `npm run build` does the same
// by cmake-js or node-gyp; the result lies where the loader looks first, either way.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { root } from '../loader.js';
import { countOf, parsed, UsageError } from './options.js';

export const buildHelp = `surprisal build [--cuda | --cpu] [--arch 80,90a] [--jobs n] [--print]
  Compiles the addon here, with CMake, g++ and make; with CUDA where nvcc is found (--cuda: or fail;
  --cpu: never). --arch lists compute capabilities, or 'native' for this machine's device; --print
  shows the commands only.`;

const known = {
  cuda: { type: 'boolean' },
  cpu: { type: 'boolean' },
  arch: { type: 'string' },
  jobs: { type: 'string' },
  print: { type: 'boolean' },
} as const;

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function found(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, program)).find(isProgram);
}

function nvcc(): string | undefined {
  return process.env.CUDACXX ?? found('nvcc') ?? ['/usr/local/cuda/bin/nvcc'].find(isProgram);
}

/** Compute capabilities as CMakeLists.txt takes them: '90a', '80', '80-virtual'. */
function architectures(text: string): string[] {
  const list = text === 'native' ? nativeArchitectures() : text.split(/[,;\s]+/).filter(Boolean);
  const wrong = list.find((arch) => !/^\d{2,3}a?(-real|-virtual)?$/.test(arch));
  if (wrong !== undefined || list.length === 0) {
    throw new UsageError(
      `expected --arch to be compute capabilities such as 80 or 90a, or native, got '${wrong ?? text}'`,
    );
  }
  return list;
}

/** Of the devices that the driver lists. */
function nativeArchitectures(): string[] {
  const query = ['--query-gpu=compute_cap', '--format=csv,noheader'];
  const { stdout, status } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  const lines = status === 0 ? stdout.split('\n').filter((line) => /^\d+\.\d+/.test(line)) : [];
  if (lines.length === 0) {
    throw new UsageError('--arch native: nvidia-smi lists no device here; name it, such as 90a');
  }
  const names = lines.map((line) => line.trim().replace('.', ''));
  // Kernels for Hopper use instructions that only its own architecture has.
  return [...new Set(names.map((name) => (name === '90' ? '90a' : name)))];
}

/** Headers of Node-API and of node-addon-api: in the package, or installed beside it in a clone. */
function headers(): string[] {
  const packed = ['node-api-headers', 'node-addon-api'].map((name) => join(root, 'headers', name));
  const installed = ['node-api-headers/include', 'node-addon-api'].map((name) =>
    join(root, 'node_modules', name),
  );
  const folders = [packed, installed].find((pair) => pair.every((folder) => existsSync(folder)));
  // Where there are none, CMake's compiler says which one it wanted.
  return folders ?? packed;
}

function missingTools(wantsCuda: boolean): string[] {
  const compilers = [process.env.CXX ?? '', 'c++', 'g++', 'clang++'].filter(Boolean);
  return [
    ...(found('cmake') ? [] : ['CMake (apt install cmake, or pip install cmake)']),
    ...(compilers.some((name) => isProgram(name) || found(name)) ? [] : ['a C++ compiler (g++)']),
    ...(found('make') || found('ninja') ? [] : ['make']),
    ...(!wantsCuda || nvcc() ? [] : ['nvcc of CUDA 13 (set CUDACXX to it if it is not on PATH)']),
  ];
}

const work = join(root, 'build', 'local');
const output = join(root, 'build', 'cmake', 'Release');

interface Plan {
  print: boolean;
  /** What this machine lacks. */
  missing: string[];
  lines: string[][];
}

function planOf(args: readonly string[]): Plan {
  const { values, positionals } = parsed(args, known);
  if (positionals.length > 0)
    throw new UsageError(`build: expected no words, got '${positionals[0]}'`);
  if (values.cuda && values.cpu) throw new UsageError('expected --cuda or --cpu, got both');
  if (values.cpu && values.arch !== undefined)
    throw new UsageError('expected --arch without --cpu: it is about CUDA');
  const jobs = countOf('jobs', values.jobs) ?? availableParallelism();
  const wantsCuda = values.cuda === true || values.arch !== undefined;
  const definitions = [
    'CMAKE_BUILD_TYPE=Release',
    `CMAKE_JS_INC=${headers().join(';')}`,
    `CMAKE_LIBRARY_OUTPUT_DIRECTORY=${output}`,
    `SURPRISAL_CUDA=${wantsCuda ? 'ON' : values.cpu ? 'OFF' : 'AUTO'}`,
  ];
  if (values.arch !== undefined) {
    definitions.push(`SURPRISAL_CUDA_ARCHITECTURES=${architectures(values.arch).join(';')}`);
  }
  const compiler = values.cpu ? undefined : nvcc();
  if (compiler) definitions.push(`CMAKE_CUDA_COMPILER=${compiler}`);
  return {
    print: values.print === true,
    missing: missingTools(wantsCuda),
    lines: [
      ['cmake', '-S', root, '-B', work, ...definitions.map((definition) => `-D${definition}`)],
      ['cmake', '--build', work, '--target', 'surprisal', '--parallel', String(jobs)],
    ],
  };
}

const quoted = (word: string) => (/^[\w./:=+-]+$/.test(word) ? word : `'${word}'`);

export async function build(args: readonly string[]): Promise<number> {
  const { print, missing, lines } = planOf(args);
  if (!print && missing.length > 0) {
    process.stderr.write(`build: not found here: ${missing.join('; ')}\n`);
    return 1;
  }
  for (const [program, ...rest] of lines) {
    process.stdout.write(`${[program, ...rest].map(quoted).join(' ')}\n`);
    if (print) continue;
    const { status, error } = spawnSync(program, rest, { stdio: 'inherit' });
    if (error) throw error;
    if (status !== 0) {
      process.stderr.write(`build: ${program} ended with ${status}; its messages are above\n`);
      return 1;
    }
  }
  if (!print) process.stdout.write(`built ${join(output, 'surprisal.node')}\n`);
  return 0;
}
