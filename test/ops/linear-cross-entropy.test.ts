// Logit-free cross-entropy against the float64 reference: every option in pairs, sizes, dtypes;
// and what must hold to the bit: repeated runs, thread counts, rows in another batch.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { floatDTypes } from '../cases/cross-entropy.js';
import type { Case, Data } from '../cases/linear-cross-entropy.js';
import { draw, optionCases, shapeCases } from '../cases/linear-cross-entropy.js';
import { expectFrobenius, expectSameBits, expectWithin } from '../harness/compare.js';
import { inTurn, isEmulated } from '../harness/device.js';
import { check, expectGradient, leastWorkspace, run } from '../harness/linear-cross-entropy.js';
import type { FloatDType } from '../harness/rounding.js';
import { bits, floats, gradOf, indices, read } from '../harness/tensors.js';
import { linearGradientTolerance, linearLossTolerance } from '../harness/tolerance.js';
import type { Result } from '../reference/linear-cross-entropy.js';
import { linearCrossEntropy as reference } from '../reference/linear-cross-entropy.js';

const referenceOf = ({ problem, options, upstream }: Data) => reference(problem, options, upstream);

/** float32 and float64 have their kernels, float16 and bfloat16 others. */
const turnOf = (dtype: FloatDType) => floatDTypes.indexOf(dtype);

describe('every pair of options', () => {
  describe.each(floatDTypes)('%s', (dtype) => {
    test.each(inTurn(optionCases, turnOf(dtype), 4))('$name', (c) => {
      const data = draw(c, dtype);
      check(c, data, dtype, referenceOf(data));
    });
  });
});

/** Sums by FMA take the emulator longest. */
const sizes = (dtype: FloatDType) =>
  isEmulated && (dtype === 'float32' || dtype === 'float64')
    ? shapeCases.filter((c) => (c.shape[0] * c.width * c.classes) / 3e6 < 1)
    : shapeCases;

describe('sizes', () => {
  // The data are numbers that every dtype holds, so the dtypes share the slow reference.
  const answers = new Map<string, { data: Data; expected: Result }>();
  const answer = (c: Case) => {
    let found = answers.get(c.name);
    if (!found) {
      const data = draw(c, 'common');
      found = { data, expected: referenceOf(data) };
      answers.set(c.name, found);
    }
    return found;
  };

  describe.each(floatDTypes)('%s', (dtype) => {
    test.each(inTurn(sizes(dtype), turnOf(dtype) % 2, 2))('$name', (c) => {
      const { data, expected } = answer(c);
      check(c, data, dtype, expected);
    });
  });
});

const find = (name: string): Case => {
  const found = shapeCases.find((c) => c.name === name);
  if (!found) throw new Error(`no case ${name}`);
  return found;
};
const medium = find(isEmulated ? '100 x 20 x 531' : '193 x 70 x 517');
const wide = find(isEmulated ? '130 x 16 x 1031' : '130 x 48 x 4099');
/** Whose results are compared to the bit. */
const compared = (dtype: FloatDType) =>
  isEmulated
    ? [wide, ...inTurn(optionCases, 4 * turnOf(dtype), 16)]
    : [medium, wide, ...optionCases.filter((_, i) => i % 4 === 0)];

/** Loss and all gradients, as stored bits. */
function results(c: Case, data: Data, dtype: FloatDType, extra: object = {}): ArrayBufferView[] {
  const { inputs, mainGrad, loss, backward } = run(c, data, dtype, extra);
  backward();
  const { weight, ...others } = inputs;
  const own = Object.values(mainGrad ? others : { ...others, weight });
  const gradients = own.flatMap((t) => (t?.requiresGrad ? [gradOf(t)] : []));
  return [loss, ...gradients, ...(mainGrad ? [mainGrad] : [])].map(bits);
}

