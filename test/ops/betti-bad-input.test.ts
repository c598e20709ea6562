// What topology functions do with input that is odd but allowed, and with what would not fit the memory.
// Wrong arguments: betti-errors.test.ts; NaN and infinities in companions: their own files.
import { afterEach, describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { needsCpu } from '../harness/device.js';
import { read } from '../harness/tensors.js';

// biome-ignore lint/suspicious/noExplicitAny: functions of different arguments
type Any = any;
type Call = (p: Any, t: Any) => sp.Tensor | object;

/** Of [B, C, ...spatial], by the numbers of spatial axes that they take. */
const functions: [string, number[], Call][] = [
  ['bettiMatchingBatch', [1, 2, 3], (p, t) => sp.bettiMatchingBatch(p, t)],
  ['bettiMatchingLoss', [1, 2, 3], (p, t) => sp.bettiMatchingLoss(p, t)],
  ['topologyLoss', [1, 2, 3], (p, t) => sp.topologyLoss(p, t)],
  ['barcodeLengthLoss', [1], (p) => sp.barcodeLengthLoss(p, { bettiNumbers: [1] })],
  ['barcodeLengthLoss', [2], (p) => sp.barcodeLengthLoss(p, { bettiNumbers: [1, 0] })],
  ['barcodeLengthLoss', [3], (p) => sp.barcodeLengthLoss(p, { bettiNumbers: [1, 0, 0] })],
  ['regionWiseLoss', [1, 2, 3], (p, t) => sp.regionWiseLoss(p, t)],
  ['clDice', [2, 3], (p, t) => sp.clDice(p, t)],
  ['skeletonRecallLoss', [2, 3], (p, t) => sp.skeletonRecallLoss(p, t)],
  ['warpingLoss', [2, 3], (p, t) => sp.warpingLoss(p, t)],
  ['topographLoss', [2], (p, t) => sp.topographLoss(p, t)],
  ['diuError', [2], (p, t) => sp.diuError(p, t)],
  ['softSkeleton', [2, 3], (p) => sp.softSkeleton(p)],
  ['skeletonize', [2, 3], (p) => sp.skeletonize(p)],
  ['diceLoss', [1, 2, 3], (p, t) => sp.diceLoss(p, t)],
];

const each = (call: (name: string, axes: number, of: Call) => void) => {
  for (const [name, axes, of] of functions) for (const n of axes) call(name, n, of);
};
/** The functions that give one number. */
const isLoss = (found: object): found is sp.Tensor => 'item' in found && (found as Any).size === 1;

describe.skipIf(needsCpu('most of them have no CUDA form'))('on the CPU', () => {
  test('one pixel, one row, constant images', () => {
    each((name, axes, of) => {
      const ones = Array(axes).fill(1);
      for (const shape of [ones, [...ones.slice(1), 9], [9, ...ones.slice(1)]]) {
        for (const [a, b] of [
          [0, 0],
          [0.5, 1],
          [1, 0],
        ]) {
          const [p, t] = [a, b].map((x) => sp.full([2, 1, ...shape], x));
          const found = of(p, t);
          if (isLoss(found)) expect(Number.isFinite(found.item()), name).toBe(true);
        }
      }
    });
  });

  test('no images', () => {
    each((name, axes, of) => {
      const none = sp.zeros([0, 2, ...Array(axes).fill(3)]);
      const found = of(none, none);
      if (Array.isArray(found)) expect(found, name).toEqual([]);
      // Sums over the whole batch are of nothing, and equal.
      else if (isLoss(found)) expect(found.item(), name).toBe(name === 'clDice' ? 0 : Number.NaN);
      else expect((found as sp.Tensor).size, name).toBe(0);
    });
  });

  test('shapes that do not match are named', () => {
    each((name, axes, of) => {
      if (of.length < 2) return;
      const p = sp.zeros([1, 2, ...Array(axes).fill(3)]);
      for (const shape of [[1, 2, ...Array(axes).fill(4)], [1, 3, ...Array(axes).fill(3)], [3]]) {
        const call = () => of(p, sp.zeros(shape));
        expect(call, name).toThrow(new RegExp(`^${name}: expected target .* got `));
      }
    });
  });

  test('values outside [0, 1] are values, for metrics too', () => {
    const values = sp.tensor([[-3, 2, -1, 7, 0.4, -2]]);
    const mask = sp.tensor([[0, 1, 0, 1, 0, 0]]);
    const { matchingError, bettiNumberError } = sp.bettiMatching(values, mask);
    expect([matchingError, bettiNumberError]).toEqual([0, 0]);
    const shape = [1, 1, 1, 6];
    const [p, t] = [values, mask].map((x) => sp.reshape(x, shape));
    expect(sp.diuError(p, t).item()).toBe(0);
    expect(sp.bettiMatchingLoss(p, t).item()).toBeCloseTo(4, 5);
  });

  test('logits are told from probabilities by fromLogits alone', () => {
    const p = sp.tensor([[[[-4, 4, -4, 4, -4]]]]);
    const t = sp.tensor([[[[0, 1, 0, 1, 0]]]]);
    const asThey = sp.bettiMatchingLoss(p, t).item();
    const asLogits = sp.bettiMatchingLoss(p, t, { fromLogits: true }).item();
    expect(asThey).toBeGreaterThan(10);
    expect(asLogits).toBeCloseTo(sp.bettiMatchingLoss(sp.sigmoid(p), t).item(), 6);
    expect(asLogits).toBeLessThan(0.01);
  });

  describe('memory', () => {
    afterEach(() => {
      vi.restoreAllMocks();
    });
    const plane = sp.zeros([1, 1, 4096, 4096]);
    const volume = sp.reshape(plane, [1, 1, 256, 256, 256]);
    const single = [sp.reshape(plane, [4096, 4096]), sp.reshape(plane, [256, 256, 256])];
    test('4096² and 256³ are refused before anything is computed', () => {
      for (const [name, axes, of] of functions) {
        // Dice holds nothing of the images' size, soft skeletons some of its rows or planes.
        if (['diceLoss', 'clDice', 'softSkeleton'].includes(name)) continue;
        for (const image of [plane, volume]) {
          if (!axes.includes(image.rank - 2)) continue;
          vi.spyOn(process, 'availableMemory').mockReturnValue(1e8);
          let failure: unknown;
          try {
            of(image, image);
          } catch (error) {
            failure = error;
          }
          vi.restoreAllMocks();
          expect(failure, name).toBeInstanceOf(sp.OutOfMemoryError);
          const { requested, free, message } = failure as sp.OutOfMemoryError;
          expect([requested > 1e8, free], name).toEqual([true, 1e8]);
          expect(message).toMatch(
            new RegExp(`^${name}: out of memory: this takes about \\d+ bytes`),
          );
        }
      }
      vi.spyOn(process, 'availableMemory').mockReturnValue(1e8);
      for (const image of single) {
        for (const options of [{}, { cycles: true }]) {
          expect(() => sp.bettiMatching(image, image, options)).toThrow(sp.OutOfMemoryError);
          expect(() => sp.persistenceBarcode(image, options)).toThrow(sp.OutOfMemoryError);
        }
      }
    });

    test('asynchronous forms reject, and the next call works', async () => {
      vi.spyOn(process, 'availableMemory').mockReturnValue(1e8);
      const calls = [
        () => sp.bettiMatching.async(single[0], single[0]),
        () => sp.persistenceBarcode.async(single[1]),
        () => sp.bettiMatchingLoss.async(volume, volume),
        () => sp.topologyLoss.async(plane, plane),
      ];
      for (const call of calls) await expect(call()).rejects.toThrow(sp.OutOfMemoryError);
      const small = sp.rand([1, 1, 5, 5]);
      expect(read(await sp.bettiMatchingLoss.async(small, small))[0]).toBe(0);
    });
  });

  test('cancelled between tasks, and the next call works', async () => {
    const p = sp.rand([40, 1, 48, 48]);
    const calls: ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => sp.bettiMatchingBatch.async(p, p, { signal }),
      (signal) => sp.bettiMatchingLoss.async(p, p, { signal }),
      (signal) => sp.topologyLoss.async(p, p, { signal }),
      (signal) => sp.barcodeLengthLoss.async(p, { bettiNumbers: [1, 0], signal }),
    ];
    for (const call of calls) {
      const controller = new AbortController();
      const work = call(controller.signal);
      controller.abort(new Error('no more'));
      await expect(work).rejects.toThrow('no more');
    }
    const small = sp.rand([1, 1, 5, 5]);
    expect(read(await sp.bettiMatchingLoss.async(small, small))[0]).toBe(0);
  });
});
