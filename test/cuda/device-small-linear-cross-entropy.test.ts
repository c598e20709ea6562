// Every kernel of linearCrossEntropy at the smallest sizes that take it, as in device-small.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { agrees, placed } from '../harness/beside-cpu.js';
import { needsCuda } from '../harness/device.js';
import { Random } from '../harness/random.js';

describe.skipIf(needsCuda('kernels at small sizes'))('small', () => {
  describe('linear-cross-entropy', () => {
    /** Rows, features and classes: one tile of each kind, its edges, several with few columns each. */
    const sizes: [number, number, number][] = [
      [5, 8, 3],
      [33, 24, 131],
      [130, 40, 70],
    ];
    const inputsOf = ([rows, width, classes]: number[]) => [
      { shape: [rows, width] },
      { shape: [classes, width], map: (x: number) => x / 2 },
      { shape: [classes] },
    ];
    const targetOf = ([rows, , classes]: number[], device: 'cpu' | 'cuda') => {
      const ids = Array.from({ length: rows }, (_, i) => (i % 4 === 3 ? -100 : (i * 7) % classes));
      return sp.tensor(ids, { dtype: 'int32', device }) as never;
    };
    const dtypes = ['float32', 'bfloat16', 'float16', 'float64'] as const;

    test.each(sizes)('loss of %d rows by %d, %d classes', (...size) => {
      for (const dtype of dtypes) {
        for (const options of [
          { reduction: 'none' },
          { labelSmoothing: 0.1, zLoss: 0.01, softcap: 3 },
        ] as const) {
          agrees(dtype, inputsOf(size), (x, weight, bias, device) =>
            sp.linearCrossEntropy(x, weight, targetOf(size, device), { bias, ...options }),
          );
        }
      }
    });

    test.each(sizes)('log-probabilities of %d rows by %d, %d classes', (...size) => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        agrees(dtype, inputsOf(size).slice(0, 2), (x, weight, device) => {
          const ids = targetOf(size, device);
          const { logprob, lse, entropy } = sp.linearLogprobs(x, weight, ids);
          return logprob.add(lse.mul(0.5)).add(entropy.mul(0.25));
        });
      }
    });

    test('classes that are the largest, parts of a vocabulary', () => {
      const [rows, width, classes] = sizes[1];
      const [x, weight] = [
        [rows, width],
        [classes, width],
      ].map((shape, i) => new Random(i + 1).normals(shape[0] * shape[1]));
      const results = (['cpu', 'cuda'] as const).map((device) => {
        const a = placed(x, 'float32', [rows, width], device) as never;
        const b = placed(weight, 'float32', [classes, width], device) as never;
        const target = targetOf(sizes[1], device);
        const { loss } = sp.mergePartials([
          sp.linearCrossEntropyPartials(a, b, target, { vocabOffset: 0 }),
        ]);
        return [numbers(sp.linearArgmax(a, b)), numbers(loss)];
      });
      expect(results[1][0]).toEqual(results[0][0]);
      for (const [i, loss] of results[1][1].entries())
        expect(loss).toBeCloseTo(results[0][1][i], 4);
    });

    // Every second block of rows with every second block of classes: what is kept lies apart.
    test.each([
      ['float32', 8],
      ['bfloat16', 8],
      ['bfloat16', 12],
    ] as const)('filtered, %s, %d wide', (dtype, width) => {
      const shape = [384, width];
      agrees(dtype, [{ shape }, { shape }], (x, weight, device) => {
        const sides = Float64Array.from({ length: 384 * width }, (_, i) =>
          i % width > 0 ? 0 : Math.floor(i / width / 128) % 2 ? -4 : 4,
        );
        const apart = placed(sides, dtype, shape, device);
        const ids = Array.from({ length: 384 }, (_, i) => (i * 5 + Math.floor(i / 128)) % 128);
        const classes = ids.map((id, i) => id + (Math.floor(i / 128) % 2 ? 128 : 256 * (i % 2)));
        const target = sp.tensor(classes, { dtype: 'int32', device }) as never;
        const options = device === 'cuda' ? { filter: { eps: 1e-7 } } : {};
        const near = (t: sp.Tensor) => t.mul(0.25).add(apart as never) as never;
        return sp.linearCrossEntropy(near(x), near(weight), target, options);
      });
    });
  });
});
