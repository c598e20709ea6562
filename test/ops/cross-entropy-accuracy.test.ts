// Both losses in float32 are at least as accurate as plain float32 code, measured against the
// float64 reference on the same inputs: error <= plain code's error + one rounding.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { distance, norm } from '../harness/compare.js';
import { isEmulated } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { epsilon, roundAll } from '../harness/rounding.js';
import { floats, gradOf, indices, read } from '../harness/tensors.js';
import { crossEntropy as reference } from '../reference/cross-entropy.js';
import { linearCrossEntropy as linearReference } from '../reference/linear-cross-entropy.js';
import { plainCrossEntropy, plainProduct, transposed } from '../reference/plain-float32.js';

const rounding = epsilon('float32');

function noWorse(got: Float64Array, plain: Float64Array, exact: Float64Array, what: string): void {
  const limit = distance(plain, exact) + rounding * norm(exact);
  expect(distance(got, exact), what).toBeLessThanOrEqual(limit);
}

describe('crossEntropy', () => {
  test.each([
    [40, 41, 1],
    [10, 1000, 4],
    [4, 50257, 4],
    [4, 50257, 0.1],
    [20, 300, 1e4],
  ])('%i x %i, logits of size %f', (rows, classes, size) => {
    const random = new Random(classes);
    const logits = roundAll(random.normals(rows * classes, size), 'float32');
    const labels = Array.from({ length: rows }, () => random.integer(classes));
    const options = { reduction: 'none' } as const;
    const exact = reference(logits, rows, classes, { indices: labels }, options);
    const plain = plainCrossEntropy(logits, classes, labels);
    const z = floats(logits, 'float32', [rows, classes], true);
    const loss = sp.crossEntropy(z, indices(labels, [rows]), options);
    loss.backward(sp.ones([rows]));
    noWorse(read(loss), plain.loss, exact.loss, 'loss');
    noWorse(read(gradOf(z)), plain.gradLogits, exact.gradLogits, 'gradient');
  });
});

describe('linearCrossEntropy', () => {
  test.each([
    [60, 64, 1000],
    [33, 300, 517],
  ])('%i x %i x %i', (rows, width, classes) => {
    const random = new Random(rows);
    const x = roundAll(random.normals(rows * width), 'float32');
    const weight = roundAll(random.normals(classes * width, 3 / Math.sqrt(width)), 'float32');
    const target = Int32Array.from({ length: rows }, () => random.integer(classes));
    const problem = { batch: 1, length: rows, width, classes, x, weight, target };
    const exact = linearReference(problem, { reduction: 'sum' });

    const logits = plainProduct(x, weight, [rows, classes, width]);
    const plain = plainCrossEntropy(logits, classes, target);
    const dlogits = plain.gradLogits;
    const columns = transposed(dlogits, rows, classes);
    const shape: [number, number, number] = [classes, width, rows];
    const plainWeight = plainProduct(columns, transposed(x, rows, width), shape);
    const plainX = plainProduct(dlogits, transposed(weight, classes, width), [
      rows,
      width,
      classes,
    ]);

    const tx = floats(x, 'float32', [rows, width], true);
    const tw = floats(weight, 'float32', [classes, width], true);
    sp.linearCrossEntropy(tx, tw, indices(target, [rows]), { reduction: 'sum' }).backward();
    noWorse(read(gradOf(tx)), plainX, exact.gradX, 'dx');
    noWorse(read(gradOf(tw)), plainWeight, exact.gradWeight, 'dweight');
  });

  // Beside dz of the target, near -1, what the other rows add to a column is tiny: a plain sum rounds
  // it away and more so with every row. What is left here is the last rounding of each element.
  test.each(
    isEmulated
      ? [[64, 16, 2051]]
      : [
          [512, 16, 4099],
          [700, 16, 6007],
        ],
  )('long sums over rows and columns: %i x %i x %i', (rows, width, classes) => {
    const random = new Random(rows);
    const x = roundAll(random.normals(rows * width), 'float32');
    const weight = roundAll(random.normals(classes * width, 1 / Math.sqrt(width)), 'float32');
    const target = Int32Array.from({ length: rows }, () => random.integer(classes));
    const problem = { batch: 1, length: rows, width, classes, x, weight, target };
    const exact = linearReference(problem, {});
    for (const workspaceBytes of isEmulated ? [2 ** 22] : [2 ** 22, 2 ** 25]) {
      const tx = floats(x, 'float32', [rows, width], true);
      const tw = floats(weight, 'float32', [classes, width], true);
      const y = indices(target, [rows]);
      sp.linearCrossEntropy(tx, tw, y, { workspaceBytes }).backward();
      const errors = [
        distance(read(gradOf(tx)), exact.gradX) / norm(exact.gradX),
        distance(read(gradOf(tw)), exact.gradWeight) / norm(exact.gradWeight),
      ];
      expect(Math.max(...errors), `dx, dweight: ${errors}`).toBeLessThan(rounding);
    }
  });

  test.each([1, 0.25, -2, 0.7, 1 / 3, -1.3])('bfloat16 rounds once, upstream %f', (upstream) => {
    const [rows, width, classes] = [100, 64, 500];
    const random = new Random(7);
    const x = roundAll(random.normals(rows * width), 'bfloat16');
    const weight = roundAll(random.normals(classes * width, 1 / 8), 'bfloat16');
    const bias = roundAll(random.normals(classes), 'bfloat16');
    const target = Int32Array.from({ length: rows }, () => random.integer(classes));
    const tokens = roundAll(random.uniforms(rows), 'bfloat16');
    const problem = { batch: 1, length: rows, width, classes, x, weight, bias, target };
    const u = roundAll([upstream], 'float32');
    const exact = linearReference(problem, { tokenWeight: tokens }, u);
    const tx = floats(x, 'bfloat16', [rows, width], true);
    const tw = floats(weight, 'bfloat16', [classes, width], true);
    const tb = floats(bias, 'bfloat16', [classes], true);
    const tokenWeight = floats(tokens, 'bfloat16', [rows], true);
    const y = indices(target, [rows]);
    const loss = sp.linearCrossEntropy(tx, tw, y, { bias: tb, tokenWeight });
    const all = [
      [tx, exact.gradX],
      [tw, exact.gradWeight],
      [tb, exact.gradBias],
      [tokenWeight, exact.gradTokenWeight],
    ] as const;
    // Once while the graph is kept, when the first gradients must survive, and once more.
    for (const retainGraph of [true, false]) {
      for (const [t] of all) t.grad = null;
      loss.backward(floats(u, 'float32', []), { retainGraph });
      for (const [i, [t, want]] of all.entries()) {
        const got = read(gradOf(t));
        const rounded = distance(roundAll(want, 'bfloat16'), want);
        expect(distance(got, want), `gradient ${i}`).toBeLessThan(1.02 * rounded);
      }
    }
  });
});
