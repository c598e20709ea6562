// Two emulated devices. The emulated driver refuses work on a stream while another device is
// current, and events of another device, as CUDA does.
import { describe, expect, test } from 'vitest';
import { child, isMissing } from './emulated.js';

describe.skipIf(isMissing)('two devices', () => {
  test.each(['1', '2', '3', '4'])('copies across are ordered on both, seed %s', (seed) => {
    const out = child(
      `
      const n = 100_000;
      const make = (device) => a.deviceAllocate(device, 'float32', n);
      const read = (memory) => { const x = new Float32Array(n); a.deviceReadSync(memory, x); return x; };
      const on0 = make(0), on1 = make(1);
      let right = 0;
      (async () => {
        for (let i = 0; i < 8; i++) {
          a.deviceUpload(on0, new Float32Array(n).fill(i), 0);
          a.deviceCopy(on1, on0);
          a.deviceUpload(on0, new Float32Array(n).fill(-1), 0); // after the copy has read it
          const wide = a.deviceAllocate(1, 'float64', n);
          a.cast.call(on1, wide);
          a.cast.call(wide, on1);
          a.deviceFree(wide);
          const back = make(0);
          a.deviceCopy(back, on1);
          a.deviceUpload(on1, new Float32Array(n), 0);
          const late = new Float32Array(n);
          const reading = a.deviceRead(back, late);
          a.deviceFree(back);
          await reading;
          if (late.every((x) => x === i) && read(on1)[0] === 0 && read(on0)[n - 1] === -1) right++;
        }
        console.log(right, a.deviceMemory(0, false).live, a.deviceMemory(1, false).live);
      })();
      `,
      { SURPRISAL_EMULATOR_DEVICES: '2', SURPRISAL_EMULATOR_SEED: seed },
    );
    expect(out).toBe('8 400000 400000');
  });

  test('operations take tensors of one device; what fails is one device', () => {
    const out = child(
      `
      const on0 = a.deviceAllocate(0, 'float32', 4), on1 = a.deviceAllocate(1, 'bfloat16', 4);
      try { a.cast.call(on0, on1); } catch (e) { console.log(e.message); }
      console.log(a.deviceStatus().devices.length);
      a.deviceUpload(on0, new Float32Array(4), 0);
      a.deviceSynchronize();
      `,
      { SURPRISAL_EMULATOR_DEVICES: '2' },
    );
    expect(out).toBe('native: expected out to be on the same device as the other tensors\n2');
  });

  test('none', () => {
    const out = child(
      `
      console.log(a.deviceStatus().reason);
      try { a.deviceAllocate(0, 'float32', 4); } catch (e) { console.log(e.message); }
      a.deviceSynchronize();
      `,
      { SURPRISAL_EMULATOR_DEVICES: '0' },
    );
    expect(out).toBe('no CUDA device\ncuda: no device can be used: no CUDA device');
  });
});
