// Files written by Python (make_fixtures.py), files that Python reads, and files that are wrong.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { refuser } from '../harness/refusal.js';
import { type AnyTensor, bits } from '../harness/tensors.js';
import {
  type Content,
  expectContent,
  fixture,
  fixtures,
  fromPython,
  pythonHasNumpy,
  temporaryFolder,
} from './files.js';

interface Entry {
  dtype: string;
  data_offsets: [number, number];
}

const folder = temporaryFolder();

test('a file from Python', async () => {
  const tensors = await sp.loadSafetensors(fixture('all.safetensors'));
  const expected = fixtures['all.safetensors'] as Record<string, Content>;
  expect(Object.keys(tensors).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, content] of Object.entries(expected)) {
    expectContent(tensors[name] as AnyTensor, content);
  }
  const metadata = await sp.loadSafetensorsMetadata(fixture('all.safetensors'));
  expect(metadata).toEqual({ format: 'pt', näme: 'välue' });
});

const some = () => ({
  'a.weight': sp.tensor([1.5, -2, 3], { dtype: 'bfloat16' }),
  b: sp.tensor([[1, 2]], { dtype: 'float64' }),
  c: sp.tensor([true, false, true]),
  d: sp.tensor(7, { dtype: 'int64' }),
  empty: sp.zeros([0, 4]),
  __proto: sp.tensor([1, 255], { dtype: 'uint8' }),
  'half ünïcode': sp.tensor([0.5], { dtype: 'float16' }),
  ints: sp.tensor([-(2 ** 31)], { dtype: 'int32' }),
});

test('both ways, with metadata', async () => {
  const path = join(folder, 'both.safetensors');
  const tensors: Record<string, sp.Tensor> = some();
  await sp.saveSafetensors(path, tensors, { metadata: { step: '12' } });
  const back = await sp.loadSafetensors(path);
  expect(Object.keys(back).sort()).toEqual(Object.keys(tensors).sort());
  for (const [name, t] of Object.entries(tensors)) {
    expect([back[name].dtype, back[name].shape]).toEqual([t.dtype, t.shape]);
    expect(bits(back[name] as AnyTensor)).toEqual(bits(t as AnyTensor));
  }
  expect(await sp.loadSafetensorsMetadata(path)).toEqual({ step: '12' });
});

test('no tensors at all; a tensor named __proto__', async () => {
  const path = join(folder, 'few.safetensors');
  await sp.saveSafetensors(path, {});
  expect(await sp.loadSafetensors(path)).toEqual({});
  await sp.saveSafetensors(path, Object.fromEntries([['__proto__', sp.ones([1])]]));
  expect(Object.keys(await sp.loadSafetensors(path))).toEqual(['__proto__']);
});

test('each tensor is aligned to its elements', async () => {
  const path = join(folder, 'aligned.safetensors');
  await sp.saveSafetensors(path, some());
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  expect(length % 8).toBe(0);
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const widths: Record<string, number> = { F64: 8, I64: 8, F32: 4, I32: 4, BF16: 2, F16: 2 };
  for (const { dtype, data_offsets } of Object.values<Entry>(header)) {
    expect(data_offsets[0] % (widths[dtype] ?? 1)).toBe(0);
  }
});

test('the old file stays when writing fails, and no draft is left', async () => {
  const own = join(folder, 'kept');
  mkdirSync(own);
  const path = join(own, 'model.safetensors');
  await sp.saveSafetensors(path, { a: sp.ones([2]) });
  mkdirSync(join(own, 'folder'));
  const failed = sp.saveSafetensors(join(own, 'folder'), { a: sp.zeros([2]) });
  await expect(failed).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
  expect(readdirSync(own).sort()).toEqual(['folder', 'model.safetensors']);
  expect((await sp.loadSafetensors(path)).a.toArray()).toEqual([1, 1]);
});

