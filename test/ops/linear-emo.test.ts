// The earth mover loss without logits: beside the one on logits, memory, threads, refusals.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu } from '../harness/device.js';
import { floatDTypes } from '../harness/distillation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { epsilon, type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, indices, read } from '../harness/tensors.js';

interface Setting {
  n: number;
  v: number;
  d: number;
  fixed: boolean;
  rules: sp.EmoRules;
  workspaceBytes?: number;
}

function draw({ n, v, d }: Setting, dtype: FloatDType) {
  const random = new Random(n + v);
  const x = roundAll(random.normals(n * d), dtype);
  const w = roundAll(random.normals(v * d, 0.5), dtype);
  const e = roundAll(random.normals(v * d), dtype);
  const y = Array.from({ length: n }, (_, i) => (i % 5 === 3 ? -100 : (i * i * 7 + i) % v));
  return { x, w, e, y };
}

type Data = ReturnType<typeof draw>;

function fused(setting: Setting, data: Data, dtype: FloatDType) {
  const { n, v, d, fixed, rules, workspaceBytes } = setting;
  const x = floats(data.x, dtype, [n, d], true);
  const weight = floats(data.w, dtype, [v, d], true);
  const embedding = fixed ? floats(data.e, dtype, [v, d]) : undefined;
  const target = indices(data.y, [n], 'int64');
  const options = { ...rules, embedding, workspaceBytes };
  const loss = sp.linearEmo(x as never, weight as never, target as never, options) as AnyTensor;
  loss.sum().backward();
  return [loss, gradOf(x), gradOf(weight)];
}

/** The same by way of logits in float64. */
function byLogits({ n, v, d, fixed, rules }: Setting, data: Data) {
  const x = floats(data.x, 'float64', [n, d], true);
  const weight = floats(data.w, 'float64', [v, d], true);
  const embedding = fixed ? floats(data.e, 'float64', [v, d]) : weight.detach();
  const logits = sp.matmul(x as never, weight as never, { transposeB: true });
  const target = indices(data.y, [n]);
  const options = { ...rules, embedding } as sp.EmoOptions;
  const loss = sp.emo(logits as never, target as never, options) as AnyTensor;
  loss.sum().backward();
  return [loss, gradOf(x), gradOf(weight)];
}

const onCpu: Setting[] = [
  { n: 4, v: 6, d: 3, fixed: false, rules: { combination: 'emo', plain: true } },
  { n: 37, v: 201, d: 17, fixed: true, rules: { combination: 'emo2' } },
  { n: 70, v: 1200, d: 40, fixed: false, rules: { combination: 'emo1' } },
  {
    n: 33,
    v: 500,
    d: 300,
    fixed: true,
    rules: { combination: 'emo2', maxRatio: 0.5, minEmo: 0.1 },
  },
  { n: 50, v: 700, d: 24, fixed: false, rules: { combination: 'emo1', reduction: 'none' } },
  { n: 200, v: 900, d: 64, fixed: true, rules: { combination: 'emo1' }, workspaceBytes: 3.6e6 },
];

/** On a device: a few of each tile, and two strips of classes. */
const settings: Setting[] = isOnCpu
  ? onCpu
  : [
      onCpu[0],
      { ...onCpu[1], n: 21, v: 90 },
      { n: 9, v: 2100, d: 3, fixed: false, rules: { combination: 'emo1' } },
      {
        n: 20,
        v: 33,
        d: 20,
        fixed: true,
        rules: { combination: 'emo2', maxRatio: 0.5, minEmo: 0.1 },
      },
      { n: 70, v: 30, d: 8, fixed: false, rules: { combination: 'emo1', reduction: 'none' } },
    ];

const largest = (values: ArrayLike<number>) =>
  Array.from(values, Math.abs).reduce((a, b) => Math.max(a, b), 0);

