// Filter modes of linearCrossEntropy: the reported bound holds on friendly and adversarial data,
// nothing skipped means the exact bits; and the memory that the whole operation may take.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { distance, expectSameBits, norm } from '../harness/compare.js';
import { isEmulated, isOnCpu } from '../harness/device.js';
import { Random } from '../harness/random.js';
import { bits, floats, gradOf, indices, read } from '../harness/tensors.js';

const rows = 150;
const width = 24;
const classes = isEmulated ? 300 : 3000;

interface Problem {
  name: string;
  x: Float64Array;
  weight: Float64Array;
  target: Int32Array;
}

/** What a filter sees: a peaked model, a flat one, one sure of itself, one sure and wrong. */
function problems(): Problem[] {
  const random = new Random(13);
  const target = Int32Array.from({ length: rows }, () => random.integer(classes));
  const weight = random.normals(classes * width);
  const noise = random.normals(rows * width, 0.3);
  const towards = (labels: Int32Array, size: number) =>
    noise.map((v, i) => v + size * weight[labels[Math.floor(i / width)] * width + (i % width)]);
  const shuffled = target.map((y) => (y + 1234) % classes);
  return [
    { name: 'peaked', x: towards(target, 0.8), weight, target },
    { name: 'flat', x: noise.map((v) => v * 1e-3), weight, target },
    { name: 'sure and right', x: towards(target, 3), weight, target },
    { name: 'sure and wrong', x: towards(shuffled, 3), weight, target },
    {
      name: 'one class for all',
      x: towards(
        target.map(() => 7),
        2,
      ),
      weight,
      target,
    },
  ];
}

type Options = NonNullable<Parameters<typeof sp.linearCrossEntropy>[3]>;

function gradients(p: Problem, options: Options, dtype: 'float32' | 'float64' | 'bfloat16') {
  const x = floats(p.x, dtype, [rows, width], true);
  const weight = floats(p.weight, dtype, [classes, width], true);
  const loss = sp.linearCrossEntropy(x, weight, indices(p.target, [rows]), options);
  loss.backward(sp.ones(loss.shape, { dtype: loss.dtype }));
  return { loss, dx: gradOf(x), dw: gradOf(weight) };
}

/** filterReport exists only after a filtered backward. */
const reportOf = (loss: ReturnType<typeof gradients>['loss']) => sp.filterReport(loss);

// The emulator takes a second a gradient.
const some = <T>(all: readonly T[], ...few: number[]): T[] =>
  isEmulated ? few.map((i) => all[i]) : [...all];

describe.each(some(problems(), 0))('$name', (p) => {
  test.each(['float32', 'float64', 'bfloat16'] as const)(
    'eps 0 is exact to the bit, %s',
    (dtype) => {
      const exact = gradients(p, { filter: 'exact' }, dtype);
      const filtered = gradients(p, { filter: { eps: 0 } }, dtype);
      expectSameBits(bits(filtered.loss), bits(exact.loss), 'loss');
      expectSameBits(bits(filtered.dx), bits(exact.dx), 'dx');
      expectSameBits(bits(filtered.dw), bits(exact.dw), 'dweight');
      expect(reportOf(filtered.loss)).toEqual({ kept: 1, boundX: 0, boundWeight: 0 });
    },
  );

  const modes: Options['filter'][] = [
    { eps: 'auto' },
    { eps: 1e-6 },
    { eps: 1e-3 },
    { eps: 0.05 },
    { eps: 1 },
    { maxError: 1e-8 },
    { maxError: 1e-5 },
    { maxError: 1e-2 },
  ];
  const answers = new Map<string, ReturnType<typeof gradients>>();
  const exactly = (reduction: 'mean' | 'sum') => {
    const exact = answers.get(reduction) ?? gradients(p, { reduction }, 'float64');
    answers.set(reduction, exact);
    return exact;
  };
  test.each(some(modes, 2, 4, 6))('the bound holds: %j', (filter) => {
    for (const reduction of some(['mean', 'sum'] as const, 1)) {
      const exact = exactly(reduction);
      const { loss, dx, dw } = gradients(p, { reduction, filter }, 'float64');
      expectSameBits(bits(loss), bits(exact.loss), 'the loss is never filtered');
      const { kept, boundX, boundWeight } = reportOf(loss);
      expect(kept).toBeGreaterThanOrEqual(0);
      expect(kept).toBeLessThanOrEqual(1);
      // The two runs may sum in another order: float64 rounding of the whole gradient.
      const slack = (g: Float64Array) => 1e-13 * norm(g);
      const [gx, gw] = [read(exact.dx), read(exact.dw)];
      const [errorX, errorWeight] = [distance(read(dx), gx), distance(read(dw), gw)];
      expect(errorX).toBeLessThanOrEqual(boundX + slack(gx));
      expect(errorWeight).toBeLessThanOrEqual(boundWeight + slack(gw));
      if (typeof filter === 'object' && 'maxError' in filter) {
        expect(boundX).toBeLessThanOrEqual(filter.maxError);
        expect(boundWeight).toBeLessThanOrEqual(filter.maxError);
      }
      if (kept === 1) expect(boundX + boundWeight).toBe(0);
    }
  });
});

