// Betti matching on a device beside the CPU, to the index and to the bit: crops by the kernel, larger
// images by the host's threads.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { drawOptions, drawPair } from '../cases/betti-matching.js';
import {
  type Batch,
  devices,
  drawn,
  expectEqual,
  lossesOf,
  pairsOf,
  sizeOf,
} from '../harness/betti-device.js';
import { needsCuda } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { gradOf, read } from '../harness/tensors.js';

const count = Number(process.env.SURPRISAL_BETTI_CASES ?? 40);

type Options = sp.BettiMatchingLossOptions;
type Values = Float64Array;

/** Images of one shape. */
function drawBatch(random: Random, axes: number): Batch {
  const first = drawPair(random, axes);
  const finite = (v: Values) => v.map((x) => (Number.isFinite(x) ? x : 0));
  const images = [first, drawPair(random, axes), drawPair(random, axes)];
  const size = first.prediction.length;
  const cut = (v: Values) => Float64Array.from({ length: size }, (_, i) => v[i % v.length]);
  const join = (key: 'prediction' | 'target') =>
    Float64Array.from(images.flatMap((image) => [...finite(cut(image[key]))]));
  const shape = [3, 1, ...first.shape];
  return { shape, prediction: join('prediction'), target: join('target') };
}

describe.skipIf(needsCuda('the kernel for crops'))('crops', () => {
  test(`${count} small ones full of ties, with every option`, {
    timeout: 60_000 + 500 * count,
  }, () => {
    for (let seed = 0; seed < count; seed++) {
      const random = new Random(7000 + seed + Number(process.env.SURPRISAL_FUZZ_SEED ?? 0) * 1e7);
      const axes = seed % 8 === 0 ? 1 : 2;
      const batch = drawBatch(random, axes);
      const dtype = random.pick(['float32', 'float64'] as const);
      expectEqual(batch, drawOptions(random, axes), dtype);
    }
  });

  test('infinities', () => {
    for (let seed = 0; seed < 8; seed++) {
      const random = new Random(seed);
      const values = () => random.fill(42, () => random.pick([-Infinity, -0, 0, 1, 2, Infinity]));
      const batch = { shape: [1, 1, 6, 7], prediction: values(), target: values() };
      const options = drawOptions(random, 2);
      const [cpu, cuda] = pairsOf(batch, { ...options, filtration: 'sublevel' }, 'float64');
      expect(cuda).toEqual(cpu);
    }
  });

  test.each([
    [[1, 1, 48, 48], 3, { dims: [0, 1] }, 'float32'],
    [[1, 1, 33, 37], 1e6, { padding: 'minmax', comparison: 'intersection' }, 'float64'],
    [[1, 2, 5, 110], 9, { padding: 0.4, essential: true }, 'float32'],
    [[1, 1, 600], 1e6, {}, 'float32'],
    [[1, 1, 1, 26, 19], 1e6, { filtration: 'both' }, 'float64'],
  ] as [number[], number, Options, sp.FloatDType][])(
    '%j of %d levels',
    (shape, levels, o, dtype) => {
      expectEqual(drawn(shape, levels), o, dtype);
    },
  );

  test('the longest lists', () => {
    const n = 64;
    const checkers = Float64Array.from(
      { length: n * n },
      (_, i) => ((i % n) + Math.floor(i / n)) % 2,
    );
    const other = checkers.map((x) => 1 - x);
    const batch = { shape: [1, 1, n, n], prediction: checkers, target: other };
    expectEqual(batch, {}, 'float32');
  });

  test('lists that do not fit end where their memory does', () => {
    const { pairs } = pairsOf(drawn([1, 1, 9, 9], 1e6), {}, 'float32', 5)[1];
    expect([pairs.length, pairs.at(-1), pairs.at(-2) === -2]).toEqual([6, -2, false]);
  });

  test('more than are resident at once', () => {
    const [cpu, cuda] = lossesOf(drawn([1060, 1, 1, 3], 9), { reduction: 'none' }, 'float32');
    expect(cuda).toEqual(cpu);
  });

  test.each(['float16', 'bfloat16'] as const)('%s', (dtype) => {
    const random = new Random(3);
    const value = () => random.integer(60) / 64;
    const shape = [2, 1, 9, 11];
    expectEqual(
      { shape, prediction: random.fill(198, value), target: random.fill(198, value) },
      {},
      dtype,
    );
  });

  test.each([
    ['float64', 12],
    ['float32', 5],
  ] as const)('class indices and logits, %s', (dtype, digits) => {
    for (const fromLogits of ['sigmoid', 'softmax'] as const) {
      const random = new Random(4);
      const shape = [2, 3, 7, 6];
      const scores = random.fill(sizeOf(shape), () => random.integer(40) / 8 - 2.5);
      const labels = random.fill(84, () => random.integer(3));
      const results = devices.map((device) => {
        const p = sp.tensor(scores, { shape, dtype, device, requiresGrad: true });
        const t = sp.tensor([...labels], { shape: [2, 7, 6], dtype: 'int32', device });
        const loss = sp.bettiMatchingLoss(p, t, { fromLogits });
        loss.backward();
        return [loss.item(), ...read(gradOf(p))];
      });
      // The sigmoid is each device's own.
      for (const [i, x] of results[1].entries()) expect(x).toBeCloseTo(results[0][i], digits);
    }
  });

  test.each(['int32', 'int64', 'uint8'] as const)(
    'a class index out of range is named at the next read, the first one, %s',
    (dtype) => {
      const classes = Array.from({ length: 600 }, (_, i) => i % 3);
      const run =
        (bad: number, channels = 3) =>
        () => {
          const values = classes.map((c, i) => (i === 500 ? bad : i === 501 ? 9 : c));
          const t = sp.tensor(values, { shape: [2, 300], dtype, device: 'cuda' });
          const p = sp.zeros([2, channels, 300], { device: 'cuda' });
          sp.bettiMatchingLoss(p, t);
          sp.cuda.synchronize();
        };
      const words = (bad: number) =>
        `bettiMatchingLoss: expected target in [0, 3), got ${bad} at voxel 500`;
      for (const bad of dtype === 'uint8' ? [3, 255] : [3, -1]) {
        expect(run(bad)).toThrow(words(bad));
        expect(run(bad)).toThrow(RangeError);
      }
      expect(run(0, 1)).toThrow('expected target in [0, 2), got 2 at voxel 2');
      expect(run(0, 10)).not.toThrow();
    },
  );

  test('bad class indices everywhere, and the loss is of the others', async () => {
    const t = sp.full([1, 40, 40], -7, { dtype: 'int64', device: 'cuda' });
    const p = sp.zeros([1, 2, 40, 40], { device: 'cuda' });
    const loss = sp.bettiMatchingLoss(p, t);
    await expect(loss.data()).rejects.toThrow('[0, 2), got -7 at voxel 0');
    await expect(loss.data()).resolves.toEqual(Float32Array.of(0));
  });

  test('a NaN in every place of every image', () => {
    const image = sp.full([5, 2, 9, 8], Number.NaN, { device: 'cuda' });
    sp.bettiMatchingLoss(image, image, { filtration: 'both' });
    expect(() => sp.cuda.synchronize()).toThrow(/prediction .* at \[0, 0, 0, 0\] \(element 0\)/);
  });

  test('a NaN is named at the next read, the first of the predictions before the targets', () => {
    const values = new Float64Array(60);
    const bad = values.slice();
    bad[27] = bad[33] = Number.NaN;
    const image = (v: Values) =>
      sp.tensor(v, { shape: [3, 1, 4, 5], dtype: 'float32', device: 'cuda' });
    const run = (p: Values, t: Values) => () => {
      sp.bettiMatchingLoss(image(p), image(t));
      sp.cuda.synchronize();
    };
    const where = 'to hold no NaN, got NaN at [1, 0, 1, 2] (element 27)';
    expect(run(bad, bad)).toThrow(`bettiMatchingLoss: expected prediction ${where}`);
    expect(run(values, bad)).toThrow(`bettiMatchingLoss: expected target ${where}`);
    expect(run(values, values)).not.toThrow();
  });
});

