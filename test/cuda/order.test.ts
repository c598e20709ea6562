// Who waits for whom: reads, uploads, and streams of callers and threads. The emulated device runs
// work late, so that what is still pending shows that nobody has waited for it.
import { afterEach, describe, expect, test } from 'vitest';
import {
  path as addon,
  child,
  counting,
  downloaded,
  isMissing,
  isSame,
  emulated as sp,
  uploaded,
} from './emulated.js';

const large = 2_200_000; // several pieces of the landing memory
const seeds = [1, 2, 3];

describe.skipIf(isMissing)('work behind a long step', () => {
  afterEach(() => sp.deviceInject({ capacity: 8 * 2 ** 30 }));

  /** So much work that chance, and the thread that polls for reads, run little of it meanwhile. */
  function longStep() {
    const a = uploaded(counting(4));
    const b = sp.deviceAllocate(0, 'float32', 4);
    sp.deviceSynchronize(0);
    for (let i = 0; i < 5000; i++) sp.deviceCopy(b, a);
    sp.deviceFree(a);
    sp.deviceFree(b);
  }
  const some = 1000;

  test('what is being read can be read and written by operations, which wait on the device', async () => {
    for (const seed of seeds) {
      for (const size of seed === 1 ? [100_000, large] : [100_000]) {
        sp.deviceInject({ seed });
        const memory = uploaded(counting(size));
        const half = sp.deviceAllocate(0, 'float64', size);
        const zeros = uploaded(new Float32Array(size));
        longStep();
        const out = new Float32Array(size);
        const read = sp.deviceRead(memory, out);
        sp.cast.call(memory, half);
        sp.deviceCopy(memory, zeros);
        expect(sp.devicePending()).toBeGreaterThan(some);
        expect(out[size - 1]).toBe(0);
        sp.deviceFree(memory);
        const next = sp.deviceAllocate(0, 'float32', size);
        sp.cast.call(half, next);
        sp.deviceSynchronize(0);
        await read;
        expect(isSame(out, counting(size))).toBe(true);
        expect(isSame(downloaded(next, size), counting(size))).toBe(true);
        for (const each of [half, next, zeros]) sp.deviceFree(each);
      }
    }
  });

  test('two reads of one memory, the second of what an operation has written', async () => {
    const memory = uploaded(counting(large));
    const [first, second] = [new Float32Array(large), new Float32Array(large)];
    const other = uploaded(counting(large, 7));
    const reads = [sp.deviceRead(memory, first)];
    sp.deviceCopy(memory, other);
    reads.push(sp.deviceRead(memory, second));
    sp.deviceCopy(memory, uploaded(new Float32Array(large)));
    await Promise.all(reads);
    expect(isSame(first, counting(large))).toBe(true);
    expect(isSame(second, counting(large, 7))).toBe(true);
    for (const each of [memory, other]) sp.deviceFree(each);
  });

  test('without memory to copy the rest of a read aside, an operation waits', async () => {
    const memory = uploaded(counting(large));
    const zeros = uploaded(new Float32Array(large));
    sp.deviceTrim(0);
    sp.deviceFree(sp.deviceAllocate(0, 'float32', 1000));
    const { total, free, recycled } = sp.deviceMemory(0, false);
    const out = new Float32Array(large);
    const read = sp.deviceRead(memory, out);
    sp.deviceInject({ capacity: total - free });
    sp.deviceCopy(memory, zeros);
    // What is kept for the next tensors stays: the copies are done sooner than that is won back.
    expect([recycled > 0, sp.deviceMemory(0, false).recycled]).toEqual([true, recycled]);
    await read;
    expect(isSame(out, counting(large))).toBe(true);
    expect(downloaded(memory, large)[9]).toBe(0);
    for (const each of [memory, zeros]) sp.deviceFree(each);
  });

  test('uploads beyond the ring do not wait for it', () => {
    const memory = [1, 2, 3].map(() => sp.deviceAllocate(0, 'float32', large));
    longStep();
    for (const [i, each] of memory.entries()) sp.deviceUpload(each, counting(large, i), 0);
    expect(sp.devicePending()).toBeGreaterThan(some);
    for (const [i, each] of memory.entries()) {
      expect(isSame(downloaded(each, large), counting(large, i))).toBe(true);
      sp.deviceFree(each);
    }
  });

  test('uploads beyond all buffers wait, and are right', () => {
    const memory = sp.deviceAllocate(0, 'float32', large);
    longStep();
    const [values, last] = [counting(large), counting(large, 7)];
    for (let i = 0; i < 10; i++) sp.deviceUpload(memory, values, 0);
    sp.deviceUpload(memory, last, 0);
    expect(isSame(downloaded(memory, large), last)).toBe(true);
    sp.deviceFree(memory);
    sp.deviceTrim(0);
    const { total, free, reserved } = sp.deviceMemory(0, false);
    expect(total - free - reserved, 'bytes beside the pools').toBeLessThan(5 * 2 ** 20);
  });
});

