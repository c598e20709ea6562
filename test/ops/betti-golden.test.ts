// Betti matching against cases made with the reference implementation: pairs to the index, losses,
// gradients and the metrics of masks.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { rows } from '../harness/betti.js';
import { expectWithin } from '../harness/compare.js';
import { inTurn } from '../harness/device.js';
import { gradOf, read } from '../harness/tensors.js';

interface Dim {
  matched: number[][];
  unmatched_pred: number[][];
  unmatched_target: number[][];
}

interface Golden {
  name: string;
  shape: number[];
  filtration: 'sublevel' | 'superlevel';
  pred: number[];
  target: number[];
  dims: Dim[];
  loss: number;
  loss_by_dim: number[];
  essential_term: number;
  loss_variants: Record<'weights_2_0p5' | 'length_threshold_0p1' | 'push_unmatched_to_1_0', number>;
  grad_pred: [number, number][];
  at_threshold_0p5: {
    betti_number_error_by_dim: number[];
    betti_matching_error_by_dim: number[];
  };
  positive_image_bars_only?: 'same' | { matched: number[][][]; loss: number };
}

const cases = [1, 2, 3].flatMap(
  (d) => JSON.parse(readFileSync(`test/golden/betti/betti-${d}d.json`, 'utf8')) as Golden[],
);

const total = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

describe.each(inTurn(cases, 1, 4).map((c) => [c.name, c] as const))('%s', (_, c) => {
  const { filtration } = c;
  const image = (values: number[], batch: number[] = []) =>
    sp.tensor(values, { dtype: 'float64', shape: [...batch, ...c.shape] });

  test('pairs and metrics', () => {
    const found = sp.bettiMatching(image(c.pred), image(c.target), { filtration });
    const lists = found.dims.map((d) => ({
      matched: rows(d!.matched, 4),
      unmatched_pred: rows(d!.unmatchedPrediction, 2),
      unmatched_target: rows(d!.unmatchedTarget, 2),
    }));
    const expected = c.dims.map(({ matched, unmatched_pred, unmatched_target }) => ({
      matched,
      unmatched_pred,
      unmatched_target,
    }));
    expect(lists).toEqual(expected);
    const { betti_matching_error_by_dim, betti_number_error_by_dim } = c.at_threshold_0p5;
    expect(found.matchingError).toBe(total(betti_matching_error_by_dim));
    expect(found.bettiNumberError).toBe(total(betti_number_error_by_dim));
  });

  test('the barcode of each input is what the matching lists', () => {
    for (const [values, first, alone] of [
      [c.pred, 0, 'unmatched_pred'],
      [c.target, 2, 'unmatched_target'],
    ] as const) {
      const { dims } = sp.persistenceBarcode(image(values), { filtration });
      for (const [k, bars] of dims.entries()) {
        const { birth, death, birthIndex, deathIndex } = bars!;
        const pairs = Int32Array.from({ length: 2 * birth.length }, (_, i) =>
          i % 2 ? deathIndex[i >> 1] : birthIndex[i >> 1],
        );
        const expected = [
          ...c.dims[k].matched.map((m) => m.slice(first, first + 2)),
          ...c.dims[k][alone],
        ];
        expect(rows(pairs, 2)).toEqual(rows(Int32Array.from(expected.flat()), 2));
        expect(Array.from(birth)).toEqual(Array.from(birthIndex, (i) => values[i]));
        expect(Array.from(death)).toEqual(Array.from(deathIndex, (i) => values[i]));
      }
    }
  });

  test('loss, its variants and its gradient', () => {
    const loss = (options: object) => {
      const p = image(c.pred, [1, 1]).requiresGrad_();
      const value = sp.bettiMatchingLoss(p, image(c.target, [1, 1]), { filtration, ...options });
      return { p, value };
    };
    const close = (options: object, expected: number) => {
      const { value } = loss(options);
      expectWithin(read(value), [expected], () => 1e-12 * Math.max(1, Math.abs(expected)), 'loss');
    };
    close({}, c.loss);
    for (const [k, part] of c.loss_by_dim.entries()) close({ dims: [k] }, part);
    close({ essential: true }, c.loss + c.essential_term);
    const weights = { matched: 2, unmatchedPrediction: 0.5 };
    close({ weights }, c.loss_variants.weights_2_0p5);
    close({ minLength: 0.1 }, c.loss_variants.length_threshold_0p1);
    close({ pushUnmatchedTo: 'one-zero' }, c.loss_variants.push_unmatched_to_1_0);
    const positive = c.positive_image_bars_only;
    if (positive) close({ imageBars: 'positive' }, positive === 'same' ? c.loss : positive.loss);
    const { p, value } = loss({});
    value.backward();
    const dense = new Float64Array(c.pred.length);
    for (const [voxel, slope] of c.grad_pred) dense[voxel] = slope;
    const largest = dense.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
    expectWithin(read(gradOf(p)), dense, () => 1e-12 * largest, 'gradient');
  });

  test('float32 finds the same pairs', () => {
    if (c.pred.concat(c.target).some((x) => Math.fround(x) !== x)) return;
    const narrow = (values: number[]) => sp.tensor(values, { shape: c.shape });
    const a = sp.bettiMatching(narrow(c.pred), narrow(c.target), { filtration });
    const b = sp.bettiMatching(image(c.pred), image(c.target), { filtration });
    expect(a.dims).toEqual(b.dims);
  });
});
