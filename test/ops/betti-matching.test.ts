// The forms of Betti matching: batches, classes, dtypes, logits, asynchronous calls, gradients by
// finite differences, and small images whose answer is plain.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { expectWithin } from '../harness/compare.js';
import { device } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { gradOf, read } from '../harness/tensors.js';
import { bettiNumbers, lossOf, bettiMatching as reference } from '../reference/betti-matching.js';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Distinct values in (0, 1), far enough apart for finite differences. */
function distinct(shape: readonly number[], seed: number): Float64Array {
  const random = new Random(seed);
  const n = sizeOf(shape);
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return Float64Array.from(order, (rank) => (rank + 0.5 + 0.3 * random.uniform()) / (n + 1));
}

describe('plain answers', () => {
  const ring = [
    [0, 0, 0, 0, 0],
    [0, 1, 1, 1, 0],
    [0, 1, 0, 1, 0],
    [0, 1, 1, 1, 0],
    [0, 0, 0, 0, 0],
  ];

  test('a ring has one loop, born with it and filled from its middle', () => {
    const { dims } = sp.persistenceBarcode(sp.tensor(ring));
    expect(dims[0]).toEqual({
      birth: new Float32Array(),
      death: new Float32Array(),
      birthIndex: new Int32Array(),
      deathIndex: new Int32Array(),
    });
    expect(Array.from(dims[1]!.birth)).toEqual([1]);
    expect(Array.from(dims[1]!.death)).toEqual([0]);
    expect(Array.from(dims[1]!.deathIndex)).toEqual([12]);
  });

  test('the essential component', () => {
    const { dims } = sp.persistenceBarcode(sp.tensor([0.25, 0.75, 0.5]), { essential: true });
    expect(dims).toEqual([
      {
        birth: Float32Array.of(0.75),
        death: Float32Array.of(-Infinity),
        birthIndex: Int32Array.of(1),
        deathIndex: Int32Array.of(-1),
      },
    ]);
    const [a, b] = [sp.tensor([0.25, 0.75, 0.5]), sp.tensor([1, 0, 0])];
    const found = sp.bettiMatching(a, b, { essential: true });
    expect(Array.from(found.dims[0]!.matched)).toEqual([1, -1, 0, -1]);
  });

  test('a mask with a loop too many', () => {
    const disc = ring.map((row) => row.map((x, j) => (x === 0 && j === 2 && row[1] ? 1 : x)));
    const found = sp.bettiMatching(sp.tensor(ring), sp.tensor(disc));
    expect([found.matchingError, found.bettiNumberError]).toEqual([1, 1]);
    expect(found.dims[1]!.unmatchedPrediction).toHaveLength(2);
    const target = sp.reshape(sp.tensor(disc), [1, 1, 5, 5]);
    const loss = sp.bettiMatchingLoss(sp.reshape(sp.tensor(ring), [1, 1, 5, 5]), target);
    expect(loss.item()).toBe(1);
  });

  test('infinities end nothing and cost nothing where they agree', () => {
    const wall = sp.tensor([[[1, -Infinity, 0.5]]], { dtype: 'float64' });
    const { dims } = sp.persistenceBarcode(wall);
    expect(dims[0]!.birth).toHaveLength(0);
    expect(sp.bettiMatchingLoss(wall, wall).item()).toBe(0);
  });

  test.each([[[1, 1]], [[1, 1, 1]], [[7]], [[1, 9]], [[9, 1]], [[1, 1, 5]]])(
    'constant images of shape %j have no pairs',
    (shape) => {
      const { dims, matchingError } = sp.bettiMatching(sp.ones(shape), sp.zeros(shape));
      expect(dims).toHaveLength(shape.length);
      for (const d of dims)
        expect([d!.matched, d!.unmatchedPrediction, d!.unmatchedTarget]).toEqual(
          [0, 0, 0].map(() => new Int32Array()),
        );
      expect(matchingError).toBe(0);
    },
  );

  test('Betti numbers of random masks', () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = new Random(seed);
      const shape = [[17], [5, 6], [3, 4, 3]][seed % 3];
      const values = [0, 1].map(() => random.fill(sizeOf(shape), () => random.uniform()));
      const masks = values.map((v) => v.map((x) => (x >= 0.5 ? 1 : 0)));
      const [a, b] = masks.map((mask) => bettiNumbers(mask, shape));
      const expected = a.reduce((sum, x, k) => sum + Math.abs(x - b[k]), 0);
      const [p, t] = values.map((v) => sp.tensor(v, { shape }));
      const found = sp.bettiMatching(p, t);
      expect(found.bettiNumberError).toBe(expected);
      const matching = reference(...(masks.map((m) => m.map((x) => -x)) as [never, never]), shape);
      const alone = matching.reduce((n, d) => n + d.unmatched[0].length + d.unmatched[1].length, 0);
      expect(found.matchingError).toBe(alone);
    }
  });
});

