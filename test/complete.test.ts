// Names what an operation still lacks.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../src/index.js';

const read = (path: string) => readFileSync(path, 'utf8');
const folders = readdirSync('native/ops');
const addon = read('native/node/addon.cpp');
const tests = ['test/ops', 'test/cases', 'test/core']
  .flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`))
  .filter((name) => name.endsWith('.ts'))
  .map(read)
  .join('\n');
const kebab = (name: string) => name.replaceAll('_', '-');

describe.each(folders)('native/ops/%s', (op) => {
  test('has its contract, its dispatch and its table of names, and is on the list', () => {
    for (const file of ['op.h', 'cpu.cpp', 'bind.cpp']) {
      expect(existsSync(`native/ops/${op}/${file}`), file).toBe(true);
    }
    expect(addon).toContain(`X(${op})`);
  });

  test('says in at most 12 lines what it computes', () => {
    const head = /^(\/\/.*\n)+/.exec(read(`native/ops/${op}/op.h`))?.[0] ?? '';
    const lines = head.split('\n').length - 1;
    expect(lines).toBeGreaterThan(0);
    expect(lines).toBeLessThanOrEqual(12);
  });
});

describe.each(['cross_entropy', 'linear_cross_entropy'])('the loss %s', (op) => {
  test.each(['test/cases', 'test/reference', 'bench/ops', 'bench/notes', 'src/ops'])(
    'has its part in %s',
    (folder) => {
      const names = readdirSync(folder);
      expect(names.some((name) => name.startsWith(`${kebab(op)}.`))).toBe(true);
    },
  );
});

// Comments are the business of scripts/check-docs.mjs.
test('every built-in operation is public and named by a test', () => {
  const missing: string[] = [];
  for (const name of Object.keys(sp.raw)) {
    const publicNames: readonly string[] = [
      ...Object.keys(sp),
      ...Object.getOwnPropertyNames(sp.Tensor.prototype),
    ];
    if (!publicNames.includes(name)) missing.push(`${name}: not exported`);
    if (!new RegExp(`\\b${name}\\b`).test(tests)) missing.push(`${name}: no test names it`);
  }
  expect(missing).toEqual([]);
});
