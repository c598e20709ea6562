// How the CUDA form cuts rows and classes so that its scratch memory fits a workspace.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';
import { largeCases, shapeCases } from '../cases/linear-cross-entropy.js';

const [float32, float64, float16, bfloat16] = [0, 1, 2, 3]; // DType in native/core/dtype.h
const mebi = 2 ** 20;

interface Problem {
  dtype?: number;
  rows: number;
  width: number;
  classes: number;
  budget?: number;
  sums?: boolean;
  dx?: boolean;
  dweight?: boolean;
  dbias?: boolean;
  adds?: boolean;
  filtered?: boolean;
  wgmma?: boolean;
  processors?: number;
  weight?: number; // address
}

function plan(problem: Problem) {
  const out = new Float64Array(13);
  const defaults = {
    dtype: bfloat16,
    budget: 256 * mebi,
    sums: false,
    classWeight: false,
    filtered: false,
  };
  const device = { wgmma: true, processors: 132, weight: 256 };
  const flags = { dx: false, dweight: false, dbias: false, adds: false };
  launch(native.linearCrossEntropyPlan, { ...defaults, ...device, ...flags, ...problem, out });
  const [minimum, wave, chunk, weightSweep, bytes, span, spans, wide, ...large] = out;
  return {
    minimum,
    wave,
    chunk,
    weightSweep: weightSweep === 1,
    bytes,
    span,
    spans,
    wide: wide === 1,
    /** Kernels of wgmma that take tiles of 256 x 256. */
    large: ['states', 'slopes', 'dx', 'dweight'].filter((_, i) => large[i] === 1),
    /** Rows whose exponentials forward keeps for backward. */
    stored: large[4],
  };
}

const llama = { rows: 8192, width: 4096, classes: 128256 };
const gemma = { rows: 8192, width: 2304, classes: 256000 };
const both = { dx: true, dweight: true };

test('spans follow from the number of classes alone', () => {
  for (const [classes, span, spans] of [
    [1, 512, 1],
    [512, 512, 1],
    [513, 512, 2],
    [50257, 512, 99],
    [65536, 512, 128],
    [65537, 768, 86],
    [128256, 1024, 126],
    [256000, 2048, 125],
    [2 ** 24, 131072, 128],
  ]) {
    for (const rows of [1, 8192])
      for (const dtype of [float32, bfloat16])
        expect(plan({ rows, width: 64, classes, dtype, sums: true })).toMatchObject({
          span,
          spans,
        });
  }
});

describe('the heads of the goals, in 256 MiB', () => {
  test.each([
    ['Llama 3', llama],
    ['Gemma 2', gemma],
  ])('%s: all rows at once, chunks that make whole products', (_, head) => {
    const { wave, chunk, weightSweep, bytes } = plan({ ...head, ...both });
    expect(wave).toBe(head.rows);
    expect(weightSweep).toBe(false);
    expect(chunk).toBeGreaterThanOrEqual(2048);
    expect(bytes).toBeLessThanOrEqual(256 * mebi);
  });

  test('the same with a filter', () => {
    for (const head of [llama, gemma]) {
      const { wave, chunk, weightSweep } = plan({ ...head, ...both, filtered: true });
      expect([wave, weightSweep]).toEqual([head.rows, false]);
      expect(chunk).toBeGreaterThanOrEqual(1024);
    }
  });

  test('the loss alone takes at most 32 MiB', () => {
    for (const head of [llama, gemma]) {
      const { wave, bytes } = plan({ ...head, sums: true });
      expect(bytes).toBeLessThanOrEqual(32 * mebi);
      expect(wave).toBeGreaterThanOrEqual(2048);
    }
  });
});

test('rows that do not fit come in waves, and dW in a sweep of its own where it cannot wait', () => {
  const large = { ...llama, rows: 65536 };
  const swept = plan({ ...large, ...both });
  expect(swept.wave).toBeLessThan(65536);
  expect(swept.weightSweep).toBe(true);
  expect(plan({ ...large, ...both, adds: true }).weightSweep).toBe(false);
  expect(plan({ ...large, ...both, dtype: float32 }).weightSweep).toBe(false);
  expect(plan({ ...large, dx: true }).weightSweep).toBe(false);
});

