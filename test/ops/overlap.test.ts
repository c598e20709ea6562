// Dice, Jaccard and Tversky losses against their definitions, finite differences, their laws, and
// what they refuse.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { floatDTypes } from '../harness/operation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { type Overlap, overlapLosses } from '../reference/overlap.js';

// biome-ignore lint/suspicious/noExplicitAny: one list of options for three signatures
type Any = any;
const losses: Record<Overlap['kind'], Any> = {
  dice: sp.diceLoss,
  jaccard: sp.jaccardLoss,
  tversky: sp.tverskyLoss,
};

const variants: Overlap[] = [
  { kind: 'dice' },
  { kind: 'dice', fromLogits: 'sigmoid', squared: true },
  { kind: 'dice', fromLogits: 'softmax', background: false },
  { kind: 'dice', fromLogits: 'softmax', squared: true, overBatch: true },
  { kind: 'jaccard', smooth: 0.1 },
  { kind: 'jaccard', fromLogits: 'sigmoid', squared: true, overBatch: true, background: false },
  { kind: 'tversky' },
  { kind: 'tversky', fromLogits: 'softmax', alpha: 0.3, beta: 0.7, smooth: 1e-3 },
  { kind: 'tversky', fromLogits: 'sigmoid', alpha: 0, beta: 1, exponent: 0.75 },
  { kind: 'tversky', fromLogits: 'sigmoid', exponent: 2, overBatch: true },
];
const shapes = [
  [2, 3, 5, 7],
  [1, 1, 1],
  [3, 2, 300],
  [2, 4, 8, 9, 11],
];
const nameOf = (o: Overlap) => JSON.stringify(o);

function draw(shape: number[], o: Overlap, dtype: FloatDType) {
  const [batch, channels, ...spatial] = shape;
  const voxels = spatial.reduce((a, b) => a * b, 1);
  const random = new Random(channels * voxels + 1);
  const normal = random.normals(batch * channels * voxels, 2);
  const image = roundAll(o.fromLogits ? normal : normal.map((x) => 1 / (1 + Math.exp(-x))), dtype);
  const target = roundAll(
    random.normals(image.length).map((x) => (x > 0 ? 1 : x < -1.5 ? 0.5 : 0)),
    dtype,
  );
  const weight = roundAll(
    random.normals(batch * voxels).map((x) => (x > 1.2 ? 0 : Math.abs(x) + 0.5)),
    'bfloat16',
  );
  return { image, target, weight, size: [batch, channels, voxels], spatial };
}

function options({ kind: _, ...o }: Overlap) {
  return o;
}

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(variants.map((o) => [nameOf(o), o] as const))('%s', (_, o) => {
    for (const shape of shapes) {
      if (shape[1] === 1 && (o.background === false || o.fromLogits === 'softmax')) continue;
      for (const weighted of [false, true]) {
        const { image, target, weight, size, spatial } = draw(shape, o, dtype);
        const w = weighted ? weight : weight.map(() => 1);
        const expected = overlapLosses(image, target, w, size, o);
        const prediction = floats(image, dtype, shape, true);
        const all = {
          ...options(o),
          ...(weighted && { voxelWeight: floats(w, 'float32', [shape[0], ...spatial]) }),
        };
        const t = floats(target, dtype, shape);
        const loss = losses[o.kind](prediction, t, { ...all, reduction: 'none' }) as AnyTensor;
        const channels = shape[1] - (o.background === false ? 1 : 0);
        expect(loss.shape).toEqual(o.overBatch ? [channels] : [shape[0], channels]);
        expect(loss.dtype).toBe(dtype === 'float64' ? 'float64' : 'float32');
        const unit = 64 * epsilon(dtype === 'float64' ? 'float64' : 'float32');
        expectWithin(read(loss), expected, () => unit, `${shape}`);
        const total = expected.reduce((a, b) => a + b, 0);
        const mean = losses[o.kind](prediction, t, all) as AnyTensor;
        expect(Math.abs((mean.item() as number) - total / expected.length)).toBeLessThan(unit);
        const sum = losses[o.kind](prediction, t, { ...all, reduction: 'sum' }) as AnyTensor;
        expect(Math.abs((sum.item() as number) - total)).toBeLessThan(unit * expected.length);
      }
    }
  });

  test('the same bits for any number of threads and in the background', async () => {
    const o = variants[3];
    const shape = [3, 4, 70, 33];
    const { image, target } = draw(shape, o, dtype);
    const t = floats(target, dtype, shape);
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const prediction = floats(image, dtype, shape, true);
      const loss = losses.dice(prediction, t, options(o)) as AnyTensor;
      loss.backward();
      return [bits(loss), bits(gradOf(prediction))];
    });
    sp.setThreads(before);
    for (const k of [0, 1]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const later = await losses.dice.async(floats(image, dtype, shape), t, options(o));
    expectSameBits(bits(later), results[0][0], 'async');
  });
});

