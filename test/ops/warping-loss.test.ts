// The warping loss against warping by its definition, plain answers, gradients, forms and errors.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { read } from '../harness/tensors.js';
import { expectSameBits } from '../harness/threads.js';
import { criticalOf } from '../reference/warping.js';

// biome-ignore lint/suspicious/noExplicitAny: options that the types refuse
type Any = any;
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

interface Drawn {
  channels: number;
  shape: number[];
  logits: Float64Array;
  labels: number[];
}

function draw(seed: number): Drawn {
  const random = new Random(seed);
  const shape = random.pick([
    [6, 7],
    [1, 9],
    [9, 4],
    [3, 4, 4],
    [2, 5, 3],
  ]);
  const channels = random.pick([1, 2, 3]);
  const logits = random.fill(channels * sizeOf(shape), () => 4 * random.uniform() - 2);
  const predicted = classesOf(channels, sizeOf(shape), logits);
  const isClose = random.integer(3) > 0;
  const labels = predicted.map((c) =>
    isClose && random.integer(3) ? c : random.integer(Math.max(2, channels)),
  );
  return { channels, shape, logits, labels };
}

function classesOf(channels: number, size: number, logits: Float64Array): number[] {
  return Array.from({ length: size }, (_, i) => {
    if (channels === 1) return Number(logits[i] >= 0);
    const all = Array.from({ length: channels }, (_, c) => logits[c * size + i]);
    return all.indexOf(Math.max(...all));
  });
}

function reference({ channels, shape, logits, labels }: Drawn, corners: boolean): number[] {
  const size = sizeOf(shape);
  const predicted = classesOf(channels, size, logits);
  const critical = new Set<number>();
  for (let c = 1; c < Math.max(2, channels); c++) {
    const mask = (list: number[]) => ({ shape, values: list.map((x) => x === c) });
    const found = criticalOf(mask(predicted), mask(labels), corners);
    for (const [i, x] of found.entries()) if (x) critical.add(i);
  }
  return labels.map((y, i) => {
    if (!critical.has(i)) return 0;
    if (channels === 1) return Math.log1p(Math.exp(y ? -logits[i] : logits[i]));
    const all = Array.from({ length: channels }, (_, c) => Math.exp(logits[c * size + i]));
    return Math.log(all.reduce((a, b) => a + b, 0)) - logits[y * size + i];
  });
}

const tensorsOf = ({ channels, shape, logits, labels }: Drawn) => ({
  x: sp.tensor(logits, { shape: [1, channels, ...shape], dtype: 'float64', device: 'cpu' }),
  t: sp.tensor(labels, { shape: [1, ...shape], dtype: 'int32', device: 'cpu' }),
});

test.each(['faces', 'corners'] as const)('is its definition, joined by %s', (connectivity) => {
  let critical = 0;
  let other = 0;
  for (let seed = 0; seed < 60; seed++) {
    const drawn = draw(seed);
    const { x, t } = tensorsOf(drawn);
    const found = read(sp.warpingLoss(x, t, { connectivity, reduction: 'none' }));
    const expected = reference(drawn, connectivity === 'corners');
    for (const [i, loss] of expected.entries()) expect(found[i], `${seed}`).toBeCloseTo(loss, 12);
    critical += expected.filter((loss) => loss > 0).length;
    const predicted = classesOf(drawn.channels, expected.length, drawn.logits);
    other += predicted.filter((c, i) => c !== drawn.labels[i] && !expected[i]).length;
  }
  expect(critical).toBeGreaterThan(100);
  expect(other).toBeGreaterThan(100);
});

/** '#' in both masks, 'p' predicted, 't' true; the critical pixels. */
function criticalIn(rows: string[]): number[][] {
  const flat = [...rows.join('')];
  const shape = [1, 1, rows.length, rows[0].length];
  const mask = (letter: string) => flat.map((c) => (c === '#' || c === letter ? 1 : 0));
  const logits = sp.tensor(
    mask('p').map((x) => 2 * x - 1),
    { shape, dtype: 'float32', device: 'cpu' },
  );
  const target = sp.tensor(mask('t'), { shape, dtype: 'uint8', device: 'cpu' });
  const each = read(sp.warpingLoss(logits, target, { reduction: 'none' }));
  const found = Array.from(each).flatMap((x, i) => (x > 0 ? [i] : []));
  return found.map((i) => [Math.floor(i / rows[0].length), i % rows[0].length]);
}

