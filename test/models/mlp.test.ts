// A classifier of two layers, trained beside the same one in plain float64 code.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { Random } from '../harness/random.js';
import { floats } from '../harness/tensors.js';
import { AdamW, differentiate, Matrix } from '../reference/models.js';

const examples = 24;
const shapes = { first: [5, 12], firstBias: [1, 12], second: [12, 4], secondBias: [1, 4] } as const;
const steps = 50;
const optimiser = { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
const rate = 1e-2;
const weightDecay = 0.01;

type Name = keyof typeof shapes;
const names = Object.keys(shapes) as Name[];

/** Inputs, classes and first weights, all exact in float32. */
function task() {
  const random = new Random(1);
  const rounded = (size: number) => Float64Array.from(random.normals(size), Math.fround);
  const x = rounded(examples * 5);
  const classes = Int32Array.from(
    { length: examples },
    (_, i) => (x[5 * i] > 0 ? 2 : 0) + (x[5 * i + 1] > 0 ? 1 : 0),
  );
  const weights = Object.fromEntries(
    names.map((name) => [name, rounded(shapes[name][0] * shapes[name][1])]),
  ) as Record<Name, Float64Array>;
  return { x, classes, weights };
}

function referenceCurve(): number[] {
  const { x, classes, weights } = task();
  const input = new Matrix(examples, 5, x);
  const w = Object.fromEntries(
    names.map((name) => [name, new Matrix(shapes[name][0], shapes[name][1], weights[name])]),
  ) as Record<Name, Matrix>;
  const adam = new AdamW(optimiser, () => weightDecay);
  return Array.from({ length: steps }, () => {
    const loss = differentiate((f) => {
      const hidden = f.tanh(f.add(f.matmul(input, w.first), w.firstBias));
      return f.crossEntropy(f.add(f.matmul(hidden, w.second), w.secondBias), classes);
    });
    adam.step(Object.values(w), rate);
    return loss;
  });
}

function curve(dtype: 'float32' | 'float64'): number[] {
  const { x, classes, weights } = task();
  const input = floats(x, dtype, [examples, 5]);
  const target = sp.tensor(classes);
  const w = Object.fromEntries(
    names.map((name) => [name, floats(weights[name], dtype, shapes[name], true)]),
  ) as Record<Name, sp.Tensor>;
  const { beta1, beta2, eps } = optimiser;
  const adam = new sp.optim.AdamW(Object.values(w), {
    lr: rate,
    betas: [beta1, beta2],
    eps,
    weightDecay,
  });
  return Array.from({ length: steps }, () => {
    const hidden = input.matmul(w.first).add(w.firstBias).tanh();
    const loss = sp.crossEntropy(hidden.matmul(w.second).add(w.secondBias), target);
    loss.backward();
    adam.step();
    adam.zeroGrad();
    return loss.item() as number;
  });
}

test.each([
  ['float64', 1e-14],
  ['float32', 1e-5],
] as const)('an MLP in %s follows the loss curve of the float64 reference', (dtype, tolerance) => {
  const expected = referenceCurve();
  const actual = curve(dtype);
  for (const [i, loss] of expected.entries()) {
    expect(Math.abs(actual[i] - loss), `step ${i}: ${actual[i]}, expected ${loss}`).toBeLessThan(
      tolerance * loss,
    );
  }
  expect(expected[steps - 1]).toBeLessThan(0.5 * expected[0]);
});