describe('the bound holds with every option', () => {
  const random = new Random(17);
  const tokenWeight = floats(random.uniforms(rows, -3, 30), 'float32', [rows]);
  const classWeight = floats(random.uniforms(classes, 0, 5), 'float32', [classes]);
  const bias = random.normals(classes, 2);
  const options: Options[] = [
    { tokenWeight },
    { tokenWeight, reduction: 'none' },
    { classWeight, reduction: 'sum' },
    { zLoss: 0.3 },
    { temperature: 0.3 },
    { temperature: 2, softcap: 8 },
    { softcap: 8, temperature: 0.5, capFirst: true, reduction: 'none' },
    { epilogue: { kind: 'focal', gamma: 2 }, reduction: 'sum' },
    { epilogue: { kind: 'compSum', tau: 0.5 }, reduction: 'sum' },
    { labelSmoothing: 0.1, reduction: 'sum' },
    { labelSmoothing: 0.1, classWeight, tokenWeight, zLoss: 0.1 },
    { shift: 2, reduction: 'sum' },
    { bias: floats(bias, 'float64', [classes]), ignoreIndex: 7 },
  ];
  const filters = [{ eps: 1e-2 }, { maxError: 1e-3 }];
  const cases = options.map((o) => [Object.keys(o).join(', '), o] as const);
  test.each(some(cases, 5, 10, 12))('%s', (_, o) => {
    for (const p of some([problems()[0], problems()[2]], 0)) {
      const exact = gradients(p, o, 'float64');
      const [gx, gw] = [read(exact.dx), read(exact.dw)];
      for (const filter of filters) {
        const { loss, dx, dw } = gradients(p, { ...o, filter }, 'float64');
        const { boundX, boundWeight } = reportOf(loss);
        expect(distance(read(dx), gx)).toBeLessThanOrEqual(boundX + 1e-13 * norm(gx));
        expect(distance(read(dw), gw)).toBeLessThanOrEqual(boundWeight + 1e-13 * norm(gw));
        if (filter.maxError === undefined) continue;
        expect(Math.max(boundX, boundWeight)).toBeLessThanOrEqual(filter.maxError);
      }
    }
  });
});

test('a filter skips most of a sure model and reports how much', () => {
  const [{ x, ...rest }] = problems().slice(2);
  const sure = { ...rest, x: x.map((v) => 10 * v) };
  const { loss } = gradients(sure, { filter: { eps: 1e-4 } }, 'float32');
  expect(reportOf(loss).kept).toBeLessThan(0.5);
});

test('row weights act after the filter: the same blocks are kept', () => {
  const p = problems()[0];
  const filter = { eps: 1e-3 };
  const kept = (scale: number) => {
    const tokenWeight = floats(new Float64Array(rows).fill(scale), 'float32', [rows]);
    const { loss } = gradients(p, { filter, tokenWeight, reduction: 'sum' }, 'float32');
    return reportOf(loss).kept;
  };
  expect(kept(100)).toBe(kept(1));
});

test('a report needs a filtered loss after backward', () => {
  const p = problems()[0];
  const exact = gradients(p, {}, 'float32').loss;
  expect(() => sp.filterReport(sp.ones([]))).toThrow(/filterReport/);
  const filtered = sp.linearCrossEntropy(
    floats(p.x, 'float32', [rows, width], true),
    floats(p.weight, 'float32', [classes, width], true),
    indices(p.target, [rows]),
    { filter: { eps: 1e-3 } },
  );
  expect(() => sp.filterReport(filtered)).toThrow(/filterReport/);
  expect(exact.item()).toBe(filtered.item());
});

const dist = new URL('../../dist/index.js', import.meta.url);

/** Growth of the peak resident memory over the steps, in MiB, in a process of its own. */
function peakGrowth(steps: string): number {
  const program = `
    import * as sp from '${dist}';
    const [N, D, V] = [2048, 64, 50257];
    const x = sp.randn([N, D], { requiresGrad: true });
    const weight = sp.randn([V, D], { requiresGrad: true });
    const target = sp.randint(0, V, [N], { dtype: 'int32' });
    sp.linearCrossEntropy(sp.randn([4, D]), weight.detach(), sp.tensor(new Int32Array(4)));
    const before = process.resourceUsage().maxRSS;
    ${steps}
    console.log((process.resourceUsage().maxRSS - before) / 1024);
  `;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', program]);
  if (child.status !== 0) throw new Error(child.stderr.toString());
  return Number(child.stdout.toString());
}

const unmeasured = !existsSync(dist) || !isOnCpu || Boolean(process.env.SURPRISAL_SANITIZE);
describe.skipIf(unmeasured)('memory', () => {
  // Stored logits would take 393 MiB; a thread's stack, code and the heap's slack take a few.
  const slack = 16;
  const gradientsMiB = (50257 * 64 + 2048 * 64) * 4 * 2 ** -20;

  test('forward and backward: gradients and workspace', () => {
    const step = 'sp.linearCrossEntropy(x, weight, target).backward();';
    expect(peakGrowth(step)).toBeLessThan(gradientsMiB + 32 + slack);
  });

  test('a smaller workspace is obeyed', () => {
    const step =
      'sp.linearCrossEntropy(x, weight, target, { workspaceBytes: 2 ** 23 }).backward();';
    expect(peakGrowth(step)).toBeLessThan(gradientsMiB + 8 + slack);
  });

  test('the loss alone', () => {
    const step = 'sp.noGrad(() => sp.linearCrossEntropy(x, weight, target).item());';
    expect(peakGrowth(step)).toBeLessThan(32);
  });
});
