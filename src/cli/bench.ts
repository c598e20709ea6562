// Times the main operations here, in a minute: is this build as fast as it should be? The figures
// that the project publishes come from bench/ of its repository, beside other libraries.
import { checkedDevice } from '../device.js';
import type { FloatDType } from '../dtype.js';
import * as sp from '../index.js';
import { columns, countOf, oneOf, parsed, UsageError } from './options.js';

interface Where {
  dtype: FloatDType;
  device: sp.Device;
}

/** What one case times: `run` is the operation, its inputs made before. */
interface Case {
  name: string;
  what: string;
  /** Multiply-adds twice, or bytes read, of one forward. */
  work: number;
  unit: 'GFLOP/s' | 'GB/s' | '';
  inputs(where: Where): { run: () => sp.Tensor; leaves: sp.Tensor[] };
}

const bytes: Readonly<Record<FloatDType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
};

const [rows, classes, features, vocabulary] = [1024, 16384, 512, 16384];

function targets(count: number, below: number, { device }: Where) {
  return sp.randint(0, below, [count], { dtype: 'int32', device });
}

function cases(dtype: FloatDType): Case[] {
  return [
    {
      name: 'matmul',
      what: '[512, 512] x [512, 512]',
      work: 2 * 512 ** 3,
      unit: 'GFLOP/s',
      inputs: (where) => {
        const leaves = [0, 1].map(() => sp.randn([512, 512], { ...where, requiresGrad: true }));
        return { run: () => sp.matmul(leaves[0], leaves[1]), leaves };
      },
    },
    {
      name: 'crossEntropy',
      what: `[${rows}, ${classes}]`,
      work: rows * classes * bytes[dtype],
      unit: 'GB/s',
      inputs: (where) => {
        const logits = sp.randn([rows, classes], { ...where, requiresGrad: true });
        const target = targets(rows, classes, where);
        return { run: () => sp.crossEntropy(logits, target), leaves: [logits] };
      },
    },
    {
      name: 'linearCrossEntropy',
      what: `[256, ${features}] x [${vocabulary}, ${features}]`,
      work: 2 * 256 * features * vocabulary,
      unit: 'GFLOP/s',
      inputs: (where) => {
        const x = sp.randn([256, features], { ...where, requiresGrad: true });
        const weight = sp.randn([vocabulary, features], { ...where, requiresGrad: true });
        const target = targets(256, vocabulary, where);
        return { run: () => sp.linearCrossEntropy(x, weight, target), leaves: [x, weight] };
      },
    },
    {
      name: 'sinkhornDivergence',
      what: '[500, 3] and [500, 3]',
      work: 0,
      unit: '',
      inputs: (where) => {
        const x = sp.rand([500, 3], { ...where, requiresGrad: true });
        const y = sp.rand([500, 3], where);
        return { run: () => sp.sinkhornDivergence(x, y, { blur: 0.1, onInfo() {} }), leaves: [x] };
      },
    },
    {
      name: 'bettiMatchingLoss',
      what: '[4, 1, 64, 64]',
      work: 0,
      unit: '',
      inputs: (where) => {
        const image = sp.rand([4, 1, 64, 64], { ...where, requiresGrad: true });
        const mask = sp.rand([4, 1, 64, 64], where);
        return { run: () => sp.bettiMatchingLoss(image, mask), leaves: [image] };
      },
    },
  ];
}

/** Milliseconds of one call: the median of as many as fit the time, after one that warms up. */
function median(call: () => void, seconds: number): number {
  call();
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (times.length < 3 || (performance.now() < end && times.length < 1000)) {
    const start = performance.now();
    call();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

interface Timed {
  case: string;
  what: string;
  /** Milliseconds. */
  forward: number;
  withGradient: number;
  /** Of the forward. */
  rate: number | null;
  unit: string;
}

function timed(one: Case, where: Where, seconds: number): Timed {
  const isOnCpu = where.device === 'cpu';
  const { run, leaves } = one.inputs(where);
  const step = (body: () => void) => () => {
    sp.scope(body);
    if (!isOnCpu) sp.cuda.synchronize();
  };
  for (const leaf of leaves) leaf.requiresGrad_(false);
  const forward = median(
    step(() => run()),
    seconds / 2,
  );
  for (const leaf of leaves) leaf.requiresGrad_(true);
  const withGradient = median(
    step(() => {
      run().sum().backward();
      for (const leaf of leaves) leaf.zeroGrad();
    }),
    seconds / 2,
  );
  for (const leaf of leaves) leaf.dispose();
  const rate = one.unit === '' ? null : one.work / forward / 1e6;
  return { case: one.name, what: one.what, forward, withGradient, rate, unit: one.unit };
}

const digits = (value: number) => value.toPrecision(3);

function table(all: readonly Timed[]): string {
  const rows = all.map(({ what, forward, withGradient, rate, unit, ...one }) => [
    one.case,
    what,
    digits(forward),
    digits(withGradient),
    rate === null ? '' : `${digits(rate)} ${unit}`,
  ]);
  return columns([['', '', 'forward, ms', 'and gradients, ms', 'of the forward'], ...rows]);
}

export async function bench(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsed(args, {
    device: { type: 'string' },
    dtype: { type: 'string' },
    threads: { type: 'string' },
    seconds: { type: 'string' },
    json: { type: 'boolean' },
  });
  const dtype = oneOf('--dtype', values.dtype ?? 'float32', Object.keys(bytes) as FloatDType[]);
  const known = cases(dtype);
  const names = known.map(({ name }) => name);
  for (const word of positionals) oneOf('a case', word, names);
  const seconds = Number(values.seconds ?? 2);
  if (!(seconds > 0)) {
    throw new UsageError(`expected --seconds to be a number above 0, got '${values.seconds}'`);
  }
  const threads = countOf('threads', values.threads);
  if (threads !== undefined) sp.setThreads(threads);
  const where = { dtype, device: checkedDevice('bench', values.device ?? 'cpu') };
  const wanted = known.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const all = wanted.map((one) => timed(one, where, seconds));
  const head = { device: where.device, dtype, instructionSet: sp.instructionSet() };
  const text = values.json
    ? JSON.stringify({ ...head, threads: sp.getThreads(), cases: all }, null, 2)
    : `${where.device}, ${dtype}, ${head.instructionSet}, ${sp.getThreads()} threads\n${table(all)}`;
  process.stdout.write(`${text}\n`);
  return 0;
}
