// What is published: the files, what the exports lead to, and the package used from another folder
// with a prebuilt addon. `npm run pack-check` does the whole with the real tarball.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadedAddon } from './loaded.js';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const prebuilt = join('prebuilds', `${process.platform}-${process.arch}`, 'surprisal.node');
let project: string;

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'surprisal-package-'));
  const installed = join(project, 'node_modules/surprisal');
  mkdirSync(join(installed, prebuilt, '..'), { recursive: true });
  copyFileSync('package.json', join(installed, 'package.json'));
  cpSync('lib', join(installed, 'lib'), { recursive: true });
  copyFileSync(loadedAddon, join(installed, prebuilt));
});

afterAll(() => rmSync(project, { recursive: true }));

/** Runs a program in the project, without this one's environment. */
function node(args: string[]): string {
  const env = { ...process.env, NODE_OPTIONS: '' } as Record<string, string>;
  delete env.SURPRISAL_NATIVE;
  return execFileSync(process.execPath, args, { cwd: project, env, encoding: 'utf8' }).trim();
}

const use = `
  const x = sp.tensor([[1, 2, 3]], { requiresGrad: true });
  const loss = sp.crossEntropy(x, sp.tensor([2], { dtype: 'int32' }));
  loss.backward();
  console.log(loss.item().toFixed(4), x.grad.shape.join(), typeof tfjs, typeof fromOrt);`;

test('an ES module and CommonJS use the prebuilt addon', () => {
  writeFileSync(
    join(project, 'a.mjs'),
    `import * as sp from 'surprisal';
     import { tfjs } from 'surprisal/tfjs';
     import { fromOrt } from 'surprisal/onnx';${use}`,
  );
  writeFileSync(
    join(project, 'b.cjs'),
    `const sp = require('surprisal');
     const { tfjs } = require('surprisal/tfjs');
     const { fromOrt } = require('surprisal/onnx');${use}`,
  );
  for (const file of ['a.mjs', 'b.cjs']) {
    expect(node(['--no-warnings', file])).toBe('0.4076 1,3 function function');
  }
});

test('the command line finds it', () => {
  const program = join('node_modules/surprisal', manifest.bin.surprisal);
  expect(readFileSync(join(project, program), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  const { addon, cuda, remedies } = JSON.parse(node([program, 'doctor', '--json']));
  // Commands of a clone are of no use here.
  expect(cuda.reason).not.toContain('npm run');
  expect(addon.loaded.endsWith(prebuilt)).toBe(true);
  expect(remedies).toEqual([]);
});

test('exports lead to files, types first', () => {
  for (const target of Object.values<Record<string, string> | string>(manifest.exports)) {
    const paths = typeof target === 'string' ? [target] : Object.values(target);
    for (const path of paths) expect(existsSync(path), path).toBe(true);
    if (typeof target === 'object') expect(Object.keys(target)).toEqual(['types', 'default']);
  }
});

test('nothing runs at installation, nothing else is installed', () => {
  const { scripts, dependencies, gypfile, peerDependencies, peerDependenciesMeta } = manifest;
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
    expect(scripts).not.toHaveProperty(name);
  expect([dependencies, gypfile]).toEqual([undefined, false]);
  for (const name of Object.keys(peerDependencies))
    expect(peerDependenciesMeta[name]).toEqual({ optional: true });
});

test('the tarball holds what installed packages need, and no tests', () => {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const out = execFileSync('npm', args, { encoding: 'utf8', stdio: 'pipe' });
  const [{ files }] = JSON.parse(out) as [{ files: { path: string }[] }];
  const names = files.map(({ path }) => path);
  for (const name of [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'docs/README.md',
    'CMakeLists.txt',
    'scripts/ptxas-log.sh',
    'lib/index.js',
    'dist/index.d.ts',
    'lib/cli.js',
    'native/node/addon.cpp',
  ]) {
    expect(names).toContain(name);
  }
  const needless =
    /^(test|bench|examples|src|build|node_modules)\/|tsbuildinfo|^dist\/.*\.js$|\.stamp$|binding\.gyp/;
  expect(names.filter((name) => needless.test(name))).toEqual([]);
});
