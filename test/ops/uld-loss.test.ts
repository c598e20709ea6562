// Rank by rank distillation against torch, against a plain sort, its laws and what it refuses.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { native } from '../../src/native.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { allowed, floatDTypes, goldens, type UldCase } from '../harness/distillation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { uniforms } from '../harness/transport.js';

function inputs({ tokens, student, teacher, scale, seed }: UldCase, dtype: FloatDType) {
  const u = uniforms(seed, tokens * (student + teacher)).map((x) => (x - 0.5) * scale);
  return {
    student: floats(u.slice(0, tokens * student), dtype, [tokens, student], true),
    teacher: floats(u.slice(tokens * student), dtype, [tokens, teacher]),
  };
}

/** The loss of one row and its gradient, by sorting; equal elements rank by index. */
function byDefinition(student: Float64Array, teacher: Float64Array, temperature: number) {
  const softmax = (z: Float64Array) => {
    const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
    const e = z.map((x) => Math.exp((x - top) / temperature));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((x) => x / sum);
  };
  const [p, q] = [softmax(student), softmax(teacher)];
  const order = [...p.keys()].sort((a, b) => p[b] - p[a] || a - b);
  const sorted = [...q].sort((a, b) => b - a);
  const slope = new Float64Array(p.length);
  let loss = 0;
  for (let k = 0; k < Math.max(p.length, q.length); k++) {
    const gap = (k < p.length ? p[order[k]] : 0) - (k < q.length ? sorted[k] : 0);
    loss += Math.abs(gap);
    if (k < p.length) slope[order[k]] = Math.sign(gap);
  }
  const mean = slope.reduce((sum, s, i) => sum + s * p[i], 0);
  return { loss, gradient: p.map((x, i) => (x * (slope[i] - mean)) / temperature) };
}

test('published answers', () => {
  const logits = (seed: number, v: number) =>
    floats(
      uniforms(seed, 2 * v).map((u) => (u - 0.5) * 4),
      'float64',
      [2, v],
    );
  const loss = sp.uldLoss(logits(3, 6) as never, logits(5, 5) as never, { reduction: 'none' });
  expect(read(loss as AnyTensor)[0]).toBeCloseTo(0.7508056655, 10);
  expect(read(loss as AnyTensor)[1]).toBeCloseTo(0.1884906824, 10);
});

