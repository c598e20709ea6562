// Runs kernels on arrays that lie between guard bytes, one element off any alignment, with the
// outputs full of NaN: a write outside, an element left unwritten or an input changed is seen.
import { expect } from 'vitest';
import { native } from '../../src/native.js';

type Values = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint16Array;
type Call = (...fields: unknown[]) => void;

const guard = 64;
const guardByte = 0xa5;

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function fence(original: Values, poisoned: boolean) {
  const start = guard + original.BYTES_PER_ELEMENT;
  const all = new Uint8Array(start + original.byteLength + guard).fill(guardByte);
  // All bits set is a NaN in every float dtype.
  if (poisoned) all.fill(0xff, start, start + original.byteLength);
  else all.set(bytesOf(original), start);
  const Kind = original.constructor as new (b: ArrayBufferLike, at: number, n: number) => Values;
  return { all, start, inner: new Kind(all.buffer, start, original.length) };
}

export interface Fields {
  /** Arrays that the kernel must fill. */
  outputs: readonly string[];
  /** One that it adds to or rewrites instead, and the flag that says so. */
  updates?: readonly [name: string, flag: string];
}

/** A call that moves its arrays. */
function fencedCall(call: Call, names: readonly string[], { outputs, updates }: Fields): Call {
  return (...fields) => {
    const updated = updates && fields[names.indexOf(updates[1])] === true ? updates[0] : '';
    const isOutput = (i: number) => outputs.includes(names[i]);
    const moved = fields.map((field, i) => {
      if (!ArrayBuffer.isView(field) || field.byteLength === 0) return undefined;
      const original = field as Values;
      return { original, ...fence(original, isOutput(i) && names[i] !== updated) };
    });
    call(...fields.map((field, i) => moved[i]?.inner ?? field));
    for (const [i, field] of moved.entries()) {
      if (!field) continue;
      const { all, start, inner, original } = field;
      const end = start + inner.byteLength;
      const outside = Buffer.concat([all.subarray(0, start), all.subarray(end)]);
      const intact = outside.every((byte) => byte === guardByte);
      expect(intact, `guard bytes around ${names[i]}`).toBe(true);
      if (isOutput(i)) bytesOf(original).set(bytesOf(inner));
      else expect(Buffer.compare(bytesOf(inner), bytesOf(original)), `${names[i]} changed`).toBe(0);
    }
  };
}

/** Does the work with these kernels fenced, by their names. */
export function fenced(kernels: Record<string, Fields>, work: () => void): void {
  const entries = Object.entries(kernels).map(([name, fields]) => {
    const kernel = native[name] as { call: Call; fields: readonly string[] };
    return { kernel, original: kernel.call, fields };
  });
  let calls = 0;
  for (const { kernel, original, fields } of entries) {
    const call = fencedCall(original, kernel.fields, fields);
    kernel.call = (...values) => {
      calls++;
      call(...values);
    };
  }
  try {
    work();
  } finally {
    for (const { kernel, original } of entries) kernel.call = original;
  }
  expect(calls, 'fenced calls').toBeGreaterThan(0);
}
