// npm run demo -- [options]: builds what is stale, then trains examples/language-model.
import { spawn } from 'node:child_process';
import { run } from './run.mjs';

run('scripts/build.mjs', []);
// Ctrl-C reaches the child as well, which saves its checkpoint and ends; wait for it.
process.on('SIGINT', () => {});
const program = 'build/ts/examples/language-model/main.js';
const child = spawn(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