describe.each(floatDTypes)('%s', (dtype) => {
  // Rounded logits rank otherwise: the answers of torch are for float32 and float64.
  const cases = dtype === 'float64' || dtype === 'float32' ? goldens.uld : [];
  test.each(cases)('$tokens x $student against $teacher, T $temperature', (one) => {
    const { student, teacher } = inputs(one, dtype);
    const options = { temperature: one.temperature, reduction: 'none' } as const;
    const loss = sp.uldLoss(student as never, teacher as never, options) as AnyTensor;
    expect([loss.dtype, loss.shape]).toEqual([dtype, [one.tokens]]);
    expectWithin(read(loss), one.loss, allowed(dtype, 4e-6)(one.loss), 'loss');
    loss.sum().backward();
    expectWithin(
      read(gradOf(student)),
      one.gradient,
      allowed(dtype, 4e-6)(one.gradient),
      'gradient',
    );
  });

  test.each([
    ['normal', 1, 1],
    ['the student sharper', 3, 1],
    ['the teacher sharper', 0.5, 5],
    ['wide', 40, 60],
  ])('by definition: %s', (_, s, t) => {
    const random = new Random(21);
    const [rows, v, u] = [3, 900, 1100];
    const x = roundAll(random.normals(rows * v, s), dtype);
    const y = roundAll(random.normals(rows * u, t), dtype);
    const student = floats(x, dtype, [rows, v], true);
    const teacher = floats(y, dtype, [rows, u]);
    const loss = sp.uldLoss(student as never, teacher as never, { reduction: 'sum' }) as AnyTensor;
    const parts = Array.from({ length: rows }, (_, n) =>
      byDefinition(
        Float64Array.from(x.slice(n * v, (n + 1) * v)),
        Float64Array.from(y.slice(n * u, (n + 1) * u)),
        1,
      ),
    );
    const total = parts.reduce((sum, p) => sum + p.loss, 0);
    const unit = dtype === 'float64' ? 1e-12 : 1e-5;
    expect(Math.abs((loss.item() as number) - total)).toBeLessThan(unit * total);
    loss.backward();
    const expected = parts.flatMap((p) => [...p.gradient]);
    const size = dtype === 'float64' ? 1e-10 : dtype === 'bfloat16' ? 2 ** -7 : 1e-3;
    // In float32 close values may swap ranks, each of which then moves by its own size.
    const rank = (i: number) =>
      dtype === 'float64' ? 0 : Math.min(4e-3, 2.2 * Math.abs(expected[i]));
    let swapped = 0;
    const actual = read(gradOf(student));
    for (const [i, g] of expected.entries()) {
      const error = Math.abs(actual[i] - g);
      if (error <= size * Math.abs(g) + 1e-7) continue;
      swapped++;
      expect(error).toBeLessThanOrEqual(rank(i) + 1e-7);
    }
    expect(swapped).toBeLessThan(dtype === 'float64' ? 1 : 60);
  });

  test('the same bits for any number of threads and in the background', async () => {
    const random = new Random(6);
    const [rows, v] = [9, 3000];
    const [x, y] = [0, 1].map(() => roundAll(random.normals(rows * v, 2), dtype));
    const teacher = floats(y, dtype, [rows, v]);
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const student = floats(x, dtype, [rows, v], true);
      const loss = sp.uldLoss(student as never, teacher as never) as AnyTensor;
      loss.backward();
      return [bits(loss), bits(gradOf(student))];
    });
    sp.setThreads(before);
    for (const k of [0, 1]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const later = await sp.uldLoss.async(floats(x, dtype, [rows, v]) as never, teacher as never);
    expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
  });
});

const doubles = (values: ArrayLike<number>, shape: number[], requiresGrad = true) =>
  sp.tensor(Float64Array.from(values), { shape, requiresGrad });

test('gradcheck in student and tokenWeight, every reduction', () => {
  const random = new Random(8);
  const student = doubles(random.normals(3 * 11, 2), [3, 11]);
  const teacher = doubles(random.normals(3 * 8, 2), [3, 8], false);
  const weight = doubles([1, 0, 2], [3]);
  for (const reduction of ['mean', 'sum', 'none'] as const) {
    const f = (s: sp.Tensor, tokenWeight: sp.Tensor) =>
      sp.uldLoss(s as never, teacher as never, { reduction, temperature: 1.5, tokenWeight });
    expect(sp.gradcheck(f as never, [student, weight])).toBe(true);
  }
});

test('the plan: threads and bins by the length of rows, blocks by memory', () => {
  const plan = (rows: number, student: number, teacher: number, key = 4) => {
    const out = new Float64Array(4);
    native.uldPlan.call(rows, student, teacher, key, 132, out);
    return [...out];
  };
  expect(plan(5, 100, 40)).toEqual([128, 512, 2 * (400 + 160 + 400) + 112, 5]);
  expect(plan(1000, 100, 8192).slice(0, 2)).toEqual([256, 2048]);
  expect(plan(1000, 100, 8193).slice(0, 2)).toEqual([512, 4096]);
  expect(plan(1000, 32_000, 32_000)[3]).toBe(264);
  expect(plan(1000, 2 ** 17, 2 ** 17)[3]).toBe(163);
  expect(plan(1000, 2 ** 30, 2 ** 30, 8)[3]).toBe(1);
});

