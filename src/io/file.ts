// Files and tensor memory: reads go straight into the elements, writes come straight out of them
// and replace the old file in one step.

import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { checkedDevice } from '../device.js';
import { fail, show } from '../expect.js';
import { disposedError, empty, type Tensor } from '../tensor.js';
import { copyValues, hostArray, readDataAsync } from '../transfer.js';

/** Most bytes a header may have: its memory is taken before anything else is known. */
export const maxHeaderBytes = 100_000_000;
/** Node refuses to read or write 2 GiB at once. */
const pieceBytes = 1 << 30;

/** The file system's own form of a path. */
export function checkedPath(op: string, path: unknown): string {
  if (path instanceof URL) return fileURLToPath(path);
  if (typeof path !== 'string' || path === '') {
    fail(op, 'ERR_INVALID_TYPE', `expected path to be a string or a file URL, got ${show(path)}`);
  }
  return path;
}

/** The bytes of an array. */
function bytesIn({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}

/** The bytes of a CPU tensor. */
export function bytesOf(t: Tensor): Uint8Array {
  return bytesIn(hostArray(t));
}

/** A CPU tensor that was read from a file, on the default device. */
export function onDefaultDevice(op: string, t: Tensor): Tensor {
  const device = checkedDevice(op, undefined);
  if (device === t.device) return t;
  const there = empty(t.shape, t.dtype, false, device);
  copyValues(t, there);
  t.dispose();
  return there;
}

/** Fills `bytes` from the file; the size of the file has been checked before. */
export async function readFully(
  op: string,
  file: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const want = Math.min(pieceBytes, bytes.length - done);
    const { bytesRead } = await file.read(bytes, done, want, position + done);
    if (bytesRead === 0) {
      fail(op, 'ERR_FILE', `expected ${bytes.length - done} more bytes, got the end of the file`);
    }
    done += bytesRead;
  }
}

/** Opens a file for reading, with its size, and closes it after `use`. */
export async function reading<R>(
  path: string,
  use: (file: FileHandle, size: number) => Promise<R>,
): Promise<R> {
  const file = await open(path, 'r');
  try {
    return await use(file, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

/**
 * Writes the header and the tensors to a new file beside `path` and renames it: whoever looks finds
 * the old file or the whole new one. The tensors cannot be written to meanwhile.
 */
export async function replaceFile(
  path: string,
  header: Uint8Array,
  tensors: readonly Tensor[],
): Promise<void> {
  const storages = tensors.map((t) => {
    if (!t.storage) throw disposedError(t);
    return t.storage;
  });
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  for (const storage of storages) storage.pin();
  try {
    const file = await open(draft, 'wx');
    try {
      await writeFully(file, header);
      for (const t of tensors) {
        const onHost = t.device === 'cpu';
        await writeFully(file, onHost ? bytesOf(t) : bytesIn(await readDataAsync(t, true)));
      }
      // Without this a crash of the machine could leave the new name on an empty file.
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    for (const storage of storages) storage.unpin();
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(
      bytes,
      done,
      Math.min(pieceBytes, bytes.length - done),
    );
    done += bytesWritten;
  }
}
