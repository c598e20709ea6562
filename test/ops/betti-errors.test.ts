// What bad arguments of barcodes, Betti matchings and their loss get: an error of one form with a
// stable code, before anything is computed.
import { afterEach, describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { failureOf, refuser } from '../harness/refusal.js';

const image = sp.zeros([4, 5]);
const batch = sp.zeros([2, 1, 4, 5]);

// biome-ignore lint/suspicious/noExplicitAny: arguments that the types refuse
type Any = any;
const match =
  (...args: unknown[]) =>
  () =>
    (sp.bettiMatching as Any)(...args);
const many =
  (...args: unknown[]) =>
  () =>
    (sp.bettiMatchingBatch as Any)(...args);
const loss =
  (...args: unknown[]) =>
  () =>
    (sp.bettiMatchingLoss as Any)(...args);
const barcode =
  (...args: unknown[]) =>
  () =>
    (sp.persistenceBarcode as Any)(...args);

const refuses = refuser('bettiMatching');
const refusesBatch = refuser('bettiMatchingBatch');
const refusesLoss = refuser('bettiMatchingLoss');
const refusesBarcode = refuser('persistenceBarcode');

afterEach(() => {
  expect(sp.bettiMatchingLoss(batch, batch).item()).toBe(0);
});

describe('tensors', () => {
  test('shapes', () => {
    const failure = failureOf(match(image, sp.zeros([5, 4])));
    expect(failure.message).toBe(
      'bettiMatching: expected target to have shape [4, 5] (like prediction [4, 5]), got [5, 4]',
    );
    expect(failure.code).toBe('ERR_SHAPE');
    refuses(match(sp.zeros([]), sp.zeros([])), 'ERR_SHAPE', 'prediction', '1 to 3 axes');
    refuses(match(sp.zeros([1, 2, 3, 4]), image), 'ERR_SHAPE', 'prediction');
    refuses(match(sp.zeros([0, 4]), sp.zeros([0, 4])), 'ERR_SHAPE', 'at least one voxel');
    refusesBatch(many(image, image), 'ERR_SHAPE', /\[B, C, \.\.\.spatial\]/);
    refusesLoss(loss(image, image), 'ERR_SHAPE', /\[B, C, \.\.\.spatial\]/);
    refusesLoss(loss(batch, sp.zeros([2, 4, 6], { dtype: 'int32' })), 'ERR_SHAPE', 'class indices');
    refusesLoss(loss(batch, sp.zeros([2, 4, 5])), 'ERR_SHAPE', 'target');
    refusesBarcode(barcode(sp.zeros([3, 0])), 'ERR_SHAPE', 'at least one voxel');
  });

  test('dtypes', () => {
    const wide = sp.zeros([4, 5], { dtype: 'float64' });
    refuses(match(image, wide), 'ERR_DTYPE', 'prediction and target', 'float32', 'float64');
    const integers = sp.zeros([2, 1, 4, 5], { dtype: 'int32' });
    refusesLoss(loss(integers, batch), 'ERR_DTYPE', 'prediction');
    refuses(match([[1]], image), 'ERR_INVALID_TYPE', 'prediction');
    refusesBarcode(barcode(undefined), 'ERR_INVALID_TYPE', 'image');
  });

  test('class indices', () => {
    const scores = sp.zeros([2, 3, 4, 5]);
    const one = sp.zeros([2, 1, 4, 5]);
    for (const dtype of ['int32', 'int64', 'uint8'] as const) {
      const labels = (last: number) =>
        sp.tensor(
          Array.from({ length: 40 }, (_, i) => (i === 27 ? last : 0)),
          { shape: [2, 4, 5], dtype },
        );
      for (const bad of dtype === 'uint8' ? [3] : [3, -1]) {
        const words = ['target in [0, 3)', `${bad} at voxel 27`] as const;
        refusesBatch(many(scores, labels(bad)), 'ERR_OUT_OF_RANGE', ...words);
        refusesLoss(loss(scores, labels(bad)), 'ERR_OUT_OF_RANGE', ...words);
      }
      refusesBatch(many(one, labels(2)), 'ERR_OUT_OF_RANGE', '[0, 2)', '2 at voxel 27');
    }
  });

  test('the first NaN is named', () => {
    const values = new Float32Array(40);
    values[27] = values[33] = Number.NaN;
    const bad = sp.tensor(values, { shape: [2, 1, 4, 5] });
    const where = /NaN at \[1, 0, 1, 2\]/;
    refusesLoss(loss(bad, batch), 'ERR_INVALID_VALUE', 'prediction', where);
    refusesLoss(loss(batch, bad), 'ERR_INVALID_VALUE', 'target', where);
    refusesBatch(many(bad, batch), 'ERR_INVALID_VALUE', where);
    const one = sp.tensor(values.slice(20), { shape: [4, 5] });
    refuses(match(one, image), 'ERR_INVALID_VALUE', /NaN at \[1, 2\]/);
    refusesBarcode(barcode(one), 'ERR_INVALID_VALUE', 'image', /NaN at \[1, 2\]/);
    refusesLoss(loss(bad, batch, { fromLogits: true }), 'ERR_INVALID_VALUE', where);
  });

  test('asynchronous forms reject', async () => {
    const bad = sp.full([4, 5], Number.NaN);
    await expect(sp.bettiMatching.async(bad, image)).rejects.toThrow(/NaN at \[0, 0\]/);
    await expect(sp.persistenceBarcode.async(bad)).rejects.toThrow(/NaN at \[0, 0\]/);
    await expect(sp.bettiMatching.async(image, batch)).rejects.toThrow(/target/);
    const far = sp.full([2, 4, 5], 2, { dtype: 'int32' });
    await expect(sp.bettiMatchingBatch.async(batch, far)).rejects.toThrow(/2 at voxel 0/);
  });
});

describe('options', () => {
  test.each([
    [{ filtration: 'super' }, 'ERR_INVALID_VALUE', /'superlevel'/],
    [{ filtration: 'both' }, 'ERR_INVALID_VALUE', /filtration/],
    [{ filtraton: 'sublevel' }, 'ERR_UNKNOWN_OPTION', /did you mean 'filtration'/],
    [{ dims: [] }, 'ERR_INVALID_TYPE', /dims/],
    [{ dims: 1 }, 'ERR_INVALID_TYPE', /dims/],
    [{ dims: [2] }, 'ERR_INVALID_VALUE', /dims/],
    [{ dims: [0.5] }, 'ERR_INVALID_VALUE', /dims/],
    [{ dims: [1, 1] }, 'ERR_INVALID_VALUE', /each degree once, got \[1, 1\]/],
    [{ comparison: 'both' }, 'ERR_INVALID_VALUE', /comparison/],
    [{ imageBars: true }, 'ERR_INVALID_TYPE', /imageBars/],
    [{ padding: 'zero' }, 'ERR_INVALID_VALUE', /padding/],
    [{ padding: Number.NaN }, 'ERR_INVALID_VALUE', /padding/],
    [{ padding: null }, 'ERR_INVALID_TYPE', /padding/],
    [{ minLength: -1 }, 'ERR_INVALID_VALUE', /minLength/],
    [{ weights: 2 }, 'ERR_INVALID_TYPE', /weights/],
    [{ weights: { match: 2 } }, 'ERR_UNKNOWN_OPTION', /'matched'/],
    [{ weights: { matched: '2' } }, 'ERR_INVALID_TYPE', /weights\.matched/],
    [{ weights: { unmatchedTarget: -1 } }, 'ERR_INVALID_VALUE', /weights\.unmatchedTarget.*>= 0/],
    [{ pushUnmatchedTo: 'zero-one' }, 'ERR_INVALID_VALUE', /pushUnmatchedTo/],
    [{ cycles: 1 }, 'ERR_INVALID_TYPE', /cycles/],
    [{ essential: 1 }, 'ERR_INVALID_TYPE', /essential/],
    [{ threshold: 'half' }, 'ERR_INVALID_TYPE', /threshold/],
    [{ fromLogits: 'yes' }, 'ERR_INVALID_VALUE', /fromLogits.*'sigmoid'/],
    [{ fromLogits: 1 }, 'ERR_INVALID_TYPE', /fromLogits/],
    [{ signal: {} }, 'ERR_INVALID_TYPE', /signal/],
  ] as [Record<string, unknown>, string, RegExp][])('%j', (options, code, word) => {
    const [name] = Object.keys(options);
    refuses(match(image, image, options), code, word);
    if (name === 'cycles')
      refusesLoss(loss(batch, batch, options), 'ERR_UNKNOWN_OPTION', `got 'cycles'`);
    else if (options.filtration !== 'both') refusesLoss(loss(batch, batch, options), code, word);
    refusesBarcode(barcode(image, options), code, word);
  });

  test('barcodes, matchings and their loss take one set of options', () => {
    const shared = {
      comparison: 'intersection',
      imageBars: 'positive',
      weights: { matched: 2 },
      pushUnmatchedTo: 'one-zero',
      threshold: 0.25,
    } as const;
    const { matchingError } = sp.bettiMatching(image, image, shared);
    expect(matchingError).toBe(0);
    expect(sp.bettiMatchingBatch(batch, batch, shared)).toHaveLength(2);
    const { threshold, ...ofLoss } = shared;
    const value = (options: object) => sp.bettiMatchingLoss(batch, batch, options).item();
    expect(value(shared)).toBe(value(ofLoss));
    const noise = sp.rand([6, 7]);
    expect(sp.persistenceBarcode(noise, shared).dims).toEqual(sp.persistenceBarcode(noise).dims);
    expect(threshold).toBe(0.25);
  });

  test('the essential bar where no degree has one', () => {
    const options = { essential: true, dims: [1] };
    expect(sp.bettiMatching(image, image, options).matchingError).toBe(0);
    expect(sp.bettiMatchingLoss(batch, batch, options).item()).toBe(0);
    expect(sp.persistenceBarcode(image, options).dims).toEqual(
      sp.persistenceBarcode(image, { dims: [1] }).dims,
    );
  });

  test('reductions', () => {
    refusesLoss(loss(batch, batch, { reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
    refuses(match(image, image, { reduction: 'sum' }), 'ERR_UNKNOWN_OPTION', 'reduction');
  });
});
