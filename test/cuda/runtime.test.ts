// Memory, streams, transfers and faults of a device, through the native functions. The emulated
// device runs work as late as it may and interleaves streams by a seed, so that these tests see a
// wait that is missing.
import { afterEach, describe, expect, test } from 'vitest';
import {
  child,
  counting,
  downloaded,
  isMissing,
  isSame,
  emulated as sp,
  uploaded,
} from './emulated.js';

const large = 2_200_000; // several pieces of the staging memory
const seeds = [1, 2, 3];

describe.skipIf(isMissing)('runtime', () => {
  afterEach(() => sp.deviceSynchronize());

  test('status', () => {
    const status = sp.deviceStatus();
    expect(status).toMatchObject({ built: true, emulated: true, reason: '' });
    expect(status.devices[0]).toMatchObject({ arch: 90, processors: 132 });
  });

  test('the source of an upload may be changed at once', () => {
    for (const size of [1, 1000, 100_000, large]) {
      const source = counting(size);
      const memory = uploaded(source);
      source.fill(-1);
      expect(isSame(downloaded(memory, size), counting(size))).toBe(true);
      sp.deviceFree(memory);
    }
  });

  test('more uploads than the ring holds, at an offset', () => {
    const memory = uploaded(new Float32Array(64 * 1024));
    for (let i = 0; i < 400; i++) {
      sp.deviceUpload(memory, new Float32Array(60_000).fill(i), 3000);
    }
    const values = downloaded(memory, 64 * 1024);
    expect([values[2999], values[3000], values[62_999], values[63_000]]).toEqual([0, 399, 399, 0]);
    expect(() => sp.deviceUpload(memory, new Float32Array(2), 64 * 1024 - 1)).toThrow(/beyond/);
    sp.deviceFree(memory);
  });

  test('a read sees what was there when it was asked for', async () => {
    for (const seed of seeds) {
      sp.deviceInject({ seed });
      for (const size of [10, 50_000, large]) {
        const memory = uploaded(counting(size));
        const out = new Float32Array(size);
        const read = sp.deviceRead(memory, out);
        sp.deviceUpload(memory, new Float32Array(size), 0);
        sp.deviceSynchronize(0); // or the compute stream might be later than the read by chance
        await read;
        expect(isSame(out, counting(size))).toBe(true);
        expect(isSame(downloaded(memory, size), new Float32Array(size))).toBe(true);
        sp.deviceFree(memory);
      }
    }
  });

  test('memory freed while it is read is not handed out before', async () => {
    for (const seed of seeds) {
      sp.deviceInject({ seed });
      const memory = uploaded(counting(large));
      const out = new Float32Array(large);
      const read = sp.deviceRead(memory, out);
      sp.deviceFree(memory);
      const next = uploaded(new Float32Array(large).fill(-1));
      await read;
      expect(isSame(out, counting(large))).toBe(true);
      sp.deviceFree(next);
    }
  });

  test('freed memory is used again at once, and its last reader comes first', () => {
    const a = uploaded(counting(1000));
    const half = sp.deviceAllocate(0, 'bfloat16', 1000);
    sp.cast.call(a, half);
    const address = sp.devicePointer(a);
    sp.deviceFree(a);
    const b = uploaded(new Float32Array(1000).fill(5));
    expect(sp.devicePointer(b)).toBe(address);
    const back = sp.deviceAllocate(0, 'float32', 1000);
    sp.cast.call(half, back);
    expect(downloaded(back, 1000)[128]).toBe(128);
    for (const memory of [b, half, back]) sp.deviceFree(memory);
  });

  test('freed twice is freed once; freed memory is refused', () => {
    const before = sp.deviceMemory(0, false).live;
    const memory = uploaded(counting(10));
    sp.deviceFree(memory);
    sp.deviceFree(memory);
    expect(sp.deviceMemory(0, false).live).toBe(before);
    expect(() => sp.deviceReadSync(memory, new Float32Array(10))).toThrow(/freed/);
    expect(() => sp.cast.call(memory, memory)).toThrow(/freed/);
  });

  test('no elements', async () => {
    const memory = sp.deviceAllocate(0, 'float32', 0);
    sp.deviceUpload(memory, new Float32Array(0), 0);
    sp.deviceReadSync(memory, new Float32Array(0));
    await sp.deviceRead(memory, new Float32Array(0));
    const other = sp.deviceAllocate(0, 'float64', 0);
    sp.cast.call(memory, other);
    sp.deviceCopy(memory, sp.deviceAllocate(0, 'float32', 0));
    sp.deviceFree(memory);
  });

  test('bytes are counted: live, peak, kept for the next', () => {
    sp.deviceTrim(0);
    const start = sp.deviceMemory(0, true);
    const a = sp.deviceAllocate(0, 'float32', 1_000_000);
    const b = sp.deviceAllocate(0, 'float32', 1_000_000);
    sp.deviceFree(a);
    const now = sp.deviceMemory(0, false);
    expect(now.live - start.live).toBe(4_000_000);
    expect(now.peak - start.live).toBe(8_000_000);
    expect(now.recycled).toBeGreaterThanOrEqual(4_000_000);
    expect(now.reserved - now.recycled).toBeGreaterThanOrEqual(now.live);
    sp.deviceTrim(0);
    expect(sp.deviceMemory(0, true).recycled).toBe(0);
    expect(sp.deviceMemory(0, false).peak).toBe(now.live);
    sp.deviceFree(b);
  });

  test('a steady step asks the driver for no memory', () => {
    const x = uploaded(counting(5000));
    const step = () => {
      const half = sp.deviceAllocate(0, 'float16', 5000);
      const back = sp.deviceAllocate(0, 'float32', 5000);
      sp.cast.call(x, half);
      sp.cast.call(half, back);
      sp.deviceFree(half);
      sp.deviceFree(back);
    };
    step();
    const before = sp.deviceCalls();
    for (let i = 0; i < 10; i++) step();
    expect(sp.deviceCalls() - before).toBe(20); // the launches
    sp.deviceFree(x);
  });

  test('SURPRISAL_POOL=exact: each array has a block of its bytes, given back when freed', () => {
    const out = child(
      `
      const own = () => a.deviceMemory(0, false);
      const x = a.deviceAllocate(0, 'float32', 1001), y = a.deviceAllocate(0, 'float32', 1001);
      a.deviceUpload(x, new Float32Array(1001).fill(3), 0);
      const half = a.deviceAllocate(0, 'float16', 1001);
      console.log(own().reserved, own().live);
      a.graphBegin(0);
      const within = a.deviceAllocate(0, 'float16', 1001);
      a.cast.call(x, within);
      a.cast.call(within, y);
      a.deviceFree(within);
      const graph = a.graphEnd(0);
      // Its block stays where the graph has it, and goes to nobody else.
      a.deviceFree(half);
      a.deviceAllocate(0, 'float16', 1001);
      a.graphLaunch(graph);
      const out = new Float32Array(1001);
      a.deviceReadSync(y, out);
      console.log(out[1000]);
      const index = a.deviceAllocate(0, 'int32', 1001);
      a.deviceUpload(index, new Int32Array(1001), 0);
      const before = own();
      a.indexSelectAdd.call(x, index, y, 1, 1001, 1, -1); // in scratch memory
      console.log(own().scratchPeak > 0, own().reserved - before.reserved, own().recycled);
      `,
      { SURPRISAL_POOL: 'exact' },
    );
    expect(out.split('\n')).toEqual(['10010 10010', '3', 'true 0 0']);
  });

  test('what JavaScript drops in a loop that never yields is swept', () => {
    const before = sp.deviceMemory(0, false).live;
    for (let i = 0; i < 3000; i++) sp.deviceAllocate(0, 'float32', 1000);
    sp.collectGarbage();
    sp.deviceSweep();
    expect(sp.deviceMemory(0, false).live - before).toBeLessThan(40_000);
  });

  test('copies on the device, and between arrays of one dtype only', () => {
    const a = uploaded(counting(777));
    const b = sp.deviceAllocate(0, 'float32', 777);
    sp.deviceCopy(b, a);
    expect(downloaded(b, 777)).toEqual(counting(777));
    expect(() => sp.deviceCopy(sp.deviceAllocate(0, 'int32', 777), a)).toThrow(/equal tensors/);
    expect(() => sp.deviceReadSync(a, new Int32Array(777) as never)).toThrow(/dtype/);
    expect(() => sp.deviceReadSync(a, new Float32Array(776))).toThrow(/size/);
    sp.deviceFree(a);
    sp.deviceFree(b);
  });

  test('operations may not mix host and device', () => {
    const a = uploaded(counting(4));
    expect(() => sp.cast.call(a, new Uint16Array(4))).toThrow(/same device/);
    sp.deviceFree(a);
  });

  test('the asynchronous form of an operation enqueues, or rejects', async () => {
    const a = uploaded(counting(4));
    const half = sp.deviceAllocate(0, 'bfloat16', 4);
    await sp.cast.callAsync(a, half);
    const back = sp.deviceAllocate(0, 'float32', 4);
    await sp.cast.callAsync(half, back);
    expect(downloaded(back, 4)).toEqual(counting(4));
    await expect(sp.cast.callAsync(a, sp.deviceAllocate(0, 'bfloat16', 5))).rejects.toThrow(/size/);
  });

  test("somebody else's memory, and a stream of theirs", async () => {
    const owner = uploaded(counting(100));
    const seen = sp.deviceFromPointer(0, sp.devicePointer(owner), 'float32', 100, { owner });
    expect(downloaded(seen, 100)).toEqual(counting(100));
    const theirs = sp.deviceMakeStream();
    const own = sp.deviceStream(0);
    for (const seed of seeds) {
      sp.deviceInject({ seed });
      sp.deviceUpload(owner, counting(100, seed), 0);
      sp.deviceSetStream(0, theirs);
      expect(sp.deviceStream(0)).toBe(theirs);
      const half = sp.deviceAllocate(0, 'float64', 100);
      sp.cast.call(seen, half);
      sp.deviceSetStream(0, undefined);
      expect(sp.deviceStream(0)).toBe(own);
      const back = sp.deviceAllocate(0, 'float32', 100);
      sp.cast.call(half, back);
      expect(downloaded(back, 100)).toEqual(counting(100, seed));
    }
    expect(() => sp.deviceSetStream(0, 12345n)).toThrow(/no stream of cuda:0/);
    sp.deviceFree(seen);
    await sp.deviceSynchronizeAsync(0);
  });

  test('devices that are not there', () => {
    expect(() => sp.deviceAllocate(7, 'float32', 1)).toThrow(/there is no cuda:7/);
    expect(() => sp.deviceAllocate(-1, 'float32', 1)).toThrow();
    expect(() => sp.deviceAllocate(0, 'complex64', 1)).toThrow(/dtype/);
    expect(() => sp.deviceAllocate(0, 'float32', -1)).toThrow(/size/);
  });
});

