// The law that every loss keeps in its asynchronous form too.
import { expect } from 'vitest';
import * as sp from '../../src/index.js';
import type { AnyTensor } from './tensors.js';
import { gradOf, read } from './tensors.js';

/**
 * Loss and gradient of a float tensor have equal bits for any number of threads, in each narrow dtype,
 * and the loss is float32.
 */
export async function expectSameBits(
  x: AnyTensor,
  loss: (x: sp.Tensor<sp.FloatDType>) => Promise<AnyTensor>,
): Promise<void> {
  const run = async (dtype: sp.FloatDType, threads: number) => {
    const before = sp.getThreads();
    sp.setThreads(threads);
    try {
      const own = sp.to(x, dtype).detach().requiresGrad_();
      const found = await loss(own);
      await found.backwardAsync();
      return [found.dtype, found.item(), ...read(gradOf(own))];
    } finally {
      sp.setThreads(before);
    }
  };
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
    const one = await run(dtype, 1);
    expect(one[0]).toBe('float32');
    expect(await run(dtype, 3)).toEqual(one);
  }
}
