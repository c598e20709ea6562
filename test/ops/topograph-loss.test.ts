// Topograph loss against its definition by sets, DIU against ranks of persistence barcodes of a
// three-valued image, small planes whose answer is plain, gradients, forms and errors.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { read } from '../harness/tensors.js';
import { expectSameBits } from '../harness/threads.js';
import { criticalRegions, type Plane } from '../reference/topograph.js';

// biome-ignore lint/suspicious/noExplicitAny: options that the types refuse
type Any = any;

interface Drawn {
  shape: [number, number, number, number];
  values: Float64Array;
  labels: number[];
}

/** Probabilities and labels, random or nearly what is predicted. */
function draw(random: Random, batch = 1): Drawn {
  const [classes, height, width] = [2 + random.integer(2), 1 + random.integer(8), 8];
  const size = height * width;
  const values = random.fill(batch * classes * size, () => random.uniform());
  const predicted = argmax(values, batch, classes, size);
  const isClose = random.integer(2) === 0;
  const labels = predicted.map((c) => (isClose && random.integer(4) ? c : random.integer(classes)));
  return { shape: [batch, classes, height, width], values, labels };
}

function argmax(values: Float64Array, batch: number, classes: number, size: number): number[] {
  return Array.from({ length: batch * size }, (_, p) => {
    const at = (c: number) => values[(Math.floor(p / size) * classes + c) * size + (p % size)];
    return Array.from({ length: classes }, (_, c) => c).reduce((a, b) => (at(b) > at(a) ? b : a));
  });
}

const means: Record<string, (p: number[]) => number> = {
  mean: (p) => p.reduce((a, b) => a + b, 0) / p.length,
  sum: (p) => p.reduce((a, b) => a + b, 0),
  rms: (p) => Math.sqrt(p.reduce((a, b) => a + b * b, 0) / p.length),
  max: (p) => Math.max(...p),
  min: (p) => Math.min(...p),
};

/** [classes] of the loss of one image. */
function reference({ shape, values, labels }: Drawn, o: sp.TopographLossOptions = {}): number[] {
  const [, classes, height, width] = shape;
  const size = height * width;
  const predicted = argmax(values, 1, classes, size);
  const border = o.sphere ? 1 : 0;
  const [tall, wide] = [height + 2 * border, width + 2 * border];
  const inside = (i: number) => {
    const [y, x] = [Math.floor(i / wide) - border, (i % wide) - border];
    return y < 0 || x < 0 || y >= height || x >= width ? -1 : y * width + x;
  };
  return Array.from({ length: classes }, (_, c) => c)
    .slice(o.background === false ? 1 : 0)
    .map((c) => {
      const mask = (list: number[]) =>
        Array.from({ length: tall * wide }, (_, i) => {
          const p = inside(i);
          return Number(((p < 0 ? 0 : list[p]) === c) !== (o.connectivity === 4));
        });
      const plane: Plane = { height: tall, width: wide, masks: [mask(predicted), mask(labels)] };
      return criticalRegions(plane)
        .map((region) => region.map((i) => values[predicted[inside(i)] * size + inside(i)]))
        .reduce((sum, p) => sum + means[o.aggregation ?? 'mean'](p), 0);
    });
}

const tensorsOf = ({ shape, values, labels }: Drawn) => ({
  p: sp.tensor(values, { shape, dtype: 'float64', device: 'cpu' }),
  t: sp.tensor(labels, { shape: [shape[0], ...shape.slice(2)], dtype: 'int32', device: 'cpu' }),
});

test.each([
  {},
  { connectivity: 4 },
  { sphere: true },
  { background: false, sphere: true, connectivity: 4 },
  { aggregation: 'sum' },
  { aggregation: 'rms' },
  { aggregation: 'max' },
  { aggregation: 'min' },
] as sp.TopographLossOptions[])('is its definition: %j', (options) => {
  let losses = 0;
  for (let seed = 0; seed < 60; seed++) {
    const drawn = draw(new Random(seed));
    const { p, t } = tensorsOf(drawn);
    const found = read(sp.topographLoss(p, t, { ...options, reduction: 'none' }));
    const expected = reference(drawn, options);
    expect(found).toHaveLength(expected.length);
    for (const [i, x] of expected.entries()) expect(found[i], `seed ${seed}`).toBeCloseTo(x, 12);
    losses += expected.reduce((a, b) => a + b, 0);
  }
  expect(losses).toBeGreaterThan(20);
});

/** Rows of characters: '#' in both masks, 'p' predicted, 't' true. */
function planeOf(rows: string[]) {
  const size = [1, 1, rows.length, rows[0].length];
  const flat = [...rows.join('')];
  const mask = (letter: string) => flat.map((c) => Number(c === '#' || c === letter));
  const p = sp.tensor(mask('p'), { shape: size, dtype: 'float32', device: 'cpu' });
  return { p, t: sp.tensor(mask('t'), { shape: size, dtype: 'bool', device: 'cpu' }) };
}

