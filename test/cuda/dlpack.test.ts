// DLPack through the native functions: our own exports taken in again.
import { describe, expect, test } from 'vitest';
import { counting, downloaded, isMissing, isSame, emulated as sp, uploaded } from './emulated.js';

describe.skipIf(isMissing)('DLPack', () => {
  test.each([true, false])('device memory goes out and comes back, versioned: %s', async (v) => {
    const memory = uploaded(counting(24));
    const address = sp.devicePointer(memory);
    const sent = sp.deviceToDLPack(memory, [2, 3, 4], v);
    sp.deviceFree(memory);
    // Its memory is lent, so the next tensor gets other memory.
    const next = uploaded(new Float32Array(24));
    expect(sp.devicePointer(next)).not.toBe(address);
    const got = sp.deviceFromDLPack(sent, v);
    expect(got).toMatchObject({ shape: [2, 3, 4], dtype: 'float32', device: 0, readOnly: false });
    expect(sp.devicePointer(got.raw)).toBe(address);
    expect(downloaded(got.raw, 24)).toEqual(counting(24));
    const live = sp.deviceMemory(0, false).live;
    sp.deviceFree(got.raw);
    // The deleter is called when the work that uses the memory is done.
    for (let i = 0; i < 100 && sp.deviceMemory(0, false).live === live; i++)
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect(live - sp.deviceMemory(0, false).live).toBe(96);
    sp.deviceFree(next);
  });

  test.each(['float32', 'float64', 'float16', 'bfloat16', 'int32', 'int64', 'uint8', 'bool'])(
    '%s keeps its dtype',
    (dtype) => {
      const memory = sp.deviceAllocate(0, dtype, 6);
      const got = sp.deviceFromDLPack(sp.deviceToDLPack(memory, [6], true), true);
      expect(got.dtype).toBe(dtype);
    },
  );

  test('typed arrays go out as they are, and come in as copies', () => {
    const array = counting(6);
    const sent = sp.deviceToDLPack(array, [2, 3], true);
    array[5] = 50;
    const got = sp.deviceFromDLPack(sent, true);
    expect(got).toMatchObject({ shape: [2, 3], dtype: 'float32', device: -1 });
    expect([...(got.raw as Float32Array)]).toEqual([0, 1, 2, 3, 4, 50]);
    array[0] = 7;
    expect((got.raw as Float32Array)[0]).toBe(0);
  });

  test('no elements, and scalars', () => {
    const none = sp.deviceFromDLPack(sp.deviceToDLPack(new Float32Array(0), [0, 3], true), true);
    expect(none.shape).toEqual([0, 3]);
    const one = sp.deviceFromDLPack(sp.deviceToDLPack(uploaded(counting(1, 4)), [], false), false);
    expect(one.shape).toEqual([]);
    expect(downloaded(one.raw, 1)[0]).toBe(4);
  });

  test('a shape of another size is refused', () => {
    expect(() => sp.deviceToDLPack(new Float32Array(6), [2, 2], true)).toThrow(/elements/);
    expect(() => sp.deviceFromDLPack(0n, true)).toThrow(/address/);
  });

  test('a large one', () => {
    const memory = uploaded(counting(100_000));
    const got = sp.deviceFromDLPack(sp.deviceToDLPack(memory, [100, 1000], true), true);
    expect(isSame(downloaded(got.raw, 100_000), counting(100_000))).toBe(true);
  });
});
