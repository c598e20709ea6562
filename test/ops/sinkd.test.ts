// Sinkhorn distillation against torch's unrolled iterations, its laws and what it refuses.
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { expectSameBits, expectWithin } from '../harness/compare.js';
import { isOnCpu, needsCpu } from '../harness/device.js';
import { allowed, floatDTypes, goldens, type SinkdCase } from '../harness/distillation.js';
import { Random } from '../harness/random.js';
import { refuser } from '../harness/refusal.js';
import { type FloatDType, roundAll } from '../harness/rounding.js';
import { type AnyTensor, bits, floats, gradOf, read } from '../harness/tensors.js';
import { uniforms } from '../harness/transport.js';
import { withWorkspace } from '../harness/workspace.js';

function inputs({ problems, b, v, scale, seed }: SinkdCase, dtype: FloatDType) {
  const size = problems * b * v;
  const u = uniforms(seed, 2 * size).map((x) => (x - 0.5) * scale);
  const shape = [problems, b, v];
  return {
    student: floats(u.slice(0, size), dtype, shape, true),
    teacher: floats(u.slice(size), dtype, shape),
  };
}

const is16Bit = (dtype: FloatDType) => dtype === 'float16' || dtype === 'bfloat16';

function inFloat64(student: AnyTensor, teacher: AnyTensor, options: sp.SinkdOptions) {
  const x = floats(read(student), 'float64', student.shape, true);
  const y = floats(read(teacher), 'float64', teacher.shape);
  const loss = sp.sinkd(x as never, y as never, options) as AnyTensor;
  loss.sum().backward();
  return { loss: read(loss), gradient: read(gradOf(x)) };
}

describe.each(floatDTypes)('%s', (dtype) => {
  test.each(goldens.sinkd)('$problems x $b x $v, detached $detached, lambda $lambda', (one) => {
    const { student, teacher } = inputs(one, dtype);
    const { temperature, lambda, iterations, detached } = one;
    const options = { temperature, lambda, iterations, reduction: 'none' } as const;
    const gradient = detached ? 'detached' : 'unrolled';
    const loss = sp.sinkd(student as never, teacher as never, {
      ...options,
      gradient,
    }) as AnyTensor;
    expect([loss.dtype, loss.shape]).toEqual([
      dtype === 'float64' ? 'float64' : 'float32',
      [one.problems],
    ]);
    // Of rounded logits the signs are others than torch's: float64 on the same ones answers then.
    const answers = is16Bit(dtype) ? inFloat64(student, teacher, { ...options, gradient }) : one;
    // A cost's error counts 1/lambda times.
    const unit = dtype === 'float64' ? 1 : 0.2 / Math.min(lambda, 0.1);
    const limit = (values: ArrayLike<number>) => {
      const own = allowed(dtype, 2e-6)(values)();
      return () => own * unit;
    };
    expectWithin(read(loss), answers.loss, limit(answers.loss), 'loss');
    loss.sum().backward();
    const by = lambda < 0.01 && dtype !== 'float64' ? 20 : 2;
    const gradients = limit(answers.gradient)() * by;
    expectWithin(read(gradOf(student)), answers.gradient, () => gradients, 'gradient');
  });

  test('the same bits for any number of threads and in the background', async () => {
    const random = new Random(4);
    const [b, v] = isOnCpu ? [70, 1300] : [9, 90];
    const [x, y] = [0, 1].map(() => roundAll(random.normals(b * v, 2), dtype));
    const teacher = floats(y, dtype, [b, v]);
    const before = sp.getThreads();
    const results = [1, 3].map((threads) => {
      sp.setThreads(threads);
      const student = floats(x, dtype, [b, v], true);
      const loss = sp.sinkd(student as never, teacher as never) as AnyTensor;
      loss.backward();
      return [bits(loss), bits(gradOf(student))];
    });
    sp.setThreads(before);
    for (const k of [0, 1]) expectSameBits(results[0][k], results[1][k], `output ${k}`);
    const later = await sp.sinkd.async(floats(x, dtype, [b, v]) as never, teacher as never);
    expectSameBits(bits(later as AnyTensor), results[0][0], 'async');
  });
});

const doubles = (values: ArrayLike<number>, shape: number[], requiresGrad = true) =>
  sp.tensor(Float64Array.from(values), { shape, requiresGrad });

test('gradcheck, every reduction, with rows left out', () => {
  const random = new Random(9);
  const student = doubles(random.normals(2 * 5 * 7), [2, 5, 7]);
  const teacher = doubles(random.normals(2 * 5 * 7), [2, 5, 7], false);
  const mask = sp.tensor([1, 0, 1, 1, 0, 1, 1, 1, 0, 1], { shape: [2, 5], dtype: 'bool' });
  const reductions = ['none', 'sum', 'mean'] as const;
  for (const reduction of isOnCpu ? reductions : reductions.slice(0, 1)) {
    const f = (s: sp.Tensor) =>
      sp.sinkd(s as never, teacher as never, {
        reduction,
        mask,
        weight: 0.3,
        lambda: 0.2,
        iterations: isOnCpu ? 20 : 2,
      });
    expect(sp.gradcheck(f as never, [student])).toBe(true);
  }
});

