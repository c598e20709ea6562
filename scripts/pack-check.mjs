// npm run pack-check [-- --fetch] [--runtimes <folder>] [--gyp]: packs what would be published, installs it
// without install scripts into an empty project, and uses it from there: ES modules, CommonJS,
// TypeScript, the command line. Other versions of Node, Bun, Deno and older TypeScript are taken from
// <folder>/node_modules (default build/runtimes), into which --fetch installs them. Says at the end
// what was not there to be tried. --gyp: with an addon by node-gyp, CPU only.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { threadProgram } from './pack-use.mjs';
import { fail, run } from './run.mjs';

const { values } = parseArgs({
  options: {
    fetch: { type: 'boolean' },
    gyp: { type: 'boolean' },
    runtimes: { type: 'string', default: 'build/runtimes' },
  },
});
const runtimes = resolve(values.runtimes);
const mostPackedBytes = 5e6;
const mostInstallSeconds = 3;

// Folder -> what npm calls it: the packages of one platform, which need no install script.
const platform = `${process.platform}-${process.arch}`;
const fetched = {
  node22: `node-${platform}@22`,
  node24: `node-${platform}@24`,
  node26: `node-${platform}@26`,
  bun: `@oven/bun-${platform}`,
  deno: `@deno/${platform}${process.platform === 'linux' ? '-glibc' : ''}`,
  'typescript-5': 'typescript@5.9',
  publint: 'publint',
  '@arethetypeswrong/cli': '@arethetypeswrong/cli',
};
const programs = {
  'Node 22': 'node22/bin/node',
  'Node 24': 'node24/bin/node',
  'Node 26': 'node26/bin/node',
  Bun: 'bun/bin/bun',
  Deno: 'deno/deno',
};

const results = [];
const notTried = [];
function check(name, work) {
  const start = performance.now();
  try {
    const note = work() ?? '';
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    results.push(true);
    console.log(`ok   ${name} ${seconds} s ${note}`.trimEnd());
  } catch (error) {
    results.push(false);
    console.log(
      `FAIL ${name}\n${[error.message, error.stdout, error.stderr].filter(Boolean).map(String).join('\n')}`,
    );
  }
}
function expect(fact, message) {
  if (!fact) throw new Error(message);
}

const npm = (args, cwd) => execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: 'pipe' });

function fetchRuntimes() {
  mkdirSync(runtimes, { recursive: true });
  writeFileSync(join(runtimes, 'package.json'), '{ "private": true }\n');
  for (const [name, wanted] of Object.entries(fetched)) {
    const { status, stderr } = spawnSync(
      'npm',
      ['install', '--ignore-scripts', `${name}@npm:${wanted}`],
      {
        cwd: runtimes,
        encoding: 'utf8',
      },
    );
    if (status !== 0) console.log(`could not fetch ${wanted}: ${stderr.trim().split('\n').at(-1)}`);
  }
}

run('scripts/prebuild.mjs', values.gyp ? ['--gyp'] : []);
if (values.fetch) fetchRuntimes();

const packed = resolve('build/pack');
rmSync(packed, { recursive: true, force: true });
mkdirSync(packed, { recursive: true });
const [pack] = JSON.parse(
  npm(['pack', '--ignore-scripts', '--json', '--pack-destination', packed]),
);
const tarball = join(packed, pack.filename);
const project = mkdtempSync(join(tmpdir(), 'surprisal-pack-'));
const installed = join(project, 'node_modules/surprisal');
const prebuilt = join(installed, 'prebuilds', `${process.platform}-${process.arch}`);

check('packed size', () => {
  expect(pack.size <= mostPackedBytes, `${pack.size} bytes, more than ${mostPackedBytes}`);
  return `${(pack.size / 1e6).toFixed(2)} MB packed, ${(pack.unpackedSize / 1e6).toFixed(2)} MB unpacked`;
});

