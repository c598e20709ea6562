// Compile gates: what nvcc made of each kernel file, read from the build (CMakeLists.txt).
// From ptxas: no spills, no serialised wgmma, blocks that fit the register file. From PTX: each
// architecture uses what the table says it should.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const build = 'build/cmake/CMakeFiles';
const kernelFiles = (readdirSync('native', { recursive: true }) as string[])
  .filter((name) => name.endsWith('.cu'))
  .map((name) => join('native', name));
type Architecture = '80' | '90a';

/** Whether a file has other code for sm_90a; else sm_90's is made from the PTX of sm_80. */
const hasOwnCode = (file: string) =>
  /\/(cross_entropy|norm|softmax)\/cuda\.cu$|\/cuda_sm90_/.test(file);
const ptxFor = (arch: string) => (arch === '90' ? '80' : arch);

/** Instructions that a file's PTX must contain, and why. */
const multiplied = [/mma\.sync\.aligned\.m16n8k16/, /ldmatrix.*\.trans/, /cp\.async\.cg/];
// The same of rows by k, and the exponentials of what was multiplied.
const folded = [/mma\.sync\.aligned\.m16n8k16/, /ldmatrix/, /cp\.async\.cg/, /ex2\.approx/];
// 16 bytes an access.
const wide = [/ld\.global\S*\.v4\.\w32|cp\.async\.cg\.shared\.global/, /st\.global\S*\.v4\.\w32/];
const clusters = [/mapa\.shared::cluster/, /barrier\.cluster\.arrive/, /barrier\.cluster\.wait/];
const exponentials = /ex2\.approx/;
const warpgroups = [/wgmma\.mma_async/, /cp\.async\.bulk\.tensor\.2d.*multicast/s, /setmaxnreg/];
const rows = [
  ...wide,
  /cp\.async\.cg/,
  /ld\.global\.L1::no_allocate\.v4/,
  /ex2\.approx\.ftz/,
  /cvt\.rn\.bf16x2/,
];
// Fast exponentials of tiles from shared memory, and the blocks' barrier.
const solved = [/ex2\.approx\.ftz/, /ld\.shared/, /atom\S*\.add/, /ld\.volatile/];
const needed: Record<string, Partial<Record<Architecture, RegExp[]>>> = {
  'native/ops/cast/cuda.cu': { 80: wide },
  'native/ops/cross_entropy/cuda.cu': { 80: rows, '90a': [...rows, ...clusters] },
  'native/ops/divergence/cuda.cu': { 80: wide },
  'native/ops/elementwise/cuda.cu': { 80: wide },
  'native/ops/movement/cuda.cu': { 80: wide },
  'native/ops/norm/cuda.cu': { 80: wide, '90a': [...wide, ...clusters] },
  'native/ops/sinkhorn/cuda_solve_f32.cu': { 80: solved },
  'native/ops/softmax/cuda.cu': { 80: wide, '90a': [...wide, ...clusters] },
  'native/ops/linear_cross_entropy/cuda_products_bf16.cu': { 80: multiplied },
  'native/ops/linear_cross_entropy/cuda_products_f16.cu': { 80: multiplied },
  'native/ops/linear_cross_entropy/cuda_slopes_bf16.cu': { 80: folded },
  'native/ops/linear_cross_entropy/cuda_slopes_f16.cu': { 80: folded },
  'native/ops/linear_cross_entropy/cuda_states_bf16.cu': { 80: folded },
  'native/ops/linear_cross_entropy/cuda_states_f16.cu': { 80: folded },
  'native/ops/linear_cross_entropy/cuda_stored.cu': { 80: wide },
  'native/ops/linear_cross_entropy/cuda_sm90_folds_bf16.cu': {
    '90a': [...warpgroups, exponentials],
  },
  'native/ops/linear_cross_entropy/cuda_sm90_folds_f16.cu': {
    '90a': [...warpgroups, exponentials],
  },
  'native/ops/linear_cross_entropy/cuda_sm90_products_bf16.cu': { '90a': warpgroups },
  'native/ops/linear_cross_entropy/cuda_sm90_products_f16.cu': { '90a': warpgroups },
  'native/ops/matmul/cuda_bf16.cu': { 80: multiplied },
  'native/ops/matmul/cuda_f16.cu': { 80: multiplied },
  'native/ops/matmul/cuda_sm90_bf16.cu': { '90a': warpgroups },
  'native/ops/matmul/cuda_sm90_f16.cu': { '90a': warpgroups },
};

