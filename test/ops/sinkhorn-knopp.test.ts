// Sinkhorn-Knopp scaling against torch's unrolled iterations, its laws and what it refuses.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { allowed, floatDTypes, goldens, type KnoppCase } from '../harness/distillation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { uniforms } from '../harness/transport.js';

function inputs(one: KnoppCase, dtype: FloatDType) {
  const { batch, n, m, input, sums, seed } = one;
  const u = uniforms(seed, 2 * batch * n * m + n + m);
  const size = batch * n * m;
  const x = u.subarray(0, size).map((v) => (input === 'matrix' ? v : (v - 0.5) * 4));
  const upstream = u.subarray(size, 2 * size).map((v) => v - 0.5);
  const side = (from: number, count: number) =>
    floats(
      u.slice(2 * size + from, 2 * size + from + count).map((v) => v + 0.5),
      'float64',
      [count],
    );
  const { iterations, temperature, last } = one;
  const options = {
    iterations,
    temperature,
    input,
    last,
    ...(sums && { rows: side(0, n), columns: side(n, m) }),
  };
  const shape = [batch, n, m];
  return {
    x: floats(x, dtype, shape, true),
    upstream: floats(upstream, dtype, shape),
    options,
  };
}

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(goldens.sinkhornKnopp)('$batch x $n x $m, $input, $last last', (one) => {
    const { x, upstream, options } = inputs(one, dtype);
    const p = sp.sinkhornKnopp(x as never, options) as AnyTensor;
    expect([p.dtype, p.shape]).toEqual([dtype, [one.batch, one.n, one.m]]);
    // Rounded inputs move the plan by their own rounding over the temperature.
    const more = 8 / one.temperature;
    const limit = (values: number[]) => {
      const own = allowed(dtype, 4e-6)(values)();
      return () => own * (dtype === 'float64' ? 1 : more);
    };
    expectWithin(read(p), one.plan, limit(one.plan), 'plan');
    p.backward(upstream);
    expectWithin(read(gradOf(x)), one.gradient, limit(one.gradient), 'gradient');
  });

  test('the same bits for any number of threads, alone and among others, and in background', async () => {
    for (const [batch, n, m] of [
      [133, 4, 4],
      ...(isOnCpu
        ? [
            [9, 20, 30],
            [1, 200, 90],
          ]
        : [
            [3, 20, 30],
            [2, 40, 35],
          ]),
    ]) {
      const size = batch * n * m;
      const shape = [batch, n, m];
      const values = roundAll(new Random(batch).normals(size, 3), dtype);
      const ones = floats(roundAll(new Random(8).normals(size), dtype), dtype, shape);
      const before = sp.getThreads();
      const results = (isOnCpu ? [1, 3] : [1]).map((threads) => {
        sp.setThreads(threads);
        const x = floats(values, dtype, shape, true);
        const p = sp.sinkhornKnopp(x as never) as AnyTensor;
        p.backward(ones);
        return [bits(p), bits(gradOf(x))];
      });
      sp.setThreads(before);
      for (const k of [0, 1])
        expectSameBits(results[0][k], results[results.length - 1][k], `${shape}`);
      const later = await sp.sinkhornKnopp.async(floats(values, dtype, shape) as never);
      expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
      const last = floats(values.slice(size - n * m), dtype, [n, m]);
      const alone = read(sp.sinkhornKnopp(last as never) as AnyTensor);
      expect([...alone]).toEqual([...read(later as AnyTensor)].slice(size - n * m));
    }
  });
});

const doubles = (values: ArrayLike<number>, shape: number[], requiresGrad = true) =>
  sp.tensor(Float64Array.from(values), { shape, requiresGrad });

