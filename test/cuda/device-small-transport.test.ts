// Every kernel of transport and distillation at the smallest sizes that take it, as in device-small.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { numbers } from '../harness/arrays.js';
import { agrees, placed, refusedAlike } from '../harness/beside-cpu.js';
import { needsCuda } from '../harness/device.js';
import { Random } from '../harness/random.js';
import type { FloatDType } from '../harness/rounding.js';

describe.skipIf(needsCuda('kernels at small sizes'))('small', () => {
  describe('emo', () => {
    const labels = (rows: number, width: number, device: 'cpu' | 'cuda') =>
      sp.tensor(
        Array.from({ length: rows }, (_, n) => (n % 5 === 3 ? -100 : (n * 7 + width - 1) % width)),
        { dtype: 'int32', device },
      );
    const constant = (shape: number[], dtype: FloatDType, device: 'cpu' | 'cuda') =>
      placed(new Random(7).normals(shape[0] * shape[1]), dtype, shape, device);

    test.each([9, 300, 9000])('of %d classes, cosines made', (width) => {
      const rows = width < 1100 ? 5 : 2;
      for (const dtype of ['float32', 'bfloat16'] as const) {
        for (const options of [
          { reduction: 'none', combination: 'emo2' },
          { reduction: 'mean', maxRatio: 3 },
        ] as const) {
          agrees(dtype, [{ shape: [rows, width] }], (x, device) => {
            const tokenWeight = sp.arange(rows, { device }).to('float32').add(0.5);
            const embedding = constant([width, 3], dtype, device);
            return sp.emo(x, labels(rows, width, device), { ...options, embedding, tokenWeight });
          });
        }
      }
    });

    test.each([
      ['float32', 'float32'],
      ['float32', 'bfloat16'],
      ['float32', 'float16'],
      ['bfloat16', 'bfloat16'],
      ['bfloat16', 'float32'],
      ['float16', 'float16'],
      ['float64', 'float64'],
    ] as const)('%s beside a table of %s', (dtype, tableDType) => {
      for (const width of [37, 40]) {
        agrees(dtype, [{ shape: [5, width] }, { shape: [5], map: Math.abs }], (x, w, device) => {
          const cosines = constant([width, width], tableDType, device).mul(0.2);
          const target = labels(5, width, device);
          return sp.emo(x, target, { cosines, tokenWeight: w, combination: 'emo' });
        });
      }
    });

    test('of more rows than have their cosines at once', () => {
      agrees('float32', [{ shape: [1100, 5] }], (x, device) =>
        sp.emo(x, labels(1100, 5, device), { embedding: constant([5, 2], 'float32', device) }),
      );
    });
  });

  describe('uld', () => {
    // A small block and a larger one; rows that differ, whose bins have their sign, and rows of many
    // equal elements, which are sorted.
    test.each([
      [40, 33],
      [300, 1200],
    ])('%d against %d classes', (v, u) => {
      const inputs = [{ shape: [3, v] }, { shape: [3], map: Math.abs }];
      for (const [dtype, by] of [
        ['float32', 3],
        ['float64', 0.5],
        ['bfloat16', 0.01],
      ] as const) {
        agrees(dtype, inputs, (x, w, device) => {
          const teacher = placed(new Random(7).normals(3 * u), dtype, [3, u], device).mul(by);
          return sp.uldLoss(x, teacher as never, { tokenWeight: w, temperature: 0.7 });
        });
      }
    });
  });

  describe('sinkd', () => {
    const against = (shape: number[], dtype: FloatDType, device: 'cpu' | 'cuda') => {
      const size = shape.reduce((a, b) => a * b, 1);
      return placed(new Random(7).normals(size), dtype, shape, device) as never;
    };
    // Several tiles of rows and classes, strips of classes; several problems.
    test.each([
      ['float32', [70, 90], 'mean', 0.1],
      ['float64', [2, 5, 1100], 'none', 0.3],
      ['bfloat16', [2, 5, 70], 'sum', 0.1],
      // By logarithms.
      ['float64', [3, 40, 9], 'mean', 0.005],
    ] as const)('%s %o, %s, lambda %d', (dtype, shape, reduction, lambda) => {
      const gradients = lambda === 0.3 ? (['detached'] as const) : (['unrolled'] as const);
      for (const gradient of gradients) {
        agrees(dtype, [{ shape: [...shape] }], (x, device) =>
          sp.sinkd(x, against([...shape], dtype, device), {
            reduction,
            lambda,
            gradient,
            iterations: 3,
          }),
        );
      }
    });

    test('more rows than shared memory holds, some left out', () => {
      agrees('float64', [{ shape: [180, 3] }], (x, device) =>
        sp.sinkd(x, against([180, 3], 'float64', device), {
          iterations: 1,
          mask: sp.arange(180, { device }).gt(2),
        }),
      );
    });
  });

  describe('sinkhorn-knopp', () => {
    // A thread each, also behind an address of 16 bytes; lanes; a block; two, which wait for each
    // other; in scratch memory.
    test.each([
      [[5, 4, 4], {}],
      [[3, 2, 4], { last: 'rows' }],
      [[9, 7, 5], {}],
      [[2, 30, 20], { last: 'rows' }],
      [[2, 3, 50], { iterations: 2 }],
      [[2, 40, 6], { iterations: 2, last: 'rows' }],
      [[3, 17, 3860], { iterations: 1 }],
      [[1, 512, 129], { iterations: 1, last: 'rows' }],
    ] as [number[], sp.SinkhornKnoppOptions][])('%j %j', (shape, options) => {
      const run = (x: sp.Tensor) => sp.sinkhornKnopp(x as never, { iterations: 3, ...options });
      const size = shape[1] * shape[2];
      for (const dtype of size > 1000 ? (['float32'] as const) : (['float64', 'bfloat16'] as const))
        agrees(dtype, [{ shape, shifted: true }], run, true);
      if (size < 1000) agrees('float32', [{ shape }], run);
    });

    // Every second matrix has an entry that is no number, in one thread's share of it.
    test.each([
      [4, 3, 3],
      [4, 9, 7],
      [4, 30, 20],
      [4, 40, 6],
    ])('entries that are no numbers, %j', (...shape) => {
      const size = shape[1] * shape[2];
      const [expected, got] = (['cpu', 'cuda'] as const).map((device) => {
        const values = new Random(1).normals(shape[0] * size);
        for (const b of [1, 3]) values[b * size] = Number.POSITIVE_INFINITY;
        const x = placed(values, 'float32', shape, device);
        return numbers(sp.sinkhornKnopp(x as never, { iterations: 2 }));
      });
      expect(got.map(Number.isNaN)).toEqual(expected.map(Number.isNaN));
      expect(expected.filter(Number.isNaN)).toHaveLength(2 * size);
    });
    test('one entry that is far larger than all others', () => {
      const far = Array.from({ length: 240 }, (_, i) => (i === 0 ? 100 : 0));
      agrees('float32', [{ shape: [1, 40, 6] }], (x, device) =>
        sp.sinkhornKnopp(x.add(sp.tensor(far, { device }).reshape([1, 40, 6])), { iterations: 2 }),
      );
    });
    test('sums that are refused, in the words of the CPU', () => {
      refusedAlike(
        [0, 255, 256, 299].map((place) => (device) => {
          const rows = Array.from({ length: 300 }, (_, i) => (i === place ? -1 : 1));
          const x = sp.ones([300, 1], { device });
          return sp.sinkhornKnopp(x as never, { rows: sp.tensor(rows, { device }) } as never);
        }),
      );
    });
  });

  describe('emd1d', () => {
    const unit = (w: sp.Tensor) => w.div(w.sum({ dim: -1, keepDim: true }));
    // Tiles that are merged once and more often, a warp for each of few points.
    test.each([
      [
        [2, 2300],
        [2, 9],
      ],
      [
        [1, 30],
        [1, 8200],
      ],
    ])('sorted, %j and %j', (x, y) => {
      for (const dtype of ['float64', 'bfloat16'] as const)
        agrees(dtype, [{ shape: x }, { shape: y }], (p, q) => sp.emd1d(p, q, { p: 1 }));
    });
    test.each([1, 2, 2.5])('slopes and potentials, p %d', (p) => {
      const positive = (x: number) => Math.abs(x) + 0.1;
      agrees(
        'float32',
        [
          { shape: [2, 40, 9] },
          { shape: [2, 33, 9] },
          { shape: [2, 40], map: positive },
          { shape: [2, 33], map: positive },
        ],
        (x, y, a, b) =>
          sp.slicedWasserstein(x, y, { p, projections: 11, seed: 3, a: unit(a), b: unit(b) }),
      );
    });
    test('more lines than are in work at once', () => {
      agrees('float32', [{ shape: [3, 2] }, { shape: [2, 2] }, { shape: [3] }], (x, y, w) =>
        sp.slicedWasserstein(x, y, { projections: 300, seed: 1, a: unit(w.exp()) }),
      );
    });
  });
});
