// linearLogprobs, linearArgmax, vocabulary shards and their merge, against the reference.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { floatDTypes } from '../cases/cross-entropy.js';
import { common } from '../cases/linear-cross-entropy.js';
import { expectFrobenius, expectSameBits, expectWithin, expectZero } from '../harness/compare.js';
import { isEmulated } from '../harness/device.js';
import { expectGradient } from '../harness/linear-cross-entropy.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';
import type { AnyTensor } from '../harness/tensors.js';
import { bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { linearGradientTolerance, linearLossTolerance } from '../harness/tolerance.js';
import type { LogprobOptions, Problem } from '../reference/linear-cross-entropy.js';
import * as reference from '../reference/linear-cross-entropy.js';

const names = ['logprob', 'lse', 'entropy'] as const;

function problemOf(length: number, width: number, classes: number): Problem {
  const random = new Random(length + classes);
  const target = Int32Array.from({ length }, () => random.integer(classes));
  return {
    batch: 1,
    length,
    width,
    classes,
    target,
    x: random.normals(length * width).map(common),
    weight: random.normals(classes * width, 3 / Math.sqrt(width)).map(common),
    bias: random.normals(classes).map(common),
  };
}

function tensorsOf(p: Problem, dtype: FloatDType, needsGrad = true) {
  return {
    x: floats(p.x, dtype, [p.length, p.width], needsGrad),
    weight: floats(p.weight, dtype, [p.classes, p.width], needsGrad),
    bias: floats(p.bias ?? [], dtype, [p.classes], needsGrad),
    ids: indices(p.target, [p.length]),
  };
}

const shapes: [number, number, number][] = [
  [1, 1, 1],
  [3, 7, 5],
  [65, 33, 517],
  isEmulated ? [40, 16, 1100] : [130, 16, 2100],
];
const variants: LogprobOptions[] = [{}, { temperature: 0.7 }, { softcap: 20, temperature: 1.3 }];

describe.each(floatDTypes)('linearLogprobs in %s', (dtype) => {
  const stored: FloatDType = dtype === 'float64' ? dtype : 'float32';
  const within = (got: AnyTensor, want: Float64Array, what: string) => {
    const limit = linearLossTolerance[dtype];
    expectWithin(read(got), want, (i) => limit * (2 + Math.abs(want[i])), what);
  };

  test.each(shapes)('%i x %i x %i', (...shape) => {
    const p = problemOf(...shape);
    const random = new Random(9);
    for (const options of isEmulated ? [variants[shape[1] % 3]] : variants) {
      const upstream = Object.fromEntries(names.map((name) => [name, random.normals(p.length)]));
      const want = reference.linearLogprobs(p, options, upstream);
      const { x, weight, bias, ids } = tensorsOf(p, dtype);
      const got = sp.linearLogprobs(x, weight, ids, { ...options, bias });
      for (const name of names) within(got[name], want[name], name);
      names
        .map((name) => got[name].mul(floats(upstream[name], stored, [p.length])).sum())
        .reduce((sum, term) => sum.add(term))
        .backward();
      expectGradient(x, want.gradX, 'dx');
      expectGradient(weight, want.gradWeight, 'dweight');
      expectGradient(bias, want.gradBias, 'dbias');
    }
  });

  test.each(names)('the gradient of %s alone', (name) => {
    const p = problemOf(40, 12, 300);
    const upstream = { [name]: new Float64Array(40).fill(1) };
    const want = reference.linearLogprobs(p, {}, upstream);
    const { x, weight, bias, ids } = tensorsOf(p, dtype);
    sp.linearLogprobs(x, weight, ids, { bias })[name].sum().backward();
    expectGradient(x, want.gradX, 'dx');
    expectGradient(weight, want.gradWeight, 'dweight');
  });

  test('ignored ids give 0 everywhere, whatever their row holds', () => {
    const p = problemOf(20, 8, 50);
    const target = (p.target as Int32Array).map((y, t) => (t % 3 === 1 ? -100 : y));
    const x = (p.x as Float64Array).map((v, i) => (Math.floor(i / 8) % 3 === 1 ? NaN : v));
    const t = tensorsOf({ ...p, x, target }, dtype);
    const got = sp.linearLogprobs(t.x, t.weight, t.ids, { bias: t.bias });
    const want = reference.linearLogprobs({ ...p, target });
    for (const name of names) {
      within(got[name], want[name], name);
      expectZero(
        read(got[name]).filter((_, n) => n % 3 === 1),
        name,
      );
    }
    got.logprob.sum().add(got.entropy.sum()).backward();
    expectZero(
      read(gradOf(t.x)).filter((_, i) => Math.floor(i / 8) % 3 === 1),
      'dx',
    );
    expect(read(gradOf(t.weight)).every(Number.isFinite)).toBe(true);
  });

  test('a row alone and among others, to the bit', () => {
    const p = problemOf(130, 16, isEmulated ? 700 : 2100);
    const { x, weight, ids } = tensorsOf(p, dtype, false);
    const all = sp.linearLogprobs(x, weight, ids);
    for (const row of [0, 63, 129]) {
      const part = (p.x as Float64Array).subarray(row * 16, (row + 1) * 16);
      const one = sp.linearLogprobs(
        floats(part, dtype, [1, 16]),
        weight,
        indices([p.target[row]], [1]),
      );
      for (const name of names) expect(read(one[name])[0]).toBe(read(all[name])[row]);
    }
  });

  test('logprob is minus the loss', () => {
    const p = problemOf(33, 16, 333);
    const { x, weight, ids } = tensorsOf(p, dtype, false);
    const loss = sp.linearCrossEntropy(x, weight, ids, { reduction: 'none' });
    within(
      sp.linearLogprobs(x, weight, ids).logprob,
      read(loss).map((v) => -v),
      'logprob',
    );
  });
});

describe.each(floatDTypes)('linearArgmax in %s', (dtype) => {
  test.each(shapes)('%i x %i x %i', (...shape) => {
    const p = problemOf(...shape);
    const { x, weight, bias } = tensorsOf(p, dtype, false);
    const got = sp.linearArgmax(x, weight, { bias });
    expect(got.shape).toEqual([p.length]);
    expect(got.dtype).toBe('int32');
    const best = reference.linearArgmax(p);
    const found = got.dataSync();
    for (let t = 0; t < p.length; t++) {
      const z = reference.rowLogits(p, t);
      expect(z[Number(found[t])]).toBeGreaterThanOrEqual(z[best[t]] - 1e-4);
    }
  });

  test('the first of equals', () => {
    const classes = 700;
    const weight = new Float64Array(classes * 2).fill(0.5);
    for (const c of [130, 131, 400, 699]) weight.fill(1, 2 * c, 2 * c + 2);
    const w = floats(weight, dtype, [classes, 2]);
    const x = floats([1, 1, -1, -1], dtype, [2, 2]);
    expect([...sp.linearArgmax(x, w).dataSync()].map(Number)).toEqual([130, 0]);
  });
});

describe('shards of the vocabulary', () => {
  const p = problemOf(70, 24, 1001);
  const { bias: _, ...unbiased } = p;
  const cuts: Record<string, number[]> = {
    'one shard': [0, 1001],
    'two shards': [0, 500, 1001],
    'four shards': [0, 1, 300, 1000, 1001],
    'eight shards': [0, 125, 250, 375, 500, 625, 750, 875, 1001],
  };
  const shardsOf = (bounds: number[], dtype: FloatDType) =>
    bounds.slice(1).map((to, i) => {
      const rows = (p.weight as Float64Array).subarray(bounds[i] * 24, to * 24);
      return { from: bounds[i], to, shard: floats(rows, dtype, [to - bounds[i], 24]) };
    });

  describe.each(['float32', 'bfloat16', 'float16'] as const)('%s', (dtype) => {
    const { x, weight, ids } = tensorsOf(p, dtype, false);
    const whole = sp.linearLogprobs(x, weight, ids);

    test.each(Object.entries(cuts))('%s: partials and their merge', (_, bounds) => {
      const list = shardsOf(bounds, dtype).map(({ from, to, shard }) => {
        const got = sp.linearCrossEntropyPartials(x, shard, ids, { vocabOffset: from });
        const want = reference.partials(unbiased, from, to);
        expect(got.max.dtype).toBe('float32');
        const limit = linearLossTolerance[dtype];
        // The maximum may or may not count the target, so compare what it stands for.
        const max = read(got.max);
        const others = read(got.sumExp).map((s, n) => s * Math.exp(max[n]));
        const wanted = want.sumExp.map((s, n) => s * Math.exp(want.max[n]));
        expectWithin(others, wanted, (i) => 20 * limit * wanted[i], 'sumExp');
        expectWithin(read(got.targetLogit), want.targetLogit, () => 20 * limit, 'targetLogit');
        const scale = Math.sqrt(to - from) * 3;
        expectWithin(read(got.sumLogits), want.sumLogits, () => 20 * limit * scale, 'sumLogits');
        return got;
      });
      const merged = sp.mergePartials(list);
      for (const [got, want] of [
        [merged.lse, whole.lse],
        [merged.logprob, whole.logprob],
        [merged.loss, whole.logprob.neg()],
      ]) {
        const expected = read(want);
        expectWithin(read(got), expected, (i) => 2e-6 * (1 + Math.abs(expected[i])), 'merged');
      }
    });

    test.each(Object.entries(cuts))('%s: backward', (_, bounds) => {
      const random = new Random(77);
      const upstream = random.normals(70);
      const gradLoss = floats(upstream, 'float32', [70]);
      const want = reference.linearCrossEntropy(unbiased, { reduction: 'none' }, upstream);
      const dx = new Float64Array(70 * 24);
      const dw = new Float64Array(1001 * 24);
      for (const { from, shard } of shardsOf(bounds, dtype)) {
        const part = sp.raw.linearCrossEntropy.backwardShard(x, shard, ids, {
          lse: whole.lse,
          gradLoss,
          vocabOffset: from,
        });
        read(part.dx).forEach((g, i) => {
          dx[i] += g;
        });
        dw.set(read(part.dShard), from * 24);
      }
      // Every shard rounds its own dx to the dtype.
      const limit = linearGradientTolerance(dtype, dx.length) * Math.sqrt(bounds.length - 1);
      expectFrobenius(dx, want.gradX, limit, 'dx');
      expectFrobenius(dw, want.gradWeight, linearGradientTolerance(dtype, dw.length), 'dweight');
    });
  });
});

describe.each([
  { temperature: 0.7 },
  { softcap: 10 },
  { temperature: 2, softcap: 5, capFirst: true },
])('shards with a bias and %j', (options) => {
  const p = problemOf(31, 12, 203);
  const target = (p.target as Int32Array).map((y, t) => (t % 5 === 3 ? -100 : y));
  const scored = { ...p, target };
  const { x, weight, bias, ids } = tensorsOf(scored, 'float32', false);
  const want = reference.linearLogprobs(scored, options);
  const shards = [0, 70, 203].slice(1).map((to, i) => {
    const from = [0, 70][i];
    const b = floats((p.bias as Float64Array).subarray(from, to), 'float32', [to - from]);
    const rows = (p.weight as Float64Array).subarray(from * 12, to * 12);
    return { from, shard: floats(rows, 'float32', [to - from, 12]), bias: b };
  });

  test('merge into the whole, ignored rows with loss 0', () => {
    const list = shards.map(({ from, shard, bias: b }) =>
      sp.linearCrossEntropyPartials(x, shard, ids, { ...options, bias: b, vocabOffset: from }),
    );
    const merged = sp.mergePartials(list);
    const allowed = (i: number) => 1e-5 * (1 + Math.abs(want.logprob[i]));
    expectWithin(read(merged.logprob), want.logprob, allowed, 'logprob');
    expectZero(
      read(merged.loss).filter((_, t) => t % 5 === 3),
      'loss',
    );
  });

  test('give the gradients of the whole', () => {
    const gradLoss = new Random(1).normals(31);
    const exact = reference.linearCrossEntropy(scored, { ...options, reduction: 'none' }, gradLoss);
    const { lse } = sp.linearLogprobs(x, weight, ids, { ...options, bias });
    const dx = new Float64Array(31 * 12);
    const dw = new Float64Array(203 * 12);
    for (const { from, shard, bias: b } of shards) {
      const part = sp.raw.linearCrossEntropy.backwardShard(x, shard, ids, {
        ...options,
        bias: b,
        lse,
        gradLoss: floats(gradLoss, 'float32', [31]),
        vocabOffset: from,
      });
      read(part.dx).forEach((g, i) => {
        dx[i] += g;
      });
      dw.set(read(part.dShard), from * 12);
    }
    expectFrobenius(dx, exact.gradX, linearGradientTolerance('float32', dx.length), 'dx');
    expectFrobenius(dw, exact.gradWeight, linearGradientTolerance('float32', dw.length), 'dw');
  });
});

test('the asynchronous forms give the same bits', async () => {
  const p = problemOf(33, 16, 333);
  const run = (t: ReturnType<typeof tensorsOf>) => [t.x, t.weight, t.ids] as const;
  const sync = tensorsOf(p, 'float32');
  const expected = sp.linearCrossEntropy(...run(sync), { bias: sync.bias });
  expected.backward();
  const later = tensorsOf(p, 'float32');
  const loss = await sp.linearCrossEntropy.async(...run(later), { bias: later.bias });
  await loss.backwardAsync();
  expectSameBits(bits(loss), bits(expected), 'loss');
  for (const name of ['x', 'weight', 'bias'] as const) {
    expectSameBits(bits(gradOf(later[name])), bits(gradOf(sync[name])), name);
  }
  const logprobs = await sp.linearLogprobs.async(...run(later));
  expectSameBits(bits(logprobs.lse), bits(sp.linearLogprobs(...run(sync)).lse), 'lse');
});
