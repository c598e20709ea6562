// npm run demo -- [options]: builds what is stale, then trains examples/language-model, in this
// process, so that a signal sent to it reaches the training.
import { run } from './run.mjs';

run('scripts/build.mjs', []);
await import('../build/ts/examples/language-model/main.js');
