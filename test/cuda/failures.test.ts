// When the device has no memory left, fails, or is left in a hurry. Each case has a process of its
// own: a device that has failed is lost to its process.
import { describe, expect, test } from 'vitest';
import { path as addon, child, isMissing } from './emulated.js';

const MB = 2 ** 20;
const seeds = ['1', '2', '3'];

describe.skipIf(isMissing)('out of memory', () => {
  const env = { SURPRISAL_EMULATOR_MEMORY: String(64 * MB) };

  test('is an error with the sizes, and the device goes on', () => {
    const out = child(
      `
      const held = [];
      let error;
      try { for (;;) held.push(a.deviceAllocate(0, 'float32', 2 ** 20)); } catch (e) { error = e; }
      const { live } = a.deviceMemory(0, false);
      console.log(error.code, error.requested, error.free < error.requested, error.total);
      console.log(error.message);
      console.log(live === held.length * 2 ** 22);
      a.deviceFree(held.pop());
      const again = a.deviceAllocate(0, 'float32', 2 ** 20);
      const x = new Float32Array(2 ** 20).fill(3);
      a.deviceUpload(again, x, 0);
      a.deviceReadSync(again, x);
      console.log(x[0], x[2 ** 20 - 1]);
      `,
      env,
    ).split('\n');
    expect(out[0]).toBe(`ERR_OUT_OF_MEMORY ${4 * MB} true ${64 * MB}`);
    expect(out[1]).toMatch(
      /^out of memory: requested 4194304 bytes on cuda:0, \d+ of 67108864 free$/,
    );
    expect(out.slice(2)).toEqual(['true', '3 3']);
  });

  test('what is kept in other sizes is given back first', () => {
    const out = child(
      `
      for (const size of [1, 3, 5, 7, 11, 13, 10, 14]) {
        const memory = a.deviceAllocate(0, 'float32', size * 2 ** 20);
        a.deviceUpload(memory, new Float32Array(100), 0);
        a.deviceFree(memory);
      }
      console.log(a.deviceMemory(0, false).live);
      `,
      env,
    );
    expect(out).toBe('0');
  });

  test('sizes beyond all memory', () => {
    const out = child(`
      for (const size of [2 ** 40, 2 ** 52])
        try { a.deviceAllocate(0, 'float64', size); } catch (e) { console.log(e.code, e.requested); }
      a.deviceSynchronize();
    `);
    expect(out.split('\n')).toEqual([
      `ERR_OUT_OF_MEMORY ${2 ** 43}`,
      `ERR_OUT_OF_MEMORY ${2 ** 55}`,
    ]);
  });

  test('no page-locked memory: a read fails, and what it had goes to the next one', () => {
    const out = child(`
      const n = 2 ** 21; // two pieces
      const x = a.deviceAllocate(0, 'float32', n), y = a.deviceAllocate(0, 'float32', n / 2);
      for (const [to, size] of [[x, n], [y, n / 2]])
        a.deviceUpload(to, new Float32Array(size).fill(5), 0);
      a.deviceSynchronize(0);
      a.deviceInject({ hostRoom: 2 ** 22 + 2 ** 14 }); // of one, and of a few small ones
      const said = new Set();
      const note = (e) => said.add(e.code + ' ' + e.message);
      (async () => {
        for (let i = 0; i < 10; i++) {
          await a.deviceRead(x, new Float32Array(n)).catch(note);
          try { a.deviceReadSync(x, new Float32Array(n)); } catch (e) { note(e); }
        }
        console.log([...said].join());
        const out = new Float32Array(n / 2);
        a.deviceReadSync(y, out);
        console.log(out[7], out[n / 2 - 1]);
        await a.deviceRead(y, out.fill(0));
        console.log(out[7], out[n / 2 - 1]);
        a.deviceInject({ hostRoom: 0 });
        a.graphBegin(0);
        said.clear();
        for (let i = 0; i < 10; i++) try { a.deviceSynchronize(0); } catch (e) { note(e); }
        a.graphFree(a.graphEnd(0));
        console.log([...said].join());
        a.deviceSynchronize(0);
      })();
    `).split('\n');
    expect(out[0]).toMatch(
      /^ERR_OUT_OF_MEMORY cuda: no page-locked memory: out of memory \([^()]*\)$/,
    );
    expect(out.slice(1, 3)).toEqual(['5 5', '5 5']);
    expect(out[3]).toMatch(/^\S+ cuda.graph: device values cannot be read [^,]*$/);
  });

  test("in an operation's scratch memory: nothing leaks and the next call works", () => {
    const out = child(`
      const n = 200000;
      const index = a.deviceAllocate(0, 'int32', n);
      a.deviceUpload(index, new Int32Array(n), 0);
      const grad = a.deviceAllocate(0, 'float32', n);
      a.deviceUpload(grad, new Float32Array(n).fill(1), 0);
      const sum = a.deviceAllocate(0, 'float32', 4);
      a.deviceUpload(sum, new Float32Array(4), 0);
      const all = a.deviceMemory(0, false);
      a.deviceInject({ capacity: all.total - all.free });
      const add = () => a.indexSelectAdd.call(grad, index, sum, 1, 4, 1, -1);
      try { add(); } catch (e) { console.log(e.code); }
      console.log(a.deviceMemory(0, false).scratch, a.deviceMemory(0, false).live === all.live);
      a.deviceInject({ capacity: 2 ** 33 });
      add();
      const out = new Float32Array(4);
      a.deviceReadSync(sum, out);
      console.log(out[0]);
    `);
    expect(out.split('\n')).toEqual(['ERR_OUT_OF_MEMORY', '0 true', '200000']);
  });
});

