// Asynchronous barcodes and Betti matchings beside the event loop, and the images that matchings hold.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { atOnce, inSlices } from '../../src/betti-search.js';
import * as sp from '../../src/index.js';
import { device, needsCpu } from '../harness/device.js';
import { Random } from '../harness/random.js';

const random = new Random(3);
const noise = (shape: number[], seed = 0) =>
  sp.tensor(
    random.fill(
      shape.reduce((a, b) => a * b, 1),
      () => random.uniform() + seed,
    ),
    { shape, dtype: 'float32' },
  );

afterEach(() => {
  vi.restoreAllMocks();
});

/** From now on each look at the clock comes a second later; `first` is called at the first one. */
function slowClock(first: () => void = () => {}) {
  let seconds = 0;
  return vi.spyOn(performance, 'now').mockImplementation(() => {
    if (seconds === 0) first();
    return 1000 * seconds++;
  });
}

describe('work in pieces', () => {
  function* pieces(count: number, each: () => void) {
    for (let i = 0; i < count; i++) {
      each();
      yield;
    }
    return count;
  }

  test('lets timers run between slices of some milliseconds', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const busy = () => {
      const end = performance.now() + 1.5;
      while (performance.now() < end);
    };
    expect(await inSlices(pieces(40, busy), undefined)).toBe(40);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(5);
    expect(atOnce(pieces(3, () => {}))).toBe(3);
  });

  test('ends between them', async () => {
    slowClock();
    const controller = new AbortController();
    let done = 0;
    const work = inSlices(
      pieces(10, () => {
        if (++done === 4) controller.abort(new Error('enough'));
      }),
      controller.signal,
    );
    await expect(work).rejects.toThrow('enough');
    expect(done).toBe(4);
  });
});

describe('representative cycles', () => {
  const image = noise([60, 60]);
  const other = noise([60, 60]);
  const calls = {
    persistenceBarcode: (signal?: AbortSignal) =>
      sp.persistenceBarcode.async(image, { cycles: true, signal }),
    bettiMatching: (signal?: AbortSignal) =>
      sp.bettiMatching.async(image, other, { cycles: true, signal }),
    bettiMatchingBatch: async (signal?: AbortSignal) => {
      const [p, t] = [image, other].map((x) => sp.reshape(x, [1, 4, 30, 30]));
      const found = await sp.bettiMatchingBatch.async(p, t, { cycles: true, signal });
      return { dims: found.map((m) => m.dims) };
    },
  };

  test.each(Object.entries(calls))('%s cuts them out in slices', async (_, call) => {
    const expected = await call();
    let turns = 0;
    let isOver = false;
    const turn = () => {
      turns++;
      if (!isOver) setImmediate(turn);
    };
    const clock = slowClock(() => setImmediate(turn));
    const found = await call();
    isOver = true;
    expect(found.dims).toEqual(expected.dims);
    // A piece to copy them and one to cut, or an image.
    expect(clock.mock.calls.length).toBeGreaterThan(2);
    expect(turns).toBeGreaterThan(0);
  });

  test.each(Object.entries(calls))('%s stops between slices', async (_, call) => {
    const controller = new AbortController();
    slowClock(() => setImmediate(() => controller.abort(new Error('enough'))));
    await expect(call(controller.signal)).rejects.toThrow('enough');
  });
});

describe.skipIf(needsCpu('lengths of bars have no CUDA form'))('an abort', () => {
  const threads = sp.getThreads();
  afterEach(() => sp.setThreads(threads));
  const [plane, volume] = [noise([1, 1, 700, 700]), noise([1, 1, 32, 32, 32])];
  const bars = { bettiNumbers: [0, 0] };
  const calls: Record<string, (signal?: AbortSignal) => Promise<unknown>> = {
    'a loss of a plane': (signal) => sp.bettiMatchingLoss.async(plane, plane, { signal }),
    'lengths of bars': (signal) => sp.barcodeLengthLoss.async(plane, { ...bars, signal }),
    'the reductions of a volume': (signal) =>
      sp.bettiMatchingLoss.async(volume, volume, { dims: [1], signal }),
  };

  // One image and one thread: nothing but one task.
  test.each(Object.entries(calls))('ends %s within a task', async (_, call) => {
    sp.setThreads(1);
    const start = performance.now();
    await call();
    const whole = performance.now() - start;
    const waits: number[] = [];
    for (const share of [0.1, 0.3, 0.5]) {
      const controller = new AbortController();
      const ended = () => performance.now();
      const work = call(controller.signal).then(ended, ended);
      await new Promise((resolve) => setTimeout(resolve, share * whole));
      const aborted = performance.now();
      controller.abort(new Error('enough'));
      waits.push((await work) - aborted);
    }
    // To the end it would be half of the time or more; others may have the processor now and then.
    expect(waits.sort((a, b) => a - b)[1]).toBeLessThan(0.25 * whole);
  });
});

describe('the images of a matching', () => {
  const [n, shape] = [8, [1, 2, 8, 8]];
  const pictures = (found: sp.BettiMatch[]) => found.map((m) => m.toSVG());

  test('are not copied', () => {
    const [p, t] = [noise([512, 512]), noise([512, 512])];
    sp.bettiMatching(p, t, { dims: [0] });
    const before = sp.memory().cpu.live;
    const found = sp.bettiMatching(p, t, { dims: [0] });
    expect(sp.memory().cpu.live - before).toBeLessThan(device === 'cpu' ? 1024 : 3 * 512 * 512 * 4);
    expect(found.dims).toHaveLength(2);
  });

  test('stay as they were', async () => {
    for (const way of ['at once', 'async', 'in a scope'] as const) {
      const [p, t] = [noise(shape), noise(shape, 1)];
      const [p2, t2] = [sp.clone(p), sp.clone(t)];
      const found =
        way === 'async'
          ? await sp.bettiMatchingBatch.async(p, t)
          : way === 'at once'
            ? sp.bettiMatchingBatch(p, t)
            : sp.scope(() => sp.bettiMatchingBatch(p, t, { fromLogits: false }));
      const expected = pictures(sp.bettiMatchingBatch(p2, t2));
      // One is written to, the memory of the other goes to whoever asks next.
      p.copy_(sp.zeros(shape));
      t.dispose();
      const next = Array.from({ length: 4 }, () => sp.full(shape, 9));
      expect(pictures(found)).toEqual(expected);
      expect(next).toHaveLength(4);
    }
  });

  test('of logits and class indices outlive the call', () => {
    const p = noise(shape);
    const labels = sp.tensor(
      Array.from({ length: n * n }, (_, i) => i % 2),
      { shape: [1, n, n], dtype: 'int32' },
    );
    const run = () => sp.bettiMatchingBatch(p, labels, { fromLogits: 'softmax' });
    const found = sp.scope(run);
    const others = Array.from({ length: 6 }, () => sp.full(shape, 7));
    expect(pictures(found)).toEqual(pictures(run()));
    expect(others).toHaveLength(6);
  });

  test('parameters that an optimiser steps', () => {
    const p = noise(shape).requiresGrad_();
    const t = noise(shape);
    const found = sp.bettiMatchingBatch(p, t);
    const expected = pictures(found);
    const optimizer = new sp.optim.SGD([p], { lr: 1 });
    sp.bettiMatchingLoss(p as sp.Tensor<'float32'>, t).backward();
    optimizer.step();
    expect(pictures(found)).toEqual(expected);
  });
});