describe('laws', () => {
  test('rows left out count as if they were not there, whatever they hold', () => {
    const random = new Random(2);
    const values = random.normals(3 * 6);
    const other = random.normals(3 * 6);
    const more = (x: ArrayLike<number>) => [
      ...Array.from(x).slice(0, 6),
      ...new Array(6).fill(Number.NaN),
      ...Array.from(x).slice(6),
    ];
    const run = (x: ArrayLike<number>, y: ArrayLike<number>, rows: number, mask?: sp.Tensor) => {
      const student = doubles(x, [rows, 6]);
      const loss = sp.sinkd(student, doubles(y, [rows, 6], false), { mask });
      loss.backward();
      return { loss: loss.item(), gradient: [...read(gradOf(student as never))] };
    };
    const whole = run(values, other, 3);
    const mask = sp.tensor([1, 0, 1, 1], { dtype: 'bool' });
    const part = run(more(values), more(other), 4, mask);
    expect(part.loss).toBe(whole.loss);
    expect(part.gradient.slice(6, 12)).toEqual([0, 0, 0, 0, 0, 0]);
    expect([...part.gradient.slice(0, 6), ...part.gradient.slice(12)]).toEqual(whole.gradient);
    const none = sp.tensor([0, 0, 0, 0], { dtype: 'bool' });
    expect(run(more(values), more(other), 4, none).loss).toBe(0);
  });

  test('student equal to teacher: ties have no sign', () => {
    const x = new Random(5).normals(4 * 9, 3);
    const student = doubles(x, [4, 9]);
    const loss = sp.sinkd(student, student.detach(), { gradient: 'detached', lambda: 0.001 });
    loss.backward();
    expect(loss.item()).toBeLessThan(1e-12);
    expect(Math.max(...read(gradOf(student as never)).map(Math.abs))).toBeLessThan(1e-12);
  });

  test('NaN and no rows', () => {
    const bad = doubles([1, Number.NaN, 2, 3], [2, 2]);
    expect(sp.sinkd(bad, doubles([1, 2, 3, 4], [2, 2], false)).item()).toBeNaN();
    expect(sp.sinkd(sp.zeros([0, 3]), sp.zeros([0, 3])).item()).toBe(0);
    expect(sp.sinkd(sp.zeros([0, 2, 3]), sp.zeros([0, 2, 3]), { reduction: 'none' }).shape).toEqual(
      [0],
    );
    // A mean of no losses is none; so is a sum, which is 0.
    const problems = sp.zeros([0, 3, 5]);
    expect(sp.sinkd(problems, problems).item()).toBeNaN();
    const onCpu = sp.zeros([0, 3, 5], { device: 'cpu' });
    expect(sp.focalLoss(onCpu, onCpu).item()).toBeNaN();
    expect(sp.sinkd(problems, problems, { reduction: 'sum' }).item()).toBe(0);
    const one = sp.zeros([1, 1], { requiresGrad: true });
    const loss = sp.sinkd(one, sp.zeros([1, 1]));
    loss.backward();
    expect([loss.item(), read(gradOf(one as never))[0] + 0]).toEqual([0, 0]);
  });
});

test.skipIf(needsCpu('scratch memory of the host'))(
  'holds nothing of the size of the logits but the gradient',
  () => {
    const [b, v] = [64, 20000];
    const student = sp.randn([b, v], { requiresGrad: true });
    const teacher = sp.randn([b, v]);
    sp.memory({ resetPeak: true });
    sp.sinkd(student, teacher).backward();
    expect(sp.memory({ resetPeak: true }).cpu.scratchPeak).toBeLessThan((b * v * 4) / 2);
  },
);

