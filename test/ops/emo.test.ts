// Earth mover losses against torch, their laws and what they refuse.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { native } from '../../src/native.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { allowed, type EmoCase, floatDTypes, goldens } from '../harness/distillation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { uniforms } from '../harness/transport.js';

function inputs({ tokens, classes, width, seed, target }: EmoCase, dtype: FloatDType) {
  const u = uniforms(seed, (tokens + width) * classes);
  const z = u.slice(0, tokens * classes).map((x) => (x - 0.5) * 4);
  const e = u.slice(tokens * classes).map((x) => x - 0.5);
  return {
    logits: floats(z, dtype, [tokens, classes], true),
    embedding: floats(e, dtype, [classes, width]),
    target: indices(target, [tokens]),
    ignored: indices(
      target.map((y, n) => (n % 4 === 2 ? -100 : y)),
      [tokens],
      'int64',
    ),
  };
}

const rules = ({ plain, combination, clamp, ratio }: EmoCase) => ({
  plain,
  combination,
  minEmo: clamp,
  ...(ratio > 0 && { maxRatio: ratio }),
});

const table = (embedding: AnyTensor) => {
  const e = sp.normalize(embedding, { dim: 1 });
  return sp.matmul(e as never, e as never, { transposeB: true });
};

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(goldens.emo)('$combination, plain $plain, clamp $clamp, $tokens rows', (one) => {
    const { logits, embedding, target, ignored } = inputs(one, dtype);
    const wide = embedding.to(dtype === 'float64' ? 'float64' : 'float32') as AnyTensor;
    const near = { embedding: { embedding }, cosines: { cosines: table(wide) } };
    for (const [name, how] of Object.entries(near)) {
      const options = { ...rules(one), ...how };
      const loss = sp.emo(logits as never, ignored as never, options) as AnyTensor;
      expect([loss.dtype, loss.shape]).toEqual([dtype === 'float64' ? 'float64' : 'float32', []]);
      // Rounded embeddings are others; ratios multiply what is left of that.
      const limit = allowed(dtype, 4e-6);
      const by = 8;
      expectWithin(read(loss), one.loss, () => by * limit(one.loss)(), `${name}, loss`);
      loss.backward();
      const bound = by * limit(one.gradient)() * 4;
      expectWithin(read(gradOf(logits)), one.gradient, () => bound, `${name}, gradient`);
      logits.zeroGrad();
      const each = { ...options, reduction: 'none' } as const;
      const rows = sp.emo(logits as never, target as never, each) as AnyTensor;
      expectWithin(read(rows), one.rows, () => by * limit(one.rows)(), `${name}, rows`);
    }
  });

  test('the same bits for any number of threads and in the background', async () => {
    const random = new Random(4);
    // More rows than have their cosines at once on the CPU.
    const [n, v, h] = isOnCpu ? [70, 1300, 40] : [6, 300, 24];
    const z = roundAll(random.normals(n * v, 2), dtype);
    const embedding = floats(roundAll(random.normals(v * h), dtype), dtype, [v, h]);
    const target = indices(
      Array.from({ length: n }, (_, i) => (i * 37) % v),
      [n],
    );
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const logits = floats(z, dtype, [n, v], true);
      const loss = sp.emo(logits as never, target as never, { embedding }) as AnyTensor;
      loss.backward();
      return [bits(loss), bits(gradOf(logits))];
    });
    sp.setThreads(before);
    for (const k of [0, 1]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const again = floats(z, dtype, [n, v]);
    const later = await sp.emo.async(again as never, target as never, { embedding });
    expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
  });
});

const doubles = (values: ArrayLike<number>, shape: number[], requiresGrad = true) =>
  sp.tensor(Float64Array.from(values), { shape, requiresGrad });

test('values of the official code', () => {
  const u = uniforms(11, 42);
  const logits = doubles(
    u.slice(0, 24).map((x) => (x - 0.5) * 4),
    [4, 6],
  );
  const embedding = doubles(
    u.slice(24).map((x) => x - 0.5),
    [6, 3],
    false,
  );
  const target = sp.tensor([0, 3, -100, 5], { dtype: 'int64' });
  const run = (options: sp.EmoOptions) => {
    logits.zeroGrad();
    const loss = sp.emo(logits, target, { embedding, ...options });
    loss.sum().backward();
    return { loss: loss.toArray(), slope: [...read(gradOf(logits as never)).slice(0, 3)] };
  };
  const close = (actual: unknown, expected: number[]) =>
    expectWithin([actual].flat() as number[], expected, () => 6e-9, 'official');
  const rows = { combination: 'emo', reduction: 'none' } as const;
  close(run(rows).loss, [0.8323220978, 0.9228615021, 0, 0.9750670203]);
  close(run({ ...rows, plain: true }).loss, [0.5373479155, 0.6160211872, 0, 0.9361299389]);
  const first = run({ combination: 'emo1' });
  close(first.loss, [1.882701163186]);
  close(first.slope, [-0.15625374, 0.03452219, 0.00387309]);
  const second = run({ combination: 'emo2' });
  close(second.loss, [1.820167080074]);
  close(second.slope, [-0.21305088, 0.04707076, 0.00528093]);
  close(run({ combination: 'emo2', plain: true }).loss, [1.392999361]);
});