describe.skipIf(isMissing)('values that kernels refuse', () => {
  const bad = () => {
    const index = uploaded(new Int32Array([0, 9, 1, 11]) as never, 'int32');
    const out = sp.deviceAllocate(0, 'float32', 12);
    sp.oneHot.call(index, out, 3);
    sp.deviceFree(index);
    return out;
  };

  test('throw at the next read, name the first, and are then forgotten', () => {
    const fine = uploaded(counting(4));
    const out = bad();
    expect(() => sp.deviceReadSync(fine, new Float32Array(4))).toThrow(/oneHot.*9/);
    expect(downloaded(fine, 4)).toEqual(counting(4));
    sp.deviceFree(out);
  });

  test('reject a pending read, and throw from synchronize', async () => {
    const fine = uploaded(counting(large));
    for (const seed of seeds) {
      sp.deviceInject({ seed });
      bad();
      await expect(sp.deviceRead(fine, new Float32Array(large))).rejects.toThrow(/oneHot.*9/);
      bad();
      expect(() => sp.deviceSynchronize(0)).toThrow(RangeError);
      bad();
      await expect(sp.deviceSynchronizeAsync(0)).rejects.toMatchObject({
        code: 'ERR_OUT_OF_RANGE',
      });
      await sp.deviceSynchronizeAsync(0);
    }
  });

  test('every read that was on its way hears of it; later ones do not', async () => {
    const fine = uploaded(counting(8));
    bad();
    const reads = [1, 2, 3].map(() => sp.deviceRead(fine, new Float32Array(8)));
    const results = await Promise.allSettled(reads);
    expect(results.map((r) => r.status)).toEqual(['rejected', 'rejected', 'rejected']);
    await sp.deviceRead(fine, new Float32Array(8));
  });
});
