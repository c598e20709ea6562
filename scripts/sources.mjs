// The native sources that binding.gyp compiles: every .cpp below native/, one a line, sorted.
import { readdirSync } from 'node:fs';
import { join, sep } from 'node:path';

const files = readdirSync('native', { recursive: true }).filter((name) => name.endsWith('.cpp'));
for (const name of files.sort()) console.log(join('native', name).split(sep).join('/'));
