// The safetensors format: the length of a JSON header (8 bytes, little endian), the header, and the
// elements of all tensors without gaps (github.com/huggingface/safetensors). The header gives each
// tensor's dtype, shape and range of bytes, and free text under "__metadata__".

import type { FileHandle } from 'node:fs/promises';
import type { DType } from '../dtype.js';
import { dtypeInfo } from '../dtype.js';
import { expectOptions, fail, show } from '../expect.js';
import { checkedSize, type Shape } from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import {
  bytesOf,
  checkedPath,
  maxHeaderBytes,
  onDefaultDevice,
  readFully,
  reading,
  replaceFile,
} from './file.js';

const names: Readonly<Record<DType, string>> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  bfloat16: 'BF16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
  bool: 'BOOL',
};
const dtypeOf = new Map(Object.entries(names).map(([dtype, name]) => [name, dtype as DType]));

interface Entry {
  name: string;
  dtype: DType;
  shape: Shape;
  /** First byte and the one behind the last, counted from the end of the header. */
  begin: number;
  end: number;
}

interface Header {
  entries: Entry[];
  metadata: Record<string, string>;
  /** Where the elements start in the file. */
  start: number;
}

async function readHeader(op: string, file: FileHandle, size: number): Promise<Header> {
  if (size < 8) fail(op, 'ERR_FILE', `expected a safetensors file of 8 bytes or more, got ${size}`);
  const prefix = new Uint8Array(8);
  await readFully(op, file, prefix, 0);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  const most = Math.min(maxHeaderBytes, size - 8);
  if (length > most) {
    const why = most < maxHeaderBytes ? 'the rest of the file' : 'the most that is read';
    fail(op, 'ERR_FILE', `expected a header of at most ${most} bytes (${why}), got ${length}`);
  }
  const text = new Uint8Array(length);
  await readFully(op, file, text, 8);
  const { __metadata__: metadata = {}, ...tensors } = parsed(op, text);
  const entries = Object.entries(tensors).map(([name, value]) => checkedEntry(op, name, value));
  checkRanges(op, entries, size - 8 - length);
  return { entries, metadata: checkedMetadata(op, metadata, 'ERR_FILE'), start: 8 + length };
}

function parsed(op: string, text: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch (error) {
    fail(op, 'ERR_FILE', `expected the header to be JSON, got ${(error as Error).message}`);
  }
  if (header === null || typeof header !== 'object' || Array.isArray(header)) {
    fail(op, 'ERR_FILE', `expected the header to be a JSON object, got ${show(header)}`);
  }
  return header as Record<string, unknown>;
}

function checkedEntry(op: string, name: string, value: unknown): Entry {
  const { dtype: kind, shape, data_offsets: range } = (value ?? {}) as Record<string, unknown>;
  const dtype = dtypeOf.get(kind as string);
  if (!dtype) {
    const known = [...dtypeOf.keys()].join(', ');
    fail(
      op,
      'ERR_FILE',
      `expected the dtype of '${name}' to be one of ${known}, got ${show(kind)}`,
    );
  }
  const isSize = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    fail(
      op,
      'ERR_FILE',
      `expected the shape of '${name}' to hold integers >= 0, got ${show(shape)}`,
    );
  }
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize)) {
    fail(
      op,
      'ERR_FILE',
      `expected data_offsets of '${name}' to be two integers, got ${show(range)}`,
    );
  }
  const [begin, end] = range as [number, number];
  const bytes = checkedSize(op, shape) * dtypeInfo[dtype].bytes;
  if (end - begin !== bytes) {
    fail(
      op,
      'ERR_FILE',
      `expected '${name}' to take ${bytes} bytes (${kind} ${show(shape)}), got ${show(range)}`,
    );
  }
  return { name, dtype, shape: shape as number[], begin, end };
}

/** The ranges tile the rest of the file, each byte once. */
function checkRanges(op: string, entries: readonly Entry[], available: number): void {
  let before = { name: '', end: 0 };
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    const { name, begin, end } = entry;
    if (end > available) {
      fail(
        op,
        'ERR_FILE',
        `expected '${name}' to lie within the ${available} bytes of data, got [${begin}, ${end}]`,
      );
    }
    if (begin < before.end) {
      fail(
        op,
        'ERR_FILE',
        `expected '${name}' not to overlap '${before.name}', got [${begin}, ${end}]`,
      );
    }
    if (begin > before.end) {
      fail(op, 'ERR_FILE', `expected '${name}' to begin at byte ${before.end}, got ${begin}`);
    }
    before = entry;
  }
  if (before.end !== available) {
    fail(op, 'ERR_FILE', `expected ${before.end} bytes of data (the tensors'), got ${available}`);
  }
}

