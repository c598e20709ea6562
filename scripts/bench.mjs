// npm run bench -- <op words> [device] [--save]: builds what is stale, then runs bench/ops/*.bench.ts
// of those names, each in a process of its own.
import { readdirSync } from 'node:fs';
import { fail, run, status } from './run.mjs';

const args = process.argv.slice(2);
const names = readdirSync('bench/ops').filter((name) => name.endsWith('.bench.ts'));
const ops = names.map((name) => name.slice(0, -'.bench.ts'.length));
const wanted = ops.filter((op) => args.includes(op));
if (wanted.length === 0)
  fail(`npm run bench -- <op> [device] [--save], where op is one of: ${ops.join(', ')}`);

run('scripts/build.mjs', []);
const options = args.filter((arg) => !ops.includes(arg));
for (const op of wanted) {
  const code = status(`build/ts/bench/ops/${op}.bench.js`, options);
  if (code !== 0) process.exitCode = code;
}
