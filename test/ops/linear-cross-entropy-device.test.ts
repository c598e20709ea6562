// linearCrossEntropy on a device where its kernels change: tall tiles, rows whose targets take
// several blocks to sort, waves of every kind; the bound on scratch memory.
import { describe, expect, test, vi } from 'vitest';
import * as sp from '../../src/index.js';
import { collectGarbage } from '../../src/native.js';
import { runtime } from '../../src/runtime.js';
import { plain } from '../cases/cross-entropy.js';
import {
  type Case,
  type Data,
  draw,
  type Input,
  largeCases,
} from '../cases/linear-cross-entropy.js';
import { expectFrobenius, expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu, needsCuda } from '../harness/device.js';
import { check, expectGradient, leastWorkspace, run } from '../harness/linear-cross-entropy.js';
import type { FloatDType } from '../harness/rounding.js';
import { bits, floats, gradOf, read } from '../harness/tensors.js';
import { linearLossTolerance } from '../harness/tolerance.js';
import { linearCrossEntropy as reference } from '../reference/linear-cross-entropy.js';

const missing = isOnCpu || needsCuda('where the plan of linearCrossEntropy changes');

const caseOf = (rows: number, width: number, classes: number, rest: Partial<Case> = {}): Case => ({
  name: `${rows} x ${width} x ${classes}`,
  shape: [rows],
  width,
  classes,
  ...plain,
  ignored: 0.3,
  bias: true,
  shift: 0,
  needs: ['x', 'weight', 'bias'] as Input[],
  leastWorkspace: false,
  mainGrad: false,
  ...rest,
});

function compare(c: Case, dtype: FloatDType): void {
  const data = draw(c, dtype);
  check(c, data, dtype, reference(data.problem, data.options, data.upstream));
}

describe.skipIf(missing)('against the reference', () => {
  // As many tall tiles as an H100 has processors, in one span.
  test.each(['bfloat16', 'float32'] as const)('tall tiles, %s', (dtype) => {
    compare(caseOf(132 * 128, 8, 70, { needs: ['x'], bias: false }), dtype);
  });

  test.each(largeCases)('large tiles of wgmma: %o', ({ rows, width, classes, needs }) => {
    const rest: Partial<Case> = { needs, bias: needs[0] === 'bias', reduction: 'none' };
    compare(caseOf(rows, width, classes, { ...rest, upstream: 'random' }), 'bfloat16');
  });

  test.each(['float16', 'float32'] as const)('many rows of few targets, %s', (dtype) => {
    compare(caseOf(700, 8, 3), dtype);
  });

  const waves = { leastWorkspace: true, upstream: 'random' } as const;
  test.each<[string, FloatDType, Partial<Case>]>([
    ['dW in a sweep of its own', 'bfloat16', {}],
    ['the same alone', 'float16', { needs: ['weight', 'bias'] }],
    ['dW carried in its own memory', 'float32', {}],
    ['a main gradient', 'bfloat16', { mainGrad: true }],
    ['a main gradient', 'float64', { mainGrad: true }],
    ['dx alone', 'float16', { needs: ['x'] }],
  ])('waves of rows and chunks of classes: %s, %s', (_, dtype, rest) => {
    compare(caseOf(300, 8, 600, { ...waves, ...rest }), dtype);
  });
});

test.skipIf(missing).each([undefined, 5])(
  'rows have the same bits in tiles of any size, softcap %s',
  (softcap) => {
    const [{ rows, width, classes }] = largeCases;
    const c = caseOf(rows, width, classes, { softcap, reduction: 'none', needs: [], ignored: 0 });
    const data = draw(c, 'float16');
    const losses = (from: number, to: number) => {
      const x = (data.problem.x as Float64Array).subarray(from * width, to * width);
      const target = (data.problem.target as Int32Array).subarray(from, to);
      const problem = { ...data.problem, length: to - from, x, target };
      const part: Data = { ...data, problem, upstream: data.upstream.subarray(from, to) };
      return bits(run({ ...c, shape: [to - from] }, part, 'float16').loss) as Float32Array;
    };
    expectSameBits(losses(125, rows), losses(0, rows).subarray(125), 'loss');
  },
);

describe.skipIf(missing)('exponentials kept for backward', () => {
  const [{ rows, width, classes }] = largeCases;
  test.each<[string, FloatDType, number, Case]>([
    [
      'a softcap',
      'float16',
      129,
      caseOf(rows, width, classes, { softcap: 5, temperature: 0.8, needs: ['x'] }),
    ],
    ['of some rows', 'bfloat16', 256, caseOf(500, width, 8200, { mainGrad: true, bias: false })],
  ])('%s, %s', (_, dtype, kept, rest) => {
    const c: Case = { ...rest, upstream: 'random' };
    const data = draw(c, dtype);
    const padded = Math.ceil(c.classes / 256) * 256;
    const stored = kept * (2 * padded + padded / 64);
    collectGarbage();
    sp.cuda.synchronize();
    const { live } = sp.cuda.memory();
    const workspaceBytes = stored + 4_200_000;
    const { inputs, mainGrad, loss, backward } = run(c, data, dtype, { workspaceBytes });
    const grown = sp.cuda.memory().live - live;
    expect(grown).toBeGreaterThan(stored);
    expect(grown).toBeLessThan(1.5 * stored);
    const expected = reference(data.problem, data.options, data.upstream);
    const limit = linearLossTolerance[dtype];
    expectWithin(read(loss), expected.loss, (i) => limit * expected.magnitude[i], 'loss');
    backward();
    expectGradient(inputs.x, expected.gradX, 'dx');
    if (inputs.bias?.requiresGrad) expectGradient(inputs.bias, expected.gradBias, 'dbias');
    if (!mainGrad && inputs.weight?.requiresGrad)
      expectGradient(inputs.weight, expected.gradWeight, 'dweight');
    if (!mainGrad) return;
    const start = 2 ** -6;
    const added = read(mainGrad).map((v) => v - start);
    expectFrobenius(added, expected.gradWeight, 1e-3, 'mainGrad');
  });
});