test.skipIf(!pythonHasNumpy)('Python reads what is written here', async () => {
  const path = join(folder, 'python.safetensors');
  await sp.saveSafetensors(path, {
    x: sp.tensor([
      [1.5, 2],
      [3, 4],
    ]),
    n: sp.tensor([5n, -6n]),
    h: sp.tensor([0.25], { dtype: 'float16' }),
  });
  const script = `
import json, struct, sys, numpy as np
data = open(sys.argv[1], 'rb').read()
n = struct.unpack('<Q', data[:8])[0]
kinds = {'F32': '<f4', 'I64': '<i8', 'F16': '<f2'}
out = {}
for name, t in json.loads(data[8:8 + n]).items():
    begin, end = t['data_offsets']
    a = np.frombuffer(data[8 + n + begin:8 + n + end], kinds[t['dtype']])
    out[name] = a.reshape(t['shape']).astype(float).tolist()
print(json.dumps(out))`;
  const x = [
    [1.5, 2],
    [3, 4],
  ];
  expect(fromPython(script, path)).toEqual({ x, n: [5, -6], h: [0.25] });
});

describe('files that are wrong', () => {
  const refuse = async (bytes: Uint8Array, words: RegExp, code = 'ERR_FILE') => {
    const path = join(folder, 'wrong.safetensors');
    writeFileSync(path, bytes);
    const error = await sp.loadSafetensors(path).catch((e) => e);
    refuser('loadSafetensors')(
      () => {
        throw error;
      },
      code,
      words,
    );
  };
  const file = (header: unknown, data: number) => {
    const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, Buffer.alloc(data)]);
  };
  const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
    dtype,
    shape,
    data_offsets: [begin, end],
  });

  test('are refused with the reason', async () => {
    await refuse(Buffer.alloc(3), /8 bytes or more, got 3/);
    const huge = Buffer.alloc(16);
    huge.writeBigUInt64LE(2n ** 60n);
    await refuse(huge, /at most 8 bytes \(the rest of the file\), got 1152921504606847000/);
    await refuse(file('{"a":', 0), /header to be JSON/);
    await refuse(file('[1]', 0), /header to be a JSON object, got \[1\]/);
    await refuse(file({ a: 5 }, 0), /dtype of 'a' to be one of F32/);
    await refuse(file({ a: entry(0, 4, [1], 'F8_E4M3') }, 4), /got 'F8_E4M3'/);
    await refuse(file({ a: entry(0, 8, [-2]) }, 8), /shape of 'a'/);
    await refuse(file({ a: { dtype: 'F32', shape: [1] } }, 4), /data_offsets of 'a'/);
    await refuse(
      file({ a: entry(0, 8, [3]) }, 8),
      /'a' to take 12 bytes \(F32 \[3\]\), got \[0, 8\]/,
    );
    await refuse(file({ a: entry(4, 0, [-1]) }, 8), /shape of 'a'/);
    await refuse(
      file({ a: entry(0, 8) }, 4),
      /'a' to lie within the 4 bytes of data, got \[0, 8\]/,
    );
    await refuse(
      file({ a: entry(0, 8), b: entry(4, 12) }, 12),
      /'b' not to overlap 'a', got \[4, 12\]/,
    );
    await refuse(file({ a: entry(0, 4), b: entry(8, 12) }, 12), /'b' to begin at byte 4, got 8/);
    await refuse(file({ a: entry(0, 4) }, 8), /4 bytes of data \(the tensors'\), got 8/);
    await refuse(file({ __metadata__: { a: 1 } }, 0), /metadata to map names to strings/);
    const many = { a: entry(0, 4, [2 ** 40, 2 ** 40]) };
    await refuse(file(many, 4), /2\^53/, 'ERR_SHAPE');
  });

  test('what cannot be saved', async () => {
    const path = join(folder, 'none.safetensors');
    // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
    const save = sp.saveSafetensors as any;
    await expect(save(path, { a: 5 })).rejects.toThrow(
      "saveSafetensors: expected tensors['a'] to be a Tensor, got 5",
    );
    await expect(save(path, { __metadata__: sp.ones([1]) })).rejects.toThrow(/__metadata__/);
    await expect(save(path, {}, { metadata: { a: 1 } })).rejects.toThrow(/names to strings/);
    await expect(save(path, {}, { metdata: {} })).rejects.toThrow(/did you mean 'metadata'/);
    const gone = sp.ones([2]);
    gone.dispose();
    await expect(save(path, { gone })).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(readdirSync(folder)).not.toContain('none.safetensors');
  });
});