describe('gradients', () => {
  test.each(variants.map((o) => [nameOf(o), o] as const))('%s', (_, o) => {
    const shape = [2, 3, 4, 5];
    const { image, target, weight } = draw(shape, o, 'float64');
    const t = floats(target, 'float64', shape);
    const voxelWeight = floats(weight, 'float32', [2, 4, 5]);
    for (const reduction of ['none', 'mean', 'sum'] as const) {
      const f = (x: AnyTensor) =>
        losses[o.kind](x, t, { ...options(o), voxelWeight, reduction }) as AnyTensor;
      sp.gradcheck(f as never, [floats(image, 'float64', shape, true)] as never);
    }
  });

  test.each(['float32', 'bfloat16', 'float16'] as const)('%s beside float64', (dtype) => {
    for (const o of variants) {
      const shape = [2, 3, 40, 11];
      const { image, target } = draw(shape, o, dtype);
      const gradients = (['float64', dtype] as const).map((d) => {
        const x = floats(image, d, shape, true);
        losses[o.kind](x, floats(target, d, shape), options(o)).backward();
        return read(gradOf(x));
      });
      const top = gradients[0].reduce((a: number, b: number) => Math.max(a, Math.abs(b)), 0);
      const allowed = (i: number) =>
        2e-6 * top +
        epsilon(dtype) * Math.abs(gradients[0][i]) * 2 +
        (dtype === 'float16' ? 2 ** -25 : 0);
      expectWithin(gradients[1], gradients[0], allowed, nameOf(o));
    }
  });
});