describe.skipIf(isMissing)('streams of callers', () => {
  test('a stream that is none of the device is refused, and the device goes on', () => {
    const out = child(
      `
      const other = a.deviceMakeStream(1);
      for (const stream of [other, 12345n])
        try { a.deviceSetStream(0, stream); } catch (e) { console.log(e.code, e.message); }
      const x = a.deviceAllocate(0, 'float32', 4), half = a.deviceAllocate(0, 'float16', 4);
      a.deviceUpload(x, new Float32Array(4), 0);
      a.cast.call(x, half);
      a.deviceSynchronize();
      console.log('alive');
      `,
      { SURPRISAL_EMULATOR_DEVICES: '2' },
    ).split('\n');
    expect(out[0]).toBe('ERR_INVALID_VALUE cuda: no stream of cuda:0: it is one of cuda:1');
    expect(out[1]).toMatch(/^ERR_INVALID_VALUE cuda: no stream of cuda:0: .*400/);
    expect(out[2]).toBe('alive');
  });

  test('one that is destroyed under our hands does not take the device along', () => {
    const out = child(`
      const stream = a.deviceMakeStream();
      const x = a.deviceAllocate(0, 'float32', 4), half = a.deviceAllocate(0, 'float16', 4);
      a.deviceUpload(x, new Float32Array(4).fill(2), 0);
      a.deviceSynchronize();
      a.deviceSetStream(0, stream);
      a.deviceInject({ endStream: stream });
      try { a.cast.call(x, half); } catch (e) { console.log(e.message); }
      a.deviceSetStream(0, undefined);
      a.cast.call(x, half);
      a.cast.call(half, x);
      const out = new Float32Array(4);
      a.deviceReadSync(x, out);
      console.log(out[3]);
    `);
    expect(out).toMatch(/^cuda: launch: .*400\)\n2$/);
  });

  test("are their thread's alone; a worker that ends inside leaves none behind", () => {
    const worker = `
      const { parentPort, workerData } = require('node:worker_threads');
      const seen = [a.deviceStream(0) === workerData.own];
      const x = a.deviceAllocate(0, 'float32', 1000), wide = a.deviceAllocate(0, 'float64', 1000);
      a.deviceUpload(x, new Float32Array(1000).fill(5), 0);
      const mine = a.deviceMakeStream();
      a.deviceSetStream(0, mine);
      a.cast.call(x, wide);
      seen.push(a.deviceStream(0) === mine);
      parentPort.postMessage({ seen, mine });
      parentPort.on('message', () => {
        a.cast.call(wide, x);
        const out = new Float32Array(1000);
        a.deviceReadSync(x, out);
        parentPort.postMessage({ seen: out[5], mine });
      });
      setInterval(() => a.cast.call(wide, x), 1);
    `;
    const out = child(
      `
      const { Worker } = require('node:worker_threads');
      const n = 1000;
      const own = a.deviceStream(0), theirs = a.deviceMakeStream();
      a.deviceSetStream(0, theirs);
      const x = a.deviceAllocate(0, 'float32', n), wide = a.deviceAllocate(0, 'float64', n);
      a.deviceUpload(x, new Float32Array(n).fill(3), 0);
      const out = new Float32Array(n);
      const right = () => {
        for (let i = 0; i < 20; i++) { a.cast.call(x, wide); a.cast.call(wide, x); }
        a.deviceReadSync(x, out);
        return out.every((v) => v === 3) && a.deviceStream(0) === theirs;
      };
      const worker = new Worker(
        'const a = require(' + JSON.stringify(process.env.ADDON) + ');' + process.env.PROGRAM,
        { eval: true, workerData: { own } },
      );
      worker.on('message', async ({ seen, mine }) => {
        if (seen !== 5) {
          console.log(seen, right());
          a.deviceInject({ endStream: theirs });
          try { a.cast.call(x, wide); } catch (e) { console.log(/^cuda: .*400/.test(e.message)); }
          return worker.postMessage('go on');
        }
        console.log(seen);
        a.deviceSetStream(0, undefined);
        await worker.terminate();
        a.deviceInject({ endStream: mine });
        console.log(a.deviceStream(0) === own);
        a.deviceReadSync(x, out);
        console.log(out[5]);
      });
      `,
      { PROGRAM: worker, ADDON: addon },
    );
    const lines = ['[ true, true ] true', 'true', '5', 'true', '3'];
    expect(out.split('\n')).toEqual(lines);
  });
});

