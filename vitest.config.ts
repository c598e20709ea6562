import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';

// What a run on a device (SURPRISAL_TEST_DEVICE) leaves out, and why.
const onlyOnCpu = {
  'test/ops/*-fences.test.ts': 'guard bytes around typed arrays',
  'test/ops/betti-{fuzz,large,laws,memory}.test.ts': 'of pairs, which are found on the host',
  'test/ops/{cl-dice,skeletonize,soft-skeleton}.test.ts': 'have no CUDA form yet',
  'test/ops/{barcode-losses,focal-loss,overlap,topograph-loss}.test.ts': 'have no CUDA form yet',
  'test/ops/{image-threads,region-wise-loss,warping-loss}.test.ts': 'have no CUDA form yet',
  'test/ops/segmentation-rules.test.ts': 'most of the losses have no CUDA form yet',
  'test/ops/emd.test.ts': 'have no CUDA form yet',
  'test/ops/{cdist,channel-norm,convolution,general-golden,interpolate,order,pool}.test.ts':
    'have no CUDA form yet',
  'test/ops/sinkhorn-{init,unrolled}.test.ts': 'have no CUDA form yet',
  'test/core/options.test.ts': 'half of its operations have no CUDA form yet',
  'test/models/segmentation.test.ts': 'convolutions have no CUDA form yet',
};
const isOnDevice = (process.env.SURPRISAL_TEST_DEVICE ?? 'cpu') !== 'cpu';
if (isOnDevice) {
  for (const [files, why] of Object.entries(onlyOnCpu)) console.info(`skipped: ${files}: ${why}`);
}

const ops = ['test/ops/*.test.ts'];
// What has the same code on every CPU path, for which runs of another than the best one have no use:
// refusals, launch plans, who reads what.
const ofOnePath = ['*-{errors,plan,fences,filter}', 'same-rows'].map(
  (n) => `test/ops/${n}.test.ts`,
);
// On an emulated device of four multiprocessors: small problems take the kernels of large ones,
// whose blocks stay for more than one tile or row.
const few = ['test/cuda/device-{small*,linear-filter}.test.ts'];
const exclude = [
  ...configDefaults.exclude,
  ...(isOnDevice ? Object.keys(onlyOnCpu) : []),
  ...(process.env.SURPRISAL_CPU ? ofOnePath : []),
];

export default defineConfig({
  resolve: {
    // Examples import the package by name; the tests run them from the sources.
    alias: { surprisal: fileURLToPath(new URL('./src/index.ts', import.meta.url)) },
  },
  test: {
    setupFiles: ['test/harness/device.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // The slowest tests train a small model, or run under sanitizers or an emulator, ten times slower.
    testTimeout: process.env.SURPRISAL_SANITIZE || process.env.SURPRISAL_SLOW ? 600_000 : 60_000,
    hookTimeout: 60_000,
    // Tests of an operation leave nothing behind, so that a worker loads the library once for all
    // of their files; the others have a process for each.
    projects: [
      { extends: true, test: { name: 'ops', include: ops, exclude, isolate: false } },
      {
        extends: true,
        test: {
          name: 'rest',
          include: ['test/**/*.test.ts'],
          exclude: [...ops, ...few, ...exclude],
        },
      },
      {
        extends: true,
        test: { name: 'few', include: few, exclude, env: { SURPRISAL_EMULATOR_PROCESSORS: '4' } },
      },
    ],
  },
});
