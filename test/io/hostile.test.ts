// Files made by changing good ones: they are refused with ERR_FILE (or read as something that is as
// long as it says), soon, and without memory for what they only claim.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';
import { temporaryFolder } from './files.js';

const folder = temporaryFolder();
const random = new Random(11);

async function good(name: string): Promise<Buffer> {
  const path = join(folder, name);
  const t = sp.arange(0, 12).reshape([3, 4]);
  if (name.endsWith('.npy')) await sp.saveNpy(path, t);
  else await sp.saveSafetensors(path, { t, u: sp.ones([5], { dtype: 'bfloat16' }) });
  return readFileSync(path);
}

const load = (name: string) => {
  const path = join(folder, name);
  return name.endsWith('.npy') ? sp.loadNpy(path) : sp.loadSafetensors(path);
};

/** Bytes cut off, added, or changed; the header is where most of what matters is. */
function mutated(bytes: Buffer): Buffer {
  const kind = random.integer(4);
  if (kind === 0) return bytes.subarray(0, random.integer(bytes.length));
  if (kind === 1) return Buffer.concat([bytes, Buffer.alloc(1 + random.integer(9))]);
  const own = Buffer.from(bytes);
  for (let i = 0; i <= random.integer(3); i++) {
    const at = kind === 2 ? random.integer(own.length) : random.integer(Math.min(140, own.length));
    own[at] =
      random.integer(3) === 0
        ? random.integer(256)
        : random.pick([...'0123456789[]{},:"-']).charCodeAt(0);
  }
  return own;
}

describe.each(['file.safetensors', 'file.npy'])('%s', (name) => {
  test('changed at random: refused by name, or read', async () => {
    const bytes = await good(name);
    const ends: Record<string, number> = {};
    for (let i = 0; i < 400; i++) {
      const changed = mutated(bytes);
      writeFileSync(join(folder, name), changed);
      const end = await load(name).then(
        () => 'read',
        (error) => error.code ?? error.stack,
      );
      ends[end] = (ends[end] ?? 0) + 1;
    }
    const allowed = ['read', 'ERR_FILE', 'ERR_SHAPE', 'ERR_OUT_OF_MEMORY'];
    expect(Object.keys(ends).filter((end) => !allowed.includes(end))).toEqual([]);
    expect(ends.ERR_FILE).toBeGreaterThan(100);
  });
});

test('a header that would be long to look through', async () => {
  const text = "'shape':(".repeat(400_000);
  const prefix = Buffer.from('\x93NUMPY\x02\x00\0\0\0\0', 'latin1');
  prefix.writeUInt32LE(text.length, 8);
  writeFileSync(join(folder, 'long.npy'), Buffer.concat([prefix, Buffer.from(text)]));
  const start = performance.now();
  await expect(load('long.npy')).rejects.toThrow(/header of at most 65536 bytes/);
  expect(performance.now() - start).toBeLessThan(1000);
});

test('names that mean something to JavaScript, two of one name, brackets without end', async () => {
  const write = (header: string, data: number) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    const parts = [length, Buffer.from(header), Buffer.alloc(data)];
    writeFileSync(join(folder, 'odd.safetensors'), Buffer.concat(parts));
  };
  const entry = (begin: number, end: number) =>
    `{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]}`;
  write(`{"constructor":${entry(0, 2)},"toString":${entry(2, 3)}}`, 3);
  const odd = (await load('odd.safetensors')) as Record<string, sp.Tensor>;
  expect(Object.keys(odd)).toEqual(['constructor', 'toString']);
  write(`{"a":${entry(0, 2)},"a":${entry(2, 3)}}`, 3);
  await expect(load('odd.safetensors')).rejects.toThrow(/'a' to begin at byte 0/);
  write('['.repeat(1_000_000), 0);
  await expect(load('odd.safetensors')).rejects.toMatchObject({ code: 'ERR_FILE' });
});
