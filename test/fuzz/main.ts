// Fuzzed calls of every public operation: node main.js <seed> <from> <to> [--trace]. A call is good or
// spoiled; it gives a result or throws an error with a code of the reference, and nothing else. Good
// calls are compared with their definitions, run again (the same bits, also in the background), and
// differentiated. Every call is made from the seed and its number alone. The last line is JSON: how
// many calls of each operation ended how, what was wrong, and which functions have no calls here.
import * as sp from '../../src/index.js';
import { Draw, type Maker, type Planned } from './draw.js';
import { general } from './general.js';
import { spoiled } from './hostile.js';
import { losses } from './losses.js';

const makers: Readonly<Record<string, Maker>> = { ...general, ...losses };

// What is not an operation on values: state of the process, files, classes. Their own tests fuzz files.
const others =
  /^(Tensor|OutOfMemoryError|defineOp|devices|filterReport|fromDLPack|toDLPack|getThreads)$|^(instructionSet|load\w+|save\w+|manualSeed|memory|noGrad|releaseRecycled|scope|set\w+)$/;
const names = Object.keys(makers).sort();
const functions = Object.entries(sp).filter(([, value]) => typeof value === 'function');
const missing = functions
  .map(([name]) => name)
  .filter((name) => !makers[name] && !others.test(name));
const unknown = names.filter((name) => !functions.some(([own]) => own === name));
if (unknown.length > 0) throw new Error(`fuzz: there are no functions ${unknown.join(', ')}`);

// Those of docs/errors.md that a user's mistake may have.
const codes = new Set([
  'ERR_INVALID_TYPE',
  'ERR_INVALID_VALUE',
  'ERR_OUT_OF_RANGE',
  'ERR_SHAPE',
  'ERR_DTYPE',
  'ERR_DEVICE',
  'ERR_NO_CUDA',
  'ERR_UNKNOWN_OPTION',
  'ERR_DISPOSED',
  'ERR_GRAPH',
  'ERR_IN_USE',
  'ERR_NOT_CONVERGED',
  'ERR_OUT_OF_MEMORY',
]);

type AnyFunction = ((...args: unknown[]) => unknown) & {
  async?(...args: unknown[]): Promise<unknown>;
};

/** The tensors in a result, whatever its form. */
function tensorsIn(value: unknown, depth = 0): sp.Tensor[] {
  if (value instanceof sp.Tensor) return [value];
  if (value === null || typeof value !== 'object' || depth > 2 || ArrayBuffer.isView(value))
    return [];
  return Object.values(value).flatMap((item) => tensorsIn(item, depth + 1));
}

function bitsOf(t: sp.Tensor): string {
  const raw = t.dataSync({ raw: true }) as Uint8Array;
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString('base64');
  return `${t.dtype} [${t.shape}] ${bytes}`;
}

const units: Readonly<Record<string, number>> = {
  float32: 2e-5,
  float64: 1e-11,
  float16: 4e-3,
  bfloat16: 3e-2,
};
const largest: Readonly<Record<string, number>> = {
  float32: 3.4e38,
  float64: Infinity,
  float16: 65504,
  bfloat16: 3.38e38,
};

/** What is wrong with a result, or undefined. */
function difference(result: unknown, planned: Planned, input: unknown): string | undefined {
  const expected = planned.expected?.();
  if (!expected || !(result instanceof sp.Tensor)) return undefined;
  const values = Array.isArray(expected) ? expected : (expected as { values: number[] }).values;
  const actual = Array.from(result.dataSync() as Iterable<number>, Number);
  if (actual.length !== values.length) return `${actual.length} values, not ${values.length}`;
  // A loss is wider than the logits whose rounding it carries.
  const dtype = input instanceof sp.Tensor ? input.dtype : result.dtype;
  const unit = Math.max(units[result.dtype] ?? 0, result.rank === 0 ? 0 : (units[dtype] ?? 0));
  for (const [i, wanted] of values.entries()) {
    const got = actual[i];
    if (Object.is(got, wanted) || got === wanted) continue;
    if (Number.isNaN(got) && Number.isNaN(wanted)) continue;
    if (
      Math.abs(wanted) > 0.99 * (largest[result.dtype] ?? Infinity) &&
      Math.abs(got) >= 0.98 * largest[result.dtype]
    )
      continue;
    if (Math.abs(got - wanted) <= unit * (Math.abs(wanted) + (planned.scale ?? 1))) continue;
    return `element ${i} is ${got}, not ${wanted}`;
  }
  return undefined;
}

