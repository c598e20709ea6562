import { spawnSync } from 'node:child_process';
import { loadedAddon } from './loaded.js';

/** Runs a program against the compiled package in a process of its own and gives what it printed. */
export function runChild(program: string, flags: string[] = [], timeout = 60_000): string {
  const args = [...flags, '--input-type=module', '-e', program];
  const env = { ...process.env, SURPRISAL_NATIVE: loadedAddon, NODE_OPTIONS: '' };
  const result = spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout });
  if (result.status !== 0 || result.stderr !== '') {
    throw new Error(`child ended with ${result.status ?? result.signal}: ${result.stderr}`);
  }
  return result.stdout;
}
