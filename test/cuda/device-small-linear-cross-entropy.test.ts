// Every kernel of linearCrossEntropy at the smallest sizes that take it, as in device-small.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { agrees, placed, refusedAlike, tolerance } from '../harness/beside-cpu.js';
import { needsCuda } from '../harness/device.js';
import { leastWorkspace } from '../harness/linear-cross-entropy.js';
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
      ['float32', 384, 8, 384, { eps: 1e-7 }, {}],
      ['bfloat16', 384, 8, 384, { eps: 1e-7 }, {}],
      ['bfloat16', 384, 12, 384, { eps: 1e-7 }, {}],
      ['float32', 300, 3, 340, { maxError: 1e-6 }, { reduction: 'none' }],
      ['float16', 300, 12, 340, { eps: 1e-7 }, { softcap: 40, reduction: 'sum' }],
      ['float64', 150, 2, 140, { maxError: 1e-14 }, { labelSmoothing: 0.1 }],
    ] as const)(
      'filtered, %s, %d by %d, %d classes, %o, %o',
      (dtype, rows, width, classes, filter, options) => {
        const inputs = [
          { shape: [rows, width] },
          { shape: [classes, width] },
          { shape: [classes] },
        ];
        agrees(dtype, inputs, (x, weight, bias, device) => {
          const sign = (i: number) => (Math.floor(i / 128) % 2 ? -1 : 1);
          const apart = (n: number) => {
            const values = new Float64Array(n * width).map((_, i) =>
              i % width > 0 ? 0 : 4 * sign(i / width),
            );
            return placed(values, dtype, [n, width], device) as never;
          };
          const ids = Array.from({ length: rows }, (_, i) =>
            sign(i) < 0 ? 128 + (i % 12) : (256 * (i % 2) + (i % 80)) % classes,
          );
          const target = sp.tensor(ids, { dtype: 'int32', device }) as never;
          const own = device === 'cuda' ? { filter } : {};
          const near = (t: sp.Tensor) => t.mul(0.25).add(apart(t.shape[0])) as never;
          return sp.linearCrossEntropy(near(x), near(weight), target, {
            bias,
            ...options,
            ...own,
          } as never);
        });
      },
    );

    test.each([
      [33, 24, 131],
      [70, 12, 40],
    ])('weights of tokens and classes, %d rows by %d, %d classes', (...size) => {
      const [rows, , classes] = size;
      const inputs = [...inputsOf(size), { shape: [rows], map: (v: number) => v ** 2 }];
      for (const dtype of ['float32', 'float16', 'bfloat16'] as const)
        for (const options of [
          { labelSmoothing: 0.1 },
          { reduction: 'sum', epilogue: { kind: 'focal', gamma: 2 }, softcap: 5 },
        ] as sp.LinearCrossEntropyOptions[])
          agrees(dtype, inputs, (x, weight, bias, tokens, device) => {
            const target = (targetOf(size, device) as sp.Tensor).to('int64') as never;
            const classWeight = sp.arange(classes, { device }).div(classes) as never;
            const tokenWeight = tokens.to('float32');
            const weights = { bias, tokenWeight, classWeight };
            return sp.linearCrossEntropy(x, weight, target, { ...weights, ...options });
          });
    });

    test('many rows of one target, more classes than a block adds up', () => {
      for (const [dtype, rows, width, classes] of [
        ['float32', 70, 8, 5],
        ['bfloat16', 100, 12, 200],
        ['float32', 3, 2, 8200],
      ] as const)
        agrees(dtype, inputsOf([rows, width, classes]), (x, weight, bias, device) => {
          const target = sp.full([rows], 2, { dtype: 'int32', device }) as never;
          const classWeight = sp.ones([classes], { device }) as never;
          return sp.linearCrossEntropy(x, weight, target, { bias, classWeight, softcap: 9 });
        });
    });

    // Exponentials kept for backward; rows and classes in waves; dW added to an array, and by waves.
    test.each([
      ['bfloat16', [130, 16, 300], 1 << 22, false],
      ['float16', [130, 12, 300], 1 << 22, true],
      ['bfloat16', [270, 12, 150], 'least', false],
      ['bfloat16', [270, 16, 150], 'least', true],
      ['float32', [270, 9, 150], 'least', true],
    ] as const)('%s, %j, workspace %s, into an array: %s', (dtype, size, bytes, isAdded) => {
      const [got, expected] = (['cuda', 'cpu'] as const).map((device) => {
        const [x, weight] = [
          [size[0], size[1]],
          [size[2], size[1]],
        ].map((shape, i) =>
          placed(new Random(i).normals(shape[0] * shape[1]), dtype, shape, device).requiresGrad_(),
        );
        const mainGrad = isAdded ? sp.ones([size[2], size[1]], { device }) : undefined;
        const call = (workspaceBytes?: number) =>
          sp.linearCrossEntropy(x as never, weight as never, targetOf([...size], device), {
            mainGrad: mainGrad as never,
            workspaceBytes,
            softcap: isAdded ? undefined : 20,
          });
        const own = device === 'cpu' ? undefined : bytes === 'least' ? leastWorkspace(call) : bytes;
        call(own).backward();
        return [x.grad, mainGrad ?? weight.grad].map((t) => numbers(t as never));
      });
      for (const [k, values] of expected.entries()) {
        const limit = tolerance[dtype] * Math.max(...values.map(Math.abs));
        for (const [i, v] of values.entries())
          expect(Math.abs(got[k][i] - v)).toBeLessThanOrEqual(limit);
      }
    });

    test('one of the log-probabilities alone, none at all', () => {
      for (const which of ['logprob', 'lse', 'entropy'] as const)
        agrees('float32', inputsOf(sizes[0]).slice(0, 2), (x, weight, device) =>
          sp
            .linearLogprobs(x, weight, targetOf(sizes[0], device))
            [which].mul(which === 'lse' ? 0 : 1),
        );
      agrees('float32', inputsOf([4, 8, 3]).slice(0, 2), (x, weight, device) => {
        const target = sp.full([4], -100, { dtype: 'int32', device }) as never;
        return sp.linearCrossEntropy(x, weight, target, { reduction: 'sum' });
      });
    });

    test('a target that is left out of the classes, whose surprisal is infinite', () => {
      agrees('float32', inputsOf(sizes[0]), (x, weight, bias, device) => {
        const left = sp.tensor([0, -Infinity, 0], { device });
        const target = sp.full([sizes[0][0]], 1, { dtype: 'int32', device }) as never;
        return sp.linearLogprobs(x, weight, target, { bias: bias.add(left) as never }).lse;
      });
    });

    test('what is refused, in the words of the CPU', () => {
      const [rows, width, classes] = [4, 8, 3];
      const call = (ids: number[], weights: object, dtype: 'int32' | 'int64' = 'int32') => {
        return (device: 'cpu' | 'cuda') => {
          const [x, weight] = [
            [rows, width],
            [classes, width],
          ].map((shape) => sp.ones(shape, { device }));
          const list = (v: number[]) => sp.tensor(v, { device });
          const given = Object.entries(weights).map(([name, v]) => [name, list(v as number[])]);
          const target = sp.tensor(ids, { dtype, device }) as never;
          const options = Object.fromEntries(given);
          return sp.linearCrossEntropy(x as never, weight as never, target, options);
        };
      };
      refusedAlike([
        call([0, 1, 3, 2], {}),
        call([0, -1, 1, 2], {}, 'int64'),
        call([0, 1, 1, 2], { tokenWeight: [1, 1, Number.NaN, 1] }),
        call([0, 1, 1, 2], { classWeight: [1, -1, 1] }),
      ]);
    });
  });
});
