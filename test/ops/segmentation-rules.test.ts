// The rules of targets and of logits (src/targets.ts) over every loss of segmentations that they hold for:
// class indices and their errors, ignoreIndex, fromLogits.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { gradOf, read } from '../harness/tensors.js';

// biome-ignore lint/suspicious/noExplicitAny: losses of different options, and options that the types refuse
type Any = any;
type Loss = (prediction: Any, target: Any, options?: object) => sp.Tensor;

const lengths: Loss = (p, _, { ignoreIndex, ...options }: Any = {}) =>
  sp.barcodeLengthLoss(p, { bettiNumbers: [1, 1], ...options });

const losses: Record<string, Loss> = {
  diceLoss: sp.diceLoss as Any,
  jaccardLoss: sp.jaccardLoss as Any,
  tverskyLoss: sp.tverskyLoss as Any,
  skeletonRecallLoss: sp.skeletonRecallLoss as Any,
  clDice: sp.clDice as Any,
  regionWiseLoss: sp.regionWiseLoss as Any,
  topographLoss: sp.topographLoss as Any,
  diuError: sp.diuError as Any,
  bettiMatchingLoss: sp.bettiMatchingLoss as Any,
  topologyLoss: sp.topologyLoss as Any,
  barcodeLengthLoss: lengths,
  warpingLoss: sp.warpingLoss as Any,
};
const withTarget = Object.keys(losses).filter((name) => name !== 'barcodeLengthLoss');
const ignoring = withTarget.filter(
  (name) => !['clDice', 'bettiMatchingLoss', 'topologyLoss'].includes(name),
);
const withLogits = Object.keys(losses).filter((name) => name !== 'warpingLoss');
/** What `true` stands for, where it is not a sigmoid. */
const softmaxByDefault = ['regionWiseLoss', 'topographLoss', 'diuError'];

const shape = [2, 3, 5, 6];
const random = new Random(5);
const logits = random.fill(180, () => random.normal());
const classes = Array.from({ length: 60 }, () => random.integer(3));
/** The classes with others at some places. */
function withAt(...others: [number, number][]): number[] {
  const values = [...classes];
  for (const [i, x] of others) values[i] = x;
  return values;
}
const labels = (values: readonly number[], dtype: sp.DType = 'int32') =>
  sp.tensor([...values], { shape: [2, 5, 6], dtype: dtype as 'int32' });
const image = (values: Float64Array = logits, dtype: sp.FloatDType = 'float64') =>
  sp.tensor(values, { shape, dtype, requiresGrad: true });

const allowed = () => 1e-12;

function lossAndGradient(name: string, target: sp.Tensor, options?: object, of = (p: Any) => p) {
  const p = image();
  const loss = losses[name](of(p), target, options);
  if (name === 'diuError') return { loss: read(loss), grad: new Float64Array() };
  loss.sum().backward();
  return { loss: read(loss), grad: read(gradOf(p)) };
}

describe('class indices', () => {
  test.each(withTarget)('%s refuses what is no class, by its place', (name) => {
    const refuses = refuser(name);
    for (const dtype of ['int32', 'int64'] as const) {
      for (const bad of [3, -1]) {
        const target = labels(withAt([17, bad], [40, 9]), dtype);
        const call = () => losses[name](image(), target);
        const named = ignoring.includes(name) ? ' or -100 (ignoreIndex)' : '';
        refuses(
          call,
          'ERR_OUT_OF_RANGE',
          `expected target in [0, 3)${named}, got ${bad} at voxel 17`,
        );
      }
    }
    const one = sp.zeros([2, 1, 5, 6], { dtype: 'float64' });
    const call = () => losses[name](one, labels(withAt([9, 2]).fill(0, 0, 9)));
    refuses(call, 'ERR_OUT_OF_RANGE', '[0, 2)', 'got 2 at voxel 9');
  });

  test.each(withTarget)('%s: indices are one-hot masks', (name) => {
    const hot = new Float64Array(180);
    for (const [i, c] of classes.entries()) hot[(Math.floor(i / 30) * 3 + c) * 30 + (i % 30)] = 1;
    const targets = [
      labels(classes, 'int64'),
      sp.tensor(hot, { shape, dtype: 'float64' }),
      sp.tensor(hot, { shape, dtype: 'uint8' }),
      sp.tensor(hot, { shape, dtype: 'bool' }),
    ];
    // Channels are thinned apart, class indices together if not asked otherwise.
    const options = name === 'skeletonRecallLoss' ? { perClass: true } : {};
    const [first, ...others] = targets.map((target) => lossAndGradient(name, target, options));
    for (const other of others) {
      expectWithin(other.loss, first.loss, allowed, 'loss');
      expectWithin(other.grad, first.grad, allowed, 'grad');
    }
  });
});

