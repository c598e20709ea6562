// The one place that words argument errors, always as
// `<op>: expected <argument> to <be something>, got <what came>`, each with a stable `code`.
import type { DType } from './dtype.js';

/** The `code` of errors, which stays; docs/errors.md says when each is thrown. */
export type ErrorCode =
  | 'ERR_INVALID_TYPE'
  | 'ERR_INVALID_VALUE'
  | 'ERR_OUT_OF_RANGE'
  | 'ERR_SHAPE'
  | 'ERR_DTYPE'
  | 'ERR_DEVICE'
  | 'ERR_NO_CUDA'
  | 'ERR_UNKNOWN_OPTION'
  | 'ERR_DISPOSED'
  | 'ERR_GRAPH'
  | 'ERR_IN_USE'
  | 'ERR_FILE'
  | 'ERR_NOT_CONVERGED';

type ErrorClass = new (message: string) => Error;

const classes: Partial<Record<ErrorCode, ErrorClass>> = {
  ERR_INVALID_TYPE: TypeError,
  ERR_DTYPE: TypeError,
  ERR_UNKNOWN_OPTION: TypeError,
  ERR_INVALID_VALUE: RangeError,
  ERR_OUT_OF_RANGE: RangeError,
  ERR_SHAPE: RangeError,
};

/** An error of the class that goes with `code`. */
export function errorOf(code: ErrorCode, message: string): Error & { code: ErrorCode } {
  const Class = classes[code] ?? Error;
  return Object.assign(new Class(message), { code });
}

/** Throws `<op>: <message>`. */
export function fail(op: string, code: ErrorCode, message: string): never {
  throw errorOf(code, `${op}: ${message}`);
}

/** How a value that was not expected is shown in a message. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value !== 'object') return String(value);
  if ('shape' in value && 'dtype' in value) {
    const place = 'device' in value && value.device !== 'cpu' ? ` on ${value.device}` : '';
    return `a ${value.dtype} tensor of shape ${showShape(value.shape as number[])}${place}`;
  }
  if (Array.isArray(value)) {
    return value.length <= 8 && value.every((v) => typeof v === 'number')
      ? showShape(value)
      : `an array of ${value.length}`;
  }
  if (ArrayBuffer.isView(value))
    return `${value.constructor.name}(${(value as Uint8Array).length})`;
  return value.constructor?.name && value.constructor.name !== 'Object'
    ? `a ${value.constructor.name}`
    : 'an object';
}

export function showShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + change);
    }
    row = next;
  }
  return row[b.length];
}

/** The known name closest to `name`, if it is close enough to be what was meant. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (s: string) => s.replace(/[_-]/g, '').toLowerCase();
  const wanted = plain(name);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const given = plain(candidate);
    const abbreviates = wanted !== '' && (given.startsWith(wanted) || wanted.startsWith(given));
    const distance = abbreviates && wanted !== given ? 1 : editDistance(wanted, given);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(2, name.length / 2) ? best : undefined;
}

/** Refuses unknown option names, with the nearest valid one. */
export function expectOptions(op: string, options: unknown, known: readonly string[]): void {
  if (options === undefined) return;
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    fail(op, 'ERR_INVALID_TYPE', `expected options to be an object, got ${show(options)}`);
  }
  if (Symbol.for('surprisal.tensor') in options) {
    fail(op, 'ERR_INVALID_TYPE', `expected options to be an object, got ${show(options)}`);
  }
  for (const name in options) {
    if (known.includes(name)) continue;
    const meant = nearest(name, known);
    fail(
      op,
      'ERR_UNKNOWN_OPTION',
      `expected ${known.length ? `option names among ${known.join(', ')}` : 'no options'}, got '${name}'` +
        (meant ? ` (did you mean '${meant}'?)` : ''),
    );
  }
}

/** Refuses all but the listed words. */
export function expectOneOf<T extends string>(
  op: string,
  name: string,
  value: unknown,
  words: readonly T[],
): asserts value is T {
  if (words.includes(value as T)) return;
  const meant = typeof value === 'string' ? nearest(value, words) : undefined;
  fail(
    op,
    typeof value === 'string' ? 'ERR_INVALID_VALUE' : 'ERR_INVALID_TYPE',
    `expected ${name} to be ${words.map((w) => `'${w}'`).join(' or ')}, got ${show(value)}` +
      (meant ? ` (did you mean '${meant}'?)` : ''),
  );
}

export interface NumberBounds {
  /** Smallest value allowed. */
  min?: number;
  /** Largest value allowed. */
  max?: number;
  /** The value must be greater than this. */
  above?: number;
  /** The value must be less than this. */
  below?: number;
  integer?: boolean;
}