check('npm install --ignore-scripts', () => {
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
  const start = performance.now();
  npm(['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund', tarball], project);
  const seconds = (performance.now() - start) / 1000;
  expect(existsSync(join(prebuilt, 'surprisal.node')), 'no prebuilt addon arrived');
  const names = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'));
  expect(names.join() === 'surprisal', `it brought ${names.join(', ')}`);
  return seconds > mostInstallSeconds ? `(more than ${mostInstallSeconds} s)` : '';
});

// What every runtime does with the package is in pack-use.mjs; here are the two ways to come by it. Each
// takes the other one, too.
const modules = {
  'ES module': [
    'esm.mjs',
    `import { createRequire } from 'node:module';
     import * as sp from 'surprisal';
     import * as tfjs from 'surprisal/tfjs';
     import * as onnx from 'surprisal/onnx';
     import { use } from './use.mjs';
     await use(sp, tfjs, onnx, createRequire(import.meta.url)('surprisal'));`,
  ],
  CommonJS: [
    'commonjs.cjs',
    `const sp = require('surprisal');
     const tfjs = require('surprisal/tfjs');
     const onnx = require('surprisal/onnx');
     (async () => {
       const { use } = await import('./use.mjs');
       await use(sp, tfjs, onnx, await import('surprisal'));
     })();`,
  ],
};
copyFileSync('scripts/pack-use.mjs', join(project, 'use.mjs'));
writeFileSync(join(project, 'use-thread.mjs'), threadProgram);

/** What the package finds is its own addon, whatever this shell says. */
function cleanEnv(more = {}) {
  const env = { ...process.env, ...more };
  delete env.SURPRISAL_NATIVE;
  return env;
}

/** What doctor --json printed, of an addon that came with the package. */
function healthy(out) {
  const report = JSON.parse(out);
  expect(report.addon.loaded?.startsWith(prebuilt), `loaded ${report.addon.loaded}`);
  expect(report.remedies.length === 0, out);
  return report;
}

function tryRuntime(name, program, args = []) {
  const env = cleanEnv({ NODE_OPTIONS: '' });
  const options = { cwd: project, env, encoding: 'utf8', stdio: 'pipe', timeout: 60_000 };
  for (const [kind, [file, source]] of Object.entries(modules)) {
    check(`${name}, ${kind}`, () => {
      writeFileSync(join(project, file), source);
      const out = execFileSync(program, [...args, file], options);
      expect(out.trim() === 'fine', out);
    });
  }
  check(`${name}, command line`, () => {
    const file = 'node_modules/surprisal/lib/cli.js';
    healthy(execFileSync(program, [...args, file, 'doctor', '--json'], options));
  });
}

tryRuntime(`Node ${process.versions.node.split('.')[0]}`, process.execPath);
for (const [name, path] of Object.entries(programs)) {
  const program = join(runtimes, 'node_modules', path);
  if (!existsSync(program)) notTried.push(`${name}: no ${program}`);
  else tryRuntime(name, program, name === 'Deno' ? ['run', '--allow-all'] : []);
}

// Of the processor, since what else runs on the machine is no fault of the package.
check('import in under 30 ms', () => {
  const program = `
    const start = process.cpuUsage();
    import('surprisal').then(() => console.log(process.cpuUsage(start).user / 1000));`;
  const options = { cwd: project, env: cleanEnv(), encoding: 'utf8' };
  const once = () => Number(execFileSync(process.execPath, ['-e', program], options));
  const best = Math.min(...Array.from({ length: 5 }, once));
  return `best of 5: ${best.toFixed(1)} ms${best > 30 ? ', missed' : ''}`;
});

check('npx surprisal doctor --json', () => {
  const out = execFileSync(join(project, 'node_modules/.bin/surprisal'), ['doctor', '--json'], {
    cwd: project,
    env: cleanEnv(),
    encoding: 'utf8',
  });
  const report = healthy(out);
  return report.cuda.built ? `with CUDA ${report.cuda.runtime}` : 'without CUDA';
});