/** Host code that launches the kernels of other files. */
const withoutKernels = [
  'native/ops/linear_cross_entropy/cuda.cu',
  'native/ops/linear_cross_entropy/cuda_pass.cu',
  'native/ops/sinkhorn/cuda.cu',
];

/** Bytes of local memory that kernels of these names may use. */
const stackAllowed: [RegExp, number][] = [
  // CUDA's sin and cos keep the digits of 2/pi that a large argument needs there.
  [/elementwise_\w+_kernel\w+?\d(Sin|Cos)/, 40],
];

/** An anonymous namespace carries a hash of the compilation in its name. */
const plain = (name: string) => name.replace(/\d+_GLOBAL__N__[0-9a-f]{8}_\d+_.+?_[0-9a-f]{8}/, '');

interface Kernel {
  name: string;
  arch: string;
  stack: number;
  spilled: number;
  registers: number;
}

/** What `ptxas -v` reports of each kernel in a file. */
function compiled(log: string): Kernel[] {
  const entry =
    /Compiling entry function '(\S+)' for 'sm_(\w+)'[\s\S]*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g;
  return [...log.matchAll(entry)].map(([, name, arch, stack, stores, loads, registers]) => ({
    name: plain(name),
    arch,
    stack: Number(stack),
    spilled: Number(stores) + Number(loads),
    registers: Number(registers),
  }));
}

/** The most threads a block that each kernel in PTX may be launched with. */
function blockLimits(ptx: string): Map<string, number> {
  const entries = [...ptx.matchAll(/\.entry (\w+)\([\s\S]*?\)([\s\S]*?)\{/g)];
  return new Map(
    entries.map(([, name, directives]) => [
      plain(name),
      Number(/\.maxntid (\d+)/.exec(directives)?.[1] ?? 1024),
    ]),
  );
}

const logOf = (file: string) => join(build, 'kernels.dir', `${file}.o.ptxas`);
const objectOf = (file: string) => join(build, 'kernels.dir', `${file}.o`);

/** The PTX for each architecture in an object file. */
function ptxIn(file: string): Map<string, string> {
  const texts = readFileSync(objectOf(file), 'latin1').matchAll(
    /\.version \d+\.\d+\s+\.target sm_(\w+)[^\0]*/g,
  );
  return new Map([...texts].map(([text, arch]) => [arch, text]));
}

const built = kernelFiles.every((file) => existsSync(logOf(file)));

// One row of the register file a block: registers go to warps in groups of 256.
const registerFile = 65536;
const allocated = (registers: number, threads: number) =>
  Math.ceil(threads / 32) * Math.ceil((registers * 32) / 256) * 256;

describe.skipIf(!built).each(kernelFiles)('%s', (file) => {
  const log = built ? readFileSync(logOf(file), 'utf8') : '';
  const all = built ? ptxIn(file) : new Map<string, string>();
  const ptx = (arch: string) => all.get(arch) ?? '';

  test('is compiled for each architecture', () => {
    const found = new Set(compiled(log).map(({ arch }) => arch));
    const expected = file.includes('/cuda_sm90_')
      ? ['90a']
      : ['80', hasOwnCode(file) ? '90a' : '90'];
    expect([...found].sort()).toEqual(withoutKernels.includes(file) ? [] : expected);
  });

  test('spills nothing and keeps its arrays in registers', () => {
    for (const { name, arch, spilled, stack } of compiled(log)) {
      const limit = stackAllowed.find(([pattern]) => pattern.test(name))?.[1] ?? 0;
      expect(spilled, `bytes spilled by ${name} on sm_${arch}`).toBe(0);
      expect(stack, `bytes of stack of ${name} on sm_${arch}`).toBeLessThanOrEqual(limit);
    }
  });

  test('has no serialised wgmma', () => {
    expect(log).not.toMatch(/C75\d\d|wgmma.*serializ/i);
  });

  test('has kernels whose largest block fits the register file', () => {
    for (const { name, arch, registers } of compiled(log)) {
      const threads = blockLimits(ptx(ptxFor(arch))).get(name);
      expect(threads, `${name} in the PTX of ${arch}`).toBeDefined();
      const used = allocated(registers, threads!);
      const what = `${registers} registers x ${threads} threads of ${name} on sm_${arch}`;
      expect(used, what).toBeLessThanOrEqual(registerFile);
    }
  });

  const wanted = Object.entries(needed[file] ?? {}) as [Architecture, RegExp[]][];
  for (const [arch, patterns] of wanted) {
    test.each(patterns)(`uses %s on sm_${arch}`, (pattern) => expect(ptx(arch)).toMatch(pattern));
  }
});

if (!built) test.skip('compile gates need CMake and nvcc, and were not built here', () => {});