describe('gradients', () => {
  test.each(['columns', 'rows'] as const)('by finite differences, %s last', (last) => {
    const random = new Random(4);
    for (const shape of [[3, 4, 4], [2, 3, 5], isOnCpu ? [1, 17, 16] : [1, 1, 34]]) {
      const size = shape[0] * shape[1] * shape[2];
      const columns = sp.tensor(Float64Array.from(random.uniforms(shape[2])));
      const options = { last, iterations: 4, temperature: 0.7, columns };
      const logits = (x: sp.Tensor) => sp.sinkhornKnopp(x as never, options);
      expect(sp.gradcheck(logits as never, [doubles(random.normals(size), shape)])).toBe(true);
      const matrix = (x: sp.Tensor) =>
        sp.sinkhornKnopp(x as never, { last, input: 'matrix', iterations: 3 });
      const positive = random.uniforms(size).map((v: number) => v + 0.1);
      expect(sp.gradcheck(matrix as never, [doubles(positive, shape)])).toBe(true);
    }
  });

  test('where logits range beyond exponents: by logarithms, finite differences again', () => {
    // Two blocks 400 apart: exponents of float64 do not hold their products.
    const x = doubles([800, 799, 1, 0, 0.5, -0.3, 801, 800.2, 0.1], [3, 3]);
    const f = (t: sp.Tensor) => sp.sinkhornKnopp(t as never, { iterations: 3 });
    expect(sp.gradcheck(f as never, [x])).toBe(true);
  });

  test('by an entry of 0, as one side of a difference', () => {
    const at = (value: number) => [value, 1, 2, 0.5, 1, 0.25, 3, 0, 1];
    const upstream = doubles(new Random(2).normals(9), [3, 3], false);
    const run = (value: number) => {
      const x = doubles(at(value), [3, 3]);
      const p = sp.sinkhornKnopp(x as never, { input: 'matrix', iterations: 5 }) as AnyTensor;
      const sum = p.mul(upstream as never).sum();
      sum.backward();
      return { value: sum.item() as number, slope: read(gradOf(x as never))[0] };
    };
    const step = 1e-6;
    expect((run(step).value - run(0).value) / step).toBeCloseTo(run(0).slope, 4);
  });
});

describe('laws', () => {
  test.each(['float32', 'float64'] as const)('wide ranges agree with float64, %s', (dtype) => {
    const random = new Random(11);
    for (const spread of [5, 30, 200, 900]) {
      const values = roundAll(random.normals(6 * 16, spread), 'float32');
      const run = (type: FloatDType) => {
        const x = floats(values, type, [6, 4, 4], true);
        const p = sp.sinkhornKnopp(x as never, { iterations: 9 }) as AnyTensor;
        p.mul(p as never)
          .sum()
          .backward();
        return [read(p), read(gradOf(x))];
      };
      const [mine, theirs] = [run(dtype), run('float64')];
      const unit = dtype === 'float64' ? 1e-12 : 2e-5;
      for (const k of [0, 1]) expectWithin(mine[k], theirs[k], () => unit * spread, `${spread}`);
    }
  });

  test('sums are what was asked for, whichever side is last', () => {
    const x = sp.tensor(Float64Array.from(new Random(3).normals(60)), { shape: [5, 12] });
    const p = sp.sinkhornKnopp(x, { iterations: 60 });
    expectWithin(read(p.sum({ dim: 1 }) as never), new Float64Array(5).fill(1), () => 1e-12, 'r');
    expectWithin(
      read(p.sum({ dim: 0 }) as never),
      new Float64Array(12).fill(5 / 12),
      () => 1e-12,
      'c',
    );
    const once = sp.sinkhornKnopp(x, { iterations: 1, last: 'rows' });
    expectWithin(
      read(once.sum({ dim: 1 }) as never),
      new Float64Array(5).fill(1),
      () => 1e-14,
      'r',
    );
  });

  test('empty places stay empty; rows and columns without an entry stay 0; NaN keeps to its own', () => {
    const none = Number.NEGATIVE_INFINITY;
    const one = [none, 1, none, 0, 2, none, none, none, none];
    const bad = [0, 1, 2, Number.NaN, 1, 1, 0, 0, 0];
    const x = sp.tensor(new Float32Array([...one, ...bad, ...one]), {
      shape: [3, 3, 3],
      requiresGrad: true,
    });
    const p = sp.sinkhornKnopp(x);
    p.mul(
      sp.tensor(
        new Float32Array(27).map((_, i) => i),
        { shape: [3, 3, 3] },
      ),
    )
      .sum()
      .backward();
    for (const values of [read(p as never), read(gradOf(x as never))]) {
      expect(values.slice(0, 9).every(Number.isFinite)).toBe(true);
      expect([0, 2, 5, 6, 7, 8].map((i) => values[i] + 0)).toEqual([0, 0, 0, 0, 0, 0]);
      expect(values.slice(9, 18).every(Number.isNaN)).toBe(true);
    }
    expect(read(p as never).slice(18)).toEqual(read(p as never).slice(0, 9));
  });

  test.each(['columns', 'rows'] as const)('a finite mask is an empty place, %s last', (last) => {
    const run = (values: ArrayLike<number>, shape: number[]) => {
      const x = doubles(values, shape);
      const p = sp.sinkhornKnopp(x as never, { iterations: 3, last }) as AnyTensor;
      p.mul(p as never)
        .sum()
        .backward();
      return [read(p), read(gradOf(x as never))];
    };
    for (const shape of [
      [3, 5],
      [20, 50],
      [41, 37],
    ]) {
      const normals = new Random(shape[0]).normals(shape[0] * shape[1]);
      const masked = (by: number) =>
        Float64Array.from(normals, (v: number, e: number) => ((e * 31) % 3 === 0 ? by : v));
      const [mine, theirs] = [run(masked(-1e9), shape), run(masked(-Infinity), shape)];
      for (const k of [0, 1]) expectWithin(mine[k], theirs[k], () => 1e-13, `${shape}`);
    }
  });

  test('masked matrices have the same bits however many there are', () => {
    // Large enough for blocks of a device to share what they find.
    const shape = [256, 256];
    const one = new Random(5).normals(256 * 256).map((v, e) => (e % 7 === 0 ? -1e9 : v));
    const plain = new Float64Array(one.length);
    const run = (...parts: ArrayLike<number>[]) => {
      const values = Float32Array.from(parts.flatMap((p) => Array.from(p)));
      const x = sp.tensor(values, { shape: [parts.length, ...shape] });
      return read(sp.sinkhornKnopp(x, { iterations: 1 }) as never);
    };
    const alone = [...run(one)];
    expect([...run(plain, one, one)].slice(one.length)).toEqual([...alone, ...alone]);
  });

  test('a matrix of the smallest numbers is scaled like any other', () => {
    for (const [dtype, top] of [
      ['float32', 1e-40],
      ['bfloat16', 1e-40],
      ['float64', 5e-321],
    ] as const) {
      for (const [rows, columns] of [
        [2, 2],
        [20, 30],
      ]) {
        const size = rows * columns;
        const x = sp.full([rows, columns], top, { dtype }).requiresGrad_();
        const p = sp.sinkhornKnopp(x, { input: 'matrix' });
        expectWithin(read(p as never), new Float64Array(size).fill(1 / columns), () => 2e-3, dtype);
      }
    }
  });

  test('shapes without elements', () => {
    for (const shape of [
      [0, 4, 4],
      [2, 0, 3],
      [3, 0],
    ]) {
      const x = sp.zeros(shape, { requiresGrad: true });
      const p = sp.sinkhornKnopp(x as never) as AnyTensor;
      expect(p.shape).toEqual(shape);
      p.sum().backward();
      expect(gradOf(x as never).shape).toEqual(shape);
    }
  });
});