describe('targets of other dtypes', () => {
  const typed = withTarget.filter((name) => !/^(betti|topology)/.test(name));

  test.each(typed)('%s says what they are taken for', (name) => {
    const refuses = refuser(name);
    const call = (target: sp.Tensor) => () => losses[name](image(), target);
    const asIndices = ['int32 or int64 (class indices of', 'masks have shape [2, 3, 5, 6]'];
    for (const dtype of ['uint8', 'bool', 'float64'] as const)
      refuses(call(labels(classes, dtype)), 'ERR_DTYPE', ...asIndices, `got ${dtype} [2, 5, 6]`);
    const asMasks = ['bool or uint8 (masks like', 'class indices have shape [2, 5, 6]'];
    for (const shape of [[2, 1, 5, 6], [60]]) {
      const target = sp.reshape(labels(classes), shape);
      refuses(call(target), 'ERR_DTYPE', ...asMasks, 'got int32');
    }
  });

  test('Betti functions take all, and tell floats of fewer axes from class indices', () => {
    const call = () => sp.bettiMatchingLoss(image(), labels(classes, 'float64'));
    const words = ['[2, 3, 5, 6]', 'class indices are int32, int64 or uint8'];
    refuser('bettiMatchingLoss')(call, 'ERR_SHAPE', ...words);
  });

  test.each(Object.keys(losses))('%s: null is no default', (name) => {
    const call = () => losses[name](image(), labels(classes), { reduction: null });
    refuser(name)(call, 'ERR_INVALID_TYPE', "reduction to be 'none' or 'mean' or 'sum', got null");
  });
});

