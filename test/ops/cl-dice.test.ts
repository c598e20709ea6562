// The soft-clDice loss against its definition, torch and finite differences.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { sizeOf } from '../harness/arrays.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { floatDTypes } from '../harness/operation.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll } from '../harness/rounding.js';
import { extentOf, fill, goldenCases, probabilities } from '../harness/skeletons.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { type ClDice, clDiceLosses } from '../reference/soft-skeleton.js';

const variants: ClDice[] = [
  {},
  { iterations: 2, diceWeight: 0.5, fromLogits: true },
  { iterations: 1, sums: 'channel', smooth: 0.1, background: false },
  { iterations: 3, sums: 'image', diceWeight: 1 },
  { iterations: 0, sums: 'image', fromLogits: true, diceWeight: 0.25, background: false },
];
const shapes = [
  [2, 3, 9, 10],
  [1, 2, 3, 5, 35],
];

function draw(shape: number[], o: ClDice, dtype: FloatDType) {
  const n = sizeOf(shape);
  const p = probabilities(n);
  const image = roundAll(o.fromLogits ? p.map((x) => Math.log(x / (1 - x))) : p, dtype);
  return { image, mask: probabilities(n, 5).map((x) => (x > 0.3 ? 1 : 0)) };
}

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(variants)('%o', (o) => {
    for (const shape of shapes) {
      const { image, mask } = draw(shape, o, dtype);
      const sizes = [shape[0], shape[1]] as const;
      const each = clDiceLosses(image, mask, sizes, extentOf(shape), o);
      const scored = shape[1] - (o.background === false ? 1 : 0);
      const of = { batch: [], channel: [scored], image: [shape[0], scored] };
      const x = floats(image, dtype, shape) as never;
      const y = floats(mask, dtype, shape) as never;
      const losses = sp.clDice(x, y, { ...o, reduction: 'none' }) as AnyTensor;
      expect(losses.shape).toEqual(of[o.sums ?? 'batch']);
      expect(losses.dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
      const unit = 256 * epsilon(dtype === 'float64' ? 'float64' : 'float32');
      expectWithin(read(losses), each, () => unit, `${shape}`);
      const total = each.reduce((a, b) => a + b, 0);
      expectWithin([sp.clDice(x, y, o).item()], [total / each.length], () => unit, 'mean');
      const sum = sp.clDice(x, y, { ...o, reduction: 'sum' }).item() as number;
      expectWithin([sum], [total], () => unit * each.length, 'sum');
    }
  });
});

test.each(goldenCases('clDice'))('as torch: $shape, $iterations iterations', (one) => {
  const { shape, iterations, diceWeight } = one;
  const x = floats(fill(shape, 3, 16), 'float64', shape, true);
  const mask = fill(shape, 4, 4).map((v) => (v > 0.4 ? 1 : 0));
  const y = floats(mask, 'float64', shape);
  const loss = sp.clDice(x as never, y as never, { iterations, diceWeight }) as AnyTensor;
  expectWithin(read(loss), one.values, () => 1e-11, 'loss');
  loss.backward();
  expectWithin(read(gradOf(x)), one.gradient, () => 1e-11, 'gradient');
});

describe('gradients', () => {
  test.each(variants)('%o', (o) => {
    const shape = [2, 2, 4, 5];
    const { image, mask } = draw(shape, o, 'float64');
    const y = floats(mask, 'float64', shape);
    for (const reduction of ['none', 'mean', 'sum'] as const) {
      const f = (x: never) => sp.clDice(x, y as never, { ...o, reduction });
      sp.gradcheck(f as never, [floats(image, 'float64', shape, true)] as never);
    }
  });

  test.each(['float32', 'bfloat16', 'float16'] as const)('%s beside float64', (dtype) => {
    // Sigmoids of neighbouring logits may round to one number, which then shares its gradient.
    for (const o of variants.filter(({ fromLogits }) => !fromLogits)) {
      const shape = [2, 2, 12, 9];
      const { image, mask } = draw(shape, o, dtype);
      const [truth, ours] = (['float64', dtype] as const).map((d) => {
        const x = floats(image, d, shape, true);
        const y = floats(mask, d, shape);
        sp.clDice(x as never, y as never, { ...o, reduction: 'sum' }).backward();
        return read(gradOf(x));
      });
      const top = truth.reduce((a: number, b: number) => Math.max(a, Math.abs(b)), 0);
      const allowed = (i: number) =>
        1e-5 * top + 2 * epsilon(dtype) * Math.abs(truth[i]) + (dtype === 'float16' ? 2 ** -25 : 0);
      expectWithin(ours, truth, allowed, JSON.stringify(o));
    }
  });
});