describe.skipIf(isMissing)('a device that fails', () => {
  test.each(['illegal address', 'launch failure', 'device reset', 'contained error'])(
    '%s: pending reads reject, every later call throws, all with one message',
    (failure) => {
      for (const SURPRISAL_EMULATOR_SEED of seeds) {
        const out = child(
          `
          const x = a.deviceAllocate(0, 'float32', 2e6), half = a.deviceAllocate(0, 'float16', 2e6);
          const host = new Float32Array(2e6);
          a.deviceUpload(x, host, 0);
          a.deviceSynchronize(0);
          a.deviceInject({ failNext: '${failure}' });
          const messages = new Set();
          const note = (e) => messages.add(e.message);
          const pending = [a.deviceRead(x, host), a.deviceSynchronizeAsync(0), a.deviceRead(x, host)];
          Promise.allSettled(pending).then(async (all) => {
            for (const one of all) note(one.reason);
            const calls = [
              () => a.cast.call(x, half),
              () => a.deviceAllocate(0, 'float32', 1),
              () => a.deviceUpload(x, host, 0),
              () => a.deviceReadSync(x, host),
              () => a.deviceCopy(x, x),
              () => a.deviceSynchronize(),
              () => a.deviceMemory(0, false),
              () => a.deviceTrim(0),
              () => a.graphBegin(0),
            ];
            for (const call of calls) try { call(); messages.add(String(call)); } catch (e) { note(e); }
            await a.deviceRead(x, host).catch(note);
            await a.cast.callAsync(x, half).catch(note);
            a.deviceFree(x);
            a.deviceFree(half);
            console.log([...messages].join('\\n'));
          });
          `,
          { SURPRISAL_EMULATOR_SEED },
        );
        expect(out).toMatch(
          /^cuda:0 has failed and is lost to this process, with all tensors on it: .*; restart the process$/,
        );
      }
    },
  );

  test('an asynchronous call rejects, never throws, for what fails before it begins too', () => {
    const out = child(`
      const x = a.deviceAllocate(0, 'float32', 8), half = a.deviceAllocate(0, 'float16', 8);
      a.deviceFree(x);
      a.cast.callAsync(x, half).catch((e) => console.log(e.message));
    `);
    expect(out).toMatch(/memory that has not been freed/);
  });

  test('a kernel that leaves its memory says where', () => {
    const out = child(`
      const x = a.deviceAllocate(0, 'float32', 8);
      const half = a.deviceAllocate(0, 'float16', 8);
      a.cast.call(x, half); // of memory that nobody has written
      try { a.deviceSynchronize(); } catch (e) { console.log(e.message); }
    `);
    expect(out).toMatch(/uninitialised read of .* in block 0, thread 0 \(.*native.*:\d+\)/);
  });
});

