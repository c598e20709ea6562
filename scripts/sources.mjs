// The native sources that binding.gyp compiles, one a line, sorted: every .cpp below native/ but
// the CUDA side.
import { readdirSync } from 'node:fs';
import { join, sep } from 'node:path';

const files = readdirSync('native', { recursive: true })
  .filter((name) => name.endsWith('.cpp') && !name.startsWith(`cuda${sep}`))
  .sort();
for (const name of files) console.log(join('native', name).split(sep).join('/'));