test('the same bits for any number of threads and in the background', async () => {
  const shape = [2, 1, 120, 150];
  const { image, mask } = draw(shape, {}, 'float32');
  const y = floats(mask, 'float32', shape) as never;
  const before = sp.getThreads();
  const results = [1, 2, 3].map((threads) => {
    sp.setThreads(threads);
    const x = floats(image, 'float32', shape, true);
    const loss = sp.clDice(x as never, y, { diceWeight: 0.5 });
    loss.backward();
    return [bits(loss as never), bits(gradOf(x))];
  });
  sp.setThreads(before);
  for (const other of results.slice(1))
    for (const k of [0, 1]) expectSameBits(other[k], results[0][k], `output ${k}`);
  const x = floats(image, 'float32', shape, true);
  const later = await sp.clDice.async(x as never, y, { diceWeight: 0.5 });
  expectSameBits(bits(later as never), results[0][0], 'async');
  await (later as AnyTensor).backwardAsync();
  expectSameBits(bits(gradOf(x)), results[0][1], 'async gradient');
});

describe('targets', () => {
  const shape = [2, 3, 7, 8];
  const { image } = draw(shape, {}, 'float32');
  const ids = Array.from({ length: 112 }, (_, i) => Math.floor(i / 5) % 3);
  const oneHot = Array.from({ length: 336 }, (_, i) => {
    const [b, c, v] = [Math.floor(i / 168), Math.floor(i / 56) % 3, i % 56];
    return ids[b * 56 + v] === c ? 1 : 0;
  });
  const run = (target: unknown, more = {}) => {
    const x = floats(image, 'float32', shape, true);
    const loss = sp.clDice(x as never, target as never, { sums: 'channel', ...more });
    loss.backward();
    return [bits(loss as never), bits(gradOf(x))];
  };

  test('class indices, masks of every dtype and a given skeleton say the same', () => {
    const mask = floats(oneHot, 'float32', shape);
    const expected = run(mask);
    const others = [
      run(sp.tensor(ids, { shape: [2, 7, 8], dtype: 'int32' })),
      run(sp.tensor(ids, { shape: [2, 7, 8], dtype: 'int64' })),
      run(sp.tensor(oneHot, { shape, dtype: 'uint8' })),
      run(
        sp.tensor(
          oneHot.map((v) => v === 1),
          { shape },
        ),
      ),
      run(mask, { targetSkeleton: sp.softSkeleton(mask as never) }),
    ];
    for (const other of others)
      for (const k of [0, 1]) expectSameBits(other[k], expected[k], `output ${k}`);
  });

  test('a perfect prediction has loss 0; nothing in both has none without smoothing', () => {
    const mask = floats(oneHot, 'float64', shape) as never;
    expect(sp.clDice(mask, mask, { diceWeight: 0.5 }).item()).toBeCloseTo(0, 14);
    const zero = sp.zeros([1, 1, 4, 4]).requiresGrad_();
    const loss = sp.clDice(zero, sp.zeros([1, 1, 4, 4]), { smooth: 0 });
    expect(loss.item()).toBe(0);
    loss.backward();
    expect(zero.grad!.sum().item()).toBe(0);
  });

  test('a bar predicted broken costs more than one predicted thin, unlike with Dice', () => {
    const bar = (inside: (y: number, x: number) => boolean) =>
      sp.tensor(
        Array.from({ length: 5 * 21 }, (_, i) => (inside(Math.floor(i / 21), i % 21) ? 1 : 0)),
        { shape: [1, 1, 5, 21] },
      );
    const whole = bar((y) => y > 0 && y < 4);
    const broken = bar((y, x) => y > 0 && y < 4 && Math.abs(x - 10) > 1);
    const thin = bar((y) => y === 2);
    const [a, b] = [broken, thin].map((p) => sp.clDice(p, whole, { iterations: 3 }).item());
    expect(a).toBeGreaterThan(b);
    const [c, d] = [broken, thin].map((p) => sp.diceLoss(p, whole).item());
    expect(c).toBeLessThan(d);
  });

  test('no images, no pixels, a NaN', () => {
    const none = sp.zeros([0, 2, 3, 3]);
    expect(sp.clDice(none, none).item()).toBe(0);
    expect(sp.clDice(none, none, { sums: 'image' }).item()).toBeNaN();
    const flat = sp.zeros([2, 1, 0, 3]);
    expect(sp.clDice(flat, flat, { sums: 'image', reduction: 'none' }).toArray()).toEqual([
      [0],
      [0],
    ]);
    const x = sp.tensor([NaN, 0.5, 0.2, 0.1, 0.2, 0.3, 0.4, 0.9], { shape: [2, 1, 2, 2] });
    const each = sp.clDice(x, sp.ones([2, 1, 2, 2]), { sums: 'image', reduction: 'none' });
    expect([...read(each as never)].map(Number.isNaN)).toEqual([true, false]);
  });
});

