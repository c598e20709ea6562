// Registers two clouds of points and maps languages by their letters, both by optimal transport.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as sp from 'surprisal';
import { say, statusOf } from '../command-line.js';
import { taskDisplay, thousands } from '../progress.js';
import { defaultOut, type Options, readOptions, usage } from './options.js';
import { neighbourLines, registrationLines, reportPage } from './report.js';
import { study } from './study.js';

async function run(options: Options): Promise<void> {
  const start = performance.now();
  const { report, end } = taskDisplay();
  const results = await study(options, report);
  end();
  say();
  for (const line of registrationLines(results)) say(line);
  say();
  const { map } = results;
  const rate = map.problems / map.seconds;
  say(
    `${thousands(map.problems)} divergences between ${map.languages.length} letter distributions ` +
      `in ${map.seconds.toFixed(1)} s, ${thousands(rate)} a second on ${sp.getThreads()} threads`,
  );
  for (const line of neighbourLines(map)) say(line);
  say();
  const seconds = (performance.now() - start) / 1000;
  if (options.out === defaultOut) mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, reportPage(results, seconds));
  say(`Report: ${pathToFileURL(resolve(options.out))} (${seconds.toFixed(1)} s)`);
}

process.exitCode = await statusOf(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') say(usage);
  else await run(options);
});
