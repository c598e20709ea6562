// The steps of steps.ts as a program of one process, so that compute-sanitizer can watch it:
//   values [file]     every step once; the bits of all results to the file, a line a step
//   repeat <times>    every step that often, and from a graph: the same bits each time
//   compare <a> <b>   two files of `values`, within the tolerance below
//   library           whether products are cuBLASLt's (SURPRISAL_CUBLASLT=1)
// --device cuda|cpu (default cuda), --only <words>, --skip <file with a list of names>, --seconds
// after which no step begins. --progress <file> gets a line of JSON as a step begins and as it
// ends, and one with the number of steps left. The last line is JSON too: how many steps passed,
// which failed and why; that an operation has no CUDA form is a failure, as a step expects it.
import { appendFileSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as sp from '../../src/index.js';
import { launch, native } from '../../src/native.js';
import { halfValue } from '../harness/rounding.js';
import { type Step, steps } from './steps.js';

interface Result {
  dtype: sp.DType;
  shape: readonly number[];
  /** Base64 of the stored bits. */
  bits: string;
}
type Values = Record<string, Result[]>;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cuda' },
    only: { type: 'string', default: '' },
    skip: { type: 'string' },
    seconds: { type: 'string', default: 'Infinity' },
    progress: { type: 'string' },
  },
});
const [command, first, second] = positionals;
const report = { passed: 0, failed: {} as Record<string, string> };
const worst: Record<string, number> = {};

function bitsOf(t: sp.Tensor): Buffer {
  const raw = t.dataSync({ raw: true }) as ArrayBufferView;
  return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
}

function tell(line: object): void {
  if (options.progress) appendFileSync(options.progress, `${JSON.stringify(line)}\n`);
}

/** Whether the step left a device on which others can run. */
function run(step: Step, work: (step: Step) => void): boolean {
  tell({ begin: step.name });
  try {
    sp.scope(() => work(step));
    report.passed++;
    tell({ end: step.name });
    return true;
  } catch (error) {
    const why = (error as Error).message;
    report.failed[step.name] = why;
    tell({ end: step.name, why });
    return !/is lost to this process/.test(why);
  }
}

function each(work: (step: Step) => void): void {
  const start = performance.now();
  const skip = new Set<string>(options.skip ? JSON.parse(readFileSync(options.skip, 'utf8')) : []);
  const todo = steps.filter(({ name }) => name.includes(options.only) && !skip.has(name));
  let left = todo.length;
  for (const step of todo) {
    if (performance.now() - start > Number(options.seconds) * 1000) break;
    left--;
    if (!run(step, work)) break;
  }
  tell({ left });
}

function values(file?: string): void {
  each((step) => {
    const results = step
      .prepare()()
      .map((t) => ({
        dtype: t.dtype,
        shape: t.shape,
        bits: bitsOf(t).toString('base64'),
      }));
    if (file) appendFileSync(file, `${JSON.stringify([step.name, results])}\n`);
  });
}

/** Steps that change their inputs give other results each time. */
const isRepeatable = ({ name }: Step) => !/^(AdamW|SGD)/.test(name);

function repeat(times: number): void {
  each((step) => {
    if (!isRepeatable(step)) return repeatFromStart(step, times);
    const run = step.prepare();
    const expected = run().map(bitsOf);
    const same = (results: sp.Tensor[], what: string) => {
      results.forEach((t, i) => {
        if (!bitsOf(t).equals(expected[i])) throw new Error(`${what}: result ${i} has other bits`);
      });
    };
    for (let i = 1; i < times; i++) sp.scope(() => same(run(), `run ${i + 1}`));
    if (options.device === 'cpu') return;
    using graph = sp.cuda.graph(run);
    for (let i = 0; i < 3; i++) same(graph(), `step ${i + 1} of a graph`);
  });
}

function repeatFromStart(step: Step, times: number): void {
  const rounds = () => {
    const run = step.prepare();
    run();
    return run().map(bitsOf);
  };
  const expected = rounds();
  for (let i = 1; i < Math.min(times, 5); i++)
    rounds().forEach((bits, k) => {
      if (!bits.equals(expected[k])) throw new Error(`run ${i + 1}: result ${k} has other bits`);
    });
}

// Two devices differ in exp, log and the like by an ulp or two of float32, and in nothing else: sums
// have one order. Of a result's largest value; a 16-bit result may land on the next number.
const allowed: Partial<Record<sp.DType, number>> = {
  float32: 4e-6,
  float64: 1e-12,
  float16: 2 ** -9,
  bfloat16: 2 ** -6,
};

/** Iterations over float32 sums carry an ulp on: potentials are a sum's logarithm times epsilon. */
const allowedOf = (name: string, dtype: sp.DType) =>
  (allowed[dtype] ?? 0) * (name.startsWith('sinkhornDivergence') ? 4 : 1);

function numbersOf({ dtype, bits }: Result): ArrayLike<number> {
  const bytes = new Uint8Array(Buffer.from(bits, 'base64')).buffer;
  if (dtype === 'float32') return new Float32Array(bytes);
  if (dtype === 'float64') return new Float64Array(bytes);
  return Float64Array.from(new Uint16Array(bytes), (b) =>
    halfValue(b, dtype as 'float16' | 'bfloat16'),
  );
}

/** The largest difference over the largest value. */
function difference(a: Result, b: Result): number {
  if (a.bits === b.bits) return 0;
  if (!(a.dtype in allowed)) return Number.POSITIVE_INFINITY;
  const [x, y] = [numbersOf(a), numbersOf(b)];
  let largest = 0;
  let error = 0;
  for (let i = 0; i < x.length; i++) {
    if (Object.is(x[i], y[i])) continue;
    largest = Math.max(largest, Math.abs(y[i]));
    error = Math.max(error, Math.abs(x[i] - y[i]) || 0);
    if (Number.isNaN(x[i]) !== Number.isNaN(y[i])) return Number.POSITIVE_INFINITY;
  }
  for (let i = 0; i < y.length; i++) largest = Math.max(largest, Math.abs(y[i]) || 0);
  return error === 0 ? 0 : error / largest;
}

function compare(fileA: string, fileB: string): void {
  const read = (file: string): Values => {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    return Object.fromEntries(lines.map((line) => JSON.parse(line)));
  };
  const [a, b] = [read(fileA), read(fileB)];
  for (const { name } of steps) {
    if (!name.includes(options.only)) continue;
    const [results, others] = [a[name], b[name]];
    if (!results || !others || results.length !== others.length) {
      report.failed[name] = `no results of ${results ? 'the second' : 'the first'} to compare`;
      continue;
    }
    results.forEach((result, i) => {
      const error = difference(result, others[i]);
      worst[result.dtype] = Math.max(worst[result.dtype] ?? 0, error);
      if (error > allowedOf(name, result.dtype))
        report.failed[name] = `result ${i} (${result.dtype}) differs by ${error.toExponential(1)}`;
    });
    if (!report.failed[name]) report.passed++;
  }
}

function library(): void {
  const out = new Float64Array(1);
  launch(native.matmulLibrary, { out });
  if (out[0] === 1) report.passed++;
}

if (command !== 'compare') sp.setDefaultDevice(options.device as sp.Device);
if (command === 'values') values(first);
else if (command === 'repeat') repeat(Number(first));
else if (command === 'compare') compare(first, second);
else if (command === 'library') library();
else throw new Error(`expected values, repeat, compare or library, got ${command}`);
console.log(JSON.stringify(command === 'compare' ? { ...report, worst } : report));
process.exitCode = Object.keys(report.failed).length > 0 ? 1 : 0;
