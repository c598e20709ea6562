// Every kernel at the smallest sizes that take it, beside the CPU's results for the same numbers:
// what shows most mistakes of a kernel in little time. The tests of test/ops are the full ones.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { numbers } from '../harness/arrays.js';
import { agrees, placed, tolerance } from '../harness/beside-cpu.js';
import { drawn, expectEqual, valley } from '../harness/betti-device.js';
import { needsCuda } from '../harness/device.js';
import { Random } from '../harness/random.js';

describe.skipIf(needsCuda('kernels at small sizes'))('small', () => {
  describe('matmul', () => {
    test.each([
      ['float32', 70, 20, 66],
      ['float64', 17, 33, 9],
      ['bfloat16', 72, 136, 136],
      ['float16', 17, 33, 9],
      // More steps than the ring has stages.
      ['bfloat16', 8, 456, 16],
    ] as const)('%s', (dtype, m, k, n) => {
      for (const transposeB of [false, true]) {
        const b = transposeB ? [n, k] : [k, n];
        agrees(dtype, [{ shape: [m, k] }, { shape: b }], (x, y) =>
          sp.matmul(x, y, { transposeB }).mul(0.1),
        );
      }
    });

    // Operands whose rows or whose columns lie side by side, more tiles than clusters at once.
    test.each([
      [[136, 24], [300, 24], { transposeB: true }],
      [[24, 136], [24, 300], { transposeA: true }],
      [[5, 136, 64], [5, 64, 136], {}],
    ])('by clusters of blocks, %o %o %o', (a, b, options) => {
      agrees('bfloat16', [{ shape: a }, { shape: b }], (x, y) => sp.matmul(x, y, options).mul(0.1));
    });

    test('of more tiles than are computed at once', () => {
      agrees('bfloat16', [{ shape: [270, 8, 16] }, { shape: [270, 16, 8] }], (x, y) =>
        sp.matmul(x, y),
      );
    });

    // Gradients of weights may add to what is there; a long sum is taken in parts.
    test.each([
      ['float32', 40],
      ['bfloat16', 40],
      ['bfloat16', 4104],
    ] as const)('adds to the result, %s, %d terms', (dtype, k) => {
      const results = (['cpu', 'cuda'] as const).map((device) => {
        const [a, b, out] = [3 * k, 8 * k, 24].map((size, i) =>
          placed(new Random(i).normals(size), dtype, [size], device),
        );
        const sizes = { m: 3, n: 8, k, batch: 1, transposeA: false, transposeB: true };
        launch(native.matmul, { a: a.raw, b: b.raw, out: out.raw, ...sizes, accumulate: true });
        return numbers(out);
      });
      const size = Math.max(...results[0].map(Math.abs));
      for (const [i, x] of results[1].entries())
        expect(Math.abs(x - results[0][i])).toBeLessThanOrEqual(tolerance[dtype] * size);
    });
  });

  describe('reduce', () => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      test.each([
        [[5, 33], 1],
        [[2, 3000], 1],
        [[200, 12], 0],
        [[40_000, 2], 0],
        [[3, 40, 5], 1],
        [[10_000], 0],
      ] as [number[], number][])(`${dtype}, %j over %d`, (shape, dim) => {
        agrees(dtype, [{ shape }], (x) => x.mean({ dim }));
        agrees(dtype, [{ shape }], (x) => x.logsumexp({ dim }));
        agrees(dtype, [{ shape, map: (x) => 300 * x }], (x) => x.logsumexp({ dim }));
        agrees(dtype, [{ shape }], (x) => x.max({ dim }));
        agrees(dtype, [{ shape }], (x) => x.var({ dim }));
        agrees(dtype, [{ shape }], (x) => x.norm({ dim }));
      });
    }
  });

  // Lanes of a warp, a warp, a block in registers, a block in shared memory, a cluster.
  const widths = [9, 300, 1023, 2500, 20_000];
  const rowsOf = (width: number) => (width < 1100 ? 5 : 2);

  describe('cross-entropy', () => {
    test.each(widths)('of %d classes', (width) => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        const rows = rowsOf(width);
        for (const options of [
          { reduction: 'none' },
          { reduction: 'mean' },
          { reduction: 'none', labelSmoothing: 0.1, zLoss: 0.01 },
          { reduction: 'sum', labelSmoothing: 0.1, softcap: 3 },
        ] as const) {
          agrees(dtype, [{ shape: [rows, width] }], (x, device) => {
            const ids = [0, width - 1, 1, -100, 3].slice(0, rows);
            const target = sp.tensor(ids, { dtype: 'int32', device });
            return sp.crossEntropy(x, target as never, options);
          });
        }
      }
    });

    test.each(widths)('of probabilities of %d classes', (width) => {
      const shape = [2, width];
      agrees('float32', [{ shape }, { shape }], (x, y) => sp.crossEntropy(x, sp.softmax(y)));
    });

    test('weights of classes and probabilities beside rows that shift', () => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        agrees(dtype, [{ shape: [3, 1023] }], (x, device) => {
          const target = sp.tensor([5, 0, 1022], { dtype: 'int32', device }) as never;
          const classWeight = sp.arange(1023, { device }).div(500) as never;
          return sp.crossEntropy(x, target, { classWeight, labelSmoothing: 0.2 });
        });
        agrees(dtype, [{ shape: [3, 1023] }], (x, device) => {
          const values = new Random(3).normals(3 * 1023);
          const target = sp.softmax(placed(values, 'float32', [3, 1023], device) as never);
          return sp.crossEntropy(x, target as never);
        });
      }
    });

    test('far from the cap, both ways; rows that blocks share parts of; many rows', () => {
      for (const [rows, width, options] of [
        [3, 40, { softcap: 0.05 }],
        [3, 40, { softcap: 1e5 }],
        [1, 50_000, {}],
        [1, 50_000, { labelSmoothing: 0.1 }],
        [8200, 3, {}],
      ] as [number, number, object][]) {
        agrees('float32', [{ shape: [rows, width] }], (x, device) => {
          const ids = Array.from({ length: rows }, (_, i) => i % 3);
          const target = sp.tensor(ids, { dtype: 'int32', device });
          return sp.crossEntropy(x, target as never, options);
        });
      }
    });
  });

  describe('softmax', () => {
    test('of more columns than a cluster holds, in more parts than a warp has lanes', () => {
      agrees('float64', [{ shape: [1, 140_000], map: (x) => 3 * x }], (x) => sp.softmax(x));
    });

    test('of a gradient that lies otherwise against 16 bytes', () => {
      agrees('bfloat16', [{ shape: [3, 400] }], (x) => sp.softmax(x), true);
    });

    test.each(widths)('of %d', (width) => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        const shape = [rowsOf(width), width];
        agrees(dtype, [{ shape }], (x) => sp.softmax(x));
        agrees(dtype, [{ shape }], (x) => sp.logSoftmax(x));
      }
    });
    test('along another axis', () => {
      agrees('float32', [{ shape: [2, 50, 7] }], (x) => sp.softmax(x, { dim: 1 }));
      // More than a block's threads hold.
      agrees('float32', [{ shape: [1, 5000, 3] }], (x) => sp.softmax(x, { dim: 1 }));
    });
  });

  describe('divergence', () => {
    test('of float64; of rows that weigh nothing', () => {
      const inputs = [{ shape: [3, 40] }, { shape: [3, 40] }];
      for (const kind of ['kl', 'jensenShannon'] as const)
        agrees('float64', inputs, (x, y) => sp.divergence(x, y, { kind }));
      agrees('float32', inputs, (x, y, device) =>
        sp.divergence(x, y, { tokenWeight: sp.zeros([3], { device }) }),
      );
    });

    test('of more rows than a block adds up', () => {
      const shape = [8500, 2];
      agrees('float32', [{ shape }, { shape }, { shape: [8500], map: Math.abs }], (x, y, w) =>
        sp.divergence(x, y, { tokenWeight: w }),
      );
    });

    test('of more columns than a cluster holds, in more parts than a warp has lanes', () => {
      agrees('float64', [{ shape: [1, 140_000] }], (x) =>
        sp.divergence(x, x.detach().mul(-0.5), { reduction: 'sum' }),
      );
    });

    // The student's gradient of a mean or a sum is made in forward.
    test.each(widths)("of %d classes, the student's gradient", (width) => {
      const rows = rowsOf(width);
      for (const dtype of ['float32', 'bfloat16'] as const) {
        for (const reduction of ['mean', 'sum'] as const) {
          agrees(dtype, [{ shape: [rows, width] }], (x, device) => {
            const tokenWeight = sp.arange(rows, { device }).to('float32');
            return sp.divergence(x, x.detach().neg(), { reduction, tokenWeight, temperature: 2 });
          });
        }
        const [cpu, cuda] = (['cpu', 'cuda'] as const).map((device) => {
          const values = new Random(4).normals(rows * width);
          const x = placed(values, dtype, [rows, width], device).requiresGrad_();
          const loss = sp.divergence(x, x.detach().neg(), { kind: 'reverseKl' });
          loss.backward(undefined, { retainGraph: true });
          loss.backward();
          return numbers(x.grad as never);
        });
        const largest = Math.max(...cpu.map(Math.abs));
        for (const [i, g] of cuda.entries())
          expect(Math.abs(g - cpu[i])).toBeLessThanOrEqual(tolerance[dtype] * largest);
      }
    });

    test.each(widths)('of %d classes', (width) => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        const shape = [rowsOf(width), width];
        for (const options of [
          { reduction: 'none' },
          { reduction: 'mean', kind: 'jensenShannon' },
        ] as const) {
          agrees(dtype, [{ shape }, { shape }], (x, y) => sp.divergence(x, y, options));
        }
      }
    });
  });

  describe('norm', () => {
    test('of more columns than a cluster holds, in more parts than a warp has lanes', () => {
      agrees('float64', [{ shape: [1, 140_000] }, { shape: [140_000] }], (x, weight) =>
        sp.layerNorm(x, { weight }),
      );
    });

    test.each(widths)('of %d', (width) => {
      for (const dtype of ['float32', 'bfloat16'] as const) {
        const inputs = [{ shape: [rowsOf(width), width] }, { shape: [width] }, { shape: [width] }];
        agrees(dtype, inputs, (x, weight, bias) => sp.layerNorm(x, { weight, bias }));
        agrees(dtype, inputs.slice(0, 2), (x, weight) => sp.rmsNorm(x, { weight }));
        const shifted = { shape: [2, width], shifted: true };
        agrees(dtype, [shifted, inputs[1]], (x, weight) => sp.rmsNorm(x, { weight }));
      }
    });

    test('of what lies anywhere against 16 bytes', () => {
      for (const dtype of ['float32', 'bfloat16'] as const)
        for (const [rows, width] of [
          [40, 512],
          [3, 1023],
        ]) {
          const inputs = [[rows, width], [width], [width]].map((shape) => ({
            shape,
            shifted: true,
          }));
          const run = (...t: sp.Tensor[]) =>
            sp.layerNorm(t[0] as never, { weight: t[1], bias: t[2] } as never);
          agrees(dtype, inputs, run, true);
          agrees(dtype, [{ shape: [rows, width] }, ...inputs.slice(1)], run);
        }
    });
  });

  describe('betti-matching', () => {
    test.each([
      { reduction: 'none' },
      { comparison: 'intersection', padding: 'minmax', dims: [0] },
      { filtration: 'both', imageBars: 'positive', essential: true, padding: 0.5 },
      { filtration: 'sublevel', pushUnmatchedTo: 'one-zero', minLength: 0.3, reduction: 'sum' },
      { comparison: 'intersection', weights: { unmatchedTarget: 3 }, dims: [1] },
    ] as sp.BettiMatchingLossOptions[])('%j', (options) => {
      expectEqual(drawn([2, 1, 9, 17], 5), options, 'float32');
      expectEqual(drawn([1, 2, 20, 6], 1e6), options, 'float64');
      if (!options.dims) expectEqual(drawn([3, 1, 40], 9), options, 'float32');
    });
    // Where there is less shared memory lists lie in scratch memory; volumes are for the host.
    test('large, larger, smallest', () => {
      expectEqual(drawn([1, 1, 64, 64], 5), {}, 'float32');
      expectEqual(drawn([2, 1, 3, 4, 5], 9), { reduction: 'none' }, 'float32', false);
      expectEqual(valley, {}, 'float32');
    });
  });
});
