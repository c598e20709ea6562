// Files that NumPy wrote (make_fixtures.py), files that NumPy reads, and files that are wrong.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
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

const folder = temporaryFolder();

describe("NumPy's files", () => {
  for (const [name, content] of Object.entries(fixtures)) {
    if (!name.endsWith('.npy')) continue;
    test(name, async () => {
      expectContent((await sp.loadNpy(fixture(name))) as AnyTensor, content as Content);
    });
  }
});

const dtypes = ['float32', 'float64', 'float16', 'bfloat16', 'int32', 'int64', 'uint8', 'bool'];

describe('both ways', () => {
  for (const dtype of dtypes as sp.DType[]) {
    for (const shape of [[], [0], [3], [2, 0, 3], [5, 1, 3]]) {
      test(`${dtype} [${shape}]`, async () => {
        const size = shape.reduce((a, b) => a * b, 1);
        const data = Array.from({ length: size }, (_, i) => (i * 7) % (dtype === 'bool' ? 2 : 40));
        const t = sp.tensor(data, { dtype, shape }) as AnyTensor;
        const path = join(folder, `${dtype}-${shape.join('x')}.npy`);
        await sp.saveNpy(path, t);
        const back = (await sp.loadNpy(path)) as AnyTensor;
        expect([back.dtype, back.shape]).toEqual([t.dtype, t.shape]);
        expect(bits(back)).toEqual(bits(t));
        // The elements are aligned for whoever maps the file.
        expect(readFileSync(path).length - bits(t).byteLength).toBe(128);
      });
    }
  }

  test('a file URL; an old file is replaced; no drafts stay', async () => {
    const own = join(folder, 'replaced');
    mkdirSync(own);
    const url = pathToFileURL(join(own, 'a b.npy'));
    await sp.saveNpy(url, sp.zeros([1000]));
    await sp.saveNpy(url, sp.ones([2]));
    expect((await sp.loadNpy(url)).toArray()).toEqual([1, 1]);
    expect(readdirSync(own)).toEqual(['a b.npy']);
  });

  test('a tensor cannot be written to while it is being saved', async () => {
    const t = sp.zeros([100_000]);
    const saving = sp.saveNpy(join(folder, 'busy.npy'), t);
    refuser('copy_')(() => t.copy_(sp.ones([100_000])), 'ERR_IN_USE', /asynchronous/);
    await saving;
    t.copy_(sp.ones([100_000]));
    const saved = await sp.loadNpy(join(folder, 'busy.npy'));
    expect(Math.max(...Array.from(saved.dataSync(), Number))).toBe(0);
  });
});

test.skipIf(!pythonHasNumpy)('NumPy reads what is written here', async () => {
  const names: string[] = [];
  for (const dtype of dtypes as sp.DType[]) {
    if (dtype === 'bfloat16') continue;
    const t = sp.tensor([0, 1, 1, 0, 1, 1], { dtype, shape: [2, 3] });
    names.push(join(folder, `python-${dtype}.npy`));
    await sp.saveNpy(names.at(-1)!, t);
  }
  const script =
    'import json, sys, numpy as np\n' +
    'a = [np.load(n) for n in sys.argv[1:]]\n' +
    'print(json.dumps([[str(x.dtype), x.astype(float).tolist()] for x in a]))';
  const values = [
    [0, 1, 1],
    [0, 1, 1],
  ];
  const kinds = dtypes.filter((d) => d !== 'bfloat16');
  expect(fromPython(script, ...names)).toEqual(kinds.map((kind) => [kind, values]));
});

describe('files that are wrong', () => {
  const refuse = async (bytes: Uint8Array, words: RegExp, code = 'ERR_FILE') => {
    const path = join(folder, 'wrong.npy');
    writeFileSync(path, bytes);
    const error = await sp.loadNpy(path).catch((e) => e);
    refuser('loadNpy')(
      () => {
        throw error;
      },
      code,
      words,
    );
  };
  const file = (header: string, data = 16, version = 1) => {
    const bytes = Buffer.from(`\x93NUMPY\0\0\0\0${header}${'\0'.repeat(data)}`, 'latin1');
    bytes[6] = version;
    bytes.writeUInt16LE(header.length, 8);
    return bytes;
  };
  const header = (descr: string, shape = '(2,)', order = 'False') =>
    `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }`;

  test('are named as what they are', async () => {
    await refuse(Buffer.from('hello'), /begins with/);
    await refuse(new Uint8Array(0), /begins with/);
    await refuse(file(header("'<f4'"), 16, 9), /version 1, 2 or 3 of the format, got 9\.0/);
    await refuse(file(header("'<f4'", '(5,)')), /20 bytes of data \(\[5\]\), got 16/);
    await refuse(file(header("'<c8'")), /elements of type f4, .*got '<c8'/);
    await refuse(file(header("'|O'")), /got '\|O'/);
    await refuse(file(header("[('a', '<f4')]")), /structured dtype/);
    await refuse(file(header("'<f4'", '(-1,)')), /shape to hold integers >= 0, got \(-1,\)/);
    await refuse(file('{}'), /descr, fortran_order and shape, got '\{\}'/);
    await refuse(file(header("'<f4'")).subarray(0, 30), /header of at most 20 bytes/);
    await refuse(file(header("'<f4'", `(${2 ** 40}, ${2 ** 40})`)), /2\^53/, 'ERR_SHAPE');
  });

  test('a path that is none, a file that is not there', async () => {
    const wrong = sp.loadNpy(5 as unknown as string);
    await expect(wrong).rejects.toThrow(
      'loadNpy: expected path to be a string or a file URL, got 5',
    );
    await expect(sp.loadNpy(join(folder, 'none.npy'))).rejects.toMatchObject({ code: 'ENOENT' });
    const nowhere = join(folder, 'no', 'folder.npy');
    await expect(sp.saveNpy(nowhere, sp.ones([1]))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