function problemWith(error: unknown): string | undefined {
  const { code, name, message, stack } = (error ?? {}) as Error & { code?: string };
  if (!(error instanceof Error)) return `threw ${String(error)}`;
  if (code === undefined || !codes.has(code))
    return `${name} ${code ?? 'without a code'}: ${message}\n${stack}`;
  return undefined;
}

interface Ending {
  end: 'result' | 'refused' | 'declined' | 'wrong';
  problem?: string;
}

/** The gradient of the sum of all results in the leaves among the arguments. */
function differentiate(result: unknown, args: readonly unknown[]): string | undefined {
  const outputs = tensorsIn(result).filter((t) => t.requiresGrad);
  if (outputs.length === 0) return undefined;
  for (const output of outputs) output.sum().backward(null, { retainGraph: true });
  for (const leaf of tensorsIn(args)) {
    if (!leaf.grad) continue;
    const isAlike = leaf.grad.dtype === leaf.dtype && leaf.grad.shape.join() === leaf.shape.join();
    if (!isAlike) return `gradient is ${leaf.grad.dtype} [${leaf.grad.shape}]`;
  }
  return undefined;
}

async function good(f: AnyFunction, d: Draw, planned: Planned): Promise<string | undefined> {
  const result = await f(...planned.args);
  const wrong = difference(result, planned, planned.args[0]);
  if (wrong) return wrong;
  if (planned.isRandom) return undefined;
  if (d.once(4)) {
    const other = f.async && d.once(2) ? f.async : f;
    const again = await other(...planned.args);
    const [a, b] = [result, again].map((value) => tensorsIn(value).map(bitsOf).join());
    if (a !== b) return `another run ${other === f ? '' : 'in the background '}has other bits`;
  }
  return d.once(3) ? differentiate(result, planned.args) : undefined;
}

async function call(name: string, d: Draw): Promise<Ending> {
  const f = (sp as unknown as Record<string, AnyFunction>)[name];
  const isSpoiled = d.once(3);
  try {
    const planned = makers[name](d);
    if (isSpoiled) {
      const args = spoiled(d, planned.args);
      const result = await (f.async && d.once(4) ? f.async(...args) : f(...args));
      for (const t of tensorsIn(result)) if (!t.isDisposed) t.dataSync();
      return { end: 'result' };
    }
    const problem = await good(f, d, planned);
    return problem ? { end: 'wrong', problem } : { end: 'result' };
  } catch (error) {
    const problem = problemWith(error);
    if (problem) return { end: 'wrong', problem };
    // A good call is refused where a drawn size is one that the operation does not take.
    return { end: isSpoiled ? 'refused' : 'declined' };
  }
}

const [seed, from, to] = process.argv.slice(2, 5).map(Number);
const isTraced = process.argv.includes('--trace');
const counts: Record<string, Record<Ending['end'], number>> = {};
const wrong: { call: number; name: string; problem: string }[] = [];
process.on('warning', () => {});
for (let i = from; i < to; i++) {
  const d = new Draw(seed * 2 ** 32 + i);
  const name = names[i % names.length];
  if (isTraced) process.stderr.write(`${i} ${name}\n`);
  sp.manualSeed(i);
  const { end, problem } = await call(name, d);
  counts[name] ??= { result: 0, refused: 0, declined: 0, wrong: 0 };
  counts[name][end]++;
  if (problem) wrong.push({ call: i, name, problem });
  if (i % 256 === 0) await new Promise((done) => setImmediate(done));
}
process.stdout.write(`${JSON.stringify({ counts, wrong, missing })}\n`);
