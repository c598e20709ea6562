// Divergence of two sets of logits against its float64 definition, and the laws it obeys.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { native } from '../../src/native.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { gradientTolerance, lossTolerance } from '../harness/tolerance.js';
import { type Kind, row } from '../reference/divergence.js';

const dtypes: readonly FloatDType[] = ['float32', 'float64', 'float16', 'bfloat16'];
const kinds: readonly Kind[] = ['kl', 'reverseKl', 'jensenShannon'];

interface Setting {
  rows: number;
  classes: number;
  temperature?: number;
  beta?: number;
  scale?: number;
}
const settings: readonly Setting[] = [
  { rows: 1, classes: 1 },
  { rows: 3, classes: 7, temperature: 2, beta: 0.1 },
  { rows: 5, classes: 33, scale: 6, beta: 0.9 },
  { rows: 4, classes: 512, temperature: 0.5 },
  { rows: 2, classes: 513 },
  { rows: 2, classes: 2048 },
  { rows: 3, classes: 2049 },
  { rows: 2, classes: 4099, scale: 3, beta: 0.3 },
  { rows: 0, classes: 5 },
];

function draw({ rows, classes, scale = 1 }: Setting, dtype: FloatDType) {
  const random = new Random(7);
  const values = () => roundAll(random.normals(rows * classes, scale), dtype);
  return { student: values(), teacher: values(), upstream: random.normals(rows) };
}

describe.each(kinds)('%s', (kind) => {
  describe.each(dtypes)('%s', (dtype) => {
    test.each(settings)('$rows x $classes, T $temperature, beta $beta', (setting) => {
      const { rows, classes, temperature = 1, beta = 0.5 } = setting;
      const data = draw(setting, dtype);
      const shape = [rows, classes];
      const student = floats(data.student, dtype, shape, true);
      const teacher = floats(data.teacher, dtype, shape, true);
      const loss = sp.divergence(student, teacher, {
        kind,
        temperature,
        beta,
        reduction: 'none',
      }) as AnyTensor;
      const expected = Array.from({ length: rows }, (_, n) => {
        const part = (x: Float64Array) => x.subarray(n * classes, (n + 1) * classes);
        return row(part(data.student), part(data.teacher), kind, temperature, beta);
      });
      // A logit's rounding in (x - max)/T is absolute: relative to the terms |p log p/q|.
      const unit = lossTolerance(dtype);
      expectWithin(
        read(loss),
        expected.map((r) => r.value),
        (n) => unit * Math.max(expected[n].value, 1e-3),
        'value',
      );
      const upstream = roundAll(data.upstream, dtype === 'float64' ? 'float64' : 'float32');
      loss.backward(floats(upstream, loss.dtype as FloatDType, [rows]));
      for (const [t, which] of [
        [student, 'student'],
        [teacher, 'teacher'],
      ] as const) {
        const all = expected.flatMap((r, n) => Array.from(r[which], (g) => g * upstream[n]));
        const allowed = (i: number) => {
          const n = Math.floor(i / classes);
          return gradientTolerance(dtype, all[i], expected[n].magnitude * Math.abs(upstream[n]));
        };
        expectWithin(read(gradOf(t)), all, allowed, `gradient of ${which}`);
      }
    });
  });

  test('gradcheck in every differentiable input', () => {
    const random = new Random(3);
    const options = { shape: [3, 5], requiresGrad: true };
    const student = sp.tensor(random.normals(15), options);
    const teacher = sp.tensor(random.normals(15), options);
    const tokenWeight = sp.tensor(random.uniforms(3), { shape: [3], requiresGrad: true });
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const f = (s: sp.Tensor, t: sp.Tensor, w: sp.Tensor) =>
        sp.divergence(s as never, t as never, {
          kind,
          reduction,
          temperature: 1.5,
          beta: 0.3,
          tokenWeight: w,
        });
      expect(sp.gradcheck(f as never, [student, teacher, tokenWeight])).toBe(true);
    }
  });

  test('of a row to itself and to a shifted one: 0, with gradient 0', () => {
    const x = new Random(5).normals(2 * 100, 3);
    const student = sp.tensor(x, { shape: [2, 100], requiresGrad: true });
    const loss = sp.divergence(student, student.detach(), { kind });
    expect(loss.item()).toBe(0);
    loss.backward();
    expect(Math.max(...read(gradOf(student as never)).map(Math.abs))).toBe(0);
    const shifted = sp.tensor(
      x.map((v) => v + 100),
      { shape: [2, 100] },
    );
    expect(Math.abs(sp.divergence(student, shifted, { kind }).item())).toBeLessThan(1e-25);
  });

  test.each(['float32', 'float64'] as const)('close rows keep their digits, %s', (dtype) => {
    const random = new Random(6);
    const teacher = roundAll(random.normals(1000, 2), dtype);
    const step = dtype === 'float64' ? 1e-7 : 1e-3;
    const student = roundAll(
      teacher.map((x) => x + step * random.normals(1)[0]),
      dtype,
    );
    const value = sp
      .divergence(floats(student, dtype, [1, 1000]), floats(teacher, dtype, [1, 1000]), { kind })
      .item();
    const expected = row(student, teacher, kind).value;
    expect(Math.abs(value / expected - 1)).toBeLessThan(dtype === 'float64' ? 1e-6 : 1e-3);
  });

  test('masked classes count nothing; a class that only one side has', () => {
    const both = sp.divergence(
      sp.tensor([[1, 2, -Infinity]], { requiresGrad: true }),
      sp.tensor([[0, 3, -Infinity]]),
      { kind },
    );
    const two = sp.divergence(sp.tensor([[1, 2]]), sp.tensor([[0, 3]]), { kind });
    expect(both.item()).toBeCloseTo(two.item(), 6);
    const student = sp.tensor([[1, 2, -Infinity]], { requiresGrad: true });
    const apart = sp.divergence(student, sp.tensor([[0, 3, 1]]), { kind });
    expect(apart.item() === Infinity).toBe(kind === 'kl');
    apart.backward();
    if (kind !== 'kl') expect(read(gradOf(student as never))[2]).toBe(0);
  });

  test('rows of weight 0, rows with NaN, no rows', () => {
    const student = sp.tensor(
      [
        [1, NaN],
        [1, 2],
        [5, 0],
      ],
      { requiresGrad: true },
    );
    const teacher = sp.tensor([
      [0, 1],
      [0, 3],
      [1, 1],
    ]);
    const options = { kind, reduction: 'none' } as const;
    const values = read(sp.divergence(student, teacher, options) as never);
    expect(values[0]).toBeNaN();
    expect(values[1]).toBeGreaterThan(0);
    const loss = sp.divergence(student, teacher, { kind, tokenWeight: sp.tensor([0, 1, 2]) });
    expect(loss.item()).toBeCloseTo((values[1] + 2 * values[2]) / 3, 6);
    loss.backward();
    expect(Array.from(read(gradOf(student as never)).subarray(0, 2))).toEqual([0, 0]);
    expect(sp.divergence(sp.zeros([0, 3]), sp.zeros([0, 3]), { kind }).item()).toBeNaN();
    expect(
      sp.divergence(sp.zeros([0, 3]), sp.zeros([0, 3]), { kind, reduction: 'sum' }).item(),
    ).toBe(0);
  });
});

