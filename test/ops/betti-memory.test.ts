// The estimates by which images are refused, beside the scratch memory that they take.
import { afterEach, expect, test } from 'vitest';
import { type BettiWork, scratchBytes } from '../../src/betti-memory.js';
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const threadsBefore = sp.getThreads();
afterEach(() => sp.setThreads(threadsBefore));

function noise(shape: readonly number[], dtype: 'float32' | 'float64', seed: number) {
  const random = new Random(seed);
  const values = random.fill(sizeOf(shape), () => random.uniform());
  return sp.tensor(values, { shape: [...shape], dtype });
}

// biome-ignore lint/suspicious/noExplicitAny: functions of different arguments
type Call = (p: any, t: any) => unknown;
const calls: Record<string, { call: Call; work: BettiWork }> = {
  bettiMatchingBatch: { call: sp.bettiMatchingBatch, work: { matches: true, items: 2 } },
  bettiMatchingLoss: { call: sp.bettiMatchingLoss, work: { matches: true, items: 1 } },
  topologyLoss: {
    call: (p, t) => sp.topologyLoss(p, sp.gt(t, 0.5).to(p.dtype)),
    work: { matches: false, items: 2, keeps: true },
  },
  barcodeLengthLoss: {
    call: (p) => sp.barcodeLengthLoss(p, { bettiNumbers: p.shape.slice(2).map(() => 1) }),
    work: { matches: false, items: 1, keeps: true },
  },
};

const cases = [
  { shape: [1, 1, 128, 128], threads: [1, 8] },
  { shape: [6, 1, 96, 96], threads: [1, 4] },
  { shape: [1, 1, 20, 20, 20], threads: [1, 8] },
  { shape: [5, 1, 16, 16, 16], threads: [2] },
];

test.each(Object.keys(calls))('%s takes what is estimated', (name) => {
  const { call, work } = calls[name];
  for (const { shape, threads } of cases) {
    for (const dtype of ['float32', 'float64'] as const) {
      const [p, t] = [noise(shape, dtype, 1), noise(shape, dtype, 2)];
      for (const n of threads) {
        sp.setThreads(n);
        sp.memory({ resetPeak: true });
        call(p, t);
        const taken = sp.memory().cpu.scratchPeak;
        const ratio = scratchBytes(p.shape, shape.length - 2, work) / taken;
        const what = `${shape} ${dtype}, ${n} threads`;
        expect(ratio, what).toBeGreaterThanOrEqual(1);
        // More threads may work one after the other.
        if (n === 1) expect(ratio, what).toBeLessThan(work.matches ? 1.3 : 2.1);
      }
    }
  }
});

test('a barcode of a larger volume takes what is estimated', () => {
  const image = noise([1, 1, 72, 72, 72], 'float32', 1);
  sp.setThreads(1);
  sp.memory({ resetPeak: true });
  sp.persistenceBarcode(sp.reshape(image, [72, 72, 72]));
  const ratio =
    scratchBytes(image.shape, 3, { matches: false, items: 1 }) / sp.memory().cpu.scratchPeak;
  expect(ratio).toBeGreaterThanOrEqual(1);
  expect(ratio).toBeLessThan(1.5);
});

// A line lies in rows of its own, a plane or a line among axes of length 1 as if it had none.
test('axes of length 1 take nothing unless they are padded', () => {
  const work = { matches: false, items: 1 };
  const plane = scratchBytes([300, 200], 2, work);
  expect(scratchBytes([1, 300, 200], 3, work)).toBe(plane);
  expect(scratchBytes([300, 1, 200], 3, work)).toBe(plane);
  expect(scratchBytes([1, 300, 200], 3, { ...work, padding: 'minmax' })).toBeGreaterThan(plane);
  sp.setThreads(1);
  for (const shape of [[4000], [4000, 1], [1, 4000, 1], [1, 60, 70]]) {
    sp.memory({ resetPeak: true });
    sp.persistenceBarcode(noise(shape, 'float32', 1));
    const taken = sp.memory().cpu.scratchPeak;
    expect(scratchBytes(shape, shape.length, work), `${shape}`).toBeGreaterThanOrEqual(taken);
  }
  sp.persistenceBarcode(sp.zeros([1, 1, 2 ** 16]));
});
