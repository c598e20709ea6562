// The loader on a copy of dist/ in a folder of its own: what it tries, in which order, what it says.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadedAddon } from './loaded.js';

const prebuilt = join('prebuilds', `${process.platform}-${process.arch}`, 'surprisal.node');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'surprisal-'));
  cpSync('dist', join(folder, 'dist'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function place(path: string): string {
  const target = join(folder, path);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(loadedAddon, target);
  return target;
}

/** What a fresh Node prints that imports the copy: the addon's path, or the error's message. */
function load(native?: string): string {
  const program = `import('./dist/native.js').then(
    () => console.log(Object.keys(require.cache)),
    (error) => console.log(error.code, error.message),
  )`;
  const env = { ...process.env, SURPRISAL_NATIVE: native };
  if (native === undefined) delete env.SURPRISAL_NATIVE;
  const options = { cwd: folder, env, encoding: 'utf8' } as const;
  const result = spawnSync(process.execPath, ['-e', program], options);
  return result.stdout + result.stderr;
}

test('a development build comes before a prebuilt one', () => {
  place(prebuilt);
  expect(load()).toContain(join(folder, prebuilt));
  const built = place('build/Release/surprisal.node');
  expect(load()).toContain(built);
  const cmake = place('build/cmake/Release/surprisal.node');
  expect(load()).toContain(cmake);
});

test('SURPRISAL_NATIVE names the only file that is tried', () => {
  place(prebuilt);
  const elsewhere = place('elsewhere.node');
  expect(load(elsewhere)).toContain(elsewhere);
  const message = load(join(folder, 'absent.node'));
  expect(message).toMatch(/^ERR_NATIVE_MISSING/);
  expect(message).toContain(`${join(folder, 'absent.node')}: not there`);
  expect(message).not.toContain(prebuilt);
});

test('a failure lists every attempt with its cause, and the command that mends it', () => {
  const broken = join(folder, 'build/Release/surprisal.node');
  mkdirSync(dirname(broken), { recursive: true });
  writeFileSync(broken, 'not a library');
  const message = load();
  expect(message).toMatch(/^ERR_NATIVE_MISSING/);
  expect(message).toContain(`${process.platform}-${process.arch}`);
  expect(message).toContain('build/cmake/Release/surprisal.node: not there');
  expect(message).toMatch(/build\/Release\/surprisal\.node: .*(invalid|too short|not a mach-o)/i);
  expect(message).toContain(`${prebuilt}: not there`);
  expect(message).toContain('npx surprisal build');
});

test('of prebuilt files, one whose tags fit is taken, and the one that says most', () => {
  const other = process.platform === 'linux' ? 'musl' : 'abi99';
  place(join(dirname(prebuilt), `surprisal.${other}.node`));
  place(join('prebuilds', 'plan9-mips', 'surprisal.node'));
  expect(load()).toContain(`${prebuilt}: not there`);
  const plain = place(prebuilt);
  expect(load()).toContain(plain);
  const many = place(join('prebuilds', `${process.platform}-mips+${process.arch}`, 'a.node'));
  rmSync(plain);
  expect(load()).toContain(many);
});

test('in a clone the remedy is to build it, in a package the command that compiles', () => {
  expect(load()).toContain('npx surprisal build');
  writeFileSync(join(folder, 'tsconfig.json'), '{}');
  expect(load()).toContain('npm run build');
});
