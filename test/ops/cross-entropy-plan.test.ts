// Launch decisions of crossEntropy on CUDA: where a row is kept, by how many threads and blocks.
import { describe, expect, test } from 'vitest';
import { launch, native } from '../../src/native.js';

const [float32, float64, float16, bfloat16] = [0, 1, 2, 3]; // DType in native/core/dtype.h
const bytesOf = [4, 8, 2, 2];
const [registers, shared, split] = [0, 1, 2];
const most = { 80: 166912, 90: 232448 }; // shared memory that a block may have

interface Problem {
  classes: number;
  rows?: number;
  dtype?: number;
  arch?: 80 | 90;
  plain?: boolean;
}

function plan(problem: Problem) {
  const out = new Float64Array(8);
  const defaults = { rows: 8192, dtype: bfloat16, arch: 90, plain: true };
  launch(native.crossEntropyPlan, { ...defaults, ...problem, out });
  const [storage, threads, lanes, slotsEach, cluster, parts, bytes, rowsEach] = out;
  return { storage, threads, lanes, slotsEach, cluster, parts, bytes, rowsEach };
}

const all: Required<Problem>[] = [];
for (const classes of [
  1, 31, 256, 257, 1000, 4096, 4097, 4099, 32000, 36864, 50257, 128256, 256000,
])
  for (const dtype of [float32, float64, float16, bfloat16])
    for (const arch of [80, 90] as const)
      for (const plain of dtype === float64 ? [false] : [true, false])
        all.push({ classes, rows: 8192, dtype, arch, plain });
for (const classes of [600_001, 1_000_000, 3_000_017])
  for (const arch of [80, 90] as const)
    all.push({ classes, rows: 3, dtype: bfloat16, arch, plain: true });

/** 16-byte slots of a row's columns. */
const slotsOf = ({ classes, dtype }: Required<Problem>) =>
  Math.ceil((classes * bytesOf[dtype]) / 16);
/** Those that it fills. */
const wholeSlots = ({ classes, dtype }: Required<Problem>) =>
  Math.floor((classes * bytesOf[dtype]) / 16);

test.each(all)('every slot of a row has a place: $classes, dtype $dtype, sm_$arch', (problem) => {
  const p = plan(problem);
  if (p.storage === registers) {
    expect(problem.plain).toBe(true);
    expect(p.lanes * p.slotsEach).toBeGreaterThanOrEqual(wholeSlots(problem));
    return;
  }
  const blocks = p.cluster * p.parts;
  const part = blocks === 1 ? wholeSlots(problem) : Math.ceil(slotsOf(problem) / blocks);
  expect(p.threads * p.slotsEach).toBeGreaterThanOrEqual(part);
  expect(p.slotsEach % 4).toBe(0); // by chunks of copies in flight
  // Behind each 32 slots is one that neighbouring lanes need where rows shift.
  expect(p.bytes).toBeGreaterThanOrEqual(16 * (part + Math.floor(part / 32) + 1));
  expect(p.bytes + 1024).toBeLessThanOrEqual(most[problem.arch]);
  expect(p.threads).toBeLessThanOrEqual(256);
  expect(p.threads % 32).toBe(0);
  expect(p.rowsEach).toBeGreaterThanOrEqual(1);
  if (problem.arch === 80) expect(p.cluster).toBe(1);
  if (p.storage === shared) expect(p.parts).toBe(1);
  else expect(p.cluster).toBe(1);
});

