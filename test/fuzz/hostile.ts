// What is done to the arguments of a good call: another kind, shape or dtype, options that are none,
// tensors that have ended, arrays whose memory is gone or shared. Sizes that a machine would try to
// allocate for minutes, and counts of steps that it would do for years, are left out.
import * as sp from '../../src/index.js';
import type { Draw } from './draw.js';

const junk: readonly unknown[] = [
  undefined,
  null,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -1,
  -0,
  1.5,
  2 ** 53,
  1e300,
  7n,
  '',
  'mean',
  'cuda',
  true,
  Symbol('fuzz'),
  () => 1,
  {},
  [],
  [[1], [2, 3]],
  new Date(0),
  new Proxy({}, {}),
  Promise.resolve(1),
  Object.create(null),
];

/** Arrays whose memory plays tricks. */
function trickyArray(d: Draw): unknown {
  const kind = d.integer(6);
  if (kind === 0) {
    const gone = new Float32Array(4);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    return gone;
  }
  if (kind === 1) return new Float32Array(new SharedArrayBuffer(16));
  if (kind === 2) return new DataView(new ArrayBuffer(8));
  if (kind === 3) return Buffer.from([1, 2, 3]).subarray(1);
  if (kind === 4) {
    // TypeScript's library of this target has no resizable buffers.
    const Resizable = ArrayBuffer as unknown as new (
      n: number,
      o: object,
    ) => ArrayBuffer & {
      resize(n: number): void;
    };
    const buffer = new Resizable(16, { maxByteLength: 64 });
    const view = new Float32Array(buffer);
    buffer.resize(4);
    return view;
  }
  return { shape: [2], dtype: 'float32', size: 2, device: 'cpu' };
}

function trickyTensor(d: Draw): unknown {
  const t = d.tensor(d.shape(0, 4), d.dtype());
  const kind = d.integer(7);
  if (kind === 0) t.dispose();
  if (kind === 1) return d.indices(d.shape(), 5).t;
  if (kind === 2) return d.mask(d.shape()).t;
  if (kind === 3) return t.size > 0 ? t.mul(Number.NaN) : t;
  if (kind === 4) return sp.zeros([0, d.size()]);
  if (kind === 5) return sp.full(d.shape(0, 3), d.pick([Infinity, -Infinity, 1e38, -1]));
  return t;
}

const wrongSizes = [-1, 1.5, Number.NaN, 2 ** 53, 2 ** 60, '2'];

function anything(d: Draw): unknown {
  const kind = d.integer(4);
  if (kind === 0) return trickyTensor(d);
  if (kind === 1) return trickyArray(d);
  if (kind === 2) return [d.pick(wrongSizes), 2];
  return d.pick(junk);
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype;
const counts = /iterations|projections|steps|radius/i;

function hostileOptions(d: Draw, options: Record<string, unknown>): unknown {
  const own = { ...options };
  const names = Object.keys(own);
  if (names.length === 0 || d.once(4)) {
    own[d.pick(['reduktion', 'dtype', '__proto__', 'constructor', 'bias'])] = anything(d);
    return own;
  }
  const name = d.pick(names);
  const value = anything(d);
  own[name] = counts.test(name) && Number(typeof value === 'number' && value) > 100 ? -1 : value;
  return own;
}

/** The arguments with one of them made wrong, or one too many, or too few. */
export function spoiled(d: Draw, args: readonly unknown[]): unknown[] {
  const own = [...args];
  const kind = d.integer(8);
  if (kind === 0) return own.slice(0, d.integer(own.length + 1));
  if (kind === 1) return [...own, anything(d)];
  const at = d.integer(own.length);
  own[at] = isPlain(own[at]) && d.once(2) ? hostileOptions(d, own[at]) : anything(d);
  return own;
}