describe('ignoreIndex', () => {
  const left = (i: number) => i % 7 === 3 || (i > 40 && i < 46);

  test.each(ignoring)('%s: -100 unless another is named', (name) => {
    const one = lossAndGradient(name, labels(classes.map((c, i) => (left(i) ? -100 : c))));
    const other = lossAndGradient(
      name,
      labels(
        classes.map((c, i) => (left(i) ? 255 : c)),
        'int64',
      ),
      { ignoreIndex: 255 },
    );
    expect(other).toEqual(one);
    expect(one).not.toEqual(lossAndGradient(name, labels(classes)));
    const refuses = refuser(name);
    for (const bad of [0.5, Number.NaN, '1', null]) {
      const code = typeof bad === 'number' ? 'ERR_INVALID_VALUE' : 'ERR_INVALID_TYPE';
      refuses(
        () => losses[name](image(), labels(classes), { ignoreIndex: bad }),
        code,
        'ignoreIndex',
      );
    }
  });

  test.each(ignoring)('%s: not beside masks, which have no such value', (name) => {
    expect(() => losses[name](image(), image().detach(), { ignoreIndex: -100 })).not.toThrow();
    const call = () => losses[name](image(), image().detach(), { ignoreIndex: 1 });
    const words = 'expected ignoreIndex beside class indices only, got 1 beside masks';
    refuser(name)(call, 'ERR_INVALID_VALUE', words);
  });

  test.each(['clDice', 'bettiMatchingLoss', 'topologyLoss'])('%s has none', (name) => {
    const call = () => losses[name](image(), labels(classes), { ignoreIndex: 0 });
    refuser(name)(call, 'ERR_UNKNOWN_OPTION', 'ignoreIndex');
  });

  test.each(['topographLoss', 'diuError', 'warpingLoss'])(
    '%s: right, whatever is predicted',
    (name) => {
      const largest = Array.from({ length: 60 }, (_, i) => {
        const at = (c: number) => logits[(Math.floor(i / 30) * 3 + c) * 30 + (i % 30)];
        return [0, 1, 2].reduce((best, c) => (at(c) > at(best) ? c : best), 0);
      });
      const filled = labels(classes.map((c, i) => (left(i) ? largest[i] : c)));
      const ignored = labels(classes.map((c, i) => (left(i) ? -100 : c)));
      const options = { reduction: 'sum' };
      expect(lossAndGradient(name, ignored, options)).toEqual(
        lossAndGradient(name, filled, options),
      );
      const none = labels(classes.map(() => -100));
      expect(lossAndGradient(name, none, options).loss[0]).toBe(0);
    },
  );

  test('warpingLoss: the mean is over the others', () => {
    const target = labels(classes.map((c, i) => (left(i) ? -100 : c)));
    const [sum, mean] = ['sum', 'mean'].map((reduction) =>
      lossAndGradient('warpingLoss', target, { reduction }),
    );
    const count = classes.filter((_, i) => !left(i)).length;
    expectWithin(mean.loss, [sum.loss[0] / count], allowed, 'loss');
    expectWithin(
      mean.grad,
      sum.grad.map((g) => g / count),
      allowed,
      'grad',
    );
    const none = labels(classes.map(() => -100));
    expect(lossAndGradient('warpingLoss', none).loss[0]).toBeNaN();
  });

  test('regionWiseLoss: of no region, without a term, whatever they hold', () => {
    const target = labels(classes.map((c, i) => (left(i) || i < 30 ? -100 : c)));
    const map = read(sp.regionWiseMap(target, { classes: 3 }) as Any);
    const p = logits.map((x, i) => (left(Math.floor(i / 90) * 30 + (i % 30)) ? Number.NaN : x));
    const count = classes.filter((_, i) => i >= 30 && !left(i)).length;
    const expected = [0, 1, 2, 3, 4, 5].map((k) => {
      let sum = 0;
      for (let i = 0; i < 30; i++)
        if (map[30 * k + i] !== 0) sum += p[30 * k + i] * map[30 * k + i];
      return k < 3 ? 0 : sum / count;
    });
    const x = image(p);
    const loss = sp.regionWiseLoss(x, target, { reduction: 'none' });
    expectWithin(read(loss), expected, () => 1e-6, 'loss');
    loss.sum().backward();
    const slopes = map.map((z, i) => (i < 90 ? 0 : z / count));
    expectWithin(read(gradOf(x)), slopes, () => 1e-6, 'gradient');
    const without = sp.regionWiseMap(labels(classes.map((c, i) => (left(i) ? 1 : c))), {
      classes: 3,
    });
    const same = read(sp.regionWiseMap(target, { classes: 3, ignoreIndex: -100 }) as Any);
    expect(same).toEqual(map);
    expect(read(without as Any).filter((z) => z === 0)).toHaveLength(0);
  });
});