describe('bfloat16 on an H100', () => {
  const at = (classes: number, rest: object = {}) => plan({ classes, ...rest });

  test('short rows are held in registers', () => {
    expect(at(1)).toMatchObject({ storage: registers, lanes: 8, slotsEach: 4 });
    expect(at(31)).toMatchObject({ storage: registers, lanes: 8 });
    expect(at(256)).toMatchObject({ storage: registers, lanes: 8 });
    expect(at(257)).toMatchObject({ storage: registers, lanes: 8 });
    expect(at(264)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 4 });
    expect(at(1000)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 4 });
    expect(at(1024)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 4 });
    expect(at(1032)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 12 });
    expect(at(3072)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 12 });
  });

  test('what is left beyond whole slots is not kept', () => {
    expect(at(263)).toMatchObject({ storage: registers, lanes: 8 });
    expect(at(3079)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 12 });
    expect(at(3080)).toMatchObject({ storage: shared });
  });

  test('up to 72 KiB a block has a row, and three blocks a multiprocessor', () => {
    expect(at(4096)).toMatchObject({ storage: shared, cluster: 1, threads: 128, slotsEach: 4 });
    expect(at(4099)).toMatchObject({ storage: shared, cluster: 1, threads: 128 });
    expect(at(8192)).toMatchObject({ storage: shared, cluster: 1, threads: 128 });
    expect(at(8200)).toMatchObject({ storage: shared, cluster: 1, threads: 256 });
    expect(at(36736)).toMatchObject({ storage: shared, cluster: 1, bytes: 16 * 4736 });
    expect(3 * (at(36736).bytes + 2048)).toBeLessThanOrEqual(233472);
  });

  test('longer rows have clusters', () => {
    expect(at(36744)).toMatchObject({ storage: shared, cluster: 2 });
    expect(at(50257)).toMatchObject({ storage: shared, cluster: 2 });
    expect(at(128256)).toMatchObject({ storage: shared, cluster: 4, slotsEach: 16 });
    expect(at(256000)).toMatchObject({ storage: shared, cluster: 8, slotsEach: 16 });
    expect(at(600000)).toMatchObject({ storage: shared, cluster: 8 });
    for (const classes of [50257, 128256, 256000])
      expect(3 * (at(classes).bytes + 1024)).toBeLessThanOrEqual(233472);
  });

  test('what no cluster holds is split', () => {
    expect(at(890_000)).toMatchObject({ storage: shared, cluster: 8 });
    expect(at(1_000_000)).toMatchObject({ storage: split, cluster: 1, parts: 31 });
  });
});

test('without clusters rows beyond a block are split', () => {
  expect(plan({ classes: 80_000, arch: 80 })).toMatchObject({ storage: shared, cluster: 1 });
  expect(plan({ classes: 128_256, arch: 80 })).toMatchObject({ storage: split, parts: 4 });
});

test('wider elements: half as many in a slot, and fewer slots in registers', () => {
  const wide = (classes: number) => plan({ classes, dtype: float32 });
  expect(wide(128)).toMatchObject({ storage: registers, lanes: 8 });
  expect(wide(1024)).toMatchObject({ storage: registers, lanes: 32, slotsEach: 8 });
  expect(wide(1028)).toMatchObject({ storage: shared, threads: 128 });
  expect(wide(128_256)).toMatchObject({ storage: shared, cluster: 8 });
});

test('other losses are never in registers; a few slots take a small block', () => {
  for (const [classes, threads] of [
    [10, 32],
    [512, 32],
    [520, 64],
    [2048, 64],
    [2056, 128],
    [8200, 256],
  ])
    expect(plan({ classes, plain: false })).toMatchObject({ storage: shared, threads });
});

test('only how many rows a block takes in turn depends on the number of rows', () => {
  for (const classes of [4099, 32000, 50257, 256000, 1_000_000]) {
    const { rowsEach: few, ...rest } = plan({ classes, rows: 1 });
    const { rowsEach: many, ...same } = plan({ classes, rows: 1_000_000 });
    expect(same).toEqual(rest);
    expect(few).toBe(1);
    expect(many).toBe(8);
  }
});

test('beyond 2^31 elements: a row is held as in any batch, and no block counts in 32 bits', () => {
  for (const classes of [256, 4096, 128256]) {
    const { parts: _, rowsEach: __, ...held } = plan({ classes, rows: 8192 });
    expect(plan({ classes, rows: 2 ** 33 / 256 })).toMatchObject(held);
  }
  expect(plan({ classes: 2 ** 32 + 1, rows: 2 })).toMatchObject({ storage: split });
});
