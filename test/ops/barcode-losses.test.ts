// The losses of barcodes against scipy's assignments and torch's gradients, against all matchings of
// small barcodes, and by their laws and errors.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { gradOf, read } from '../harness/tensors.js';
import { expectSameBits } from '../harness/threads.js';
import { uniforms } from '../harness/transport.js';
import { type Point, wassersteinOf } from '../reference/barcode-losses.js';

interface Case {
  shape: number[];
  kind: 'wasserstein' | 'longest' | 'lengths';
  mask: boolean;
  seed: number;
  options: Record<string, unknown>;
  loss: number;
  grad: number[];
}

const golden = new URL('../harness/golden/barcodes.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(golden, 'utf8')) as { cases: Case[] };
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

// biome-ignore lint/suspicious/noExplicitAny: options of different losses
type Any = any;

type Floats = sp.Tensor<sp.FloatDType>;

function lossOf({ kind, options }: Case, p: Floats, t: sp.Tensor): sp.Tensor {
  if (kind === 'lengths') return sp.barcodeLengthLoss(p, options as Any);
  return sp.topologyLoss(p, t, { matching: kind, ...options } as Any);
}

describe('golden', () => {
  test.each(cases)('$kind $shape $options', (one) => {
    const size = sizeOf(one.shape);
    const values = uniforms(one.seed, 2 * size);
    const shape = [1, 1, ...one.shape];
    const p = sp.tensor(values.slice(0, size), { shape, dtype: 'float64', requiresGrad: true });
    const target = values.slice(size).map((x) => (one.mask ? Number(x > 0.6) : x));
    const loss = lossOf(one, p, sp.tensor(target, { shape, dtype: 'float64' }));
    loss.backward();
    expect(loss.item()).toBeCloseTo(one.loss, 12);
    expectWithin(read(gradOf(p)), one.grad, () => 1e-12, 'gradient');
  });
});

/** The loss of two images by all matchings of their bars. */
function leastOf(images: readonly sp.Tensor[]): number {
  const bars = images.map((t) => sp.persistenceBarcode(t).dims);
  const points = (i: number, k: number) =>
    Array.from(bars[i][k]!.birth, (birth, j): Point => [birth, bars[i][k]!.death[j]]);
  return bars[0].reduce((sum, _, k) => sum + wassersteinOf(points(0, k), points(1, k)), 0);
}

test.each([
  ['ties', [2, 3, 5], [[14], [4, 5], [3, 3, 3]], 40],
  ['bars that have to move on', [12, 1000], [[24], [21]], 24],
] as [string, number[], number[][], number][])(
  'the matching costs least: %s',
  (_, levelsOf, shapes, seeds) => {
    for (let seed = 0; seed < seeds; seed++) {
      const random = new Random(seed);
      const levels = random.pick(levelsOf);
      const shape = random.pick(shapes);
      const draw = () => random.fill(sizeOf(shape), () => random.integer(levels) / (levels - 1));
      const images = [draw(), draw()].map((v) => sp.tensor(v, { shape, dtype: 'float64' }));
      const [p, t] = images.map((x) => sp.reshape(x, [1, 1, ...shape]));
      const expected = leastOf(images);
      expect(sp.topologyLoss(p, t).item()).toBeCloseTo(expected, 12);
      expect(sp.topologyLoss(t, p).item()).toBeCloseTo(expected, 12);
    }
  },
);

describe('laws', () => {
  const random = new Random(3);
  const shape = [2, 2, 6, 7];
  const p = random.fill(168, () => random.uniform());
  const t = random.fill(168, () => random.integer(2));
  const [prediction, target] = [p, t].map((v) => sp.tensor(v, { shape }));
  const losses: Record<string, (x: Floats, o?: Any) => sp.Tensor> = {
    wasserstein: (x, o) => sp.topologyLoss(x, target, o),
    longest: (x, o) => sp.topologyLoss(x, target, { matching: 'longest', ...o }),
    lengths: (x, o) =>
      sp.barcodeLengthLoss(x, {
        bettiNumbers: [
          [1, 0],
          [2, 1],
        ],
        ...o,
      }),
  };

  test.each(Object.keys(losses))('%s: reductions, images one by one, both filtrations', (name) => {
    const loss = losses[name];
    const each = read(loss(prediction, { reduction: 'none' }));
    const total = each.reduce((a, b) => a + b, 0);
    expect(each).toHaveLength(4);
    expect(loss(prediction).item()).toBeCloseTo(total / 4, 5);
    expect(loss(prediction, { reduction: 'sum' }).item()).toBeCloseTo(total, 5);
    const [sub, both] = ['sublevel', 'both'].map((f) => loss(prediction, { filtration: f }).item());
    expect(both).toBeCloseTo((sub + total / 4) / 2, 5);
    const degrees = [0, 1].map((k) => loss(prediction, { dims: [k] }).item());
    expect(degrees[0] + degrees[1]).toBeCloseTo(total / 4, 5);
  });

  test.each(Object.keys(losses))('%s: finite differences', (name) => {
    const wide = sp.tensor(p, { shape, dtype: 'float64' });
    for (const options of [{}, { fromLogits: true, padding: 0.4, reduction: 'none' as const }]) {
      const scale = name === 'wasserstein' ? { essential: true } : {};
      const call = (x: Floats) => {
        const wideTarget = sp.to(target, 'float64');
        if (name === 'lengths')
          return sp.barcodeLengthLoss(x, { bettiNumbers: [1, 1], exponent: 1.5, ...options });
        return sp.topologyLoss(x, wideTarget, { matching: name as Any, ...scale, ...options });
      };
      expect(sp.gradcheck(call as never, [wide.clone().requiresGrad_()], { eps: 1e-7 })).toBe(true);
    }
  });

  test('identical images cost nothing', () => {
    expect(sp.topologyLoss(prediction, prediction, { essential: true }).item()).toBe(0);
    const own = sp.topologyLoss(target, target, { matching: 'longest' });
    expect(own.item()).toBe(0);
  });

  test.each(Object.keys(losses))('%s: asynchronous, narrow dtypes, any threads', (name) =>
    expectSameBits(prediction, (x) => {
      if (name === 'lengths') return sp.barcodeLengthLoss.async(x, { bettiNumbers: [1, 1] });
      return sp.topologyLoss.async(x, sp.to(target, x.dtype), { matching: name as Any });
    }),
  );

  test('a ring has the loss of its lengths', () => {
    const ring = sp.tensor([
      [
        [
          [0.9, 0.9, 0.9],
          [0.9, 0.2, 0.9],
          [0.9, 0.9, 0.9],
        ],
      ],
    ]);
    const ask = (bettiNumbers: number[], exponent = 2) =>
      sp.barcodeLengthLoss(ring, { bettiNumbers, exponent }).item();
    expect(ask([1, 1])).toBeCloseTo(1 - 0.81 + 1 - 0.49, 6);
    expect(ask([1, 0], 1)).toBeCloseTo(0.1 + 0.7, 6);
    expect(ask([2, 2])).toBeCloseTo(1 - 0.81 + 1 + 1 - 0.49 + 1, 6);
    const without = { bettiNumbers: [0, 0], essential: false, minLength: 0.8 };
    expect(sp.barcodeLengthLoss(ring, without).item()).toBe(0);
  });

  test('no images, one voxel, constant images', () => {
    const none = sp.zeros([0, 1, 3, 3]);
    expect(sp.topologyLoss(none, none).item()).toBeNaN();
    expect(sp.topologyLoss(none, none, { reduction: 'sum' }).item()).toBe(0);
    const one = sp.full([1, 1, 1], 0.5);
    expect(sp.topologyLoss(one, one).item()).toBe(0);
    expect(sp.barcodeLengthLoss(sp.full([1, 1, 4, 4], 0.5), { bettiNumbers: [1, 0] }).item()).toBe(
      0.75,
    );
  });

  test('the target as class indices', () => {
    const labels = sp.tensor(
      random.fill(84, () => random.integer(2)),
      {
        shape: [2, 6, 7],
        dtype: 'int32',
      },
    );
    const masks = sp.stack([sp.eq(labels, 0), sp.eq(labels, 1)], { dim: 1 });
    expect(sp.topologyLoss(prediction, labels).item()).toBe(
      sp.topologyLoss(prediction, masks).item(),
    );
  });
});

describe('errors', () => {
  const image = sp.full([1, 2, 4, 5], 0.5);
  const refuses = refuser('topologyLoss');
  const refusesLengths = refuser('barcodeLengthLoss');
  const topology =
    (...args: unknown[]) =>
    () =>
      (sp.topologyLoss as Any)(...args);
  const lengths =
    (...args: unknown[]) =>
    () =>
      (sp.barcodeLengthLoss as Any)(...args);

  test('tensors', () => {
    refuses(topology(image, sp.zeros([1, 2, 5, 4])), 'ERR_SHAPE', 'target');
    refuses(topology(sp.zeros([4, 5]), sp.zeros([4, 5])), 'ERR_SHAPE', /\[B, C/);
    refuses(topology(sp.zeros([1, 2, 4, 5], { dtype: 'int32' }), image), 'ERR_DTYPE', 'prediction');
    for (const value of [Number.NaN, Infinity, -Infinity]) {
      const values = new Float32Array(40).fill(0.5);
      values[27] = value;
      const bad = sp.tensor(values, { shape: [1, 2, 4, 5] });
      const where = new RegExp(`${value} at \\[0, 1, 1, 2\\]`);
      refuses(topology(bad, image), 'ERR_INVALID_VALUE', 'prediction', where);
      refuses(topology(image, bad), 'ERR_INVALID_VALUE', 'target', where);
      refusesLengths(lengths(bad, { bettiNumbers: [1, 0] }), 'ERR_INVALID_VALUE', where);
    }
    refusesLengths(lengths(sp.zeros([1, 1, 0]), { bettiNumbers: [1] }), 'ERR_SHAPE', 'one voxel');
  });

  test.each([
    [{ matching: 'exact' }, 'ERR_INVALID_VALUE', /'wasserstein'/],
    [{ perfect: -1 }, 'ERR_INVALID_VALUE', /perfect/],
    [{ minLength: -1 }, 'ERR_INVALID_VALUE', /minLength/],
    [{ dims: [2] }, 'ERR_INVALID_VALUE', /dims/],
    [{ comparison: 'union' }, 'ERR_UNKNOWN_OPTION', /comparison/],
    [{ reduction: 'avg' }, 'ERR_INVALID_VALUE', /reduction/],
    [
      { perfect: 0.9 },
      'ERR_INVALID_VALUE',
      /perfect to be 0.99 unless matching is 'longest', got 0.9/,
    ],
    [
      { matching: 'longest', essential: true },
      'ERR_INVALID_VALUE',
      /essential to be false unless matching is 'wasserstein', got true/,
    ],
    [
      { matching: 'longest', weights: { unmatchedTarget: 2 } },
      'ERR_INVALID_VALUE',
      /weights.unmatchedTarget to be 1 unless matching is 'wasserstein', got 2/,
    ],
  ] as [object, string, RegExp][])('%j', (options, code, word) => {
    refuses(topology(image, image, options), code, word);
  });

  test('what is undefined has its default, in the kernels alone, too', () => {
    const prediction = sp.tensor([[[[0.9, 0.2, 0.7]]]]);
    const kernel = sp.raw.barcodeLengthLoss;
    const outputs = [{}, { essential: undefined }].map((more) => {
      const options = { bettiNumbers: [1, 0], ...more };
      return (kernel.forward({ prediction }, options) as { output: sp.Tensor }).output.item();
    });
    expect(outputs[1]).toBe(outputs[0]);
    expect(outputs[0]).not.toBe(
      sp.barcodeLengthLoss(prediction, { bettiNumbers: [1, 0], essential: false }).item(),
    );
  });

  test('defaults are taken where they have no effect', () => {
    const unused = { essential: false, weights: { unmatchedTarget: 1 } };
    const value = (options: object) => sp.topologyLoss(image, image, options).item();
    expect(value({ matching: 'longest', ...unused })).toBe(value({ matching: 'longest' }));
    expect(value({ perfect: 0.99 })).toBe(value({}));
    const given = { bettiNumbers: [1, 0], dims: [1] };
    const lengthOf = (options: object) => lengths(image, options)() as sp.Tensor;
    expect(lengthOf({ ...given, essential: true }).item()).toBe(lengthOf(given).item());
  });

  test.each([
    [{}, 'ERR_INVALID_TYPE', /bettiNumbers/],
    [{ bettiNumbers: 1 }, 'ERR_INVALID_TYPE', /bettiNumbers/],
    [{ bettiNumbers: [1] }, 'ERR_SHAPE', /2 axes/],
    [
      {
        bettiNumbers: [
          [1, 0],
          [1, 0],
          [1, 0],
        ],
      },
      'ERR_SHAPE',
      /2 channels/,
    ],
    [{ bettiNumbers: [1, -1] }, 'ERR_INVALID_VALUE', /bettiNumbers/],
    [{ bettiNumbers: [1, 0.5] }, 'ERR_INVALID_VALUE', /bettiNumbers/],
    [{ bettiNumbers: [1, 0], exponent: 0.5 }, 'ERR_INVALID_VALUE', /exponent/],
    [{ bettiNumbers: [1, 0], essential: 1 }, 'ERR_INVALID_TYPE', /essential/],
    [{ bettiNumbers: [1, 0], weights: {} }, 'ERR_UNKNOWN_OPTION', /weights/],
  ] as [object, string, RegExp][])('lengths %j', (options, code, word) => {
    refusesLengths(lengths(image, options), code, word);
  });

  test('more kinds of bars on both sides than are matched; stopped while they are', async () => {
    // Each bar meets one of the other side alone.
    const stairs = (n: number) => {
      const steps = Array.from({ length: n }, (_, i) => Math.floor(i / 2) + 2 * (i % 2));
      return sp.tensor(steps, { shape: [1, 1, n] });
    };
    const many = stairs(23300);
    refuses(topology(many, many), 'ERR_INVALID_VALUE', 'hardly any of them equal', 'minLength');
    expect(sp.topologyLoss(stairs(600), stairs(600)).item()).toBe(0);
    const noise = (seed: number) => sp.tensor(uniforms(seed, 9000), { shape: [1, 1, 9000] });
    const controller = new AbortController();
    const work = sp.topologyLoss.async(noise(1), noise(2), { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 100);
    await expect(work).rejects.toThrow('enough');
  });

  test('aborted', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(sp.topologyLoss.async(image, image, { signal })).rejects.toThrow('enough');
  });
});
