// Compile gates: what nvcc made of each kernel file, read from a build (CMakeLists.txt): that of
// development, or the one in the folder SURPRISAL_GATES (`npm run build -- --release` asks for its
// own, of seven architectures). From ptxas: no spills, no serialised wgmma, blocks that fit the
// register file. From PTX, which only the former build has to read: each architecture uses what the
// table says it should, and nothing adds floating-point numbers atomically.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const load = (name: string) => import(`../../scripts/${name}.mjs`);
const { found } = await load('run');
const { nvcc } = await load('build');

const development = 'build/cmake';
const build = process.env.SURPRISAL_GATES || development;
const isDevelopment = build === development;
const kernelFiles = (readdirSync('native', { recursive: true }) as string[])
  .filter((name) => name.endsWith('.cu'))
  .map((name) => join('native', name));
type Architecture = '80' | '90a';

/** Whether a file has code of its own for some architectures; else that is made from shared PTX. */
const hasOwnCode = (file: string) =>
  /\/((cross_entropy|divergence|emo|norm|softmax)\/cuda|cuda\/code)\.cu$|\/cuda_sm90_/.test(file);

/** What a build was asked for: 80, 90a, 75-real, ... */
function architectures(): string[] {
  const cache = join(build, 'CMakeCache.txt');
  const text = existsSync(cache) ? readFileSync(cache, 'utf8') : '';
  return /^SURPRISAL_CUDA_ARCHITECTURES:\w+=(.*)$/m.exec(text)?.[1].split(/[; ]/) ?? [];
}

/** The architectures for which a file has machine code, as surprisal_code() has it. */
function machines(file: string): string[] {
  const real = architectures()
    .filter((wanted) => !wanted.endsWith('-virtual'))
    .map((wanted) => wanted.replace('-real', ''));
  if (file.includes('/cuda_sm90_') && real.includes('90a')) return ['90a'];
  return real.map((arch) => (hasOwnCode(file) ? arch : arch.replace('a', '')));
}

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
// Sums over lanes; 8 or 16 bytes a read, as fits a pack of the dtype.
const reduced = [/shfl\.sync\.bfly/, /ld\.global\S*\.v4\.\w32/, /st\.shared\.v4/];
// Counts of destinations in shared memory, ranks within a warp by ballots.
const sorted = [/atom\.shared\.add\.u32/, /vote\.sync\.ballot/, /ld\.global\S*\.v4\.\w32/];
// Philox multiplies to 64 bits; 16 bytes a store.
const ranked = [/atom\.shared\.add\.u32/, /vote\.sync\.ballot/, /shfl\.sync\.bfly/];
const drawn = [/mul\.(wide|hi)\.u(32|64)/, /st\.global\S*\.v4\.[fu]32/];
// Fast exponentials of tiles from shared memory, and the blocks' barrier.
const solved = [/ex2\.approx\.ftz/, /ld\.shared/, /atom\S*\.add/, /ld\.volatile/];
// By which code.h tells what has been loaded: features, architecture.
const probes = (features: number, arch: number) =>
  [features, arch].map((threads) => new RegExp(`\\.maxntid ${threads}\\b`));