test('numbers are compared with float32 values as float32', () => {
  const p = sp.tensor([0.3, 0, 0.9, 0, 0.7]);
  const t = sp.tensor([0, 0, 1, 0, 0]);
  expect(sp.bettiMatching(p, t, { threshold: 0.7 }).matchingError).toBe(1);
  const lengths = ({ dims }: sp.PersistenceBarcode, k: number) => [...dims[k]!.birth];
  expect(lengths(sp.persistenceBarcode(p, { minLength: 0.3 }), 0)).toEqual([Math.fround(0.7)]);
  expect(lengths(sp.persistenceBarcode(p, { minLength: 0.7 }), 0)).toEqual([]);
  const [q, u] = [p, t].map((x) => sp.reshape(x, [1, 1, 5]));
  const loss = sp.bettiMatchingLoss(q, u, { minLength: 0.7 }).item();
  expect(loss).toBeCloseTo(0, 12);
  const wide = sp.tensor([0.3, 0, 0.9], { dtype: 'float64' });
  expect(lengths(sp.persistenceBarcode(wide, { minLength: 0.3 }), 0)).toEqual([]);
  expect(lengths(sp.persistenceBarcode(wide, { minLength: 0.3 - 1e-9 }), 0)).toEqual([0.3]);
});

describe('batches', () => {
  const shape = [2, 3, 6, 5];
  const random = new Random(8);
  const prediction = random.fill(sizeOf(shape), () => random.integer(9) / 8);
  const target = random.fill(sizeOf(shape), () => random.integer(2));

  test('are their images one by one', () => {
    const p = sp.tensor(prediction, { shape });
    const t = sp.tensor(target, { shape });
    const all = sp.bettiMatchingBatch(p, t);
    const losses = sp.bettiMatchingLoss(p, t, { reduction: 'none' });
    expect(all).toHaveLength(6);
    expect(losses.shape).toEqual([2, 3]);
    for (const [i, found] of all.entries()) {
      const part = [prediction, target].map((v) => v.slice(30 * i, 30 * (i + 1)));
      const [a, b] = part.map((v) => sp.tensor(v, { shape: [6, 5] }));
      const one = sp.bettiMatching(a, b);
      expect(found.dims).toEqual(one.dims);
      expect(found.matchingError).toBe(one.matchingError);
      const negative = part.map((v) => v.map((x) => -x)) as [Float64Array, Float64Array];
      expect(read(losses)[i]).toBeCloseTo(
        lossOf(reference(...negative, [6, 5]), part[0], part[1]),
        5,
      );
    }
    const total = read(losses).reduce((a, b) => a + b, 0);
    expect(sp.bettiMatchingLoss(p, t).item()).toBeCloseTo(total / 6, 5);
    expect(sp.bettiMatchingLoss(p, t, { reduction: 'sum' }).item()).toBeCloseTo(total, 5);
    const ways = ['sublevel', 'superlevel', 'both'] as const;
    const [sub, sup, both] = ways.map((f) => sp.bettiMatchingLoss(p, t, { filtration: f }).item());
    expect(both).toBeCloseTo((sub + sup) / 2, 5);
  });

  test.each(['int32', 'int64', 'uint8'] as const)(
    'class indices, %s: each against the rest',
    (dtype) => {
      const labels = Array.from({ length: 60 }, () => random.integer(3));
      const p = sp.tensor(prediction, { shape });
      const masks = new Float64Array(sizeOf(shape));
      for (const [i, label] of labels.entries())
        masks[(Math.floor(i / 30) * 3 + label) * 30 + (i % 30)] = 1;
      const t = sp.tensor(labels, { shape: [2, 6, 5], dtype });
      const one = sp.bettiMatchingBatch(p, t).map((m) => m.dims);
      const other = sp.bettiMatchingBatch(p, sp.tensor(masks, { shape })).map((m) => m.dims);
      expect(one).toEqual(other);
      expect(sp.bettiMatchingLoss(p, t).item()).toBe(
        sp.bettiMatchingLoss(p, sp.tensor(masks, { shape })).item(),
      );
    },
  );

  test('a single channel is class 1', () => {
    const labels = Array.from({ length: 60 }, () => random.integer(2));
    const p = sp.tensor(prediction.slice(0, 60), { shape: [2, 1, 6, 5] });
    const t = sp.tensor(labels, { shape: [2, 6, 5], dtype: 'int32' });
    const mask = sp.tensor(labels, { shape: [2, 1, 6, 5], dtype: 'uint8' });
    const [one, other] = [t, mask].map((x) => sp.bettiMatchingBatch(p, x));
    expect(one.map((m) => m.dims)).toEqual(other.map((m) => m.dims));
    expect(sp.bettiMatchingLoss(p, t).item()).toBe(sp.bettiMatchingLoss(p, mask).item());
  });

  test('no images', () => {
    const p = sp.zeros([0, 2, 4, 4], { requiresGrad: true });
    const t = sp.zeros([0, 2, 4, 4]);
    expect(sp.bettiMatchingBatch(p, t)).toEqual([]);
    expect(sp.bettiMatchingLoss(p, t).item()).toBeNaN();
    expect(sp.bettiMatchingLoss(p, t, { reduction: 'sum' }).item()).toBe(0);
    const each = sp.bettiMatchingLoss(p, t, { reduction: 'none' });
    expect(each.shape).toEqual([0, 2]);
  });
});

