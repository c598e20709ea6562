// Representative cycles of bars: cycles by their boundary, born and dead when their bars are.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { drawPair } from '../cases/betti-matching.js';
import { Random } from '../harness/random.js';
import { boundaryOf, cellsIn, cellsOf, deathOf, type Field, levelOf } from '../reference/cycles.js';

/** A cycle of the bar from birth to death, values as the sublevel filtration has them. */
function checkCycle(field: Field, cycle: Int32Array, k: number, birth: number, death: number) {
  const cells = cellsIn(cycle, k);
  const all = new Set(cellsOf(field, k));
  expect(new Set(cells).size, 'a cell twice').toBe(cells.length);
  for (const cell of cells) expect(all.has(cell), `${k}-cell ${cell}`).toBe(true);
  if (k === 0) expect(cells).toHaveLength(2);
  else expect(boundaryOf(cells, k).size).toBe(0);
  expect(Math.max(...cells.map((cell) => levelOf(field, cell)))).toBe(birth);
  expect(deathOf(field, cells, k)).toBe(death);
}

function checkBarcode(field: Field, filtration: 'sublevel' | 'superlevel') {
  const sign = filtration === 'sublevel' ? 1 : -1;
  const values = Float64Array.from(field.values, (x) => sign * x);
  const image = sp.tensor(values, { shape: field.shape, dtype: 'float64', device: 'cpu' });
  const { dims } = sp.persistenceBarcode(image, { filtration, cycles: true });
  let count = 0;
  for (const [k, bars] of dims.entries()) {
    expect(bars!.cycles).toHaveLength(bars!.birth.length);
    for (const [i, cycle] of bars!.cycles!.entries()) {
      checkCycle(field, cycle, k, sign * bars!.birth[i], sign * bars!.death[i]);
      count++;
    }
  }
  return count;
}

describe.each([1, 2, 3])('%d axes', (axes) => {
  test('cycles of random images', () => {
    let count = 0;
    for (let seed = 0; seed < [0, 20, 30, 24][axes]; seed++) {
      const { shape, prediction } = drawPair(new Random(100 * axes + seed), axes);
      if (prediction.some((x) => !Number.isFinite(x))) continue;
      count += checkBarcode(
        { shape, values: prediction },
        seed % 2 === 0 ? 'sublevel' : 'superlevel',
      );
    }
    expect(count).toBeGreaterThan(50);
  });
});

test('long loops and cavities of a volume', () => {
  const random = new Random(5);
  const shape = [6, 6, 6];
  const values = random.fill(216, () => random.integer(300) / 300);
  expect(checkBarcode({ shape, values }, 'sublevel')).toBeGreaterThan(60);
});

describe('the cycles of a matching', () => {
  const random = new Random(9);
  const shape = [4, 5, 4];
  const [a, b] = [0, 1].map(() => random.fill(80, () => random.integer(40) / 40));
  const images = [a, b].map((v) => sp.tensor(v, { shape, dtype: 'float64', device: 'cpu' }));
  const fields = [a, b].map((v): Field => ({ shape, values: v.map((x) => -x) }));

  test.each(['union', 'intersection'] as const)('%s', (comparison) => {
    const { dims } = sp.bettiMatching(images[0], images[1], { comparison, cycles: true });
    for (const [k, { matched, unmatchedPrediction, unmatchedTarget, cycles }] of dims
      .map((d) => d!)
      .entries()) {
      const check = (side: number, cycle: Int32Array, birth: number, death: number) => {
        const { values } = fields[side];
        checkCycle(fields[side], cycle, k, values[birth], values[death]);
      };
      for (const [i, both] of cycles!.matched.entries())
        for (const side of [0, 1])
          check(side, both[side], matched[4 * i + 2 * side], matched[4 * i + 2 * side + 1]);
      const alone = [unmatchedPrediction, unmatchedTarget];
      for (const [side, list] of [cycles!.unmatchedPrediction, cycles!.unmatchedTarget].entries()) {
        expect(list).toHaveLength(alone[side].length / 2);
        for (const [i, cycle] of list.entries())
          check(side, cycle, alone[side][2 * i], alone[side][2 * i + 1]);
      }
    }
  });

  test('lists shortened, padded and essential', async () => {
    const options = { cycles: true, minLength: 0.3, essential: true } as const;
    const { dims } = sp.persistenceBarcode(images[0], options);
    expect(dims).toEqual((await sp.persistenceBarcode.async(images[0], options)).dims);
    const [bars, loops] = dims;
    expect(Array.from(bars!.cycles!.at(-1)!)).toEqual([bars!.birthIndex.at(-1)]);
    for (const [i, cycle] of loops!.cycles!.entries())
      checkCycle(fields[0], cycle, 1, -loops!.birth[i], -loops!.death[i]);
    const batch = images.map((t) => sp.reshape(t, [2, 2, 4, 5]));
    const many = sp.bettiMatchingBatch(batch[0], batch[1], { cycles: true, padding: 1 });
    const one = sp.bettiMatching(
      sp.tensor(a.slice(60), { shape: [4, 5], dtype: 'float64', device: 'cpu' }),
      sp.tensor(b.slice(60), { shape: [4, 5], dtype: 'float64', device: 'cpu' }),
      { cycles: true, padding: 1 },
    );
    expect(many[3].dims).toEqual(one.dims);
    expect(many[3].toSVG().match(/<line/g)!.length).toBeGreaterThan(
      sp.bettiMatchingBatch(batch[0], batch[1], { padding: 1 })[3].toSVG().match(/<line/g)!.length,
    );
  });

  test('a ring', () => {
    const ring = [
      [1, 1, 1],
      [1, 0, 1],
      [1, 1, 1],
    ];
    const { dims } = sp.persistenceBarcode(sp.tensor(ring), { cycles: true });
    const edges = cellsIn(dims[1]!.cycles![0], 1);
    expect(edges).toEqual(['0 3', '0 1', '1 2', '2 5', '3 6', '5 8', '6 7', '7 8']);
  });
});
