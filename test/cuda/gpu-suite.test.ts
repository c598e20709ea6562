// The scripts of the GPU suite: when a kernel counts as verified, what of a run that was cut off
// stays, and how shards under a sanitizer add up.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const load = (name: string) => import(`../../scripts/${name}.mjs`);
const { compare, hashes, kernelFiles, sanitizers, sourcesOf, stateOf } = await load('verification');
const { current } = await load('gpu-tests');
const { digest, readProgress } = await load('gpu-suite');
const { afterShard, codeOf } = await load('gpu-sanitizers');

const file = 'native/ops/matmul/cuda.cu';
const clean = { code: 0, left: 0 };
const passed = { passed: 9, failed: 0, skipped: 1 };

/** A run that verifies the file, with something else about it. */
function saved(change: object = {}) {
  const expected = ['test/ops/matmul.test.ts', 'test/ops/norm.test.ts'];
  return {
    device: { name: 'GPU' },
    commit: 'abc',
    sources: hashes([file]),
    checks: {
      repeat: { passed: 3, failed: {} },
      equality: { passed: 3, failed: {} },
      ...Object.fromEntries(sanitizers.map((name: string) => [name, clean])),
    },
    expected: [...expected, 'test/ops/matmul-plan.test.ts'],
    tests: Object.fromEntries(expected.map((path) => [path, passed])),
    ...change,
  };
}
const stateWith = (change: object) => stateOf(file, [compare(file, saved(change))]).state;

describe('a kernel file is verified', () => {
  test('where its own tests passed and every step was clean', () => {
    expect(stateOf(file, [compare(file, saved())])).toEqual({
      file,
      state: 'verified',
      text: 'GPU-verified at abc (GPU)',
    });
    // What fails elsewhere is not its concern.
    const { tests } = saved();
    const other = { ...tests, 'test/ops/norm.test.ts': { passed: 1, failed: 1, skipped: 0 } };
    expect(stateWith({ tests: other })).toBe('verified');
  });

  test('not by a run that says nothing of it', () => {
    expect(compare(file, saved({ sources: {} }))).toBeUndefined();
    expect(stateOf(file, []).state).toBe('never');
  });

  test('not by plans alone, nor where a test file is absent, skipped or failed', () => {
    const plan = 'test/ops/matmul-plan.test.ts';
    expect(stateWith({ expected: [plan], tests: { [plan]: passed } })).toBe('open');
    expect(stateWith({ tests: {} })).toBe('open');
    const matmul = (result: object) => ({ tests: { 'test/ops/matmul.test.ts': result } });
    expect(stateWith(matmul({ passed: 0, failed: 0, skipped: 5 }))).toBe('open');
    expect(stateWith(matmul({ passed: 5, failed: 1, skipped: 0 }))).toBe('failed');
    const more = [...saved().expected, 'test/ops/matmul-laws.test.ts'];
    const { text } = stateOf(file, [compare(file, saved({ expected: more }))]);
    expect(text).toBe('not verified at abc (GPU): matmul-laws.test.ts');
  });

  test('not where steps failed, did not run, or a sanitizer found something or did not end', () => {
    const { checks } = saved();
    for (const name of Object.keys(checks)) {
      for (const result of [{ code: 'not run' }, { code: 9 }, { passed: 0, failed: {} }, undefined])
        expect(stateWith({ checks: { ...checks, [name]: result } }), name).toBe('open');
    }
    const failed = { passed: 2, failed: { softmax: 'other bits' } };
    expect(stateWith({ checks: { ...checks, repeat: failed } })).toBe('open');
    expect(stateWith({ checks: undefined })).toBe('open');
  });

  test('not when a header changed since', () => {
    expect(sourcesOf(file)).toContain('native/cuda/device.h');
    const sources = { ...saved().sources, 'native/cuda/device.h': 'other' };
    const state = stateOf(file, [compare(file, saved({ sources }))]);
    expect(state.text).toBe('changed since abc (GPU): native/cuda/device.h');
    expect(stateOf(file, [compare(file, saved({ sources })), compare(file, saved())]).state).toBe(
      'verified',
    );
  });

  test('by files that are there: every operation has tests of its name', () => {
    const ops = readdirSync('test', { recursive: true }).map((name) => `test/${name}`);
    for (const kernels of kernelFiles()) {
      const { open } = compare(kernels, saved({ sources: hashes([kernels]), expected: ops }));
      expect(open, kernels).not.toContain('its tests');
    }
  });
});

test('findings stay for test files that are as they were', () => {
  const of = (sha256: string) => ({ passed: 1, failed: 0, skipped: 0, sha256 });
  const state = {
    files: { a: of('1'), b: of('1'), gone: of('1') },
    failures: [{ file: 'a' }, { file: 'b' }],
    errors: [{ file: 'a' }, { file: 'gone' }],
  };
  const hash = (path: string) => (path === 'b' ? '2' : '1');
  expect(current(state, ['a', 'b', 'c'], hash)).toEqual({
    expected: ['a', 'b', 'c'],
    files: { a: of('1') },
    failures: [{ file: 'a' }],
    errors: [{ file: 'a' }],
  });
});

test('the hash is of contents and names, but not of test files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
  write('a.ts', 'one');
  const before = digest([folder]);
  write('a.test.ts', 'tests');
  expect(digest([folder])).toBe(before);
  write('b.ts', '');
  const two = digest([folder]);
  expect(two).not.toBe(before);
  write('a.ts', 'two');
  expect(digest([folder])).not.toBe(two);
  rmSync(folder, { recursive: true });
});

describe('shards under a sanitizer', () => {
  const nothing = { steps: [], failed: {}, shards: [], left: 1 };
  const lines = (...all: object[]) => all.map((line) => JSON.stringify(line)).join('\n');
  const shard = (progress: string, more: object) =>
    afterShard(nothing, {
      code: 0,
      isCut: false,
      isOver: false,
      summary: 'ERROR SUMMARY: 0 errors',
      lines: [],
      progress: readProgress(progress),
      ...more,
    });
  const two = lines({ begin: 'a' }, { end: 'a' }, { begin: 'b' }, { end: 'b', why: 'no' });

  test('count once the program has ended', () => {
    const state = shard(`${two}\n${lines({ left: 4 })}`, {});
    expect(state).toMatchObject({ steps: ['a'], failed: { b: 'no' }, left: 4 });
    expect(codeOf(state)).toBe('failed steps');
    expect(codeOf({ ...state, failed: {} })).toBe('unfinished');
    expect(codeOf({ ...state, failed: {}, left: 0 })).toBe(0);
    const found = shard(lines({ begin: 'a' }, { end: 'a' }, { left: 0 }), { code: 9 });
    expect(codeOf(found)).toBe(9);
  });

  test('lose their steps when cut off, and name the one that hangs or crashes', () => {
    const inside = lines({ begin: 'a' }, { end: 'a' }, { begin: 'b' });
    expect(shard(inside, { code: 'SIGTERM', isCut: true, isOver: true })).toEqual(nothing);
    const hung = shard(inside, { code: 'SIGTERM', isCut: true });
    expect(hung).toMatchObject({ steps: [], left: 1 });
    expect(hung.failed.b).toMatch(/does not end within/);
    expect(shard(inside, { code: 139 }).failed.b).toMatch(/ends the program with 139/);
    expect(shard('', { code: 1 }).failed.program).toMatch(/ends the program with 1/);
    expect(codeOf(nothing)).toBe('unfinished');
  });
});