const needed: Record<string, Partial<Record<Architecture, RegExp[]>>> = {
  'native/cuda/code.cu': { 80: probes(64, 64), '90a': probes(96, 128) },
  'native/ops/cast/cuda.cu': { 80: wide },
  'native/ops/cross_entropy/cuda.cu': { 80: rows, '90a': [...rows, ...clusters] },
  'native/ops/cross_entropy/cuda_sums.cu': { 80: [/st\.global\.cs\.v4/, /shfl\.sync\.bfly/] },
  'native/ops/divergence/cuda.cu': { 80: wide, '90a': [...wide, ...clusters] },
  'native/ops/elementwise/cuda.cu': { 80: wide },
  'native/ops/emo/cuda.cu': { 80: wide, '90a': [...wide, ...clusters] },
  'native/ops/emo/cuda_linear_products.cu': {
    80: [/mma\.sync\.aligned\.m16n8k16/, /cp\.async\.cg/],
  },
  'native/ops/emo/cuda_products.cu': { 80: [/mma\.sync\.aligned\.m16n8k16/, /cp\.async\.cg/] },
  'native/ops/indexing/cuda.cu': { 80: wide },
  'native/ops/indexing/cuda_sums.cu': { 80: sorted },
  'native/ops/movement/cuda.cu': { 80: wide },
  'native/ops/norm/cuda.cu': { 80: wide, '90a': [...wide, ...clusters] },
  'native/ops/optimiser/cuda.cu': {
    80: [/ld\.global\.v4\.f32/, /st\.global\.cs\.v4/, /sqrt\.rn\.f32/],
  },
  'native/ops/random/cuda.cu': { 80: drawn },
  'native/ops/reduce/cuda.cu': { 80: reduced },
  'native/ops/sinkhorn/cuda_products.cu': { 80: [...folded, ...solved] },
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
  'native/ops/sinkd/cuda.cu': { 80: [/ld\.shared/, /shfl\.sync\.bfly/] },
  'native/ops/uld/cuda.cu': { 80: ranked },
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

const objectIn = (folder: string, file: string) =>
  join(folder, 'CMakeFiles/kernels.dir', `${file}.o`);
const logOf = (file: string) => `${objectIn(build, file)}.ptxas`;

/** The PTX for each architecture in an object file that is not compressed. */
function ptxIn(object: string): Map<string, string> {
  if (!existsSync(object)) return new Map();
  const texts = readFileSync(object, 'latin1').matchAll(
    /\.version \d+\.\d+\s+\.target sm_(\w+)[^\0]*/g,
  );
  return new Map([...texts].map(([text, arch]) => [arch, text]));
}

// Without nvcc there is nothing to judge; with it, what is not there has not been built.
const why = noKernels();

/** Why kernels cannot be compiled here, or undefined. */
function noKernels(): string | undefined {
  if (!found('cmake')) return 'no CMake';
  return nvcc() ? undefined : 'no nvcc';
}

// One row of the register file a block: registers go to warps in groups of 256.
const registerFile = 65536;
const allocated = (registers: number, threads: number) =>
  Math.ceil(threads / 32) * Math.ceil((registers * 32) / 256) * 256;

describe.skipIf(why !== undefined).each(kernelFiles)('%s', (file) => {
  const isBuilt = existsSync(logOf(file));
  const log = isBuilt ? readFileSync(logOf(file), 'utf8') : '';
  const kernels = compiled(log);
  const all = ptxIn(objectIn(development, file));
  const ptx = (arch: string) => all.get(arch) ?? '';

  test('is compiled for each architecture', () => {
    expect(isBuilt, `${logOf(file)}: npm run build${isDevelopment ? '' : ' -- --release'}`).toBe(
      true,
    );
    const found = new Set(kernels.map(({ arch }) => arch));
    const expected = withoutKernels.includes(file) ? [] : machines(file);
    expect([...found].sort()).toEqual([...expected].sort());
  });

  test('spills nothing and keeps its arrays in registers', () => {
    const bad = kernels.filter(({ name, spilled, stack }) => {
      const limit = stackAllowed.find(([pattern]) => pattern.test(name))?.[1] ?? 0;
      return spilled > 0 || stack > limit;
    });
    const texts = bad.map(
      ({ name, arch, spilled, stack }) =>
        `${name} on sm_${arch}: ${spilled} bytes spilled, ${stack} of stack`,
    );
    expect(texts).toEqual([]);
  });

  test('has no serialised wgmma', () => {
    expect(log).not.toMatch(/C75\d\d|wgmma.*serializ/i);
  });

  // Of a release where nothing was built for development there is no PTX to read.
  const isRead = isDevelopment || all.size > 0;
  test.skipIf(!isRead)('has kernels whose largest block fits the register file', () => {
    for (const { name, arch, registers } of kernels) {
      const threads = blockLimits(ptx(arch) || ptx('80') || ptx('90a')).get(name);
      expect(threads, `${name} in the PTX of ${development}`).toBeDefined();
      const used = allocated(registers, threads!);
      const what = `${registers} registers x ${threads} threads of ${name} on sm_${arch}`;
      expect(used, what).toBeLessThanOrEqual(registerFile);
    }
  });

  // Sums in an order of their own each time would have other bits.
  test('adds no floating-point numbers atomically', () => {
    for (const text of all.values()) expect(text).not.toMatch(/\b(atom|red)\.\S*add\S*\.b?f\d/);
  });

  // Code from the PTX of sm_80 knows no clusters, however new the device.
  test('plans clusters only where there is code with them', () => {
    if (readFileSync(file, 'utf8').includes('has_clusters()'))
      expect([hasOwnCode(file), needed[file]?.['90a']]).toEqual([true, expect.anything()]);
  });

  const wanted = Object.entries(needed[file] ?? {}) as [Architecture, RegExp[]][];
  for (const [arch, patterns] of isDevelopment ? wanted : []) {
    test.each(patterns)(`uses %s on sm_${arch}`, (pattern) => expect(ptx(arch)).toMatch(pattern));
  }
});

if (why) test.skip(`compile gates need CMake and nvcc: ${why}`, () => {});
