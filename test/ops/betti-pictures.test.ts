// What pictures of matchings and barcodes show where values are not finite or out of range.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';

test('pictures: what never dies, infinities, padding beyond the values', () => {
  const [a, b] = [sp.tensor([[0.25, 0.75, 0.5]]), sp.tensor([[1, 0, 0]])];
  // Points of the diagram: x from the panel's left on, y from its bottom up.
  const points = (svg: string) =>
    [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)" r="3"/g)].map(([, x, y]) => [
      Number(x) - (24 + 2 * (256 + 24)),
      24 + 256 - Number(y),
    ]);
  const sup = sp.bettiMatching(a, b, { essential: true });
  expect(points(sup.toSVG())).toEqual([
    [192, 0],
    [256, 0],
  ]);
  const sub = sp.bettiMatching(a, b, { essential: true, filtration: 'sublevel', padding: 2 });
  expect(points(sub.toSVG())).toContainEqual([64, 256]);
  const wall = sp.tensor([[1, -Infinity, 0.5, Infinity, 0]]);
  const zeros = sp.zeros([1, 5]);
  const options = { essential: true, padding: 9 } as const;
  for (const filtration of ['sublevel', 'superlevel'] as const) {
    const found = sp.bettiMatching(wall, zeros, { ...options, filtration });
    const bars = sp.persistenceBarcode(wall, { ...options, filtration });
    for (const svg of [found.toSVG(), bars.toSVG()]) expect(svg).not.toMatch(/NaN|Infinity/);
    for (const [x, y] of points(found.toSVG())) {
      expect(Math.min(x, y)).toBeGreaterThanOrEqual(0);
      expect(Math.max(x, y)).toBeLessThanOrEqual(256);
    }
  }
});

test('bars from birth to death, essential ones to the border, those of the target dashed', () => {
  const image = sp.tensor([[0.25, 0.75, 0.5, 1, 0]]);
  const linesOf = (svg: string) =>
    [...svg.matchAll(/<line class="bar" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)"[^>]*>/g)].map(
      ([all, x1, , x2]) => [Number(x1), Number(x2), all.includes('dash')],
    );
  // Panels of 256 pixels after gaps of 24: the second of a barcode, the fourth of a matching.
  const bars = sp.persistenceBarcode(image, { essential: true });
  const left = 24 + 256 + 24;
  expect(linesOf(bars.toSVG())).toEqual([
    [left + 256, left, false],
    [left + 128, left, false],
  ]);
  const two = sp.persistenceBarcode(image);
  expect(two.dims[0]!.birth).toHaveLength(1);
  expect(linesOf(two.toSVG())).toHaveLength(1);
  const target = sp.tensor([[0, 1, 0, 0, 1]]);
  const match = sp.bettiMatching(image, target);
  const dashed = linesOf(match.toSVG()).map(([, , isDashed]) => isDashed);
  const { matched, unmatchedPrediction, unmatchedTarget } = match.dims[0]!;
  const [n, p, t] = [
    matched.length / 4,
    unmatchedPrediction.length / 2,
    unmatchedTarget.length / 2,
  ];
  expect(dashed).toHaveLength(2 * n + p + t);
  expect(dashed.filter((isDashed) => isDashed)).toHaveLength(n + t);
  expect(linesOf(match.toSVG({ most: 0 }))).toEqual([]);
});