test('gradcheck of the plain distance, every reduction', () => {
  const random = new Random(8);
  const logits = doubles(random.normals(3 * 11, 2), [3, 11]);
  const embedding = doubles(random.normals(11 * 4), [11, 4], false);
  const target = sp.tensor([3, -100, 10], { dtype: 'int32' });
  const weight = doubles([0, 0.5, 2], [3]);
  for (const reduction of ['mean', 'sum', 'none'] as const) {
    const f = (z: sp.Tensor, tokenWeight: sp.Tensor) =>
      sp.emo(z as never, target as never, {
        combination: 'emo',
        plain: true,
        embedding,
        reduction,
        tokenWeight,
      });
    expect(sp.gradcheck(f as never, [logits, weight])).toBe(true);
  }
});

describe('the gradient is that of the form with the probability of the label held constant', () => {
  const random = new Random(9);
  const [n, v, h] = [4, 9, 3];
  const z = random.normals(n * v, 2);
  const embedding = doubles(random.normals(v * h), [v, h], false);
  const cosines = read(table(embedding as never) as AnyTensor);
  const labels = [3, 0, 8, 3];
  /** By row; what is held constant comes from `at`. */
  function official(values: ArrayLike<number>, at: ArrayLike<number>, combination: string) {
    const of = (source: ArrayLike<number>, y: number, row: number) => {
      const e = Array.from({ length: v }, (_, k) => Math.exp(source[row * v + k]));
      const sum = e.reduce((s, x) => s + x, 0);
      return { q: e.map((x) => x / sum), mle: Math.log(sum) - source[row * v + y] };
    };
    const rows = labels.map((y, row) => {
      const [now, held] = [of(values, y, row), of(at, y, row)];
      const distance = (q: number[]) =>
        1 - q.reduce((s, p, k) => s + (p - (k === y ? held.q[y] : 0)) * cosines[k * v + y], 0);
      const [emo, heldEmo] = [distance(now.q), distance(held.q)];
      if (combination === 'emo') return emo;
      if (combination === 'emo1') return ((held.mle / heldEmo) * emo + now.mle) / 2;
      return (heldEmo / held.mle) * now.mle + emo;
    });
    return rows.reduce((s, r) => s + r, 0) / labels.length;
  }
  test.each(['emo', 'emo1', 'emo2'] as const)('%s', (combination) => {
    const logits = doubles(z, [n, v]);
    const target = sp.tensor(labels, { dtype: 'int32' });
    const loss = sp.emo(logits, target as never, { embedding, combination });
    expect(Math.abs(loss.item() - official(z, z, combination))).toBeLessThan(1e-9);
    loss.backward();
    const x = doubles(z, [n, v]).to('cpu').detach().requiresGrad_();
    const linear = sp.linearEmo(
      x,
      sp.eye(v, { dtype: 'float64', device: 'cpu' }) as never,
      target.to('cpu') as never,
      { combination, embedding: sp.pad(embedding, [0, v - h]).to('cpu') as never },
    );
    linear.backward();
    const step = 1e-5;
    for (const gradient of [gradOf(logits as AnyTensor), gradOf(x as AnyTensor)])
      for (const [e, slope] of read(gradient).entries()) {
        const moved = (d: number) => Array.from(z, (w, i) => (i === e ? w + d : w));
        const [up, down] = [step, -step].map((d) => official(moved(d), z, combination));
        expect(Math.abs(slope - (up - down) / (2 * step))).toBeLessThan(1e-8);
      }
  });
});

test('the plan: as many rows of cosines as fit, a multiple of 128', () => {
  const rowsAtOnce = (rows: number, classes: number, bytes: number) => {
    const out = new Float64Array(1);
    native.emoPlan.call(rows, classes, bytes, out);
    return out[0];
  };
  expect(rowsAtOnce(5, 100, 4)).toBe(5);
  expect(rowsAtOnce(4096, 100, 4)).toBe(1024);
  expect(rowsAtOnce(4096, 131_072, 4)).toBe(512);
  expect(rowsAtOnce(4096, 131_073, 4)).toBe(384);
  expect(rowsAtOnce(4096, 2 ** 24, 8)).toBe(128);
});