describe('fromLogits', () => {
  test.each(withLogits)('%s: sigmoid and softmax are those of the library', (name) => {
    const target = labels(classes);
    const ways = {
      sigmoid: (p: Any) => sp.sigmoid(p),
      softmax: (p: Any) => sp.softmax(p, { dim: 1 }),
    };
    for (const [how, of] of Object.entries(ways)) {
      const found = lossAndGradient(name, target, { fromLogits: how });
      const expected = lossAndGradient(name, target, {}, of);
      expectWithin(found.loss, expected.loss, allowed, how);
      expectWithin(found.grad, expected.grad, allowed, `gradient, ${how}`);
      const isUsual = (how === 'softmax') === softmaxByDefault.includes(name);
      if (isUsual) expect(lossAndGradient(name, target, { fromLogits: true })).toEqual(found);
    }
  });

  test.each(withLogits)('%s: what it may be', (name) => {
    const refuses = refuser(name);
    const call =
      (fromLogits: unknown, p: sp.Tensor = image()) =>
      () =>
        losses[name](p, labels(classes), { fromLogits });
    const valid = "true, false, 'sigmoid' or 'softmax'";
    refuses(call('softmx'), 'ERR_INVALID_VALUE', `expected fromLogits to be ${valid}`, "'softmx'");
    refuses(call('none'), 'ERR_INVALID_VALUE', valid, "got 'none'");
    refuses(call(1), 'ERR_INVALID_TYPE', valid, 'got 1');
    const one = sp.zeros([2, 1, 5, 6], { dtype: 'float64' });
    const words = ["more than one channel where fromLogits is 'softmax'", '[2, 1, 5, 6]'];
    refuses(call('softmax', one), 'ERR_INVALID_VALUE', ...words);
    const binary = labels(classes.map((c) => Math.min(c, 1)));
    const value = (fromLogits: unknown) => losses[name](one, binary, { fromLogits }).item();
    expect(value(true)).toBe(value('sigmoid'));
  });

  test.each(['float32', 'float16', 'bfloat16'] as const)(
    'a softmax of %s is taken in float32',
    (dtype) => {
      for (const name of ['clDice', 'bettiMatchingLoss', 'topologyLoss', 'barcodeLengthLoss']) {
        const given = image(logits, dtype);
        const loss = losses[name](given, labels(classes), { fromLogits: 'softmax' });
        expect(loss.dtype).toBe('float32');
        loss.backward();
        expect(gradOf(given).dtype).toBe(dtype);
        const wide = sp.to(given.detach(), 'float32').requiresGrad_();
        const other = losses[name](sp.softmax(wide, { dim: 1 }), labels(classes));
        other.backward();
        expect(loss.item(), name).toBeCloseTo(other.item() as number, 5);
        const expected = read(sp.to(gradOf(wide), dtype));
        expectWithin(
          read(gradOf(given)),
          expected,
          (i) => 0.01 * Math.abs(expected[i]) + 1e-6,
          name,
        );
      }
    },
  );

  test('functions of a single image have no channels', () => {
    const plane = sp.zeros([5, 6]);
    const valid = "true, false or 'sigmoid', got 'softmax'";
    const softmax = { fromLogits: 'softmax' } as const;
    refuser('bettiMatching')(
      () => sp.bettiMatching(plane, plane, softmax),
      'ERR_INVALID_VALUE',
      valid,
    );
    const barcode = () => sp.persistenceBarcode(plane, softmax);
    refuser('persistenceBarcode')(barcode, 'ERR_INVALID_VALUE', valid);
    const p = image();
    const dims = (x: Any, options?: object) =>
      sp.bettiMatchingBatch(x, labels(classes), options as Any).map((m) => m.dims);
    expect(dims(p, softmax)).toEqual(dims(sp.softmax(p, { dim: 1 })));
    const flat = sp.reshape(p.detach(), [30, 6]) as Any;
    const bars = (fromLogits: Any) => sp.persistenceBarcode(flat, { fromLogits }).dims;
    expect(bars('sigmoid')).toEqual(bars(true));
  });
});

describe('overlaps', () => {
  const overlaps = ['diceLoss', 'jaccardLoss', 'tverskyLoss', 'skeletonRecallLoss'];

  test.each(overlaps)('%s over a batch of no images is that of nothing', (name) => {
    const none = sp.zeros([0, 2, 5, 6], { requiresGrad: true });
    const options = { overBatch: true, reduction: 'none', smooth: 0 };
    const loss = losses[name](none, none.detach(), options);
    const size = name === 'skeletonRecallLoss' ? 1 : 2;
    expect(read(loss as never)).toEqual(new Float64Array(size));
    loss.sum().backward();
    expect(gradOf(none as never).shape).toEqual([0, 2, 5, 6]);
  });

  test('what is ignored adds nothing to the recall of a skeleton either', () => {
    const target = labels(withAt([17, -100], [40, -100]));
    for (const options of [{}, { perClass: true }, { background: false, radius: 1 }]) {
      const [held, spoiled] = [3, Number.NaN].map((x) => {
        const values = logits.slice();
        for (const [b, i] of [
          [0, 17],
          [1, 10],
        ])
          for (let c = 0; c < 3; ++c) values[(b * 3 + c) * 30 + i] = x;
        const p = image(values);
        const loss = sp.skeletonRecallLoss(p, target as never, options);
        loss.backward();
        return [loss.item(), ...read(gradOf(p as never))];
      });
      expect(held.every(Number.isFinite)).toBe(true);
      expect(spoiled).toEqual(held);
    }
  });

  test('masks are thinned with all of their values', () => {
    const mask = sp.tensor(
      classes.flatMap((c) => [c > 0 ? 1 : 0]),
      { shape: [2, 1, 5, 6], dtype: 'uint8' },
    );
    const p = sp.sigmoid(sp.tensor(logits.slice(0, 60), { shape: [2, 1, 5, 6] }));
    expect(sp.skeletonRecallLoss(p, mask as never).item()).toBeGreaterThan(-1);
  });
});