describe('gradients', () => {
  test.each([
    [[1, 1, 12], {}],
    [[2, 1, 4, 5], {}],
    [[1, 2, 4, 5], { filtration: 'sublevel', reduction: 'sum' }],
    [[1, 1, 5, 5], { filtration: 'both', essential: true }],
    [[1, 1, 5, 5], { comparison: 'intersection', imageBars: 'positive' }],
    [[1, 1, 4, 5], { padding: 0.4, weights: { matched: 0.5, unmatchedPrediction: 3 } }],
    [[1, 1, 4, 5], { padding: 0.7, pushUnmatchedTo: 'one-zero' }],
    [[2, 2, 3, 3, 3], { reduction: 'none' }],
    [[1, 1, 5, 4], { fromLogits: true }],
  ] as [number[], sp.BettiMatchingLossOptions][])('%j %j', (shape, options) => {
    const values = distinct(shape, 3).map((x) => (options.fromLogits ? 6 * x - 3 : x));
    const target = sp.tensor(distinct(shape, 4), { shape });
    const prediction = sp.tensor(values, { shape, requiresGrad: true });
    const loss = (p: sp.Tensor) => sp.bettiMatchingLoss(p as never, target, options);
    // Far below the distance of two values, so that no pair changes.
    expect(sp.gradcheck(loss as never, [prediction], { eps: 1e-6 })).toBe(true);
  });

  test.each(['float16', 'bfloat16'] as const)('%s is float32, rounded once', (dtype) => {
    const shape = [1, 1, 6, 6];
    const random = new Random(2);
    const values = random.fill(36, () => random.integer(64) / 64);
    const target = random.fill(36, () => random.integer(2));
    const run = (d: sp.FloatDType) => {
      const p = sp.tensor(values, { shape, dtype: d, requiresGrad: true });
      const loss = sp.bettiMatchingLoss(p, sp.tensor(target, { shape, dtype: d }));
      loss.backward();
      return { loss: loss.item(), dtype: loss.dtype, grad: gradOf(p) };
    };
    const [narrow, wide] = [run(dtype), run('float32')];
    expect([narrow.loss, narrow.dtype]).toEqual([wide.loss, 'float32']);
    expect(narrow.grad.dtype).toBe(dtype);
    expect(read(narrow.grad)).toEqual(read(sp.to(wide.grad, dtype)));
  });

  test('the graph can be kept, and the target gets none', () => {
    const p = sp.tensor(distinct([1, 1, 4, 4], 5), { shape: [1, 1, 4, 4], requiresGrad: true });
    const t = sp.tensor(distinct([1, 1, 4, 4], 6), { shape: [1, 1, 4, 4], requiresGrad: true });
    const loss = sp.bettiMatchingLoss(p, t);
    loss.backward(undefined, { retainGraph: true });
    const once = read(gradOf(p));
    loss.backward();
    expectWithin(
      read(gradOf(p)),
      once.map((g) => 2 * g),
      () => 0,
      'twice',
    );
    expect(t.grad).toBeNull();
    expect(gradOf(p).device).toBe(device);
  });
});

