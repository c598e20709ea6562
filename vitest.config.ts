import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';

// What a run on a device (SURPRISAL_TEST_DEVICE) leaves out, and why.
const onlyOnCpu = {
  'test/ops/*-fences.test.ts': 'guard bytes around typed arrays',
  'test/ops/linear-cross-entropy-filter.test.ts': 'keeps every block of the gradient',
  'test/ops/{emo,linear-emo,sinkhorn-knopp*,sinkd,uld-loss}.test.ts': 'have no CUDA form yet',
  'test/ops/betti-{fuzz,golden,laws}.test.ts': 'are computed on the host',
  'test/ops/{focal-loss,overlap}.test.ts': 'have no CUDA form yet',
  'test/ops/{emd,emd1d,sliced-wasserstein,barycentric-map,hvp}.test.ts': 'have no CUDA form yet',
  'test/ops/{cdist,channel-norm,convolution,general-golden,interpolate,order,pool}.test.ts':
    'have no CUDA form yet',
  'test/models/segmentation.test.ts': 'convolutions have no CUDA form yet',
};
const isOnDevice = (process.env.SURPRISAL_TEST_DEVICE ?? 'cpu') !== 'cpu';
if (isOnDevice) {
  for (const [files, why] of Object.entries(onlyOnCpu)) console.info(`skipped: ${files}: ${why}`);
}

export default defineConfig({
  resolve: {
    // Examples import the package by name; the tests run them from the sources.
    alias: { surprisal: fileURLToPath(new URL('./src/index.ts', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(isOnDevice ? Object.keys(onlyOnCpu) : [])],
    setupFiles: ['test/harness/device.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // The slowest tests train a small model, or run under sanitizers ten times slower.
    testTimeout: process.env.SURPRISAL_SANITIZE ? 600_000 : 60_000,
    hookTimeout: 60_000,
  },
});