describe.each(floatDTypes)('the same bits in %s', (dtype) => {
  afterEach(() => sp.setThreads(2));

  test.each(compared(dtype))('in repeated runs and for any thread count: $name', (c) => {
    const data = draw(c, dtype);
    const { loss } = run(c, data, dtype);
    if (!loss.requiresGrad) return;
    const first = results(c, data, dtype);
    for (const threads of isEmulated ? [2] : [2, 1, 3]) {
      sp.setThreads(threads);
      results(c, data, dtype).forEach((again, i) => {
        expectSameBits(again, first[i], `result ${i}, ${threads} threads`);
      });
    }
  });

  test.each(isEmulated ? [wide] : [medium, wide])('without gradients: $name', (c) => {
    const data = draw(c, dtype);
    const expected = bits(run(c, data, dtype).loss);
    expectSameBits(bits(run({ ...c, needs: [] }, data, dtype).loss), expected, 'frozen');
    expectSameBits(bits(sp.noGrad(() => run(c, data, dtype)).loss), expected, 'noGrad');
  });

  test('rows alone and among others', () => {
    const c: Case = { ...wide, reduction: 'none', ignored: 0, needs: ['x'] };
    const data = draw(c, dtype);
    const whole = run(c, data, dtype);
    whole.backward();
    const losses = read(whole.loss);
    const dx = read(gradOf(whole.inputs.x as never));
    for (const [from, to] of [
      [0, 1],
      [64, 65],
      [129, 130],
      [3, 40],
    ]) {
      const count = to - from;
      const part: Data = {
        ...data,
        rows: count,
        upstream: new Float64Array(count).fill(1),
        problem: {
          ...data.problem,
          length: count,
          x: (data.problem.x as Float64Array).subarray(from * c.width, to * c.width),
          target: (data.problem.target as Int32Array).subarray(from, to),
        },
      };
      const some = run({ ...c, shape: [count] }, part, dtype);
      some.backward();
      expectWithin(read(some.loss), losses.subarray(from, to), () => 0, `losses ${from}..${to}`);
      const rows = dx.subarray(from * c.width, to * c.width);
      expectWithin(read(gradOf(some.inputs.x as never)), rows, () => 0, `dx ${from}..${to}`);
    }
  });

  test('retainGraph: a second backward adds the same again', () => {
    const { inputs, loss } = run(medium, draw(medium, dtype), dtype);
    const x = inputs.x as never;
    const weight = inputs.weight as never;
    loss.backward(undefined, { retainGraph: true });
    const [dx, dw] = [read(gradOf(x)), read(gradOf(weight))];
    loss.backward();
    expectWithin(
      read(gradOf(x)),
      dx.map((g) => 2 * g),
      () => 0,
      'dx',
    );
    expectWithin(
      read(gradOf(weight)),
      dw.map((g) => 2 * g),
      () => 0,
      'dweight',
    );
    expect(() => loss.backward()).toThrow(/backward/);
  });
});

describe.each(floatDTypes)('logits and workspace in %s', (dtype) => {
  test('equals crossEntropy of the explicit logits', () => {
    const data = draw(medium, dtype);
    const fused = run(medium, data, dtype, { zLoss: 0.01, labelSmoothing: 0.1 });
    fused.backward();
    const { x, weight, bias } = run(medium, data, dtype).inputs;
    if (!x || !weight || !bias) throw new Error('inputs missing');
    const logits = sp.matmul(x, weight, { transposeB: true }).add(bias);
    const target = indices(data.problem.target, medium.shape);
    const loss = sp.crossEntropy(logits, target, { zLoss: 0.01, labelSmoothing: 0.1 });
    loss.backward();
    // Stored half logits carry |z| 2^-9 (bfloat16) or 2^-12: that error is theirs, not ours.
    const half = dtype === 'bfloat16' ? 2e-2 : dtype === 'float16' ? 3e-3 : 0;
    const limit = 2 * linearLossTolerance[dtype] + half;
    expect(Math.abs((fused.loss.item() as number) - (loss.item() as number))).toBeLessThan(
      10 * limit,
    );
    const gradientLimit = (size: number) => 2 * linearGradientTolerance(dtype, size) + half;
    for (const [name, t] of Object.entries({ x, weight, bias })) {
      const other = fused.inputs[name as 'x'] as never;
      expectFrobenius(read(gradOf(other)), read(gradOf(t)), gradientLimit(t.size), name);
    }
  });

  test.each(isEmulated ? [wide] : [medium, wide])('any workspace, to the reference: $name', (c) => {
    const data = draw(c, dtype);
    const expected = referenceOf(data);
    const least = leastWorkspace((workspaceBytes) => run(c, data, dtype, { workspaceBytes }));
    const more = isEmulated ? [] : [least + 1, 2 * least, 3 * least + 12345];
    for (const workspaceBytes of [least, ...more, 2 ** 26]) {
      const { inputs, loss, backward } = run(c, data, dtype, { workspaceBytes });
      backward();
      const lossLimit = linearLossTolerance[dtype];
      expectWithin(read(loss), expected.loss, () => lossLimit * expected.magnitude[0], 'loss');
      const what = `at ${workspaceBytes} bytes`;
      expectGradient(inputs.x, expected.gradX, `dx ${what}`);
      expectGradient(inputs.weight, expected.gradWeight, `dw ${what}`);
    }
  });
});

