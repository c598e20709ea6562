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

/** A call that moves its arrays; `outputs` are the fields that it must fill. */
function fencedCall(call: Call, names: readonly string[], outputs: readonly string[]): Call {
  return (...fields) => {
    const moved = fields.map((field, i) =>
      ArrayBuffer.isView(field) && field.byteLength > 0
        ? { original: field as Values, ...fence(field as Values, outputs.includes(names[i])) }
        : undefined,
    );
    call(...fields.map((field, i) => moved[i]?.inner ?? field));
    for (const [i, field] of moved.entries()) {
      if (!field) continue;
      const { all, start, inner, original } = field;
      const outside = [...all.subarray(0, start), ...all.subarray(start + inner.byteLength)];
      expect(
        outside.every((byte) => byte === guardByte),
        `guard bytes around ${names[i]}`,
      ).toBe(true);
      if (outputs.includes(names[i])) bytesOf(original).set(bytesOf(inner));
      else
        expect(Buffer.compare(bytesOf(inner), bytesOf(original)), `${names[i]} unchanged`).toBe(0);
    }
  };
}

/** Does the work with these kernels fenced: their names, and the outputs of each. */
export function fenced(kernels: Record<string, readonly string[]>, work: () => void): void {
  const entries = Object.entries(kernels).map(([name, outputs]) => {
    const kernel = native[name] as { call: Call; fields: readonly string[] };
    return { kernel, original: kernel.call, outputs };
  });
  let calls = 0;
  for (const { kernel, original, outputs } of entries) {
    const call = fencedCall(original, kernel.fields, outputs);
    kernel.call = (...fields) => {
      calls++;
      call(...fields);
    };
  }
  try {
    work();
  } finally {
    for (const { kernel, original } of entries) kernel.call = original;
  }
  expect(calls, 'fenced calls').toBeGreaterThan(0);
}