test('rows: ignored ones are not read, NaN keeps to its own, extremes stay finite', () => {
  const values = [1, 2, 3, Number.NaN, 0, 1, 5, 1, 0, 1e4, 0, -1e4, 0, Number.NEGATIVE_INFINITY, 1];
  const logits = sp.tensor(values, { shape: [5, 3], requiresGrad: true });
  const embedding = sp.tensor([1, 0, 0, 1, 0, 0], { shape: [3, 2] });
  const target = sp.tensor([0, -100, 2, 0, 1], { dtype: 'int64' });
  const loss = sp.emo(logits, target, { embedding, combination: 'emo', reduction: 'none' });
  expect([...read(loss as never)].map(Number.isFinite)).toEqual([true, true, true, true, true]);
  loss.sum().backward();
  const slopes = read(gradOf(logits as never));
  expect(slopes.every(Number.isFinite)).toBe(true);
  expect([...slopes.slice(3, 6)]).toEqual([0, 0, 0]);
  const all = sp.tensor([0, 1, 2, 0, 1], { dtype: 'int64' });
  const rows = read(sp.emo(logits, all, { embedding, reduction: 'none' }) as never);
  expect([...rows].map(Number.isNaN).slice(0, 3)).toEqual([false, true, false]);
  const none = sp.tensor([-100, -100], { dtype: 'int64' });
  const nothing = sp.ones([2, 3], { requiresGrad: true });
  const mean = sp.emo(nothing, none, { embedding });
  mean.backward();
  expect(mean.item()).toBeNaN();
  expect([...read(gradOf(nothing as never))]).toEqual([0, 0, 0, 0, 0, 0]);
});

test('refuses bad arguments', () => {
  const refuses = refuser('emo');
  const z = sp.ones([2, 3]);
  const y = sp.tensor([0, 1], { dtype: 'int64' });
  const embedding = sp.ones([3, 4]);
  const by =
    (options: object, logits: sp.Tensor = z, target: sp.Tensor = y) =>
    () =>
      sp.emo(logits as never, target as never, options as never);
  refuses(by({}), 'ERR_INVALID_VALUE', 'embedding or cosines', 'neither');
  refuses(by({ embedding, cosines: sp.ones([3, 3]) }), 'ERR_INVALID_VALUE', 'both');
  refuses(by({ embedding: sp.ones([4, 4]) }), 'ERR_SHAPE', 'embedding', /\[3, 4\]/);
  refuses(by({ embedding: sp.ones([3]) }), 'ERR_SHAPE', 'embedding');
  refuses(by({ embedding: embedding.to('float64') }), 'ERR_DTYPE', 'float64');
  refuses(by({ cosines: sp.ones([3, 4]) }), 'ERR_SHAPE', 'cosines', /\[3, 3\]/);
  refuses(by({ embedding }, sp.ones([])), 'ERR_SHAPE', 'logits');
  refuses(by({ embedding }, z.to('int32')), 'ERR_DTYPE', 'int32');
  refuses(by({ embedding }, z, sp.ones([2])), 'ERR_DTYPE', 'target');
  refuses(by({ embedding }, z, y.reshape([1, 2])), 'ERR_SHAPE', 'target');
  const out = sp.tensor([0, 3], { dtype: 'int64' });
  refuses(by({ embedding }, z, out), 'ERR_OUT_OF_RANGE', 'got 3 at row 1');
  refuses(by({ embedding, combination: 'emo3' }), 'ERR_INVALID_VALUE', "'emo1'");
  refuses(by({ embedding, minEmo: -1 }), 'ERR_INVALID_VALUE', 'minEmo');
  refuses(by({ embedding, maxRatio: 0 }), 'ERR_INVALID_VALUE', 'maxRatio');
  refuses(by({ embedding, plain: 1 }), 'ERR_INVALID_TYPE', 'plain');
  refuses(by({ embedding, tokenWeight: sp.ones([3]) }), 'ERR_SHAPE', 'tokenWeight');
  const nan = sp.tensor([1, Number.NaN]);
  const ignored = sp.tensor([0, -100], { dtype: 'int64' });
  refuses(by({ embedding, tokenWeight: nan }, z, ignored), 'ERR_INVALID_VALUE', 'row 1');
  refuses(by({ embedding, clamp: 1 }), 'ERR_UNKNOWN_OPTION', 'clamp');
});
