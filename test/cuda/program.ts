// The steps of steps.ts as a program of one process, so that compute-sanitizer can watch it:
//   values <file>     every step once; the bits of all results to the file
//   repeat <times>    every step that often, and from a graph: the same bits each time
//   compare <a> <b>   two files of `values`, within the tolerance below
// --device cuda|cpu (default cuda), --only <words>. The last line is one of JSON: how many steps
// passed, which failed and why, and which operations have no CUDA form.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as sp from '../../src/index.js';
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
  },
});
const [command, first, second] = positionals;
const report = { passed: 0, failed: {} as Record<string, string>, missing: [] as string[] };
const worst: Record<string, number> = {};

function bitsOf(t: sp.Tensor): Buffer {
  const raw = t.dataSync({ raw: true }) as ArrayBufferView;
  return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
}

function each(work: (step: Step) => void): void {
  for (const step of steps) {
    if (!step.name.includes(options.only)) continue;
    try {
      sp.scope(() => work(step));
      report.passed++;
    } catch (error) {
      const { message } = error as Error;
      if (/has no CUDA form/.test(message)) report.missing.push(step.name);
      else report.failed[step.name] = message;
    }
  }
}

function values(file: string): void {
  const all: Values = {};
  each((step) => {
    const results = step.prepare()();
    all[step.name] = results.map((t) => ({
      dtype: t.dtype,
      shape: t.shape,
      bits: bitsOf(t).toString('base64'),
    }));
  });
  writeFileSync(file, JSON.stringify(all));
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
  const read = (file: string): Values => JSON.parse(readFileSync(file, 'utf8'));
  const [a, b] = [read(fileA), read(fileB)];
  for (const [name, results] of Object.entries(a)) {
    const others = b[name];
    if (!others) {
      report.missing.push(name);
      continue;
    }
    results.forEach((result, i) => {
      const error = difference(result, others[i]);
      worst[result.dtype] = Math.max(worst[result.dtype] ?? 0, error);
      if (error > (allowed[result.dtype] ?? 0))
        report.failed[name] = `result ${i} (${result.dtype}) differs by ${error.toExponential(1)}`;
    });
    if (!report.failed[name]) report.passed++;
  }
}

if (command !== 'compare') sp.setDefaultDevice(options.device as sp.Device);
if (command === 'values') values(first);
else if (command === 'repeat') repeat(Number(first));
else if (command === 'compare') compare(first, second);
else throw new Error(`expected values, repeat or compare, got ${command}`);
console.log(JSON.stringify(command === 'compare' ? { ...report, worst } : report));
process.exitCode = Object.keys(report.failed).length > 0 ? 1 : 0;
