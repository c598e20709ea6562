// A process that is killed while it saves leaves the file that was there, or the whole new one.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { loadedAddon } from '../addon/loaded.js';

const program = (path: string) => `
  import * as sp from 'surprisal';
  for (let i = 1; ; i++) {
    await sp.saveSafetensors(${JSON.stringify(path)}, {
      a: sp.full([500_000], i),
      b: sp.full([700_000], i, { dtype: 'float64' }),
    });
    if (i === 1) console.log('saved');
  }
`;

test('kill -9 in the middle of saving, again and again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-killed-'));
  const path = join(folder, 'model.safetensors');
  let drafts = 0;
  // At other places of a save each time: it takes a few milliseconds.
  for (const delay of [0, 2, 3, 5, 8, 13]) {
    const env = { ...process.env, SURPRISAL_NATIVE: loadedAddon, NODE_OPTIONS: '' };
    const child = spawn(process.execPath, ['--input-type=module', '-e', program(path)], { env });
    await once(child.stdout, 'data');
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill('SIGKILL');
    await once(child, 'exit');
    drafts += readdirSync(folder).length - 1;
    const { a, b } = await sp.loadSafetensors(path);
    const value = a.dataSync()[0];
    expect(Number(value)).toBeGreaterThan(0);
    for (const t of [a, b])
      expect(new Set(t.dataSync() as Iterable<number>)).toEqual(new Set([value]));
    for (const name of readdirSync(folder)) if (name.endsWith('.tmp')) rmSync(join(folder, name));
  }
  // Else no kill came while a draft was being written, and this shows nothing.
  expect(drafts).toBeGreaterThan(0);
  rmSync(folder, { recursive: true });
});
