// Captured graphs through the native functions: what a replay repeats, whose memory it uses, and
// what cannot be recorded.
import { afterEach, describe, expect, test } from 'vitest';
import { counting, downloaded, isMissing, isSame, emulated as sp, uploaded } from './emulated.js';

describe.skipIf(isMissing)('graphs', () => {
  afterEach(() => sp.deviceSynchronize());

  const through = (x: never, size: number) => {
    const half = sp.deviceAllocate(0, 'float64', size);
    sp.cast.call(x, half);
    const out = sp.deviceAllocate(0, 'float32', size);
    sp.cast.call(half, out);
    sp.deviceFree(half);
    return out;
  };

  test('replays see changed inputs', () => {
    const x = uploaded(counting(500)) as never;
    sp.graphBegin(0);
    const out = through(x, 500);
    const graph = sp.graphEnd(0);
    // What the graph has freed in between, eight bytes an element, is nobody else's.
    const other = uploaded(counting(1000, 7));
    for (let i = 0; i < 5; i++) {
      sp.deviceUpload(x, counting(500, i), 0);
      sp.graphLaunch(graph);
      expect(downloaded(out, 500)).toEqual(counting(500, i));
    }
    expect(downloaded(other, 1000)).toEqual(counting(1000, 7));
    sp.deviceFree(other);
    sp.graphFree(graph);
    expect(() => sp.graphLaunch(graph)).toThrow(/freed/);
  });

  test('memory freed in a capture is used again in it, and only there', () => {
    const x = uploaded(counting(100)) as never;
    sp.graphBegin(0);
    const a = sp.deviceAllocate(0, 'float32', 100);
    const address = sp.devicePointer(a);
    sp.deviceFree(a);
    const b = through(x, 100);
    const addresses = [sp.devicePointer(b)];
    sp.deviceFree(b);
    const c = through(x, 100);
    addresses.push(sp.devicePointer(c));
    const graph = sp.graphEnd(0);
    expect(addresses.includes(address)).toBe(true);
    const outside = sp.deviceAllocate(0, 'float32', 100);
    expect(sp.devicePointer(outside)).not.toBe(address);
    sp.graphLaunch(graph);
    expect(downloaded(c, 100)).toEqual(counting(100));
    sp.graphFree(graph);
  });

  test('memory from outside that is freed in a capture is that of its next owner in each replay', () => {
    const x = uploaded(counting(100)) as never;
    const early = uploaded(counting(100, 5));
    const address = sp.devicePointer(early);
    sp.graphBegin(0);
    sp.deviceFree(early);
    const out = through(x, 100);
    const graph = sp.graphEnd(0);
    const next = uploaded(counting(100, 9));
    expect(sp.devicePointer(next)).toBe(address);
    for (let i = 0; i < 2; i++) {
      sp.graphLaunch(graph);
      expect(downloaded(next, 100)).toEqual(counting(100, 9));
      expect(downloaded(out, 100)).toEqual(counting(100));
    }
    sp.graphFree(graph);
  });

  test('inputs and results may be freed before the graph, and the graph before them', () => {
    const x = uploaded(counting(100)) as never;
    sp.graphBegin(0);
    const out = through(x, 100);
    const graph = sp.graphEnd(0);
    const address = sp.devicePointer(x);
    sp.deviceFree(x);
    const next = uploaded(new Float32Array(100).fill(9));
    expect(sp.devicePointer(next)).not.toBe(address);
    sp.graphLaunch(graph);
    expect(downloaded(out, 100)).toEqual(counting(100));
    sp.graphFree(graph);
    expect(downloaded(out, 100)).toEqual(counting(100));
    sp.deviceFree(out);
  });

  test('reads, uploads and waits are refused in a capture, which goes on', async () => {
    const x = uploaded(counting(10)) as never;
    sp.graphBegin(0);
    const refusal = /cuda\.graph: .* while a graph is being captured/;
    expect(() => sp.deviceReadSync(x, new Float32Array(10))).toThrow(refusal);
    expect(() => sp.deviceUpload(x, new Float32Array(10), 0)).toThrow(refusal);
    expect(() => sp.deviceSynchronize(0)).toThrow(refusal);
    expect(() => sp.deviceTrim(0)).toThrow(refusal);
    expect(() => sp.graphBegin(0)).toThrow(refusal);
    const read = sp.deviceRead(x, new Float32Array(10));
    const out = through(x, 10);
    const graph = sp.graphEnd(0);
    await expect(read).rejects.toThrow(refusal);
    sp.graphLaunch(graph);
    expect(downloaded(out, 10)).toEqual(counting(10));
    expect(() => sp.graphEnd(0)).toThrow(/no capture/);
    sp.graphFree(graph);
  });

  test('a read that is on its way ends before a capture begins', async () => {
    const size = 2_200_000;
    const x = uploaded(counting(size)) as never;
    const out = new Float32Array(size);
    const read = sp.deviceRead(x, out);
    sp.graphBegin(0);
    const copy = sp.deviceAllocate(0, 'float32', size);
    sp.deviceCopy(copy, x);
    const graph = sp.graphEnd(0);
    sp.graphLaunch(graph);
    await read;
    expect(isSame(out, counting(size))).toBe(true);
    expect(isSame(downloaded(copy, size), counting(size))).toBe(true);
    sp.graphFree(graph);
  });

  test('a replay comes after the reads of its results that are on their way', async () => {
    const size = 2_200_000;
    for (const seed of [1, 2, 3]) {
      sp.deviceInject({ seed });
      const x = uploaded(counting(size)) as never;
      sp.graphBegin(0);
      const y = through(x, size);
      const graph = sp.graphEnd(0);
      sp.graphLaunch(graph);
      const outs = [new Float32Array(size), new Float32Array(size)];
      const reads = [sp.deviceRead(y, outs[0])];
      sp.deviceUpload(x, counting(size, 9), 0);
      sp.graphLaunch(graph);
      reads.push(sp.deviceRead(y, outs[1]));
      await Promise.all(reads);
      expect(isSame(outs[0], counting(size))).toBe(true);
      expect(isSame(outs[1], counting(size, 9))).toBe(true);
      sp.graphFree(graph);
    }
  });

  test('a replay whose values are refused throws at the next read, each time', () => {
    const index = uploaded(new Int32Array([0, 1]) as never, 'int32');
    sp.graphBegin(0);
    const out = sp.deviceAllocate(0, 'float32', 6);
    sp.oneHot.call(index, out, 3);
    const graph = sp.graphEnd(0);
    for (let i = 0; i < 3; i++) {
      sp.deviceUpload(index, new Int32Array([0, 7]) as never, 0);
      sp.graphLaunch(graph);
      expect(() => sp.deviceReadSync(out, new Float32Array(6))).toThrow(/oneHot.*7/);
      sp.deviceUpload(index, new Int32Array([2, 1]) as never, 0);
      sp.graphLaunch(graph);
      expect([...downloaded(out, 6)]).toEqual([0, 0, 1, 0, 1, 0]);
    }
    sp.graphFree(graph);
  });
});
