// Random shapes × options × dtypes of crossEntropy against the reference, for about ten seconds.
// A failure prints the seed and the smallest case; run it again with SURPRISAL_FUZZ_SEED.
import fc from 'fast-check';
import { test } from 'vitest';
import type { Case } from '../cases/cross-entropy.js';
import { draw, epilogues, floatDTypes, isAllowed, optionMatrix } from '../cases/cross-entropy.js';
import { check } from '../harness/cross-entropy.js';
import { fuzz } from '../harness/fuzz.js';

const pick = <T>(values: readonly T[]) => fc.constantFrom(...values);

const anyCase = fc
  .record({
    name: fc.constant('fuzz'),
    target: pick(['indices', 'probabilities'] as const),
    shape: fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 3 }),
    classes: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 71, max: 5000 })),
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
  })
  .filter((c: Case) => isAllowed(c));

test('crossEntropy equals the reference', () => {
  const property = fc.property(anyCase, pick(floatDTypes), fc.nat(), (c, dtype, seed) => {
    check(c, draw(c, dtype, seed), dtype);
  });
  fuzz(property);
});
