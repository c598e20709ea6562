// The kernels of both losses on arrays between guard bytes, off alignment, outputs full of NaN:
// they write all of their outputs, nothing beside them, and none of their inputs.
import { describe, test } from 'vitest';
import * as logits from '../cases/cross-entropy.js';
import * as linear from '../cases/linear-cross-entropy.js';
import { check } from '../harness/cross-entropy.js';
import { fenced } from '../harness/fences.js';
import { check as checkLinear } from '../harness/linear-cross-entropy.js';
import { linearCrossEntropy } from '../reference/linear-cross-entropy.js';

const { floatDTypes } = logits;

describe.each(floatDTypes)('crossEntropy in %s', (dtype) => {
  const kernels = {
    crossEntropyForward: { outputs: ['loss', 'rowStats', 'gradLogits'] },
    crossEntropyBackward: {
      outputs: ['gradLogits', 'gradTarget', 'gradTokenWeight'],
      updates: ['gradLogits', 'gradLogitsReady'],
    },
  } as const;
  const names = ['3 x 41', '3 x 4099', '2 x 50257', '9 x 41', '289 x 1000'];
  const shapes = logits.shapeCases.filter((c) => names.includes(c.name));
  test.each([...logits.optionCases, ...shapes])('$name', (c) => {
    const data = logits.draw(c, dtype);
    fenced(kernels, () => check(c, data, dtype));
  });
});

describe.each(floatDTypes)('linearCrossEntropy in %s', (dtype) => {
  const gradients = ['dx', 'dweight', 'dbias', 'dtokenWeight'];
  const updates = ['dweight', 'addToDweight'] as const;
  const kernels = {
    linearCrossEntropyForward: { outputs: ['loss', 'rowSums', ...gradients], updates },
    linearCrossEntropyBackward: { outputs: gradients, updates },
  };
  const names = ['3 x 7 x 5', '129 x 17 x 65', '130 x 48 x 4099'];
  const shapes = linear.shapeCases.filter((c) => names.includes(c.name));
  test.each([...linear.optionCases, ...shapes])('$name', (c) => {
    const data = linear.draw(c, dtype);
    const expected = linearCrossEntropy(data.problem, data.options, data.upstream);
    fenced(kernels, () => checkLinear(c, data, dtype, expected));
  });
});