test.each([
  ['a thicker bar', ['.....', '.###.', '.ppp.', '.....'], []],
  ['a bar cut in two', ['.......', '.##t##.', '.......'], [[1, 3]]],
  [
    'two bars joined',
    ['.......', '.##pp##', '.......'],
    [
      [1, 3],
      [1, 4],
    ],
  ],
  ['a speck', ['.....', '.p...', '.....', '.####'], [[1, 1]]],
  ['a bar at the border', ['ttt', '###', '...'], []],
] as [string, string[], number[][]][])('%s', (_, rows, critical) => {
  const found = criticalIn(rows);
  for (const place of found) expect(critical).toContainEqual(place);
  if (critical.length > 0) expect(found.length).toBeGreaterThan(0);
});

describe('forms', () => {
  const drawn = draw(2);
  const { x, t } = tensorsOf(drawn);

  test('reductions, batches, masks', () => {
    const size = sizeOf(drawn.shape);
    const each = read(sp.warpingLoss(x, t, { reduction: 'none' }));
    const total = each.reduce((a, b) => a + b, 0);
    expect(total).toBeGreaterThan(0);
    expect(sp.warpingLoss(x, t).item()).toBeCloseTo(total / size, 12);
    expect(sp.warpingLoss(x, t, { reduction: 'sum' }).item()).toBeCloseTo(total, 12);
    const twice = sp.warpingLoss(sp.concat([x, x]), sp.concat([t, t]), { reduction: 'none' });
    expect(Array.from(read(twice))).toEqual([...each, ...each]);
    const masks = sp.stack(
      Array.from({ length: Math.max(1, drawn.channels) }, (_, c) =>
        sp.eq(t, drawn.channels === 1 ? 1 : c),
      ),
      { dim: 1 },
    );
    expect(sp.warpingLoss(x, masks).item()).toBe(sp.warpingLoss(x, t).item());
  });

  test.each([2, 5, 8, 11])('finite differences, case %d', (seed) => {
    const one = tensorsOf(draw(seed));
    for (const reduction of ['mean', 'none'] as const) {
      const loss = (logits: sp.Tensor) => sp.warpingLoss(logits as never, one.t, { reduction });
      expect(sp.gradcheck(loss as never, [one.x.clone().requiresGrad_()], { eps: 1e-6 })).toBe(
        true,
      );
    }
  });

  test('any dtype and any number of threads, asynchronous too', () =>
    expectSameBits(x, (logits) => sp.warpingLoss.async(logits, t)));

  test('no images, no voxels, all right', () => {
    const labels = (shape: number[]) => sp.zeros(shape, { dtype: 'int32' });
    expect(sp.warpingLoss(sp.zeros([0, 2, 3, 3]), labels([0, 3, 3])).item()).toBeNaN();
    const sum = sp.warpingLoss(sp.zeros([1, 2, 0, 3]), labels([1, 0, 3]), { reduction: 'sum' });
    expect(sum.item()).toBe(0);
    expect(sp.warpingLoss(sp.zeros([1, 2, 3, 3]), labels([1, 3, 3])).item()).toBe(0);
  });
});

test('errors', () => {
  const refuses = refuser('warpingLoss');
  const image = sp.zeros([1, 2, 4, 5]);
  const labels = sp.zeros([1, 4, 5], { dtype: 'int32' });
  const call =
    (...args: unknown[]) =>
    () =>
      (sp.warpingLoss as Any)(...args);
  refuses(call(sp.zeros([1, 2, 4]), labels), 'ERR_SHAPE', /\[B, C, H, W\]/);
  refuses(call(image, sp.zeros([1, 5, 4], { dtype: 'int32' })), 'ERR_SHAPE', 'class indices');
  refuses(call(sp.zeros([1, 2, 4, 5], { dtype: 'int32' }), labels), 'ERR_DTYPE', 'logits');
  refuses(call(image, sp.zeros([1, 4, 5])), 'ERR_DTYPE', 'target');
  refuses(call(image, labels, { connectivity: 8 }), 'ERR_INVALID_TYPE', 'connectivity');
  refuses(call(image, labels, { reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
  refuses(call(image, labels, { fromLogits: true }), 'ERR_UNKNOWN_OPTION', 'fromLogits');
  const bad = sp.full([1, 2, 4, 5], Infinity);
  refuses(call(bad, labels), 'ERR_INVALID_VALUE', 'expected logits', 'Infinity at element 0');
  refuses(call(image, bad), 'ERR_INVALID_VALUE', 'expected target', 'Infinity at element 0');
  const far = sp.full([1, 4, 5], -1, { dtype: 'int32' });
  refuses(call(image, far), 'ERR_OUT_OF_RANGE', /\[0, 2\) or -100 \(ignoreIndex\), got -1/);
});
