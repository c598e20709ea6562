// npm run demo -- [example] [options]: builds what is stale, then runs a program of examples/, by
// default the language model, in this process, so that a signal sent to it reaches the program.
import { readdirSync } from 'node:fs';
import { fail, run } from './run.mjs';

const [word = ''] = process.argv.slice(2);
const isNamed = word !== '' && !word.startsWith('-');
const examples = readdirSync('examples', { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);
if (isNamed && !examples.includes(word)) {
  fail(`demo: expected one of ${examples.join(', ')}, got '${word}'`);
}
if (isNamed) process.argv.splice(2, 1);

run('scripts/build.mjs', []);
await import(`../build/ts/examples/${isNamed ? word : 'language-model'}/main.js`);