test.each([
  ['a thicker bar', ['.....', '.###.', '.ppp.', '.....'], 0, 0],
  ['a bar cut in two', ['.....', '##t##', '.....'], 1, 1],
  ['two bars joined', ['.....', '##p##', '.....'], 1, 1],
  ['a speck', ['.....', '.p...', '.....', '.####'], 1, 1],
  ['a missed speck', ['.....', '.t...', '.....', '.####'], 1, 1],
  ['a hole filled', ['#####', '#.#p#', '#####'], 1, 1],
  ['a hole that is not there', ['####', '#t##', '####'], 1, 1],
  ['moved aside', ['....', '####', '.pp.', '....'], 0, 0],
  ['joined across a corner', ['#...', '.p..', '..##'], 1, 1],
  ['nothing at all', ['...', '...'], 0, 0],
  ['all wrong', ['pp', 'pp'], 1, 1],
] as [string, string[], number, number][])('%s', (_, rows, loss, error) => {
  const { p, t } = planeOf(rows);
  expect(sp.topographLoss(p, t).item()).toBe(loss);
  expect(sp.diuError(p, t).item()).toBe(error);
});

/** Ranks of H_k(P ∩ T) -> H_k(P ∪ T) from the bars of an image that is 0, 1, 2; 4-connected. */
function diuOf(plane: Plane): number {
  const { height, width, masks } = plane;
  const values = Array.from({ length: (height + 2) * (width + 2) }, (_, i) => {
    const [y, x] = [Math.floor(i / (width + 2)) - 1, (i % (width + 2)) - 1];
    if (y < 0 || x < 0 || y >= height || x >= width) return 2;
    return 2 - masks[0][y * width + x] - masks[1][y * width + x];
  });
  const image = sp.tensor(values, { shape: [height + 2, width + 2], device: 'cpu' });
  const { dims } = sp.persistenceBarcode(image, { filtration: 'sublevel', essential: true });
  let error = 0;
  for (const bars of dims)
    for (const [i, birth] of bars!.birth.entries()) {
      // In the image of neither, of both, or of one of the two.
      const [small, large] = [birth === 0, birth < 2 && bars!.death[i] >= 2];
      error += Number(small !== large);
    }
  return error;
}

test('DIU is what barcodes say of the inclusion', () => {
  for (let seed = 0; seed < 60; seed++) {
    const drawn = draw(new Random(seed));
    const { p, t } = tensorsOf(drawn);
    const [, classes, height, width] = drawn.shape;
    const predicted = argmax(drawn.values, 1, classes, height * width);
    const found = read(sp.diuError(p, t, { connectivity: 4, reduction: 'none' }));
    const masks = (c: number) =>
      [predicted, drawn.labels].map((list) => list.map((x) => +(x === c)));
    const expected = Array.from({ length: classes }, (_, c) =>
      diuOf({ height, width, masks: masks(c) as Any }),
    );
    expect(Array.from(found)).toEqual(expected);
  }
});

