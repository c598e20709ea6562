// What the parts of scripts/gpu.mjs share: where findings are kept, how long there is, and how
// programs are run.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { emulator } from './build.mjs';
import { found, root } from './run.mjs';

/** Files of the project that a bundle leaves out (scripts/bundle.mjs). */
export const needless = /\.(map|d\.[cm]?ts|md|stamp|tsbuildinfo|html)$/;

function filesBelow(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

/**
 * Hash of all that findings depend on. A test file decides its own alone (scripts/gpu-tests.mjs):
 * mending one leaves the rest standing.
 */
export function digest(paths = ['native', 'src', 'test', 'CMakeLists.txt', 'package-lock.json']) {
  const hash = createHash('sha256');
  for (const file of paths.flatMap(filesBelow)) {
    if (needless.test(file) || file.endsWith('.test.ts')) continue;
    hash.update(`${file}\0`).update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex').slice(0, 12);
}

/** The environment in which the device is the emulator's. */
export const onEmulator = { SURPRISAL_NATIVE: resolve(emulator) };

/** What the steps of test/cuda/steps.ts are run by. */
export const program = 'build/ts/test/cuda/program.js';

export const folderOf = (isEmulated) =>
  join(root, 'build/gpu', digest() + (isEmulated ? '-emulated' : ''));

export function openSuite({ emulated, seconds, only }) {
  const folder = folderOf(emulated);
  mkdirSync(folder, { recursive: true });
  const end = Date.now() + Number(seconds) * 1000;
  const secondsLeft = () => Math.max(0, (end - Date.now()) / 1000);

  /** Runs a program and keeps its output in a log; gives status, output and whether time ran out. */
  function tool(
    log,
    command,
    args,
    env = {},
    timeout = Math.max(60, Math.min(590, secondsLeft())),
  ) {
    const seconds = Math.ceil(timeout);
    // It ends what the program has started too: sanitizers and test runners have children.
    const ender = found('timeout');
    const whole = ender ? [ender, '-k', '5', String(seconds), command] : [command];
    const result = spawnSync(whole[0], [...whole.slice(1), ...args], {
      env: { ...process.env, ...(emulated ? onEmulator : {}), ...env },
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      timeout: (ender ? seconds + 20 : seconds) * 1000,
    });
    const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
    writeFileSync(join(folder, `${log}.log`), output);
    const code = result.status ?? result.signal ?? result.error?.message;
    const isCut =
      result.error?.code === 'ETIMEDOUT' ||
      (ender && (result.status === 124 || result.status === 137));
    return { code, output, stdout: result.stdout ?? '', isCut };
  }
  const node = (log, args, env, timeout) => tool(log, process.execPath, args, env, timeout);

  const pathOf = (name) => join(folder, `${name}.json`);
  const read = (name) =>
    existsSync(pathOf(name)) ? JSON.parse(readFileSync(pathOf(name), 'utf8')) : undefined;
  // Of a part of the steps or cases alone nothing stays.
  const keep = (name, value) => {
    const text = `${JSON.stringify(value, null, 1)}\n`;
    writeFileSync(only ? join(folder, `${name}-only.json`) : pathOf(name), text);
  };
  return { folder, emulated, only, secondsLeft, tool, node, read, keep };
}

/** The JSON of a program's last line, or what went wrong. */
export function lastLine({ code, stdout, output }) {
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1));
  } catch {
    return { passed: 0, failed: { program: `ended with ${code}: ${output.slice(-500)}` } };
  }
}

/** What the program of the steps wrote: which it ended, which it was in, how many it left. */
export function readProgress(text) {
  const ended = [];
  const failed = {};
  let inside;
  let left;
  for (const line of text.split('\n').filter(Boolean)) {
    const { begin, end, why, left: rest } = JSON.parse(line);
    if (begin) inside = begin;
    if (end) {
      inside = undefined;
      if (why) failed[end] = why;
      else ended.push(end);
    }
    if (rest !== undefined) left = rest;
  }
  return { ended, failed, inside, left };
}

/**
 * Arguments that have the program leave out some steps and tell of the others; `progress()` reads
 * what it told.
 */
export function watched(suite, name, without) {
  const [skip, file] = ['skip.json', 'progress.jsonl'].map((end) =>
    join(suite.folder, `${name}-${end}`),
  );
  rmSync(file, { force: true });
  writeFileSync(skip, JSON.stringify(without));
  const progress = () => readProgress(existsSync(file) ? readFileSync(file, 'utf8') : '');
  return { args: ['--skip', skip, '--progress', file, '--only', suite.only], progress };
}

/** All steps, in as many processes as failures of the device, which end one, make of it. */
export function runSteps(suite, name, args, env) {
  const ended = [];
  const failed = {};
  const tooMany = 10;
  for (;;) {
    const watch = watched(suite, name, [...ended, ...Object.keys(failed)]);
    const { code, output, isCut } = suite.node(name, [program, ...args, ...watch.args], env);
    const { left, inside, ...found } = watch.progress();
    ended.push(...found.ended);
    Object.assign(failed, found.failed);
    if (left === 0) break;
    if (left === undefined)
      failed[inside ?? 'program'] = isCut ? 'had to be ended' : `${code}: ${output.slice(-300)}`;
    if (failed.program || suite.secondsLeft() === 0 || Object.keys(failed).length > tooMany) {
      failed['the steps after it'] = 'not run';
      break;
    }
  }
  return { passed: ended.length, failed };
}