describe('refusals', () => {
  const refuses = refuser('clDice');
  const x = sp.ones([2, 2, 3, 4]);
  test('shapes, dtypes and class indices', () => {
    refuses(() => sp.clDice(sp.ones([2, 2, 3]), sp.ones([2, 2, 3])), 'ERR_SHAPE', '[B, C, H, W]');
    refuses(() => sp.clDice(x, sp.ones([2, 2, 3, 5])), 'ERR_SHAPE', '[2, 2, 3, 5]');
    refuses(() => sp.clDice(x, sp.ones([2, 3, 4])), 'ERR_DTYPE', 'int32');
    refuses(() => sp.clDice(x, sp.ones([2, 2, 3, 4], { dtype: 'float64' })), 'ERR_DTYPE', 'target');
    const ids = sp.full([2, 3, 4], 2, { dtype: 'int32' });
    refuses(() => sp.clDice(x, ids), 'ERR_OUT_OF_RANGE', '[0, 2)', '2 at voxel 0');
    const targetSkeleton = sp.ones([2, 2, 3, 3]);
    refuses(() => sp.clDice(x, x, { targetSkeleton }), 'ERR_SHAPE', 'targetSkeleton');
  });
  test('options', () => {
    const one = sp.ones([1, 1, 3, 3]);
    refuses(() => sp.clDice(one, one, { background: false }), 'ERR_INVALID_VALUE', 'background');
    refuses(() => sp.clDice(x, x, { diceWeight: 2 }), 'ERR_INVALID_VALUE', 'diceWeight');
    refuses(() => sp.clDice(x, x, { smooth: -1 }), 'ERR_INVALID_VALUE', 'smooth');
    refuses(() => sp.clDice(x, x, { iterations: 1e9 }), 'ERR_INVALID_VALUE', 'iterations');
    refuses(() => sp.clDice(x, x, { sums: 'all' as never }), 'ERR_INVALID_VALUE', 'channel');
    refuses(() => sp.clDice(x, x, { alpha: 0.5 } as never), 'ERR_UNKNOWN_OPTION', 'alpha');
  });
});

test('arrays of the size of the images are part of the estimated memory', () => {
  const spy = vi.spyOn(process, 'availableMemory').mockReturnValue(1);
  const shape = [1, 2, 2048, 2048];
  const p = sp.zeros(shape);
  const q = sp.zeros(shape, { requiresGrad: true });
  // Without iterations sweeps hold next to nothing.
  const requested = (x: AnyTensor, options: sp.ClDiceOptions) => {
    try {
      sp.clDice(x as never, p, { iterations: 0, ...options });
    } catch (error) {
      return (error as sp.OutOfMemoryError).requested / p.size;
    }
    return 0;
  };
  try {
    // The gradient and the kept skeleton; the softmax, its gradient and the kept skeleton.
    for (const [options, bytes] of [
      [{}, 8],
      [{ fromLogits: 'softmax' }, 16],
    ] as const) {
      const each = requested(q, options);
      expect(each).toBeGreaterThanOrEqual(bytes);
      expect(each).toBeLessThan(bytes + 1);
    }
    expect(requested(p, {})).toBe(0);
  } finally {
    spy.mockRestore();
  }
});