describe('laws', () => {
  test('the order of either vocabulary does not matter, nor does where zeros lie', () => {
    const random = new Random(1);
    const x = random.normals(50, 2);
    const y = random.normals(40, 2);
    const loss = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      sp.uldLoss(doubles(a, [a.length], false), doubles(b, [b.length], false)).item();
    const turned = (z: ArrayLike<number>) => Array.from(z).reverse();
    const more = (z: ArrayLike<number>) => [Number.NEGATIVE_INFINITY, ...Array.from(z)];
    expect(loss(turned(x), y)).toBeCloseTo(loss(x, y), 13);
    expect(loss(y, x)).toBeCloseTo(loss(x, y), 13);
    expect(loss(more(x), more(more(y)))).toBeCloseTo(loss(x, y), 13);
    expect(loss(x, turned(x))).toBeLessThan(1e-15);
  });

  test('equal rows: no difference, no gradient; constant rows, one class', () => {
    for (const size of [1, 7, 3000]) {
      for (const values of [new Random(2).normals(size), new Float64Array(size)]) {
        const student = doubles(values, [1, size]);
        const loss = sp.uldLoss(student, student.detach());
        loss.backward();
        expect(loss.item()).toBe(0);
        expect(Math.max(...read(gradOf(student as never)).map(Math.abs))).toBe(0);
      }
    }
    const student = sp.zeros([1, 4], { requiresGrad: true });
    const loss = sp.uldLoss(student, sp.zeros([1, 2]));
    loss.backward();
    expect(loss.item()).toBeCloseTo(1, 6);
    const [first, second, third] = read(gradOf(student as never));
    expect(first).toBe(second);
    expect(first).toBe(-third);
  });

  test('rows of weight 0 are not read; NaN keeps to its row; retained graphs', () => {
    const values = [1, 2, 3, Number.NaN, 0, 1, 5, 1, 0];
    const student = sp.tensor(values, { shape: [3, 3], requiresGrad: true });
    const teacher = sp.tensor([0, 0, 1, 0, 0, 1, 0, 0, 1], { shape: [3, 3] });
    const tokenWeight = sp.tensor([1, 0, 2]);
    const loss = sp.uldLoss(student, teacher, { tokenWeight });
    loss.backward(undefined, { retainGraph: true });
    const once = read(gradOf(student as never)).slice();
    expect([...once.slice(3, 6)]).toEqual([0, 0, 0]);
    expect(once.every(Number.isFinite)).toBe(true);
    loss.backward();
    expect([...read(gradOf(student as never))]).toEqual([...once.map((g) => 2 * g)]);
    const rows = read(sp.uldLoss(student, teacher, { reduction: 'none' }) as never);
    expect([...rows].map(Number.isNaN)).toEqual([false, true, false]);
    expect(sp.uldLoss(sp.zeros([0, 3]), sp.zeros([0, 2])).item()).toBeNaN();
  });
});

test('refuses bad arguments', () => {
  const refuses = refuser('uldLoss');
  const x = sp.ones([2, 3]);
  const by =
    (options: object, s: sp.Tensor = x, t: sp.Tensor = x) =>
    () =>
      sp.uldLoss(s as never, t as never, options);
  refuses(by({}, sp.ones([])), 'ERR_SHAPE', 'student', /\[\.\.\., classes\]/);
  refuses(by({}, x, sp.ones([2, 0])), 'ERR_SHAPE', 'teacher', 'at least one class');
  refuses(by({}, x, sp.ones([3, 4])), 'ERR_SHAPE', 'teacher', /\[2, 4\]/, /\[3, 4\]/);
  refuses(by({}, x, x.to('float64')), 'ERR_DTYPE', 'float64');
  refuses(by({}, x.to('int32'), x.to('int32')), 'ERR_DTYPE', 'int32');
  refuses(by({ T: 1 }), 'ERR_UNKNOWN_OPTION', "'T'");
  refuses(by({ temperature: 0 }), 'ERR_INVALID_VALUE', 'temperature');
  refuses(by({ reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
  refuses(by({ tokenWeight: sp.ones([3]) }), 'ERR_SHAPE', 'tokenWeight', /\[2\]/);
  refuses(by({ tokenWeight: sp.tensor([1, Number.NaN]) }), 'ERR_INVALID_VALUE', 'row 1');
});