describe.each(floatDTypes)('%s', (dtype) => {
  const own = settings.filter(({ v }) => isOnCpu || v < 1000 || dtype === 'bfloat16');
  test.each(own)('$n rows, $v classes, D $d, fixed $fixed, $rules', (setting) => {
    const data = draw(setting, dtype);
    const actual = fused(setting, data, dtype);
    const expected = byLogits(setting, data);
    const wide = epsilon(dtype === 'float64' ? 'float64' : 'float32');
    for (const [k, what] of ['loss', 'dx', 'dweight'].entries()) {
      const values = read(expected[k]);
      // Sums of D products, then exponentials of them; one rounding to the dtype, on a device of dz too.
      const roundings = k === 0 ? 0 : isOnCpu ? 1 : 2;
      const unit = 64 * Math.sqrt(setting.d) * wide + roundings * epsilon(dtype);
      const limit = unit * largest(values);
      expectWithin(read(actual[k]), values, () => limit, what);
    }
  });

  test('the same bits for any number of threads and in the background', async () => {
    const setting = settings[isOnCpu ? 2 : 4];
    const data = draw(setting, dtype);
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      return fused(setting, data, dtype).map(bits);
    });
    sp.setThreads(before);
    for (const k of [0, 1, 2]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const { n, v, d, rules } = setting;
    const later = await sp.linearEmo.async(
      floats(data.x, dtype, [n, d]) as never,
      floats(data.w, dtype, [v, d]) as never,
      indices(data.y, [n]) as never,
      rules,
    );
    expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
  });
});

test('gradcheck of the plain distance to a fixed embedding, every reduction', () => {
  const random = new Random(8);
  const doubles = (count: number, shape: number[], requiresGrad = true) =>
    sp.tensor(Float64Array.from(random.normals(count)), { shape, requiresGrad });
  const [x, weight] = [doubles(12, [3, 4]), doubles(28, [7, 4])];
  const embedding = doubles(28, [7, 4], false);
  const target = sp.tensor([3, -100, 6], { dtype: 'int32' });
  const tokenWeight = sp.tensor(Float64Array.of(1, 2, 0), { requiresGrad: true });
  const reductions = ['mean', 'sum', 'none'] as const;
  for (const reduction of isOnCpu ? reductions : reductions.slice(0, 1)) {
    const f = (a: sp.Tensor, w: sp.Tensor, t: sp.Tensor) =>
      sp.linearEmo(a as never, w as never, target as never, {
        combination: 'emo',
        plain: true,
        embedding,
        reduction,
        tokenWeight: t,
      });
    expect(sp.gradcheck(f as never, [x, weight, tokenWeight])).toBe(true);
  }
});

test.skipIf(isOnCpu)(
  'scratch memory of a device keeps to the workspace, of which no bit depends',
  () => {
    const [n, v, d] = [600, 30, 4];
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const own = { n, v, d, fixed: true, rules: { combination: 'emo1' } } as const;
      const data = draw(own, dtype);
      const all = fused(own, data, dtype).map(bits);
      const { least } = plan({
        rows: n,
        classes: v,
        width: d,
        element: dtype === 'float32' ? 4 : 2,
      });
      sp.cuda.memory({ resetPeak: true });
      const some = fused({ ...own, workspaceBytes: least }, data, dtype).map(bits);
      expect(sp.cuda.memory().scratchPeak).toBeLessThanOrEqual(least);
      for (const [k, part] of some.entries()) expectSameBits(part, all[k], `${dtype}, output ${k}`);
    }
  },
);

function plan(sizes: object) {
  const given = { dx: true, dweight: true, element: 2, budget: 2 ** 28, ...sizes };
  const out = new Float64Array(6);
  launch(native.linearEmoPlan, { ...given, out });
  const [strip, stride, rows, wave, together, least] = out;
  return { strip, stride, rows, wave, together: together === 1, least };
}

test('the plan of a device', () => {
  expect(plan({ rows: 5, classes: 7, width: 3 })).toMatchObject({
    strip: 7,
    stride: 8,
    rows: 5,
    wave: 5,
    together: true,
  });
  const head = { rows: 8192, classes: 131_072, width: 4096 };
  const usual = plan(head);
  expect(usual).toMatchObject({ strip: 2048, stride: 2048, together: true, wave: 8192 });
  expect(usual.rows % 256).toBe(0);
  expect(usual.least).toBeLessThan(2 ** 26);
  // dx of so many rows in float32 takes more than there is: it comes after dW, some rows at a time.
  const long = plan({ ...head, rows: 65_536 });
  expect(long.together).toBe(false);
  expect([long.rows % 256, long.wave % 256]).toEqual([0, 0]);
  expect(long.wave).toBeLessThan(65_536);
  // float32 adds up where the gradients go.
  expect(plan({ ...head, rows: 65_536, element: 4 })).toMatchObject({
    together: true,
    wave: 65_536,
  });
  expect(plan({ ...head, budget: usual.least }).rows).toBe(256);
});

