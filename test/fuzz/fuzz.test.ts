// A few fuzzed calls of every public operation; `npm run fuzz -- calls` does as many as one wants.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { loadedAddon } from '../addon/loaded.js';

test('good and spoiled calls give results or errors with a code', () => {
  const env = { ...process.env, SURPRISAL_NATIVE: loadedAddon, NODE_OPTIONS: '' };
  const args = ['build/ts/test/fuzz/main.js', '1', '0', '500'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  const { counts, wrong, missing } = JSON.parse(stdout);
  if (missing.length > 0) console.info(`no fuzzed calls yet of ${missing.join(', ')}`);
  expect(wrong).toEqual([]);
  expect(Object.keys(counts).length).toBeGreaterThan(100);
});
