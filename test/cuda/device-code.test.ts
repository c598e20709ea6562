// Which code of this build a device has loaded: what plans count on. The probes that tell it are the
// only thing between an H100 and kernels for older devices, which would be right, and slow.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { runtime } from '../../src/runtime.js';
import { needsCuda } from '../harness/device.js';

test.skipIf(needsCuda('loaded code'))('is what the build has for the device', () => {
  for (const { device, capability } of sp.cuda.status().devices) {
    const arch = Number(capability.replace('.', ''));
    const planned = runtime.deviceCode(Number(device.slice('cuda:'.length)));
    expect(planned, `on ${device}, of compute capability ${capability}`).toBe(
      runtime.deviceCodeFor(arch),
    );
    // A build for the GPU suite has code for sm_90a.
    if (arch === 90) expect(planned).toBe(90);
  }
});
