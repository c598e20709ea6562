// Segments coasts with and without a loss of topology and says what it gains.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as sp from 'surprisal';
import { say, statusOf } from '../command-line.js';
import { taskDisplay } from '../progress.js';
import { defaultOut, type Options, readOptions, usage } from './options.js';
import { reportPage, scoreLines } from './report.js';
import { study } from './study.js';

async function run(options: Options): Promise<void> {
  // Fails here, before anything slow, where there is no such device.
  sp.setDefaultDevice(options.device as sp.Device);
  const start = performance.now();
  const { report, end } = taskDisplay();
  const results = await study(options, report);
  end();
  say();
  say(`On ${results.pieces.heldOut} coasts that no model saw:`);
  for (const line of scoreLines(results)) say(line);
  say();
  const seconds = (performance.now() - start) / 1000;
  if (options.out === defaultOut) mkdirSync(dirname(options.out), { recursive: true });
  const machine = `${sp.instructionSet()}, ${sp.getThreads()} threads, Node ${process.versions.node}`;
  writeFileSync(options.out, reportPage(results, seconds, machine));
  say(`Report: ${pathToFileURL(resolve(options.out))} (${seconds.toFixed(1)} s)`);
}

process.exitCode = await statusOf(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') say(usage);
  else await run(options);
});
