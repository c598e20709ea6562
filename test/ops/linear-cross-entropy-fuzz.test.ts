// Random shapes × options × dtypes of linearCrossEntropy against the reference, a few seconds.
import fc from 'fast-check';
import { test } from 'vitest';
import * as sp from '../../src/index.js';
import { epilogues, floatDTypes, isAllowed, optionMatrix } from '../cases/cross-entropy.js';
import type { Case, Input } from '../cases/linear-cross-entropy.js';
import { draw } from '../cases/linear-cross-entropy.js';
import { expectWithin } from '../harness/compare.js';
import { fuzz } from '../harness/fuzz.js';
import { check, expectGradient } from '../harness/linear-cross-entropy.js';
import { Random } from '../harness/random.js';
import { floats, indices, read } from '../harness/tensors.js';
import { linearLossTolerance } from '../harness/tolerance.js';
import {
  linearLogprobs,
  linearCrossEntropy as reference,
} from '../reference/linear-cross-entropy.js';

const pick = <T>(values: readonly T[]) => fc.constantFrom(...values);
const inputs: Input[] = ['x', 'weight', 'bias', 'tokenWeight'];

const anyCase: fc.Arbitrary<Case> = fc
  .record({
    name: fc.constant('fuzz'),
    shape: fc
      .tuple(
        fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }),
        fc.integer({ min: 3, max: 90 }),
      )
      .map(([lead, last]) => [...lead, last]),
    width: fc.integer({ min: 1, max: 40 }),
    classes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 41, max: 900 })),
    reduction: pick(optionMatrix.reduction),
    labelSmoothing: fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1, noNaN: true })),
    weighted: fc.boolean(),
    tokens: pick(optionMatrix.tokens),
    zLoss: fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 0.5, noNaN: true })),
    temperature: fc.oneof(fc.constant(1), fc.double({ min: 0.3, max: 3, noNaN: true })),
    softcap: fc.option(fc.double({ min: 1, max: 50, noNaN: true }), { nil: undefined }),
    capFirst: fc.boolean(),
    epilogue: pick(epilogues),
    ignored: pick([0, 0.2, 0.7, 1]),
    upstream: pick(['one', 'random'] as const),
    bias: fc.boolean(),
    shift: fc.integer({ min: 0, max: 2 }),
    needs: fc.subarray(inputs),
    leastWorkspace: fc.boolean(),
    mainGrad: fc.boolean(),
  })
  .filter((c) => isAllowed(c) && !(c.mainGrad && !c.needs.includes('weight')));

test('linearCrossEntropy equals the reference', () => {
  const property = fc.property(anyCase, pick(floatDTypes), fc.nat(), (c, dtype, seed) => {
    // Its gradients grow like e^(L/2), beyond float16.
    if (dtype === 'float16' && c.epilogue?.kind === 'compSum') return;
    const data = draw(c, dtype, seed);
    check(c, data, dtype, reference(data.problem, data.options, data.upstream));
  });
  fuzz(property);
});

test('linearLogprobs equals the reference', () => {
  const property = fc.property(anyCase, pick(floatDTypes), fc.nat(), (c, dtype, seed) => {
    const { problem, options, rows } = draw(c, dtype, seed);
    const { temperature, softcap, capFirst, shift } = options;
    const random = new Random(seed);
    const upstream = {
      logprob: random.normals(rows),
      lse: random.normals(rows),
      entropy: random.normals(rows),
    };
    const kept = { temperature, softcap, capFirst, shift };
    const want = linearLogprobs(problem, kept, upstream);
    const wants = (name: Input) => c.needs.includes(name);
    const x = floats(problem.x, dtype, [...c.shape, c.width], wants('x'));
    const weight = floats(problem.weight, dtype, [c.classes, c.width], wants('weight'));
    const bias = problem.bias && floats(problem.bias, dtype, [c.classes], wants('bias'));
    const got = sp.linearLogprobs(x, weight, indices(problem.target, c.shape), { ...kept, bias });
    const stored = dtype === 'float64' ? dtype : 'float32';
    const terms = (['logprob', 'lse', 'entropy'] as const).map((name) => {
      const allowed = (i: number) => linearLossTolerance[dtype] * (4 + Math.abs(want[name][i]));
      expectWithin(read(got[name]), want[name], allowed, name);
      return got[name].mul(floats(upstream[name], stored, got[name].shape)).sum();
    });
    const total = terms[0].add(terms[1]).add(terms[2]);
    if (!total.requiresGrad) return;
    total.backward();
    if (wants('x')) expectGradient(x, want.gradX, 'dx');
    if (wants('weight')) expectGradient(weight, want.gradWeight, 'dweight');
    if (wants('bias') && bias)
      expectGradient(bias, want.gradBias, 'dbias', { squares: want.biasSquares });
  });
  fuzz(property);
});