test.skipIf(missing)('a main gradient may begin at any float', () => {
  const shape = [30, 16];
  const c = caseOf(40, 16, 30, { needs: ['weight'] });
  const data = draw(c, 'bfloat16');
  const added = (mainGrad: sp.Tensor) => {
    run(c, data, 'bfloat16', { mainGrad }).backward();
    return bits(mainGrad);
  };
  const owner = sp.zeros([30 * 16 + 1]);
  const pointer = owner.pointer + 4n;
  const shifted = sp.cuda.fromPointer(pointer, { shape, dtype: 'float32', owner });
  expectSameBits(added(shifted), added(sp.zeros(shape)), 'mainGrad');
  expect(read(shifted).some((v) => v !== 0)).toBe(true);
  expect(read(owner)[0]).toBe(0);
});

describe.skipIf(missing)('memory that forward leaves to backward', () => {
  const [{ rows, width, classes }] = largeCases;
  const bytes = rows * (2 * 17152 + 17152 / 64);
  const workspaceBytes = bytes + 1_500_000;

  const target = 777;
  // Logits of every row are small but the target's, which is near `height`.
  function peaked(height: number, rest: Partial<Case> = {}) {
    const c = caseOf(rows, width, classes, { upstream: 'random', needs: ['x'], ...rest });
    const data = draw(c, 'bfloat16');
    const { problem } = data;
    problem.weight = (problem.weight as Float64Array).map((w) => w / 8);
    problem.bias = new Float64Array(classes).fill(height, target, target + 1);
    problem.target = new Int32Array(rows).fill(target);
    const expected = reference(problem, data.options, data.upstream);
    const { live } = sp.cuda.memory();
    const call = run(c, data, 'bfloat16', { workspaceBytes });
    const upstream = floats(data.upstream, 'float32', []);
    return { ...call, upstream, expected, grown: sp.cuda.memory().live - live };
  }

  test('is accurate where one class takes almost all, and counts when it is not used', () => {
    // p of 1 - 2e-5: the other classes have less than 2^-29 of it each.
    const { inputs, loss, upstream, expected, backward, grown } = peaked(20.5);
    expect(grown).toBeGreaterThan(bytes);
    sp.cuda.synchronize();
    sp.cuda.memory({ resetPeak: true });
    loss.backward(upstream, { retainGraph: true });
    expect(sp.cuda.memory().scratchPeak).toBeLessThanOrEqual(workspaceBytes - bytes);
    expectGradient(inputs.x, expected.gradX, 'dx of logits made anew');
    if (inputs.x) inputs.x.grad = null;
    backward();
    expectGradient(inputs.x, expected.gradX, 'dx of what was stored');
  });

  test('tells how steep the target is near its cap', () => {
    const { inputs, expected, backward } = peaked(6, { softcap: 1, needs: ['bias'] });
    backward();
    const want = expected.gradBias[target];
    const got = inputs.bias && read(gradOf(inputs.bias))[target];
    expectWithin([got ?? 0], [want], () => Math.abs(want) / 256, 'dbias of the target');
  });

  test('is done without where there is none', () => {
    const allocate = runtime.deviceAllocate.bind(runtime);
    const full = vi.spyOn(runtime, 'deviceAllocate').mockImplementation((...asked) => {
      if (asked[2] === bytes) throw Object.assign(new Error('full'), { code: 'ERR_OUT_OF_MEMORY' });
      return allocate(...asked);
    });
    try {
      const { inputs, expected, backward, grown } = peaked(20.5);
      expect(full.mock.calls.some(([, , size]) => size === bytes)).toBe(true);
      expect(grown).toBeLessThan(bytes);
      backward();
      expectGradient(inputs.x, expected.gradX, 'dx');
    } finally {
      full.mockRestore();
    }
  });
});

describe.skipIf(missing)('scratch memory', () => {
  test.each(['float32', 'bfloat16'] as const)('stays within workspaceBytes, %s', (dtype) => {
    const c = caseOf(300, 16, 600);
    const data = draw(c, dtype);
    const least = leastWorkspace((workspaceBytes) => run(c, data, dtype, { workspaceBytes }));
    for (const workspaceBytes of [least, 2 * least]) {
      sp.cuda.synchronize();
      sp.cuda.memory({ resetPeak: true });
      const { loss, backward } = run(c, data, dtype, { workspaceBytes });
      backward();
      expect(loss.item()).toBeGreaterThan(0);
      expect(sp.cuda.memory().scratchPeak).toBeLessThanOrEqual(workspaceBytes);
    }
  });
});

describe.skipIf(missing)('rows of one target', () => {
  test.each(['bfloat16', 'float32'] as const)('in segments, %s', (dtype) => {
    const c = caseOf(300, 16, 40, { ignored: 0.1, upstream: 'random' });
    const data = draw(c, dtype);
    const share = (i: number) => (i % 5 < 3 ? 7 : i % 5 === 3 ? 8 : i % 40);
    data.problem.target = (data.problem.target as Int32Array).map((y, i) => (y < 0 ? y : share(i)));
    check(c, data, dtype, reference(data.problem, data.options, data.upstream));
  });
});