// A program in TypeScript that uses inferred types, and is wrong in one place that must be found.
const typed = `
import * as sp from 'surprisal';
import { tfjs } from 'surprisal/tfjs';
import { fromOrt } from 'surprisal/onnx';
const logits: sp.Tensor<'float32', readonly [4, 10]> = sp.zeros([4, 10]);
const loss = sp.crossEntropy(logits, sp.zeros([4], { dtype: 'int64' }));
const value: number = loss.item();
const labelSmoothing = value > 0 ? 0.1 : undefined;
sp.crossEntropy(logits, sp.zeros([4], { dtype: 'int32' }), { labelSmoothing });
// Options may be undefined as if they were not given.
const [absent, init] = [labelSmoothing && logits, labelSmoothing && { f: logits, g: logits }];
const [p, raw, eps] = [value > 0 ? 1 : undefined, value > 0 ? false : undefined, labelSmoothing] as const;
const maps = sp.zeros([1, 2, 4, 4]);
sp.groupNorm(maps, 1, { weight: absent || undefined, bias: absent || undefined, eps });
sp.sinkhorn(logits, { init: init || undefined });
sp.emd({ x: logits, y: logits, p, cost: undefined });
sp.diceLoss(maps, maps, { reduction: value > 0 ? 'none' : undefined });
sp.grad(loss, logits, { gradOutputs: absent || undefined });
logits.dataSync({ raw });
new sp.optim.AdamW([{ params: [logits], weightDecay: eps }], { lr: eps });
new sp.optim.SGD([logits], { momentum: eps });
// @ts-expect-error: batch mismatch
sp.crossEntropy(logits, sp.zeros([5], { dtype: 'int64' }));
export const all = [value, tfjs, fromOrt];
`;
const settings = {
  'NodeNext, ES module': ['a.mts', { module: 'nodenext' }],
  'NodeNext, CommonJS': ['a.cts', { module: 'nodenext' }],
  bundler: ['a.ts', { module: 'esnext', moduleResolution: 'bundler' }],
};
const compilers = {
  'TypeScript 6': 'node_modules/typescript',
  'TypeScript 7': 'node_modules/typescript-7',
  'TypeScript 5.9': join(runtimes, 'node_modules/typescript-5'),
};
for (const [compiler, folder] of Object.entries(compilers)) {
  if (!existsSync(folder)) {
    notTried.push(`${compiler}: no ${folder}`);
    continue;
  }
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  for (const [name, [file, options]] of Object.entries(settings)) {
    check(`${compiler}, ${name}`, () => {
      writeFileSync(join(project, file), typed);
      const compilerOptions = {
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noEmit: true,
        skipLibCheck: false,
        target: 'es2022',
        lib: ['es2022', 'esnext.disposable'],
        types: ['node'],
        typeRoots: [resolve('node_modules/@types')],
        ...options,
      };
      const config = { compilerOptions, files: [file] };
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config));
      execFileSync(process.execPath, [resolve(folder, bin.tsc), '-p', project], { stdio: 'pipe' });
    });
  }
}

for (const linter of ['publint', '@arethetypeswrong/cli']) {
  const folder = [join('node_modules', linter), join(runtimes, 'node_modules', linter)].find(
    (path) => existsSync(path),
  );
  if (!folder) {
    notTried.push(`${linter}: not installed`);
    continue;
  }
  check(linter, () => {
    const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const program = resolve(folder, typeof bin === 'string' ? bin : Object.values(bin)[0]);
    // Resolution by "main", as before Node 12, knows no exports; this package has nothing else.
    const args = linter === 'publint' ? ['--strict', tarball] : ['--profile', 'esm-only', tarball];
    execFileSync(process.execPath, [program, ...args], { stdio: 'pipe' });
  });
}

rmSync(project, { recursive: true, force: true });
for (const line of notTried) console.log(`not tried: ${line}`);
const failures = results.filter((ok) => !ok).length;
console.log(
  `${results.length - failures} passed, ${failures} failed, ${notTried.length} not tried`,
);
if (statSync(tarball).size !== pack.size) fail('the tarball is not the one that was packed');
process.exitCode = failures > 0 ? 1 : 0;
