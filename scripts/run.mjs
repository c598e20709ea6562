// Runs other programs for the scripts beside this file, from the repository's root.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** Path of a program of a development dependency, its own name unless another is asked for. */
export function bin(dependency, program = basename(dependency)) {
  const folder = join(root, 'node_modules', dependency);
  const programs = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).bin;
  return join(folder, typeof programs === 'string' ? programs : programs[program]);
}

/** Full path of a program on PATH, or undefined. */
export function found(program) {
  const folders = program.includes('/') ? [''] : (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, program)).find(executable);
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}

/** Runs a JavaScript program under this Node with its output shown; gives its exit status. */
export function status(script, args, env = {}) {
  const result = spawnSync(process.execPath, [script, ...args], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (result.error) fail(`${script}: ${result.error.message}`);
  return result.status ?? 1;
}

/** The same, and the calling script ends with it when it fails. */
export function run(script, args, env) {
  const code = status(script, args, env);
  if (code !== 0) process.exit(code);
}
