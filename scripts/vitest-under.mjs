// node scripts/vitest-under.mjs <program> <vitest's arguments>: vitest whose workers are started as that
// program, a Node for another machine under an emulator. Its transforms stay in this process.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bin } from './run.mjs';

const [node, , program, ...args] = process.argv;
const vitest = resolve(bin('vitest'));
process.execPath = program;
process.argv = [node, vitest, ...args];
await import(pathToFileURL(vitest).href);