describe('wgmma', () => {
  const kernels = ['states', 'slopes', 'dx', 'dweight'];

  test('multiplies 16-bit rows of whole 16 bytes, whatever their number', () => {
    for (const rows of [1, 64, 8192])
      for (const dtype of [float16, bfloat16])
        expect(plan({ ...llama, ...both, rows, dtype }).wide).toBe(true);
    const others: Partial<Problem>[] = [
      { dtype: float32 },
      { dtype: float64 },
      { width: 4100 },
      { weight: 264 },
      { wgmma: false },
      { rows: 2 ** 31 },
    ];
    for (const other of others) expect(plan({ ...llama, ...both, ...other }).wide).toBe(false);
  });

  test('takes large tiles where they keep half of the processors busy', () => {
    for (const head of [llama, gemma])
      expect(plan({ ...head, sums: true, ...both }).large).toEqual(kernels);
    expect(plan({ ...llama, ...both, rows: 1024 }).large).toEqual(kernels);
    expect(plan({ ...llama, ...both, rows: 128 }).large).toEqual(['dweight']);
    expect(plan({ ...llama, ...both, width: 128 }).large).toEqual(['states', 'slopes']);
    expect(plan({ ...llama, ...both, classes: 128 }).large).toEqual(['dx']);
    expect(plan({ ...llama, ...both, wgmma: false }).large).toEqual([]);
  });

  test('multiplies some of the sizes of the tests', () => {
    const wide = shapeCases
      .map(({ shape: [rows], width, classes }) => ({ rows, width, classes }))
      .filter((shape) => shape.rows > 0 && plan({ ...shape, ...both }).wide);
    expect(wide.length).toBeGreaterThanOrEqual(3);
    expect(wide.some(({ rows, classes }) => rows % 64 && classes % 128)).toBe(true);
  });

  test.each(largeCases)(
    '%o are sizes of large tiles',
    ({ kernels: expected, rows, width, classes }) => {
      expect(plan({ rows, width, classes, ...both }).large).toEqual(expected);
    },
  );
});

describe('exponentials are kept from forward to backward', () => {
  const gibi = 1024 * mebi;
  const adds = { ...both, adds: true };
  const stored = (problem: Problem) => plan(problem).stored;

  test('of all rows where the workspace has room, by default of few', () => {
    expect(stored({ ...llama, ...both })).toBe(0);
    expect(stored({ ...llama, ...both, budget: 2.5 * gibi })).toBe(8192);
    expect(stored({ ...gemma, ...both, budget: 4.5 * gibi })).toBe(8192);
    expect(stored({ ...llama, ...both, rows: 700 })).toBe(700);
    expect(stored({ ...llama, ...both, rows: 1024, budget: 512 * mebi })).toBe(1024);
  });

  test('of part of the rows where dW can wait, or is not wanted', () => {
    const rows = stored({ ...llama, ...adds, budget: 2 * gibi });
    expect(rows).toBeGreaterThan(7000);
    expect(rows % 256).toBe(0);
    expect(stored({ ...llama, dx: true, budget: 2 * gibi })).toBeGreaterThan(7000);
    expect(stored({ ...llama, ...both, budget: 2 * gibi })).toBe(0);
    expect(stored({ ...llama, ...adds, budget: gibi })).toBe(0); // fewer than half
  });

  test('beside all that a backward needs that makes logits anew', () => {
    const few = { ...llama, rows: 256 };
    const { minimum } = plan({ ...few, ...both, budget: 0 });
    const bytes = 256 * (128256 * 2 + 501 * 4);
    expect(stored({ ...few, ...both, budget: minimum + bytes - 1 })).toBe(0);
    expect(stored({ ...few, ...both, budget: minimum + bytes })).toBe(256);
  });

  test('beside all that either direction needs', () => {
    for (const budget of [1.2, 1.5, 2, 2.3, 3].map((gibis) => gibis * gibi)) {
      const rows = stored({ ...llama, ...adds, budget });
      const kept = rows * (128256 * 2 + 501 * 4);
      for (const needs of [{ sums: true }, adds])
        expect(plan({ ...llama, ...needs, budget: 0 }).minimum + kept).toBeLessThan(budget);
    }
  });
});

test('any workspace from the minimum on is obeyed', () => {
  const wanted: Omit<Problem, 'rows' | 'width' | 'classes'>[] = [
    { sums: true },
    both,
    { ...both, dbias: true },
    { dx: true },
    { dweight: true },
    { ...both, adds: true },
    { ...both, dbias: true, filtered: true },
  ];
  for (const dtype of [float32, float64, float16, bfloat16])
    for (const [rows, width, classes] of [
      [0, 7, 5],
      [1, 1, 1],
      [193, 70, 517],
      [4096, 512, 50257],
    ])
      for (const wants of wanted) {
        const problem = { dtype, rows, width, classes, ...wants };
        const { minimum } = plan({ ...problem, budget: 0 });
        for (const budget of [minimum, minimum + 1, 2 * minimum, 64 * mebi + minimum]) {
          const { wave, chunk, bytes, span } = plan({ ...problem, budget });
          expect(bytes).toBeLessThanOrEqual(budget);
          expect(bytes).toBeGreaterThan(0);
          expect(wave % 128).toBe(0);
          expect(chunk % span).toBe(0);
          expect(Math.min(wave, chunk)).toBeGreaterThan(0);
        }
        expect(plan({ ...problem, budget: minimum - 1 }).bytes).toBe(0);
      }
});