function checkedMetadata(
  op: string,
  metadata: unknown,
  code: 'ERR_FILE' | 'ERR_INVALID_TYPE',
): Record<string, string> {
  const isText = (v: unknown) => typeof v === 'string';
  const fits =
    metadata !== null && typeof metadata === 'object' && Object.values(metadata).every(isText);
  if (!fits) fail(op, code, `expected metadata to map names to strings, got ${show(metadata)}`);
  return metadata as Record<string, string>;
}

/**
 * Reads every tensor of a safetensors file, straight into its memory.
 *
 * @throws ERR_FILE for a header that is no header, an unknown dtype, and ranges that overlap, leave
 *   gaps or reach beyond the file; what the file system says (ENOENT) otherwise.
 * @example const { weight } = await loadSafetensors('model.safetensors')
 */
export async function loadSafetensors(path: string | URL): Promise<Record<string, Tensor>> {
  const op = 'loadSafetensors';
  return reading(checkedPath(op, path), async (file, size) => {
    const { entries, start } = await readHeader(op, file, size);
    const tensors: [string, Tensor][] = [];
    try {
      for (const { name, dtype, shape, begin } of entries) {
        const t = empty(shape, dtype, false, 'cpu');
        const bytes = bytesOf(t);
        await readFully(op, file, bytes, start + begin);
        if (dtype === 'bool') for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i] ? 1 : 0;
        tensors.push([name, onDefaultDevice(op, t)]);
      }
    } catch (error) {
      for (const [, t] of tensors) t.dispose();
      throw error;
    }
    return Object.fromEntries(tensors);
  });
}

/** The free text that was saved with the tensors of a safetensors file. */
export async function loadSafetensorsMetadata(path: string | URL): Promise<Record<string, string>> {
  const op = 'loadSafetensorsMetadata';
  return reading(checkedPath(op, path), async (file, size) => {
    return (await readHeader(op, file, size)).metadata;
  });
}

/** Options of `saveSafetensors`. */
export interface SafetensorsOptions {
  /** Free text by name. */
  metadata?: Readonly<Record<string, string>> | undefined;
}

/**
 * Writes tensors to a safetensors file. The file appears whole: it is written beside `path` and then
 * renamed. Until the promise settles the tensors cannot be written to.
 *
 * @example await saveSafetensors('model.safetensors', { weight }, { metadata: { step: '100' } })
 */
export async function saveSafetensors(
  path: string | URL,
  tensors: Readonly<Record<string, Tensor>>,
  options: SafetensorsOptions = {},
): Promise<void> {
  const op = 'saveSafetensors';
  expectOptions(op, options, ['metadata']);
  if (tensors === null || typeof tensors !== 'object' || Array.isArray(tensors)) {
    fail(
      op,
      'ERR_INVALID_TYPE',
      `expected tensors to be an object of tensors, got ${show(tensors)}`,
    );
  }
  const header: Record<string, unknown> = {};
  if (options.metadata !== undefined) {
    header.__metadata__ = checkedMetadata(op, options.metadata, 'ERR_INVALID_TYPE');
  }
  for (const [name, t] of Object.entries(tensors)) {
    if (name === '__metadata__') {
      fail(op, 'ERR_INVALID_VALUE', `expected tensor names other than '__metadata__', got that`);
    }
    expectTensor(op, `tensors['${name}']`, t);
  }
  // Wide elements first: then each tensor is aligned to its own elements.
  const width = (t: Tensor) => dtypeInfo[t.dtype].bytes;
  const sorted = Object.entries(tensors).sort(
    ([a, s], [b, t]) => width(t) - width(s) || (a < b ? -1 : 1),
  );
  let end = 0;
  const described = sorted.map(([name, t]) => {
    const begin = end;
    end += t.size * width(t);
    return [name, { dtype: names[t.dtype], shape: t.shape, data_offsets: [begin, end] }];
  });
  const text = new TextEncoder().encode(
    JSON.stringify(Object.fromEntries([...Object.entries(header), ...described])),
  );
  const padded = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(text, 8);
  const parts = sorted.map(([, t]) => t);
  await replaceFile(checkedPath(op, path), bytes, parts);
}