describe.skipIf(isMissing)('ends', () => {
  const busy = `
    const n = 2e6;
    const x = a.deviceAllocate(0, 'float32', n), y = a.deviceAllocate(0, 'float32', n);
    a.deviceUpload(x, new Float32Array(n), 0);
    const reads = [];
    for (let i = 0; i < 8; i++) { a.deviceCopy(y, x); reads.push(a.deviceRead(y, new Float32Array(n))); }
  `;

  test('the process waits for promises', () => {
    for (const SURPRISAL_EMULATOR_SEED of seeds) {
      const out = child(`${busy} Promise.all(reads).then((all) => console.log(all.length));`, {
        SURPRISAL_EMULATOR_SEED,
      });
      expect(out).toBe('8');
    }
  });

  test('process.exit with reads, work and a capture on their way', () => {
    child(`${busy} process.exit(0);`);
    child(`${busy} setTimeout(() => process.exit(0), 3);`);
    child(`${busy} process.reallyExit(0);`);
    child(`${busy} a.graphBegin(0); a.deviceCopy(y, x); process.exit(0);`);
    child(`${busy} a.graphBegin(0); a.deviceCopy(y, x);`);
  });

  test('workers that are terminated with pending reads, or in a capture, leave the device to others', () => {
    const out = child(
      `
      const { Worker } = require('node:worker_threads');
      const work = (tail) => new Promise((resolve, reject) => {
        const worker = new Worker(
          'const a = require(' + JSON.stringify(process.env.ADDON) + ');' + process.env.BUSY +
            tail + "; require('node:worker_threads').parentPort.postMessage('up'); setInterval(() => {}, 1000);",
          { eval: true },
        );
        worker.on('error', reject);
        worker.on('message', () => worker.terminate());
        worker.on('exit', resolve);
      });
      (async () => {
        for (let i = 0; i < 3; i++) {
          await Promise.all([work(''), work('')]);
          await work('Promise.all(reads).then(() => { a.graphBegin(0); a.deviceCopy(y, x); })');
        }
        await work('a.graphBegin(0)');
        ${busy}
        await Promise.all(reads);
        a.deviceFree(x);
        a.deviceFree(y);
        // Reads that a worker left behind hold their memory until the copy is done.
        for (let i = 0; i < 250 && a.deviceMemory(0, false).live > 0; i++)
          await new Promise((resolve) => setTimeout(resolve, 20));
        console.log(a.deviceMemory(0, false).live);
      })();
      `,
      { BUSY: busy, ADDON: addon },
    );
    expect(out).toBe('0');
  });

  test('worker threads share a device', () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      const n = 3000;
      (async () => {
        for (let round = 0; round < 40; round++) {
          const x = a.deviceAllocate(0, 'float32', n), wide = a.deviceAllocate(0, 'float64', n);
          const back = a.deviceAllocate(0, 'float32', n);
          a.deviceUpload(x, new Float32Array(n).fill(id * 1000 + round), 0);
          if (round % 8 === 3) {
            a.graphBegin(0);
            a.cast.call(x, wide);
            const graph = a.graphEnd(0);
            a.graphLaunch(graph);
            a.graphFree(graph);
          } else {
            a.cast.call(x, wide);
          }
          a.cast.call(wide, back);
          const out = new Float32Array(n);
          if (round % 2) a.deviceReadSync(back, out); else await a.deviceRead(back, out);
          if (!out.every((v) => v === id * 1000 + round)) throw new Error('worker ' + id + ': ' + out[0]);
          for (const memory of [x, wide, back]) a.deviceFree(memory);
        }
        parentPort.postMessage('done');
      })();
    `;
    const out = child(
      `
      const { Worker } = require('node:worker_threads');
      let done = 0;
      for (let id = 1; id <= 4; id++) {
        const worker = new Worker(
          'const id = ' + id + '; const a = require(' + JSON.stringify(process.env.ADDON) + ');' + process.env.PROGRAM,
          { eval: true },
        );
        worker.on('error', (e) => { throw e; });
        worker.on('message', () => { if (++done === 4) console.log(a.deviceMemory(0, false).live); });
      }
      `,
      { PROGRAM: program, ADDON: addon },
    );
    expect(out).toBe('0');
  });
});