describe('laws', () => {
  const probabilities = () => sp.tensor([[[0.5, 0.5]]], { dtype: 'float64' });
  const mask = (values: number[]) => sp.tensor([[values]], { dtype: 'float64' });

  test('by hand', () => {
    expect(sp.diceLoss(probabilities(), mask([1, 0])).item()).toBeCloseTo(1 / 3, 14);
    expect(sp.jaccardLoss(probabilities(), mask([1, 0])).item()).toBeCloseTo(1 - 1.5 / 2.5, 14);
    const options = { alpha: 0.25, beta: 0.75, smooth: 0 };
    const tversky = sp.tverskyLoss(probabilities(), mask([1, 0]), options).item();
    expect(tversky).toBeCloseTo(1 - 0.5 / (0.5 + 0.125 + 0.375), 14);
  });

  test('Tversky of one half each is Dice, of one each Jaccard', () => {
    const { image, target } = draw([2, 3, 50], variants[0], 'float64');
    const [p, t] = [image, target].map((x) => floats(x, 'float64', [2, 3, 50])) as [Any, Any];
    const zero = { smooth: 0 };
    const dice = sp.diceLoss(p, t, zero).item() as number;
    expect(sp.tverskyLoss(p, t, zero).item()).toBeCloseTo(dice, 13);
    const jaccard = sp.jaccardLoss(p, t).item() as number;
    expect(sp.tverskyLoss(p, t, { alpha: 1, beta: 1 }).item()).toBeCloseTo(jaccard, 13);
  });

  test('class indices are their one-hot channels; an ignored voxel is one of weight 0', () => {
    const shape = [2, 3, 6, 5];
    const { image } = draw(shape, variants[2], 'float32');
    const ids = Array.from({ length: 60 }, (_, i) => (i * 7) % 3);
    const weight = ids.map((_, i) => (i % 4 === 1 ? 0 : 1));
    const labels = ids.map((id, i) => (weight[i] ? id : -100));
    const oneHot = Array.from({ length: 180 }, (_, i) => {
      const [b, c, v] = [Math.floor(i / 90), Math.floor(i / 30) % 3, i % 30];
      return ids[b * 30 + v] === c ? 1 : 0;
    });
    const results = [
      [sp.tensor(labels, { shape: [2, 6, 5], dtype: 'int64' }), undefined],
      [sp.tensor(labels, { shape: [2, 6, 5], dtype: 'int32' }), undefined],
      [
        sp.tensor(
          oneHot.map((x) => x === 1),
          { shape },
        ),
        sp.tensor(weight, { shape: [2, 6, 5] }),
      ],
    ].map(([target, voxelWeight]) => {
      const x = floats(image, 'float32', shape, true);
      const loss = sp.diceLoss(x as never, target as never, {
        fromLogits: 'softmax',
        voxelWeight: voxelWeight as never,
      });
      loss.backward();
      return [bits(loss as AnyTensor), bits(gradOf(x))];
    });
    for (const other of results.slice(1))
      for (const k of [0, 1]) expectSameBits(other[k], results[0][k], `output ${k}`);
  });

  test('a single channel is class 1', () => {
    const { image } = draw([2, 1, 6, 5], variants[1], 'float32');
    const ids = Array.from({ length: 60 }, (_, i) => Number(i % 3 === 1));
    const ways = [
      sp.tensor(ids, { shape: [2, 6, 5], dtype: 'int32' }),
      sp.tensor(ids, { shape: [2, 6, 5], dtype: 'int64' }),
      sp.tensor(ids, { shape: [2, 1, 6, 5], dtype: 'uint8' }),
    ];
    for (const loss of [...Object.values(losses), sp.skeletonRecallLoss, sp.clDice]) {
      const values = ways.map((target) => {
        const x = floats(image, 'float32', [2, 1, 6, 5], true);
        const value = (loss as Any)(x, target, { fromLogits: true });
        value.backward();
        return [bits(value), bits(gradOf(x))];
      });
      expect(values[0]).toEqual(values[2]);
      expect(values[1]).toEqual(values[2]);
    }
  });

  test('a voxel of weight 0 may hold anything; its gradient is 0', () => {
    const x = sp.tensor([[[0.3, NaN, Infinity, 0.6]]], { requiresGrad: true });
    const t = sp.tensor([[[1, NaN, 1, 0]]]);
    const voxelWeight = sp.tensor([[1, 0, 0, 1]]);
    const two = sp.concat([x, x], { dim: 1 }).detach().requiresGrad_();
    for (const fromLogits of [false, 'sigmoid', 'softmax'] as const) {
      const input = fromLogits === 'softmax' ? two : x;
      input.grad = null;
      const target = fromLogits === 'softmax' ? sp.concat([t, t], { dim: 1 }) : t;
      const loss = sp.diceLoss(input, target, { voxelWeight, fromLogits });
      expect(Number.isFinite(loss.item())).toBe(true);
      loss.backward();
      const grad = read(gradOf(input as AnyTensor));
      expect([...grad].every(Number.isFinite)).toBe(true);
      expect([grad[1], grad[2]]).toEqual([0, 0]);
    }
  });

  test('without smoothing, nothing in both is no loss; a perfect overlap has a finite gradient', () => {
    const x = sp.tensor([[[0, 0]]], { requiresGrad: true });
    const loss = sp.diceLoss(x, sp.zeros([1, 1, 2]), { smooth: 0 });
    expect(loss.item()).toBe(0);
    loss.backward();
    expect(x.grad!.toArray()).toEqual([[[0, 0]]]);
    const y = sp.ones([1, 1, 4]).requiresGrad_();
    const perfect = sp.tverskyLoss(y, sp.ones([1, 1, 4]), { exponent: 0.75 });
    expect(perfect.item()).toBe(0);
    perfect.backward();
    expect(y.grad!.toArray()).toEqual([[[0, 0, 0, 0]]]);
  });

  test('no images, no voxels', () => {
    expect(sp.diceLoss(sp.zeros([0, 2, 3]), sp.zeros([0, 2, 3])).item()).toBeNaN();
    const none = sp.diceLoss(sp.zeros([2, 2, 0]), sp.zeros([2, 2, 0]), { reduction: 'none' });
    expect(none.toArray()).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  test('descends to the mask', () => {
    const t = sp.tensor([[[1, 1, 0, 0, 1, 0]]]);
    const x = sp.zeros([1, 1, 6]).requiresGrad_();
    const optimizer = new sp.optim.SGD([x], { lr: 5 });
    for (let i = 0; i < 60; i++) {
      optimizer.zeroGrad();
      sp.jaccardLoss(x, t, { fromLogits: true }).backward();
      optimizer.step();
    }
    expect([...read(x as AnyTensor)].map((z) => (z > 0 ? 1 : 0))).toEqual([1, 1, 0, 0, 1, 0]);
  });
});

describe('refusals', () => {
  const refuses = refuser('diceLoss');
  const x = sp.ones([2, 3, 4]);
  test('shapes and dtypes', () => {
    refuses(() => sp.diceLoss(sp.ones([4]), sp.ones([4])), 'ERR_SHAPE', '[B, C, ...spatial]');
    refuses(() => sp.diceLoss(x, sp.ones([2, 3, 5])), 'ERR_SHAPE', '[2, 3, 4]', '[2, 3, 5]');
    refuses(() => sp.diceLoss(x, sp.ones([2, 3, 4], { dtype: 'float64' })), 'ERR_DTYPE', 'target');
    refuses(() => sp.diceLoss(x, sp.ones([2, 4])), 'ERR_DTYPE', 'int32');
    const labels = sp.zeros([2, 5], { dtype: 'int32' });
    refuses(() => sp.diceLoss(x, labels), 'ERR_SHAPE', '[2, 4]');
    refuses(() => sp.diceLoss(x, x, { voxelWeight: sp.ones([2, 3]) }), 'ERR_SHAPE', 'voxelWeight');
    refuses(() => sp.diceLoss(labels as never, labels), 'ERR_DTYPE', 'prediction');
  });
  test('weights that are negative or no numbers, by their place', () => {
    for (const [name, loss] of Object.entries(losses)) {
      const refused = refuser(`${name}Loss`);
      for (const bad of [-1, NaN, Infinity]) {
        const voxelWeight = sp.tensor([1, 0, 2, 1, bad, 1, bad, 0], { shape: [2, 4] });
        refused(
          () => loss(x as never, x as never, { voxelWeight }),
          'ERR_INVALID_VALUE',
          `voxelWeight to hold finite numbers of at least 0, got ${bad} at voxel 4`,
        );
      }
    }
  });
  test('no channel but the background', () => {
    const one = sp.zeros([2, 1, 4]);
    const only = () => sp.diceLoss(one, one, { background: false });
    refuses(only, 'ERR_INVALID_VALUE', 'background', '[2, 1, 4]');
    expect(sp.diceLoss(one, one, { background: true }).item()).toBe(0);
  });
  test('class indices', () => {
    const ids = sp.tensor([0, 1, 2, 3, 0, 0, 0, 0], { shape: [2, 4], dtype: 'int32' });
    refuses(() => sp.diceLoss(x, ids), 'ERR_OUT_OF_RANGE', '[0, 3)', '3 at voxel 3');
    expect(sp.diceLoss(x, ids, { ignoreIndex: 3 }).item()).toBeGreaterThan(0);
    const one = sp.ones([2, 1, 4]);
    refuses(() => sp.diceLoss(one, ids), 'ERR_OUT_OF_RANGE', '[0, 2)', '2 at voxel 2');
  });
  test('options', () => {
    refuses(
      () => sp.diceLoss(x, x, { fromLogits: 'relu' as never }),
      'ERR_INVALID_VALUE',
      'softmax',
    );
    const none = () => sp.diceLoss(x, x, { fromLogits: 'none' as never });
    refuses(none, 'ERR_INVALID_VALUE', "'sigmoid' or 'softmax', got 'none'");
    const one = sp.ones([2, 1, 4]);
    const softmax = () => sp.diceLoss(one, one, { fromLogits: 'softmax' });
    refuses(softmax, 'ERR_INVALID_VALUE', 'more than one channel', 'softmax', '[2, 1, 4]');
    refuses(() => sp.diceLoss(x, x, { smooth: -1 }), 'ERR_INVALID_VALUE', 'smooth');
    refuses(() => sp.diceLoss(x, x, { alpha: 1 } as never), 'ERR_UNKNOWN_OPTION', 'alpha');
    const refusesTversky = refuser('tverskyLoss');
    refusesTversky(() => sp.tverskyLoss(x, x, { exponent: 0 }), 'ERR_INVALID_VALUE', 'exponent');
  });
});