describe('rows that are ignored or not numbers', () => {
  test.each(floatDTypes)('ignored rows of NaN are exact zeros, %s', (dtype) => {
    const data = draw(medium, dtype);
    const x = (data.problem.x as Float64Array).slice();
    const target = data.problem.target as Int32Array;
    const ignored = [...target.keys()].filter((t) => target[t] === -100);
    expect(ignored.length).toBeGreaterThan(10);
    const clean = results(medium, data, dtype);
    for (const t of ignored)
      x.fill(t % 2 ? NaN : Infinity, t * medium.width, (t + 1) * medium.width);
    const poisoned = { ...data, problem: { ...data.problem, x } };
    results(medium, poisoned, dtype).forEach((result, i) => {
      expectSameBits(result, clean[i], `result ${i}`);
    });
  });

  test.each(floatDTypes)('all rows ignored, %s', (dtype) => {
    const data = draw(medium, dtype);
    const target = new Int32Array(medium.shape[0]).fill(-100);
    const ignored = { ...data, problem: { ...data.problem, target } };
    const { inputs, loss, backward } = run(medium, ignored, dtype);
    expect(loss.item()).toBeNaN();
    backward();
    for (const t of [inputs.x, inputs.weight, inputs.bias]) {
      expectWithin(read(gradOf(t as never)), new Float64Array(t?.size ?? 0), () => 0, 'gradient');
    }
    expect(run(medium, ignored, dtype, { reduction: 'sum' }).loss.item()).toBe(0);
  });

  test('a row of NaN spoils its own loss and dx only', () => {
    const c: Case = { ...medium, reduction: 'none', ignored: 0, needs: ['x'] };
    const data = draw(c, 'float32');
    const whole = run(c, data, 'float32');
    whole.backward();
    const [from, to] = [50 * c.width, 51 * c.width];
    const x = (data.problem.x as Float64Array).slice().fill(NaN, from, to);
    const spoilt = run(c, { ...data, problem: { ...data.problem, x } }, 'float32');
    spoilt.backward();
    const losses = read(whole.loss).fill(NaN, 50, 51);
    expectWithin(read(spoilt.loss), losses, () => 0, 'losses');
    const dx = read(gradOf(whole.inputs.x as never)).fill(NaN, from, to);
    expectWithin(read(gradOf(spoilt.inputs.x as never)), dx, () => 0, 'dx');
  });

  test('an infinite bias removes a class', () => {
    const c: Case = { ...medium, ignored: 0 };
    const data = draw(c, 'float32');
    const bias = (data.problem.bias as Float64Array).slice();
    const target = (data.problem.target as Int32Array).map((y) => (y === 100 ? 101 : y));
    bias[100] = -Infinity;
    const masked = { ...data, problem: { ...data.problem, bias, target } };
    check(c, masked, 'float32', referenceOf(masked));
  });

  test('an empty batch has gradients of 0', () => {
    const c = find('0 x 7 x 5');
    const { inputs, loss, backward } = run(c, draw(c, 'float32'), 'float32');
    expect(loss.item()).toBeNaN();
    backward();
    expect([...read(gradOf(inputs.weight as never))]).toEqual(new Array(35).fill(0));
    expect(gradOf(inputs.x as never).shape).toEqual([0, 7]);
  });

  test('the main gradient accumulates over steps, in float32 also for bfloat16', () => {
    const c: Case = { ...medium, mainGrad: false, ignored: 0 };
    const data = draw(c, 'common');
    const { gradWeight } = referenceOf(data);
    const mainGrad = sp.zeros([c.classes, c.width]);
    const seen: unknown[] = [];
    for (let step = 1; step <= 3; step++) {
      const { inputs, loss } = run(c, data, 'bfloat16', { mainGrad });
      inputs.weight?.registerHook((g) => void seen.push(g));
      loss.backward(floats([2], 'float32', []));
      expect(inputs.weight?.grad ?? null).toBeNull();
      expectFrobenius(
        read(mainGrad),
        gradWeight.map((g) => 2 * step * g),
        1e-3,
        `step ${step}`,
      );
    }
    expect(seen).toEqual([]);
  });
});
