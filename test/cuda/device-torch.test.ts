// DLPack with PyTorch in one process, on the GPU where both have one, else on the CPU. Needs a
// Python with torch (SURPRISAL_BENCH_PYTHON, else python3) that has a shared libpython.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { runChild } from '../addon/child.js';
import { isOnCpu } from '../harness/device.js';

const host = resolve('build/emulator/python.node');

/** libpython, and where its packages are; or why there is none. */
function python(): { library: string; packages: string; cuda: boolean } | string {
  if (isOnCpu) return 'tests run on the CPU';
  if (!existsSync(host)) return `no ${host}`;
  const program = `
import json, os, sys, sysconfig as s, torch
name, folder = s.get_config_var("INSTSONAME"), s.get_config_var("LIBDIR")
print(json.dumps({"library": os.path.join(folder, name), "cuda": torch.cuda.is_available(),
  "packages": os.path.dirname(os.path.dirname(torch.__file__))}))`;
  const command = process.env.SURPRISAL_BENCH_PYTHON ?? 'python3';
  const { status, stdout, stderr } = spawnSync(command, ['-c', program], { encoding: 'utf8' });
  if (status !== 0) return stderr?.trim().split('\n').at(-1) || `no ${command}`;
  const found = JSON.parse(stdout);
  return existsSync(found.library) && /\.so/.test(found.library)
    ? found
    : `no shared ${found.library}`;
}

const found = python();
if (typeof found === 'string') console.info(`skipped: DLPack with torch: ${found}`);

test.skipIf(typeof found === 'string')(
  'DLPack: torch reads and writes our memory, and we its',
  () => {
    const { library, packages, cuda } = found as Exclude<typeof found, string>;
    const device = cuda && !sp.cuda.status().emulated ? 'cuda' : 'cpu';
    const out = runChild(`
      import { createRequire } from 'node:module';
      import * as sp from 'surprisal';
      const host = createRequire(import.meta.url)(${JSON.stringify(host)});
      const python = (program) => {
        if (!host.run(${JSON.stringify(library)}, program)) throw new Error('Python failed');
      };
      const device = ${JSON.stringify(device)};
      python(\`
import sys
sys.path.insert(0, ${JSON.stringify(packages)})
import ctypes, torch
api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
plain, used = b"dltensor", b"used_dltensor"
wait = torch.cuda.synchronize if "\${device}" == "cuda" else lambda: None\`);
      for (const dtype of ['float32', 'bfloat16', 'int64']) {
        const t = sp.arange(6, { dtype, device }).reshape([2, 3]);
        if (device === 'cuda') sp.cuda.synchronize();
        const sent = sp.toDLPack(t);
        python(\`
x = torch.from_dlpack(api.PyCapsule_New(\${sent}, plain, None))
assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and str(x.dtype) == "torch.\${dtype}", x
assert x.device.type == "\${device}"
x.mul_(10)
y = (x + 1).contiguous()
wait()
capsule = torch.utils.dlpack.to_dlpack(y)
address = ctypes.c_int64(api.PyCapsule_GetPointer(capsule, plain))
api.PyCapsule_SetName(capsule, used)
import os
os.environ["SURPRISAL_TEST_ADDRESS"] = str(address.value)\`);
        const back = sp.fromDLPack(BigInt(process.env.SURPRISAL_TEST_ADDRESS));
        if (!back.device.startsWith(device)) throw new Error(back.device);
        console.log(back.toArray().flat().map(Number).join(' '));
        // On a device they share memory; on the host what goes out is a copy.
        if (device === 'cuda' && Number(t.sum().item()) !== 150) throw new Error('not shared');
        back.dispose();
        t.dispose();
        python('del x, y, capsule');
      }
    `);
    expect(out.trim().split('\n')).toEqual(new Array(3).fill('1 11 21 31 41 51'));
  },
  120_000,
);
