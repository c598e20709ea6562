// Operations on a device with little scratch memory, where they work in turns that tests are too
// small for: native functions whose field `workspace` is given in place of their own limit.
import { vi } from 'vitest';
import * as sp from '../../src/index.js';
import { native } from '../../src/native.js';

/** Runs `run` and what it has enqueued, with so many bytes for each call of these functions. */
export function withWorkspace<R>(bytes: number, kernels: readonly string[], run: () => R): R {
  const spies = kernels.map((name) => {
    const { call, fields } = native[name];
    const at = fields.indexOf('workspace');
    return vi
      .spyOn(native[name], 'call')
      .mockImplementation((...values) => call(...values.map((v, i) => (i === at ? bytes : v))));
  });
  try {
    const result = run();
    sp.cuda.synchronize();
    return result;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
