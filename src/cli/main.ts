#!/usr/bin/env node
// npx surprisal <command>
import { run } from './commands.js';

process.exitCode = await run(process.argv.slice(2));