test('refuses bad arguments', () => {
  const refuses = refuser('sinkhornKnopp');
  const x = sp.ones([2, 3]);
  const by =
    (options: object, t: sp.Tensor = x) =>
    () =>
      sp.sinkhornKnopp(t as never, options);
  refuses(by({}, sp.ones([3])), 'ERR_SHAPE', /\[\.\.\., N, M\]/, /\[3\]/);
  refuses(by({}, x.to('int32')), 'ERR_DTYPE', 'int32');
  refuses(by({ iteration: 3 }), 'ERR_UNKNOWN_OPTION', "'iterations'");
  refuses(by({ iterations: 0 }), 'ERR_INVALID_VALUE', 'iterations');
  refuses(by({ temperature: 0 }), 'ERR_INVALID_VALUE', 'temperature');
  refuses(by({ input: 'log' }), 'ERR_INVALID_VALUE', "'logits'");
  refuses(by({ last: 'row' }), 'ERR_INVALID_VALUE', "'rows'");
  refuses(by({ input: 'matrix', temperature: 2 }), 'ERR_INVALID_VALUE', 'temperature');
  refuses(by({ rows: sp.ones([3]) }), 'ERR_SHAPE', 'rows', /\[2\]/);
  refuses(by({ columns: sp.ones([3]).to('int32') }), 'ERR_DTYPE', 'columns');
  refuses(by({ rows: sp.tensor([1, -1]) }), 'ERR_INVALID_VALUE', 'rows', '-1');
  refuses(by({ columns: sp.tensor([1, Number.NaN, 1]) }), 'ERR_INVALID_VALUE', 'columns', 'nan');
  refuses(by({ input: 'matrix' }, x.neg()), 'ERR_INVALID_VALUE', 'negative', '-1');
});
