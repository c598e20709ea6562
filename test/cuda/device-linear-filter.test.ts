// Filters of linearCrossEntropy on a device, by every kernel that skips blocks of the gradient. On
// four processors (vitest.config.ts), so that large tiles, which take several blocks at once, come
// at small sizes.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { plain } from '../cases/cross-entropy.js';
import { type Case, type Data, draw } from '../cases/linear-cross-entropy.js';
import { distance, expectFrobenius, expectSameBits, norm } from '../harness/compare.js';
import { isOnCpu, needsCuda } from '../harness/device.js';
import { expectGradient, run } from '../harness/linear-cross-entropy.js';
import type { FloatDType } from '../harness/rounding.js';
import { bits, gradOf, read } from '../harness/tensors.js';
import { linearCrossEntropy as reference } from '../reference/linear-cross-entropy.js';

const missing = isOnCpu || needsCuda('which blocks of a gradient a filter skips');

const caseOf = (rows: number, width: number, classes: number, rest: Partial<Case> = {}): Case => ({
  name: `${rows} x ${width} x ${classes}`,
  shape: [rows],
  width,
  classes,
  ...plain,
  bias: false,
  shift: 0,
  needs: ['x', 'weight'],
  leastWorkspace: false,
  mainGrad: false,
  ignored: 0,
  upstream: 'random',
  ...rest,
});

describe.skipIf(missing)('a filter', () => {
  // Every second block of rows has to do with every second block of classes, and so the others: lists
  // of what is kept have gaps.
  const isEven = (i: number) => Math.floor(i / 128) % 2 === 0;
  function halves(c: Case): Data {
    const data = draw(c, 'common');
    const { problem } = data;
    const { width } = c;
    problem.x = (problem.x as Float64Array).map((v, i) =>
      i % width === 0 ? (isEven(i / width) ? 4 : -4) : v / 8,
    );
    problem.weight = (problem.weight as Float64Array).map((v, i) =>
      i % width === 0 ? (isEven(i / width) ? 2 : -2) : v / 8,
    );
    problem.bias = undefined;
    problem.target = Int32Array.from({ length: c.shape[0] }, (_, i) =>
      isEven(i) ? (i % 128) + (i % 3 === 0 ? 256 : 0) : 128 + (i % 2),
    );
    return data;
  }
  const filter = { eps: 1e-6 };
  const cases: [string, FloatDType, Case, object][] = [
    ['blocks of mma.sync', 'bfloat16', caseOf(256, 12, 512), {}],
    ['the same in float16, waves', 'float16', caseOf(256, 12, 600), { leastWorkspace: true }],
    ['a wave at a time', 'float32', caseOf(256, 8, 600), { leastWorkspace: true }],
    ['blocks of FMA', 'float32', caseOf(384, 8, 384), {}],
    ['tiles of wgmma', 'bfloat16', caseOf(256, 16, 512), {}],
    ['the same, waves', 'bfloat16', caseOf(256, 16, 512), { leastWorkspace: true }],
    [
      'dW alone, waves',
      'bfloat16',
      caseOf(256, 16, 512),
      { leastWorkspace: true, needs: ['weight'] },
    ],
    ['a main gradient', 'float16', caseOf(256, 16, 512), { mainGrad: true }],
    ['large tiles of wgmma', 'bfloat16', caseOf(256, 136, 512), {}],
  ];
  test.each(cases)('%s, %s', (_, dtype, rest, more) => {
    const c = { ...rest, ...more };
    const data = halves(c);
    const expected = reference(data.problem, data.options, data.upstream);
    const { inputs, mainGrad, loss, backward } = run(c, data, dtype, { filter });
    backward();
    const { kept, boundX, boundWeight } = sp.filterReport(loss);
    expect(kept).toBeGreaterThan(0.4);
    expect(kept).toBeLessThan(0.7);
    expect(boundX).toBeLessThan(1e-3 * norm(expected.gradX));
    expect(boundWeight).toBeLessThan(1e-3 * norm(expected.gradWeight));
    if (inputs.x?.requiresGrad) expectGradient(inputs.x, expected.gradX, 'dx');
    if (mainGrad) {
      const added = read(mainGrad).map((v) => v - 2 ** -6);
      expectFrobenius(added, expected.gradWeight, 1e-3, 'mainGrad');
    } else if (inputs.weight?.requiresGrad) {
      expectGradient(inputs.weight, expected.gradWeight, 'dweight');
    }
  });

  test.each(['float64', 'bfloat16'] as const)('leaves no class without a gradient, %s', (dtype) => {
    const c = caseOf(256, 8, 512);
    const data = halves(c);
    const expected = reference(data.problem, data.options, data.upstream);
    const { inputs, loss, backward } = run(c, data, dtype, { filter: { eps: 0.9 } });
    backward();
    expect(sp.filterReport(loss).kept).toBe(0);
    const dw = read(gradOf(inputs.weight as sp.Tensor));
    for (let v = 0; v < c.classes; v++)
      expect(norm(dw.subarray(v * c.width, (v + 1) * c.width))).toBeGreaterThan(0);
    // What is dropped of a row adds up to what it came to.
    const { boundX, boundWeight } = sp.filterReport(loss);
    const rounding = dtype === 'float64' ? 1e-12 : 1e-2;
    const dx = read(gradOf(inputs.x as sp.Tensor));
    const limit = (bound: number, want: Float64Array) => bound + rounding * norm(want);
    expect(distance(dx, expected.gradX)).toBeLessThan(limit(boundX, expected.gradX));
    expect(distance(dw, expected.gradWeight)).toBeLessThan(limit(boundWeight, expected.gradWeight));
  });

  test('of exponentials kept for backward', () => {
    const c = caseOf(256, 16, 512);
    const data = halves(c);
    const expected = reference(data.problem, data.options, data.upstream);
    const { live } = sp.cuda.memory();
    const workspaceBytes = 1 << 22;
    const { inputs, loss, backward } = run(c, data, 'bfloat16', { workspaceBytes, filter });
    expect(sp.cuda.memory().live - live).toBeGreaterThan(256 * 512 * 2);
    backward();
    expect(sp.filterReport(loss).kept).toBe(0.5);
    expectGradient(inputs.x, expected.gradX, 'dx');
    expectGradient(inputs.weight, expected.gradWeight, 'dweight');
  });

  test('of which every block is kept changes no bit', () => {
    const c = caseOf(140, 16, 300, { bias: true, needs: ['x', 'weight', 'bias'] });
    for (const dtype of ['bfloat16', 'float32'] as const) {
      const data = draw(c, dtype);
      const gradients = (options: object) => {
        const { inputs, backward } = run(c, data, dtype, options);
        backward();
        return Object.entries(inputs).flatMap(([name, t]) =>
          t?.requiresGrad ? [[name, bits(gradOf(t))] as const] : [],
        );
      };
      const exact = gradients({});
      for (const [i, [name, got]] of gradients({ filter: { eps: 0 } }).entries())
        expectSameBits(got, exact[i][1], name);
    }
  });
});