describe('asynchronous forms', () => {
  const shape = [1, 2, 9, 8];
  const random = new Random(11);
  const values = random.fill(144, () => random.integer(20) / 16);
  const mask = random.fill(144, () => random.integer(2));
  const p = () => sp.tensor(values, { shape });
  const t = () => sp.tensor(mask, { shape });
  const first = (x: sp.Tensor) => sp.reshape(x, [18, 8]);

  test('give what the others give', async () => {
    const options = { fromLogits: true, padding: 0.2 } as const;
    const batch = await sp.bettiMatchingBatch.async(p(), t(), options);
    expect(batch.map((m) => m.dims)).toEqual(
      sp.bettiMatchingBatch(p(), t(), options).map((m) => m.dims),
    );
    const one = await sp.bettiMatching.async(first(p()), first(t()), options);
    expect(one.dims).toEqual(sp.bettiMatching(first(p()), first(t()), options).dims);
    const bars = await sp.persistenceBarcode.async(first(p()), options);
    expect(bars.dims).toEqual(sp.persistenceBarcode(first(p()), options).dims);
    const q = p().requiresGrad_();
    const loss = await sp.bettiMatchingLoss.async(q, t(), options);
    await loss.backwardAsync();
    const r = p().requiresGrad_();
    const other = sp.bettiMatchingLoss(r, t(), options);
    other.backward();
    expect(loss.item()).toBe(other.item());
    expect(read(gradOf(q))).toEqual(read(gradOf(r)));
  });

  test('hold tensors and options from the call on', async () => {
    const options = { dims: [1], essential: false };
    const expected = [
      sp.bettiMatchingBatch(p(), t(), options).map((m) => m.dims),
      sp.persistenceBarcode(first(p()), options).dims,
    ];
    const [a, b, c] = [p(), t(), sp.tensor(values, { shape: [18, 8] })];
    const later = { dims: [1], essential: false };
    const batch = sp.bettiMatchingBatch.async(a, b, later);
    const bars = sp.persistenceBarcode.async(c, later);
    later.dims[0] = 0;
    later.essential = true;
    for (const x of [a, b, c]) x.dispose();
    const others = [sp.full(shape, 7), sp.full(shape, 8), sp.full([18, 8], 9)];
    const found = await batch;
    expect(found.map((m) => m.dims)).toEqual(expected[0]);
    expect((await bars).dims).toEqual(expected[1]);
    expect(found[0].toSVG()).toBe(sp.bettiMatchingBatch(p(), t(), options)[0].toSVG());
    expect(others.map((x) => x.shape.length)).toEqual([4, 4, 2]);
  });

  test('stop when they are aborted', async () => {
    const gone = AbortSignal.abort(new Error('enough'));
    await expect(sp.bettiMatching.async(first(p()), first(t()), { signal: gone })).rejects.toThrow(
      'enough',
    );
    const n = 700;
    const large = sp.rand([n, n]);
    const controller = new AbortController();
    const work = sp.bettiMatching.async(large, large, { signal: controller.signal });
    const barcode = sp.persistenceBarcode.async(large, { signal: controller.signal });
    const loss = sp.bettiMatchingLoss.async(
      sp.reshape(large, [1, 1, n, n]),
      sp.reshape(large, [1, 1, n, n]),
      { signal: controller.signal },
    );
    controller.abort(new Error('no more'));
    const ends = await Promise.allSettled([work, barcode, loss]);
    const reasons = ends.map((end) => (end.status === 'rejected' ? end.reason.message : 'done'));
    // What had ended before stays; the last in the queue had not begun.
    expect(reasons.filter((reason) => reason !== 'done' && reason !== 'no more')).toEqual([]);
    expect(reasons).toContain('no more');
  });
});

