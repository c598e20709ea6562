import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: {
    // Examples import the package by name; the tests run them from the sources.
    alias: { surprisal: fileURLToPath(new URL('./src/index.ts', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // The slowest tests train a small model, or run under sanitizers ten times slower.
    testTimeout: process.env.SURPRISAL_SANITIZE ? 600_000 : 60_000,
    hookTimeout: 60_000,
  },
});
