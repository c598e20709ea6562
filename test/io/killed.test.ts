// A process that is killed while it saves leaves the file that was there, or the whole new one.
import { type ChildProcess, spawn } from 'node:child_process';
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
      a: sp.full([200_000], i),
      b: sp.full([200_000], i, { dtype: 'float64' }),
    });
    if (i === 1) console.log('saved');
  }
`;

const drafts = (folder: string) => readdirSync(folder).filter((name) => name.endsWith('.tmp'));
const soon = () => new Promise((resolve) => setImmediate(resolve));

/** Stops the process when a draft is being written, whatever else the machine is doing. */
async function stoppedWhileSaving(child: ChildProcess, folder: string): Promise<void> {
  for (;;) {
    while (drafts(folder).length === 0) await soon();
    child.kill('SIGSTOP');
    for (let i = 0; i < 20; i++) await soon();
    if (drafts(folder).length > 0) return;
    child.kill('SIGCONT');
  }
}

test.skipIf(process.platform === 'win32')('kill -9 in the middle of saving, again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'surprisal-killed-'));
  const path = join(folder, 'model.safetensors');
  for (let round = 0; round < 3; round++) {
    const env = { ...process.env, SURPRISAL_NATIVE: loadedAddon, NODE_OPTIONS: '' };
    const child = spawn(process.execPath, ['--input-type=module', '-e', program(path)], { env });
    await once(child.stdout, 'data');
    await stoppedWhileSaving(child, folder);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { a, b } = await sp.loadSafetensors(path);
    const value = a.dataSync()[0];
    expect(Number(value)).toBeGreaterThan(0);
    for (const t of [a, b])
      expect(new Set(t.dataSync() as Iterable<number>)).toEqual(new Set([value]));
    for (const name of drafts(folder)) rmSync(join(folder, name));
  }
  rmSync(folder, { recursive: true });
});
