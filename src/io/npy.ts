// NumPy's .npy format, versions 1 to 3 (numpy.lib.format): a magic number, the version, the length
// of a header, the header (a Python dictionary as text) and the elements, in C or Fortran order and
// either byte order. bfloat16, which NumPy lacks, is stored as ml_dtypes does it: as '<V2'.
import type { DType } from '../dtype.js';
import { dtypeInfo } from '../dtype.js';
import { fail, show } from '../expect.js';
import { checkedSize, stridesOf } from '../shape.js';
import { gathered } from '../strided.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import { bytesOf, checkedPath, onDefaultDevice, readFully, reading, replaceFile } from './file.js';

const descriptions: Readonly<Record<DType, string>> = {
  float32: '<f4',
  float64: '<f8',
  float16: '<f2',
  bfloat16: '<V2',
  int32: '<i4',
  int64: '<i8',
  uint8: '|u1',
  bool: '|b1',
};
// Without the byte order, which comes as '<', '>', '=' (the writer's own) or '|' (none).
const dtypeOf = new Map(Object.entries(descriptions).map(([k, v]) => [v.slice(1), k as DType]));
// Far more than any that NumPy writes or reads: looking through a hostile one must not take long.
const mostHeaderBytes = 65_536;
const magic = '\x93NUMPY';

interface Header {
  dtype: DType;
  bigEndian: boolean;
  fortranOrder: boolean;
  shape: number[];
}

function parsed(op: string, text: string): Header {
  const field = (name: string, value: string) =>
    new RegExp(`['"]${name}['"]\\s*:\\s*${value}`).exec(text)?.[1];
  const descr = field('descr', `['"]([^'"]*)['"]`);
  const order = field('fortran_order', '(True|False)');
  const sizes = field('shape', '\\(([^)]*)\\)');
  if (descr === undefined && /['"]descr['"]\s*:\s*\[/.test(text)) {
    fail(op, 'ERR_FILE', 'expected elements of one number each, got a structured dtype');
  }
  if (descr === undefined || order === undefined || sizes === undefined) {
    const start = text.length > 80 ? `${text.slice(0, 80)}...` : text;
    fail(
      op,
      'ERR_FILE',
      `expected a header with descr, fortran_order and shape, got ${show(start)}`,
    );
  }
  const dtype = /^[<>=|]/.test(descr) ? dtypeOf.get(descr.slice(1)) : undefined;
  if (!dtype) {
    const known = [...dtypeOf.keys()].join(', ');
    fail(op, 'ERR_FILE', `expected elements of type ${known}, got '${descr}'`);
  }
  const items = sizes.split(',').map((s) => s.trim());
  if (items.at(-1) === '') items.pop();
  const shape = items.map((s) => (/^\d+L?$/.test(s) ? Number.parseInt(s, 10) : Number.NaN));
  if (shape.some(Number.isNaN)) {
    fail(op, 'ERR_FILE', `expected shape to hold integers >= 0, got (${sizes})`);
  }
  return { dtype, bigEndian: descr[0] === '>', fortranOrder: order === 'True', shape };
}

function swapBytes(bytes: Uint8Array, width: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (width === 2) buffer.swap16();
  if (width === 4) buffer.swap32();
  if (width === 8) buffer.swap64();
}

/**
 * Reads the array of an .npy file.
 *
 * @throws ERR_FILE for what is not such a file, a file cut short, and element types without a
 *   counterpart (complex, strings, objects, int8 to uint64 beyond those of DType).
 */
export async function loadNpy(path: string | URL): Promise<Tensor> {
  const op = 'loadNpy';
  return reading(checkedPath(op, path), async (file, size) => {
    const prefix = new Uint8Array(Math.min(12, size));
    await readFully(op, file, prefix, 0);
    const major = prefix[6];
    const longForm = major > 1;
    const start = longForm ? 12 : 10;
    if (size < start || String.fromCharCode(...prefix.subarray(0, 6)) !== magic) {
      fail(op, 'ERR_FILE', `expected a file that begins with ${JSON.stringify(magic)}`);
    }
    if (major < 1 || major > 3) {
      fail(op, 'ERR_FILE', `expected version 1, 2 or 3 of the format, got ${major}.${prefix[7]}`);
    }
    const view = new DataView(prefix.buffer);
    const length = longForm ? view.getUint32(8, true) : view.getUint16(8, true);
    const most = Math.min(mostHeaderBytes, size - start);
    if (length > most) {
      fail(op, 'ERR_FILE', `expected a header of at most ${most} bytes, got ${length}`);
    }
    const text = new Uint8Array(length);
    await readFully(op, file, text, start);
    const decoder = new TextDecoder(major === 3 ? 'utf-8' : 'latin1');
    const header = parsed(op, decoder.decode(text));
    const bytes = checkedSize(op, header.shape) * dtypeInfo[header.dtype].bytes;
    const available = size - start - length;
    if (bytes > available) {
      fail(
        op,
        'ERR_FILE',
        `expected ${bytes} bytes of data (${show(header.shape)}), got ${available}`,
      );
    }
    const t = await finished(header, async (t) => readFully(op, file, bytesOf(t), start + length));
    return onDefaultDevice(op, t);
  });
}

/** The tensor of a header whose elements `fill` reads in the file's order. */
async function finished(header: Header, fill: (t: Tensor) => Promise<void>): Promise<Tensor> {
  const { dtype, shape, fortranOrder, bigEndian } = header;
  // Fortran order is C order with the axes reversed.
  const t = empty(fortranOrder ? [...shape].reverse() : shape, dtype, false, 'cpu');
  await fill(t);
  const bytes = bytesOf(t);
  if (bigEndian) swapBytes(bytes, dtypeInfo[dtype].bytes);
  if (dtype === 'bool') for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i] ? 1 : 0;
  if (!fortranOrder) return t;
  const ordered = gathered(t, shape, stridesOf(t.shape).reverse());
  t.dispose();
  return ordered;
}

/** Writes a tensor as an .npy file (version 1, C order, little endian), which appears whole. */
export async function saveNpy(path: string | URL, t: Tensor): Promise<void> {
  const op = 'saveNpy';
  expectTensor(op, 't', t);
  const shape = t.shape.length === 1 ? `(${t.shape[0]},)` : `(${t.shape.join(', ')})`;
  const dictionary = `{'descr': '${descriptions[t.dtype]}', 'fortran_order': False, 'shape': ${shape}, }`;
  // Padded with spaces, so that the elements begin at a multiple of 64 bytes.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const text = `${magic}\x01\x00\x00\x00${dictionary.padEnd(length - 1)}\n`;
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  new DataView(bytes.buffer).setUint16(8, length, true);
  await replaceFile(checkedPath(op, path), bytes, [t]);
}