describe('forms', () => {
  const drawn = draw(new Random(4), 2);
  const { p, t } = tensorsOf({ ...drawn, shape: drawn.shape });

  test('reductions, batches, masks', () => {
    const classes = drawn.shape[1];
    const size = drawn.shape[2] * drawn.shape[3];
    const each = read(sp.topographLoss(p, t, { reduction: 'none' }));
    const one = [0, 1].flatMap((b) =>
      reference({
        shape: [1, classes, drawn.shape[2], drawn.shape[3]],
        values: drawn.values.slice(b * classes * size, (b + 1) * classes * size),
        labels: drawn.labels.slice(b * size, (b + 1) * size),
      }),
    );
    for (const [i, x] of one.entries()) expect(each[i]).toBeCloseTo(x, 12);
    const total = each.reduce((a, b) => a + b, 0);
    expect(sp.topographLoss(p, t).item()).toBeCloseTo(total / each.length, 12);
    expect(sp.topographLoss(p, t, { reduction: 'sum' }).item()).toBeCloseTo(total, 12);
    const masks = sp.stack(
      Array.from({ length: classes }, (_, c) => sp.eq(t, c)),
      { dim: 1 },
    );
    expect(sp.topographLoss(p, masks).item()).toBe(sp.topographLoss(p, t).item());
    expect(sp.diuError(p, masks).item()).toBe(sp.diuError(p, t).item());
  });

  test.each([
    {},
    { fromLogits: true, reduction: 'none' },
    { aggregation: 'rms', background: false },
    { aggregation: 'max' },
  ] as sp.TopographLossOptions[])('finite differences: %j', (options) => {
    const loss = (x: sp.Tensor) => sp.topographLoss(x as never, t, options);
    expect(sp.gradcheck(loss as never, [p.clone().requiresGrad_()], { eps: 1e-7 })).toBe(true);
  });

  test.each([false, true])('one channel, fromLogits %j', (fromLogits) => {
    const random = new Random(7);
    const values = random.fill(
      60,
      () => random.uniform() * (fromLogits ? 4 : 1) - (fromLogits ? 2 : 0),
    );
    const image = sp.tensor(values, { shape: [1, 1, 6, 10], dtype: 'float64', device: 'cpu' });
    const labels = sp.tensor(
      Array.from({ length: 60 }, () => random.integer(2)),
      {
        shape: [1, 6, 10],
        dtype: 'int64',
        device: 'cpu',
      },
    );
    const foreground = fromLogits ? sp.sigmoid(image) : image;
    const both = sp.concat([sp.add(sp.neg(foreground), 1), foreground], { dim: 1 });
    const loss = sp.topographLoss(image, labels, { fromLogits });
    expect(loss.item()).toBeCloseTo(
      sp.topographLoss(both, labels, { background: false }).item(),
      12,
    );
    const call = (x: sp.Tensor) => sp.topographLoss(x as never, labels, { fromLogits });
    expect(sp.gradcheck(call as never, [image.clone().requiresGrad_()], { eps: 1e-7 })).toBe(true);
  });

  test('any dtype and any number of threads, asynchronous too', () =>
    expectSameBits(p, (x) => sp.topographLoss.async(x, t, { fromLogits: true })));

  test('no images, no pixels', () => {
    const labels = (shape: number[]) => sp.zeros(shape, { dtype: 'int32' });
    expect(sp.topographLoss(sp.zeros([0, 2, 3, 3]), labels([0, 3, 3])).item()).toBeNaN();
    expect(
      sp.diuError(sp.zeros([0, 2, 3, 3]), labels([0, 3, 3]), { reduction: 'sum' }).item(),
    ).toBe(0);
    const empty = sp.zeros([1, 2, 0, 3], { requiresGrad: true });
    expect(sp.topographLoss(empty, labels([1, 0, 3])).item()).toBe(0);
  });
});

describe('errors', () => {
  const image = sp.full([1, 2, 4, 5], 0.5);
  const labels = sp.zeros([1, 4, 5], { dtype: 'int32' });
  test.each([
    ['topographLoss', sp.topographLoss],
    ['diuError', sp.diuError],
  ] as [string, Any][])('%s', (name, op) => {
    const refuses = refuser(name);
    const call =
      (...args: unknown[]) =>
      () =>
        op(...args);
    refuses(call(sp.zeros([4, 5]), labels), 'ERR_SHAPE', /\[B, C, H, W\]/);
    refuses(call(image, sp.zeros([1, 5, 4], { dtype: 'int32' })), 'ERR_SHAPE', 'class indices');
    refuses(call(image, sp.zeros([1, 2, 4, 4])), 'ERR_SHAPE', 'target');
    refuses(call(image, sp.zeros([1, 4, 5])), 'ERR_DTYPE', 'target');
    refuses(call(sp.zeros([1, 2, 4, 5], { dtype: 'int32' }), labels), 'ERR_DTYPE', 'prediction');
    refuses(
      call(image, labels, { connectivity: 6 }),
      'ERR_INVALID_VALUE',
      'connectivity',
      '4 or 8',
    );
    refuses(call(image, labels, { background: 1 }), 'ERR_INVALID_TYPE', 'background');
    refuses(call(image, labels, { reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
    refuses(call(image, labels, { conectivity: 4 }), 'ERR_UNKNOWN_OPTION', "'connectivity'");
    const one = [sp.zeros([1, 1, 4, 5]), labels, { background: false }];
    refuses(call(...one), 'ERR_INVALID_VALUE', 'more than one channel');
    const bad = sp.full([1, 2, 4, 5], Number.NaN);
    refuses(call(bad, labels), 'ERR_INVALID_VALUE', 'NaN', 'element 0');
    refuses(call(image, bad), 'ERR_INVALID_VALUE', 'expected target', 'NaN at element 0');
    const far = sp.full([1, 4, 5], 2, { dtype: 'int32' });
    refuses(call(image, far), 'ERR_OUT_OF_RANGE', /\[0, 2\) or -100 \(ignoreIndex\), got 2/);
  });
  test('options of the loss alone', () => {
    const refuses = refuser('topographLoss');
    const call = (o: object) => () => sp.topographLoss(image, labels, o as Any);
    refuses(call({ aggregation: 'median' }), 'ERR_INVALID_VALUE', 'aggregation');
    refuses(call({ sphere: 1 }), 'ERR_INVALID_TYPE', 'sphere');
  });
});