test('jensenShannon is symmetric at beta 1/2 and at most log 2; kl and reverseKl mirror each other', () => {
  const random = new Random(8);
  const a = sp.tensor(random.normals(300, 8), { shape: [3, 100] });
  const b = sp.tensor(random.normals(300, 8), { shape: [3, 100] });
  const js = (x: typeof a, y: typeof a) => sp.divergence(x, y, { kind: 'jensenShannon' }).item();
  expect(js(a, b)).toBeCloseTo(js(b, a), 12);
  expect(js(a, b)).toBeLessThan(Math.log(2));
  const kl = sp.divergence(a, b).item();
  expect(sp.divergence(b, a, { kind: 'reverseKl' }).item()).toBeCloseTo(kl, 12);
});

test('the same bits for any number of threads', () => {
  const random = new Random(9);
  const a = floats(random.normals(64 * 1000), 'float32', [64, 1000], true);
  const b = floats(random.normals(64 * 1000), 'float32', [64, 1000]);
  const results = (threads: number) => {
    sp.setThreads(threads);
    a.zeroGrad();
    const loss = sp.divergence(a, b);
    loss.backward();
    return [bits(loss as never), bits(gradOf(a))];
  };
  const before = sp.getThreads();
  const [loss, grad] = results(1);
  const [loss3, grad3] = results(3);
  sp.setThreads(before);
  expectSameBits(loss3, loss, 'loss');
  expectSameBits(grad3, grad, 'gradient');
});

test('the plan: a warp has a short row, a block a long one', () => {
  const plan = (rows: number, classes: number) => {
    const out = new Float64Array(2);
    native.divergencePlan.call(rows, classes, out);
    return { warpRows: out[0] === 1, blocks: out[1] };
  };
  expect(plan(0, 5)).toEqual({ warpRows: true, blocks: 0 });
  expect(plan(8, 2048)).toEqual({ warpRows: true, blocks: 1 });
  expect(plan(9, 2048)).toEqual({ warpRows: true, blocks: 2 });
  expect(plan(9, 2049)).toEqual({ warpRows: false, blocks: 9 });
  // Beyond 2^31 elements.
  expect(plan(2 ** 32, 64).blocks).toBe(2 ** 29);
  expect(plan(2 ** 20, 4096).blocks).toBe(2 ** 20);
});

test('refusals', () => {
  const x = sp.ones([2, 3]);
  const refuse = refuser('divergence');
  refuse(() => sp.divergence(x, sp.ones([2, 4]) as never), 'ERR_SHAPE', '[2, 3]');
  refuse(
    () => sp.divergence(x, sp.ones([2, 3], { dtype: 'float64' }) as never),
    'ERR_DTYPE',
    'float64',
  );
  refuse(() => sp.divergence(x.to('int32'), x.to('int32')), 'ERR_DTYPE', 'int32');
  refuse(() => sp.divergence(sp.ones([2, 0]), sp.ones([2, 0])), 'ERR_SHAPE', 'at least one class');
  refuse(() => sp.divergence(x, x, { kind: 'JS' as never }), 'ERR_INVALID_VALUE', "'kl'");
  refuse(() => sp.divergence(x, x, { beta: 1 }), 'ERR_INVALID_VALUE', 'beta');
  refuse(() => sp.divergence(x, x, { temperature: 0 }), 'ERR_INVALID_VALUE', 'temperature');
  refuse(() => sp.divergence(x, x, { tokenWeight: sp.ones([3]) }), 'ERR_SHAPE', 'tokenWeight');
  refuse(() => sp.divergence(x, x, { tau: 1 } as never), 'ERR_UNKNOWN_OPTION', "'tau'");
  const nan = sp.tensor([1, NaN]);
  refuse(() => sp.divergence(x, x, { tokenWeight: nan }).item(), 'ERR_INVALID_VALUE', 'row 1');
});