describe('memory', () => {
  test('is estimated before anything is allocated', () => {
    const spy = vi.spyOn(process, 'availableMemory').mockReturnValue(1e6);
    try {
      const image = sp.zeros([1024, 1024]);
      expect(() => sp.bettiMatching(image, image)).toThrow(sp.OutOfMemoryError);
      expect(() => sp.persistenceBarcode(image)).toThrow(/out of memory/);
      spy.mockReturnValue(2e8);
      sp.persistenceBarcode(sp.zeros([4, 4]), { cycles: true });
      expect(() => sp.persistenceBarcode(image, { cycles: true })).toThrow(/out of memory/);
      // Cycles take 130 bytes a voxel in JavaScript.
      const each = (cycles: boolean) => {
        spy.mockReturnValue(1e6);
        try {
          sp.bettiMatching(image, image, { cycles });
        } catch (error) {
          return (error as sp.OutOfMemoryError).requested;
        }
      };
      expect(each(true)! - each(false)!).toBe(1024 * 1024 * 130);
    } finally {
      spy.mockRestore();
    }
  });

  test('arrays that the process does not get', () => {
    class None {
      constructor() {
        throw new RangeError('Array buffer allocation failed');
      }
    }
    const image = sp.zeros([4, 4]);
    vi.stubGlobal('Int32Array', None);
    try {
      expect(() => sp.bettiMatching(image, image)).toThrow(sp.OutOfMemoryError);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  test('lists that are longer than an image has voxels', () => {
    const n = 64;
    const checkers = Array.from({ length: n * n }, (_, i) => ((i % n) + Math.floor(i / n)) % 2);
    const a = sp.tensor(checkers, { shape: [n, n], dtype: 'float32' });
    const { dims } = sp.bettiMatching(a, sp.sub(sp.ones([n, n]), a));
    const lists = [dims[0]!.matched, dims[0]!.unmatchedPrediction, dims[0]!.unmatchedTarget];
    expect(lists.reduce((sum, list) => sum + list.length, 0)).toBeGreaterThan(n * n - 8);
  });
});

test('pictures are well-formed and small', () => {
  for (const shape of [[20], [9, 12], [4, 5, 6]]) {
    const values = sp.tensor(distinct(shape, 7), { shape });
    const found = sp.bettiMatching(values, sp.tensor(distinct(shape, 8), { shape }), {
      padding: 1,
    });
    for (const svg of [found.toSVG(), sp.persistenceBarcode(values, { essential: true }).toSVG()]) {
      expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg".*<\/svg>$/s);
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    }
    expect(found.toSVG({ most: 0 }).length).toBeLessThan(found.toSVG().length);
  }
});