test.skipIf(!isOnCpu)('scratch memory keeps to the workspace', () => {
  const [n, v, d] = [300, 20000, 32];
  const x = sp.randn([n, d], { requiresGrad: true });
  const weight = sp.randn([v, d], { requiresGrad: true });
  const target = sp.randint(0, v, [n]);
  for (const workspaceBytes of [2 ** 23, 2 ** 25]) {
    sp.memory({ resetPeak: true });
    const before = sp.memory().cpu.peak;
    sp.linearEmo(x, weight, target, { workspaceBytes }).backward();
    const { scratchPeak, peak } = sp.memory({ resetPeak: true }).cpu;
    expect(scratchPeak).toBeLessThanOrEqual(workspaceBytes);
    // The gradients, and a few numbers a row; one [N, V] array would be 24 MB.
    expect(peak - before).toBeLessThan(2 * 4 * (n * d + v * d) + 64 * n);
  }
});

test('ignored rows, and none but ignored ones', () => {
  const x = sp.tensor([1, 2, Number.NaN, 1], { shape: [2, 2], requiresGrad: true });
  const weight = sp.tensor([1, 0, 0, 1, 1, 1], { shape: [3, 2], requiresGrad: true });
  sp.linearEmo(x, weight, sp.tensor([2, -100], { dtype: 'int32' })).backward();
  expect(read(gradOf(x as never)).every(Number.isFinite)).toBe(true);
  expect([...read(gradOf(x as never)).slice(2)]).toEqual([0, 0]);
  weight.zeroGrad();
  const loss = sp.linearEmo(x, weight, sp.tensor([-100, -100], { dtype: 'int32' }));
  loss.backward();
  expect(loss.item()).toBeNaN();
  expect([...read(gradOf(weight as never))]).toEqual([0, 0, 0, 0, 0, 0]);
});

// Ignored, of weight 0, of upstream 0; the first one counts and becomes NaN.
test.each([
  ['float32', 3],
  ['bfloat16', 3],
  ['float64', 3],
  ['float32', 260],
] as const)(
  'rows that do not count have dx 0 beside a weight that is not finite, %s, width %d',
  (dtype, d) => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const random = new Random(3);
      const x = floats(random.normals(4 * d), dtype, [4, d], true);
      const values = [...new Array(d).fill(bad), ...random.normals(4 * d)];
      const weight = floats(values, dtype, [5, d], true);
      const target = sp.tensor([1, -100, 2, 4], { dtype: 'int32' });
      const tokenWeight = sp.tensor([1, 1, 0, 1]);
      const rules = { reduction: 'none', tokenWeight } as const;
      const loss = sp.linearEmo(x as never, weight as never, target as never, rules) as sp.Tensor;
      loss.backward(floats([1, 1, 1, 0], loss.dtype as FloatDType, [4]) as never);
      const dx = [...read(gradOf(x))];
      expect(dx[0]).toBeNaN();
      expect(dx.slice(d)).toEqual(new Array(3 * d).fill(0));
      x.zeroGrad();
      const mean = sp.linearEmo(x as never, weight as never, target as never, { tokenWeight });
      mean.backward();
      expect([...read(gradOf(x))].slice(d, 3 * d)).toEqual(new Array(2 * d).fill(0));
    }
  },
);

test('refuses bad arguments', () => {
  const refuses = refuser('linearEmo');
  const x = sp.ones([2, 3]);
  const weight = sp.ones([5, 3]);
  const y = sp.tensor([0, 1], { dtype: 'int64' });
  const by =
    (options: object, t = y, w: sp.Tensor = weight) =>
    () =>
      sp.linearEmo(x as never, w as never, t as never, options as never);
  refuses(by({}, y, sp.ones([5, 4])), 'ERR_SHAPE', 'weight', /\[V, 3\]/);
  refuses(by({}, y, weight.to('float64')), 'ERR_DTYPE', 'float64');
  refuses(by({ embedding: sp.ones([5, 4]) }), 'ERR_SHAPE', 'embedding', /\[5, 3\]/);
  refuses(by({ embedding: weight.to('float64') }), 'ERR_DTYPE', 'embedding');
  refuses(by({}, sp.tensor([0, 5], { dtype: 'int64' })), 'ERR_OUT_OF_RANGE', 'got 5 at row 1');
  refuses(by({ workspaceBytes: 1000 }), 'ERR_INVALID_VALUE', 'workspaceBytes');
  refuses(by({ cosines: weight }), 'ERR_UNKNOWN_OPTION', 'cosines');
  refuses(by({ tokenWeight: sp.tensor([1, Number.NaN]) }), 'ERR_INVALID_VALUE', 'row 1');
  refuses(by({ maxRatio: -1 }), 'ERR_INVALID_VALUE', 'maxRatio');
});