function boundsText({ min, max, above, below, integer }: NumberBounds): string {
  const kind = integer ? 'an integer' : 'a number';
  const parts: string[] = [];
  if (min !== undefined) parts.push(`>= ${min}`);
  if (above !== undefined) parts.push(`> ${above}`);
  if (max !== undefined) parts.push(`<= ${max}`);
  if (below !== undefined) parts.push(`< ${below}`);
  return parts.length ? `${kind} ${parts.join(' and ')}` : kind;
}

/** A finite number (not NaN, not infinite) within bounds. */
export function expectNumber(
  op: string,
  name: string,
  value: unknown,
  bounds: NumberBounds = {},
): asserts value is number {
  const { min = -Infinity, max = Infinity, above = -Infinity, below = Infinity, integer } = bounds;
  if (typeof value !== 'number') {
    fail(
      op,
      'ERR_INVALID_TYPE',
      `expected ${name} to be ${boundsText(bounds)}, got ${show(value)}`,
    );
  }
  const fits = value >= min && value <= max && value > above && value < below;
  if (!fits || !Number.isFinite(value) || (integer && !Number.isSafeInteger(value))) {
    fail(op, 'ERR_INVALID_VALUE', `expected ${name} to be ${boundsText(bounds)}, got ${value}`);
  }
}

const integerRanges: Partial<Record<DType, NumberBounds>> = {
  int32: { min: -(2 ** 31), max: 2 ** 31 - 1, integer: true },
  int64: { min: -(2 ** 53), max: 2 ** 53, integer: true },
  uint8: { min: 0, max: 255, integer: true },
  bool: { min: 0, max: 1, integer: true },
};

/** A number that an element of `dtype` can hold; for floats also NaN and the infinities. */
export function expectFits(
  op: string,
  name: string,
  value: unknown,
  dtype: DType,
): asserts value is number {
  const range = integerRanges[dtype];
  if (range || typeof value !== 'number') expectNumber(op, name, value, range);
}

/** Something that can be called. */
export function expectFunction(op: string, name: string, value: unknown): void {
  if (typeof value === 'function') return;
  fail(op, 'ERR_INVALID_TYPE', `expected ${name} to be a function, got ${show(value)}`);
}

export function expectBoolean(op: string, name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') {
    fail(op, 'ERR_INVALID_TYPE', `expected ${name} to be true or false, got ${show(value)}`);
  }
}

interface TensorLike {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** One of the listed dtypes. */
export function expectDType(
  op: string,
  name: string,
  t: TensorLike,
  allowed: readonly DType[],
): void {
  if (allowed.includes(t.dtype)) return;
  fail(op, 'ERR_DTYPE', `expected ${name} to be ${allowed.join(' or ')}, got ${t.dtype}`);
}

/** Exactly this shape; `why` says where it comes from ("one per row of logits [8, 50257]"). */
export function expectShape(
  op: string,
  name: string,
  t: TensorLike,
  shape: readonly number[],
  why = '',
): void {
  if (t.shape.length === shape.length && shape.every((n, i) => n === t.shape[i])) return;
  const reason = why ? ` (${why})` : '';
  fail(
    op,
    'ERR_SHAPE',
    `expected ${name} to have shape ${showShape(shape)}${reason}, got ${showShape(t.shape)}`,
  );
}

/** On this device; `why` says where it comes from ("like logits"). */
export function expectDevice(
  op: string,
  name: string,
  t: { readonly device: string },
  device: string,
  why: string,
): void {
  if (t.device === device) return;
  fail(op, 'ERR_DEVICE', `expected ${name} to be on ${device} ${why}, got ${t.device}`);
}

/** On the CPU, for operations that have no CUDA form yet. */
export function expectOnCpu(op: string, name: string, t: { readonly device: string }): void {
  if (t.device === 'cpu') return;
  fail(
    op,
    'ERR_DEVICE',
    `expected ${name} to be on cpu (this operation has no CUDA form yet), got ${t.device}; move it with .to('cpu')`,
  );
}

/** Two tensors of one dtype: there is no silent promotion. */
export function expectSameDType(
  op: string,
  nameA: string,
  a: TensorLike,
  nameB: string,
  b: TensorLike,
): void {
  if (a.dtype === b.dtype) return;
  fail(
    op,
    'ERR_DTYPE',
    `expected ${nameA} and ${nameB} to share a dtype, got ${a.dtype} and ${b.dtype}; cast one with .to()`,
  );
}

/** Refuses the result of an asynchronous function where only a synchronous one makes sense. */
export function refusePromise(op: string, result: unknown): void {
  if (!(result instanceof Promise)) return;
  // The function's own failure must not end the process as an unhandled rejection.
  result.catch(() => {});
  fail(op, 'ERR_INVALID_TYPE', 'expected a synchronous function, got one that returns a promise');
}