describe.skipIf(isMissing)('memory that other libraries know', () => {
  test.each([false, true])(
    'is used again after what the thread that ends a DLPack tensor has waited for, versioned: %s',
    (versioned) => {
      for (const seed of seeds) {
        sp.deviceInject({ seed });
        const n = 1000;
        const memory = uploaded(counting(n));
        const out = sp.deviceAllocate(0, 'float32', n);
        const [own, theirs] = [sp.deviceStream(0), sp.deviceMakeStream()];
        const address = sp.devicePointer(memory);
        const lent = sp.deviceToDLPack(memory, [n], versioned);
        sp.deviceFree(memory);
        sp.deviceSynchronize(0);
        sp.deviceSetStream(0, theirs);
        sp.deviceCopy(out, uploaded(new Float32Array(n)));
        // The other library has read it on the device's own stream.
        sp.deviceForeignCopy(own, sp.devicePointer(out), address, 4 * n);
        sp.deviceForeignEnd(lent, versioned);
        const next = uploaded(new Float32Array(n).fill(-1));
        expect(sp.devicePointer(next)).toBe(address);
        expect(downloaded(next, n)[9]).toBe(-1);
        sp.deviceSetStream(0, undefined);
        expect(downloaded(out, n)).toEqual(counting(n));
        for (const each of [out, next]) sp.deviceFree(each);
      }
    },
  );

  test('and after what the stream of the thread that frees it has got', () => {
    const worker = `
      const { parentPort } = require('node:worker_threads');
      const stream = a.deviceMakeStream();
      a.deviceSetStream(0, stream);
      const x = a.deviceAllocate(0, 'float32', 10), wide = a.deviceAllocate(0, 'float64', 10);
      a.deviceUpload(x, new Float32Array(10), 0);
      a.cast.call(x, wide);
      parentPort.postMessage('entered');
      parentPort.once('message', () => {
        const next = a.deviceAllocate(0, 'float32', 1000);
        a.deviceUpload(next, new Float32Array(1000).fill(-1), 0);
        a.deviceReadSync(next, new Float32Array(1000));
        parentPort.postMessage(a.devicePointer(next));
      });
    `;
    const out = child(
      `
      const { Worker } = require('node:worker_threads');
      const memory = a.deviceAllocate(0, 'float32', 1000), copy = a.deviceAllocate(0, 'float32', 1000);
      a.deviceUpload(memory, new Float32Array(1000).fill(3), 0);
      a.deviceSynchronize(0);
      const [own, address] = [a.deviceStream(0), a.devicePointer(memory)];
      const worker = new Worker(
        'const a = require(' + JSON.stringify(process.env.ADDON) + ');' + process.env.PROGRAM,
        { eval: true },
      );
      worker.on('message', (next) => {
        if (next === 'entered') {
          a.deviceForeignCopy(own, a.devicePointer(copy), address, 4000);
          a.deviceFree(memory);
          return worker.postMessage('go on');
        }
        const out = new Float32Array(1000);
        a.deviceReadSync(copy, out);
        console.log(next === address, out[0], out[999]);
      });
      `,
      { PROGRAM: worker, ADDON: addon },
    );
    expect(out).toBe('true 3 3');
  });
});

describe.skipIf(isMissing)('graphs', () => {
  test('are freed while other threads capture', () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      const x = a.deviceAllocate(0, 'float32', 1000);
      a.deviceUpload(x, new Float32Array(1000).fill(id), 0);
      for (let round = 0; round < 60; round++) {
        a.graphBegin(0);
        const wide = a.deviceAllocate(0, 'float64', 1000), back = a.deviceAllocate(0, 'float32', 1000);
        a.cast.call(x, wide);
        a.cast.call(wide, back);
        const graph = a.graphEnd(0);
        a.graphLaunch(graph);
        const out = new Float32Array(1000);
        if (round % 7 === 0) a.deviceReadSync(back, out);
        if (round % 7 === 0 && out[999] !== id) throw new Error('worker ' + id + ': ' + out[999]);
        a.deviceFree(wide);
        a.deviceFree(back);
        a.graphFree(graph);
      }
      a.deviceFree(x);
      parentPort.postMessage('done');
    `;
    const out = child(
      `
      const { Worker } = require('node:worker_threads');
      let done = 0;
      for (let id = 1; id <= 3; id++) {
        const worker = new Worker(
          'const id = ' + id + '; const a = require(' + JSON.stringify(process.env.ADDON) + ');' + process.env.PROGRAM,
          { eval: true },
        );
        worker.on('error', (e) => { throw e; });
        worker.on('message', () => { if (++done === 3) console.log(a.deviceMemory(0, false).live); });
      }
      `,
      { PROGRAM: program, ADDON: addon },
    );
    expect(out).toBe('0');
  });
});