describe('the plan', () => {
  const plan = (problems: number, rows: number, classes: number, given: object = {}) => {
    const out = new Float64Array(6);
    const sizes = { problems, rows, classes, iterations: 20, element: 2, scratch: 2 ** 28 };
    launch(native.sinkdPlan, { ...sizes, shared: 227 * 1024, ...given, out });
    const [strips, strip, held, together, differentiated, taken] = out;
    return {
      strips: [strips, strip],
      held: held === 1,
      together,
      gradients: [differentiated, taken],
    };
  };
  test('strips of classes, K in shared memory', () => {
    expect(plan(3, 5, 7)).toMatchObject({ strips: [1, 32], held: true });
    expect(plan(1, 64, 32_128)).toMatchObject({ strips: [32, 1024], held: true });
    expect(plan(1, 64, 131_072).strips).toEqual([128, 1024]);
    expect(plan(100, 512, 131_072)).toMatchObject({ strips: [4, 32_768], held: false });
    expect(plan(0, 0, 5)).toMatchObject({ strips: [1, 32], held: true, gradients: [1, 1] });
  });
  test('as many problems at once as scratch memory holds, or rows of one', () => {
    expect(plan(3, 5, 7)).toMatchObject({ together: 3, gradients: [3, 5] });
    expect(plan(100, 16, 131_072).gradients).toEqual([31, 16]);
    expect(plan(100, 512, 131_072)).toMatchObject({ together: 31, gradients: [1, 448] });
    // The gradient has room for what float32 adds up.
    expect(plan(100, 512, 131_072, { element: 4 }).gradients).toEqual([32, 512]);
    expect(plan(9, 4096, 131_072).gradients).toEqual([1, 448]);
    expect(plan(9, 4096, 2 ** 21).gradients).toEqual([1, 31]);
    expect(plan(9, 4096, 2 ** 28).gradients).toEqual([1, 1]);
    expect(plan(9, 2 ** 14, 100).together).toBe(1);
  });
});

test.skipIf(isOnCpu)('the same bits in turns of some problems, or of some rows', () => {
  const random = new Random(6);
  // Bytes of a row of the gradient, up to 64 classes.
  const rowBytes = (dtype: FloatDType, v: number) => 8 + (is16Bit(dtype) ? 4 * v : 0);
  for (const [problems, b, v, dtype, rows] of [
    [2, 67, 3, 'bfloat16', [64]],
    [2, 67, 3, 'float32', [64]],
    [3, 5, 7, 'float16', [0, 2, 10]],
    [3, 5, 7, 'float64', [0, 10]],
  ] as const) {
    const [x, y] = [0, 1].map(() => roundAll(random.normals(problems * b * v, 2), dtype));
    const kept = Float64Array.from({ length: problems * b }, (_, i) => Number(i % 5 !== 2));
    const mask = floats(kept, 'float32', [problems, b]).to('bool');
    const run = () => {
      const student = floats(x, dtype, [problems, b, v], true);
      const teacher = floats(y, dtype, [problems, b, v]);
      const options = { mask, iterations: 1, reduction: 'none' } as const;
      const loss = sp.sinkd(student as never, teacher as never, options) as AnyTensor;
      loss.sum().backward();
      return [bits(loss), bits(gradOf(student))];
    };
    const all = run();
    for (const taken of rows) {
      const bytes = Math.max(1, taken * rowBytes(dtype, v));
      const parts = withWorkspace(bytes, ['sinkdForward', 'sinkdBackward'], run);
      for (const [k, part] of parts.entries())
        expectSameBits(part, all[k], `${dtype}, ${taken} rows, output ${k}`);
    }
  }
});

test('refuses bad arguments', () => {
  const refuses = refuser('sinkd');
  const x = sp.ones([2, 3]);
  const by =
    (options: object, s: sp.Tensor = x, t: sp.Tensor = x) =>
    () =>
      sp.sinkd(s as never, t as never, options);
  refuses(by({}, sp.ones([3])), 'ERR_SHAPE', /\[\.\.\., B, V\]/, /\[3\]/);
  refuses(by({}, sp.ones([2, 0])), 'ERR_SHAPE', 'at least one class');
  refuses(by({}, x, sp.ones([2, 4])), 'ERR_SHAPE', 'teacher', /\[2, 3\]/, /\[2, 4\]/);
  refuses(by({}, x, x.to('float64')), 'ERR_DTYPE', 'float64');
  refuses(by({}, x.to('int32'), x.to('int32')), 'ERR_DTYPE', 'int32');
  refuses(by({ epsilon: 1 }), 'ERR_UNKNOWN_OPTION', 'epsilon');
  refuses(by({ lambda: 0 }), 'ERR_INVALID_VALUE', 'lambda');
  refuses(by({ temperature: -1 }), 'ERR_INVALID_VALUE', 'temperature');
  refuses(by({ iterations: 1.5 }), 'ERR_INVALID_VALUE', 'iterations');
  refuses(by({ weight: Number.NaN }), 'ERR_INVALID_VALUE', 'weight');
  refuses(by({ gradient: 'detach' }), 'ERR_INVALID_VALUE', "'detached'");
  refuses(by({ reduction: 'avg' }), 'ERR_INVALID_VALUE', 'reduction');
  refuses(by({ mask: sp.ones([2]) }), 'ERR_DTYPE', 'mask');
  refuses(by({ mask: sp.ones([3]).to('bool') }), 'ERR_SHAPE', 'mask', /\[2\]/);
});
