// Tensors of ONNX Runtime both ways: with a class of its contract, and with its own where installed.
import { describe, expect, test } from 'vitest';
import { fromOrt, type OrtLibrary, type OrtTensor, toOrt } from '../../src/adapters/onnx.js';
import * as sp from '../../src/index.js';
import { refuser } from '../harness/refusal.js';

class Tensor implements OrtTensor {
  readonly location = 'cpu';
  constructor(
    readonly type: string,
    readonly data: unknown,
    readonly dims: readonly number[],
  ) {}
}

const name: string = 'onnxruntime-common';
const ort = (await import(/* @vite-ignore */ name).catch(
  () => null,
)) as OrtLibrary<OrtTensor> | null;
if (!ort) console.info(`skipped: ${name} is not installed`);

const libraries: [string, OrtLibrary<OrtTensor>][] = [['its contract', { Tensor }]];
if (ort) libraries.push([name, ort]);

describe.each(libraries)('%s', (_, library) => {
  test.each(['float32', 'float64', 'float16', 'int32', 'int64', 'uint8', 'bool'] as const)(
    '%s both ways',
    (dtype) => {
      const t = sp.tensor([0, 1, 1, 0, 1, 1], { dtype, shape: [2, 3] });
      const there = toOrt(library, t as sp.Tensor);
      expect([there.type, [...there.dims]]).toEqual([dtype, [2, 3]]);
      const back = fromOrt(there);
      expect([back.dtype, back.shape, back.toArray()]).toEqual([dtype, [2, 3], t.toArray()]);
    },
  );

  test('bfloat16 goes as float32; a copy is a copy', () => {
    const there = toOrt(library, sp.tensor([1.5, -2], { dtype: 'bfloat16' }) as sp.Tensor);
    expect([there.type, there.data]).toEqual(['float32', new Float32Array([1.5, -2])]);
    const back = fromOrt(there, { requiresGrad: true });
    (there.data as Float32Array)[0] = 7;
    expect([back.requiresGrad, back.toArray()]).toEqual([true, [1.5, -2]]);
  });

  test('small integers widen', () => {
    const bytes = new library.Tensor('int8', new Int8Array([-128, 127]), [2]);
    expect([fromOrt(bytes).dtype, fromOrt(bytes).toArray()]).toEqual(['int32', [-128, 127]]);
  });
});

test('what has no counterpart is refused', () => {
  const refuse = refuser('fromOrt');
  refuse(() => fromOrt(new Tensor('string', ['a'], [1])), 'ERR_DTYPE', /got string/);
  const away = { type: 'float32', dims: [1], data: null, location: 'gpu-buffer' };
  refuse(() => fromOrt(away), 'ERR_DEVICE', /getData/);
  refuse(() => fromOrt(5 as never), 'ERR_INVALID_TYPE');
  refuser('toOrt')(() => toOrt({} as OrtLibrary<never>, sp.ones([1])), 'ERR_INVALID_TYPE');
});
