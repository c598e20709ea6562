// Which code of a build a device runs, and what is told where it runs none; and the reasons why
// there is no device at all. The emulated driver says that it is another one, in processes of their
// own.
import { describe, expect, test } from 'vitest';
import { runtime } from '../../src/runtime.js';
import { runChild } from '../addon/child.js';
import { needsCuda } from '../harness/device.js';
import { child, isMissing, emulated as sp } from './emulated.js';

const usual = '80,90a';
const release = '75-real,80-real,86-real,89-real,90a-real,100-real,120-real,80-virtual';

describe.skipIf(isMissing)('code for a device', () => {
  // Plans use clusters from 90 on, and wgmma at 90.
  test.each([
    [usual, 80, 80],
    [usual, 86, 80],
    [usual, 89, 80],
    [usual, 90, 90],
    [usual, 100, 80], // by the PTX of compute_80: that of 90a runs on nothing else
    [usual, 120, 80],
    [usual, 75, 0],
    ['80', 90, 80],
    ['80,90', 90, 89], // clusters, but no wgmma
    ['80,90', 100, 89],
    ['80-real', 90, 0],
    ['80-real', 86, 80],
    ['90a-virtual', 90, 90],
    [release, 75, 75],
    [release, 86, 86],
    [release, 90, 90],
    [release, 103, 100],
    [release, 110, 80],
    [release, 121, 120],
    [release, 70, 0],
  ])('built for %s, on %i: %i', (built, capability, arch) => {
    expect(sp.deviceCodeFor(capability, built)).toBe(arch);
  });

  // Of each probe: its PTX, its machine code, how many threads a block of it may have.
  test.each([
    ['80 by machine code', [80, 80, 64], [80, 80, 64], 80],
    ['80 by PTX on 9.0', [80, 90, 64], [80, 90, 64], 80],
    ['90a', [90, 90, 96], [90, 90, 128], 90],
    ['90 without features', [90, 90, 64], [90, 90, 128], 89],
    ['120', [120, 120, 64], [120, 120, 320], 120],
    // Contradictions: the weaker.
    ['bounds that the driver does not tell', [90, 90, 1024], [90, 90, 1024], 89],
    ['features in PTX of 80', [80, 90, 96], [80, 90, 64], 80],
    ['another architecture in the code', [90, 90, 96], [90, 90, 64], 80],
    ['another file of PTX', [90, 90, 96], [80, 90, 64], 80],
    ['features on another machine', [90, 100, 96], [90, 100, 128], 89],
  ])('as two probes say: %s', (_, features, arch, expected) => {
    expect(sp.deviceCodeFrom(Int32Array.from(features), Int32Array.from(arch))).toBe(expected);
  });

  test('no driver, one that is too old, no device: the reason says so', () => {
    const reason = (env: Record<string, string>) =>
      child('const s = a.deviceStatus(); console.log(s.reason, s.devices.length);', env);
    expect(reason({ SURPRISAL_EMULATOR_DRIVER: '0' })).toBe('no NVIDIA driver 0');
    expect(reason({ SURPRISAL_EMULATOR_DRIVER: '12040' })).toBe(
      'driver too old: it serves CUDA 12.4, this build needs 13.0 0',
    );
    expect(reason({ SURPRISAL_EMULATOR_DEVICES: '0' })).toBe('no CUDA device 0');
  });

  test('memory of a device without code is refused', () => {
    const out = child(
      `try { a.deviceAllocate(0, 'float32', 4); } catch (e) { console.log(e.message); }`,
      { SURPRISAL_EMULATOR_CAPABILITY: '61' },
    );
    expect(out).toBe(
      'cuda: cuda:0 cannot be used: emulator has compute capability 6.1, for which this build has ' +
        'no code: it is for 8.0 and newer, 9.0',
    );
  });
});

/** What the package prints on such devices. */
function on(env: Record<string, string>, program: string): string {
  const before = { ...process.env };
  Object.assign(process.env, { SURPRISAL_EMULATOR_ARCH: '90', ...env });
  try {
    return runChild(`import * as sp from 'surprisal';\n${program}`).trim();
  } finally {
    process.env = before;
  }
}

describe.skipIf(needsCuda('other devices') || !('deviceInject' in runtime))('the package', () => {
  test('says why a driver or a device is of no use, and how to help', () => {
    const say = `
        const { available, reason, driver } = sp.cuda.status();
        console.log(available, reason, driver, sp.devices().join());
        try { sp.zeros([1], { device: 'cuda' }); } catch (e) { console.log(e.code, e.message); }`;
    expect(on({ SURPRISAL_EMULATOR_DRIVER: '0' }, say).split('\n')).toEqual([
      'false no NVIDIA driver; install the NVIDIA driver (`nvidia-smi` must list the device) null cpu',
      "ERR_NO_CUDA zeros: 'cuda' cannot be used: no NVIDIA driver; install the NVIDIA driver (`nvidia-smi` must list the device)",
    ]);
    expect(on({ SURPRISAL_EMULATOR_DRIVER: '12040' }, say)).toMatch(
      /^false driver too old: it serves CUDA 12.4, .* 13.0; install a driver for CUDA 13.0 or newer 12.4 cpu/,
    );
    expect(on({ SURPRISAL_EMULATOR_CAPABILITY: '70' }, say)).toMatch(
      /^false emulator has compute capability 7.0, .*8.0 and newer, 9.0; `npm run build -- --release` .*\nERR_NO_CUDA/,
    );
  });

  test('goes on with the devices that it has code for', () => {
    const out = on(
      { SURPRISAL_EMULATOR_DEVICES: '2', SURPRISAL_EMULATOR_CAPABILITY: '61,90' },
      `console.log(sp.devices().join(), sp.cuda.status().devices[0].device);
         console.log(sp.ones([3], { device: 'cuda:1' }).sum().item());
         try { sp.zeros([1], { device: 'cuda' }); } catch (e) { console.log(e.message); }`,
    );
    expect(out).toMatch(
      /^cpu,cuda:1 cuda:1\n3\nzeros: 'cuda' cannot be used: emulator has compute capability 6.1/,
    );
  });

  // Rows that take a cluster each where there are any.
  const rows = `
      const x = sp.rand([2, 9001], { device: 'cpu' });
      const error = (f) => f(x).sub(f(x.to('cuda')).to('cpu')).abs().max().item();
      console.log(sp.cuda.status().devices[0].capability,
        error(sp.softmax) < 1e-8, error(sp.layerNorm) < 1e-5);`;

  test('runs code for 8.0 on newer devices, without clusters', () => {
    expect(on({ SURPRISAL_EMULATOR_CAPABILITY: '100' }, rows)).toBe('10.0 true true');
    expect(on({ SURPRISAL_EMULATOR_BUILT_FOR: '80' }, rows)).toBe('9.0 true true');
  });

  test('multiplies by its own kernels where cuBLASLt is asked for and not there', () => {
    const program = `
      const [a, b] = [sp.rand([9, 5]), sp.rand([5, 7])];
      const on = sp.matmul(a.to('cuda'), b.to('cuda')).to('cpu');
      console.log(on.sub(sp.matmul(a, b)).abs().max().item() < 1e-5);`;
    expect(on({ SURPRISAL_CUBLASLT: '1' }, program)).toBe('true');
  });
});