describe.skipIf(needsCuda('copies between host and device'))('larger images', () => {
  const shapes = [
    [1, 2, 70, 67],
    [2, 1, 6, 5, 4],
  ];
  test.each(shapes.map((shape) => [shape]))('%j', (shape) => {
    for (const reduction of ['mean', 'none'] as const) {
      const [cpu, cuda] = lossesOf(drawn(shape, 16), { reduction }, 'float32');
      expect(cuda).toEqual(cpu);
    }
    const [cpu, cuda] = lossesOf(drawn(shape, 17), { fromLogits: true }, 'bfloat16');
    expect(cuda).toEqual(cpu);
    if (shape[1] === 1) return;
    // The softmax of backward is the device's own.
    const softmax = lossesOf(drawn(shape, 16), { fromLogits: 'softmax' }, 'float64');
    expect(softmax[1].loss).toEqual(softmax[0].loss);
    for (const [i, g] of softmax[1].grad.entries()) expect(g).toBeCloseTo(softmax[0].grad[i], 12);
  });

  test('without waiting', async () => {
    const { shape, prediction, target } = drawn(shapes[0], 16);
    const results = [];
    for (const way of ['at once', 'later'] as const) {
      const p = sp.tensor(prediction, { shape, device: 'cuda', requiresGrad: true });
      const t = sp.tensor(target, { shape, device: 'cuda' });
      const coming = way === 'later' ? sp.bettiMatchingLoss.async(p, t) : undefined;
      const other = p.mul(p).sum();
      const loss = coming ?? sp.bettiMatchingLoss(p, t);
      // What is written after the call comes after the copy.
      t.copy_(sp.zeros(shape, { dtype: 'float64', device: 'cuda' }));
      other.add(await loss).backward();
      results.push([(await loss).item(), ...read(gradOf(p))]);
    }
    expect(results[1]).toEqual(results[0]);
    const gone = sp.tensor(prediction, { shape, device: 'cuda', requiresGrad: true });
    const other = sp.tensor(target, { shape, device: 'cuda' });
    const coming = sp.bettiMatchingLoss.async(gone, other);
    let plain: Promise<sp.Tensor> | undefined;
    sp.noGrad(() => {
      plain = sp.bettiMatchingLoss.async(gone, other);
    });
    gone.dispose();
    other.dispose();
    // As asked for at the call, not as things are when it ends.
    expect([(await coming).item(), (await coming).requiresGrad]).toEqual([results[0][0], true]);
    const without = await plain!;
    expect([without.item(), without.requiresGrad]).toEqual([results[0][0], false]);
    const q = sp.tensor(prediction, { shape, device: 'cuda' });
    const free = await sp.bettiMatchingLoss.async(q, q);
    expect(free.item()).toBe(0);
    const image = sp.zeros([1, 1, 9, 9], { device: 'cuda' });
    expect((await sp.bettiMatchingLoss.async(image, image)).item()).toBe(0);
    const bad = sp.full(shape, Number.NaN, { dtype: 'float64', device: 'cuda' });
    await expect(sp.bettiMatchingLoss.async(bad, q)).rejects.toThrow(/NaN at \[0, 0, 0, 0\]/);
    const wrong = { reducton: 'sum' } as never;
    await expect(sp.bettiMatchingLoss.async(q, q, wrong)).rejects.toThrow(/did you mean/);
  });
});
