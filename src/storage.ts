// Memory of tensors. On the CPU: arrays over V8-owned ArrayBuffers, so that garbage collection frees them
// even in a loop that never yields. Large buffers that were disposed, ended by a scope or never
// left the library are kept for the next tensor, and ask for huge pages when new: on a virtual
// machine the first touch of fresh small pages costs more than most kernels. Memory of devices is
// src/device-memory.ts.
import { totalmem } from 'node:os';
import { capture } from './capture.js';
import { allocateOn, freeOn, usedDevices } from './device-memory.js';
import { type DType, dtypeInfo } from './dtype.js';
import { expectOptions } from './expect.js';
import {
  collectGarbage,
  type DeviceMemory,
  launch,
  launchAt,
  native,
  OutOfMemoryError,
  type Raw,
  type RawArray,
} from './native.js';
import { ambient, type Device, deviceName, indexOf } from './place.js';
import { runtime } from './runtime.js';

/** Buffers from this size on are recycled. */
const recycleFrom = 32 * 1024;
const hugeFrom = 4 * 1024 * 1024;
/** Recycled bytes are at most this. */
const recycleLimit = Math.min(1024 ** 3, totalmem() / 8);

/** What a graph node leaves on the storages it saved, so that `copy_` can refuse. */
export interface Saver {
  isPending(): boolean;
}

/** Whoever still needs the elements as they are. */
export interface Keeper {
  beforeWrite(): void;
}

// Bytes that die together. The finalizer of a token gives its count back; small tensors share one
// token, because registering costs about 0.6 us.
class Token {
  constructor(readonly count: { bytes: number }) {
    finalizer.register(this, count);
  }
  add(bytes: number): void {
    this.count.bytes += bytes;
    live += bytes;
    if (live > peak) peak = live;
  }
}

const finalizer = new FinalizationRegistry<{ bytes: number }>((count) => {
  live -= count.bytes;
});

const ownTokenFrom = 16 * 1024;
const sharedTokenUses = 256;
let sharedToken: Token | null = null;
let sharedTokenLeft = 0;
let live = 0;
let peak = 0;
let recycledBytes = 0;
const free = new Map<number, ArrayBuffer[]>();

function tokenFor(bytes: number): Token {
  if (bytes >= ownTokenFrom) return new Token({ bytes: 0 });
  if (!sharedToken || sharedTokenLeft === 0) {
    sharedToken = new Token({ bytes: 0 });
    sharedTokenLeft = sharedTokenUses;
  }
  sharedTokenLeft--;
  return sharedToken;
}

/** Eight classes an octave: at most an eighth of a buffer is slack. */
function sizeClass(bytes: number): number {
  const step = 2 ** Math.max(12, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

function newBuffer(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch {
    releaseRecycled();
    collectGarbage();
    try {
      return new ArrayBuffer(bytes);
    } catch {
      const { rss } = process.memoryUsage();
      const total = totalmem();
      throw new OutOfMemoryError(
        `out of memory: requested ${bytes} bytes on cpu, about ${Math.max(0, total - rss)} of ${total} free`,
        bytes,
        Math.max(0, total - rss),
        total,
      );
    }
  }
}

/** The memory of one or more tensors that share elements. */
export class Storage {
  raw: Raw | null;
  /** Live tensors on this storage. */
  refs = 1;
  /** Raised by each write in place. */
  version = 0;
  /** Asynchronous kernels that read or write it now. */
  pins = 0;
  /** Memory that another library has lent for reading. */
  readOnly = false;
  savers: Saver[] | null = null;
  private mostSavers = 16;
  /** Weak: nobody is kept for what nobody will look at. */
  private keepers: WeakRef<Keeper>[] = [];
  private released = false;

  /** `token` counts the bytes on the CPU; devices count their own. */
  constructor(
    raw: Raw,
    readonly device: Device,
    private readonly bytes: number,
    private readonly token: Token | null,
  ) {
    this.raw = raw;
  }

  keptBy(keeper: Keeper): void {
    this.keepers = this.keepers.filter((known) => known.deref());
    this.keepers.push(new WeakRef(keeper));
  }

  /** To be called before each write in place. */
  beforeWrite(): void {
    for (const keeper of this.keepers) keeper.deref()?.beforeWrite();
    this.keepers = [];
  }

  /** To be called with each write in place. */
  touch(): void {
    this.version++;
    if (capture?.recording) capture.written.add(this);
  }

  /** One tensor fewer; the last one gives the memory back. */
  drop(): void {
    if (--this.refs > 0 || this.released) return;
    this.released = true;
    this.token?.add(-this.bytes);
    if (this.pins === 0) this.recycle();
  }

  pin(): void {
    this.pins++;
  }

  unpin(): void {
    if (--this.pins === 0 && this.released) this.recycle();
  }

  savedBy(saver: Saver): void {
    if (!this.savers) this.savers = [];
    else if (this.savers.at(-1) === saver) return;
    else if (this.savers.length >= this.mostSavers) {
      this.savers = this.savers.filter((s) => s.isPending());
      // Twice what is left: a parameter in many pending graphs is looked through rarely.
      this.mostSavers = Math.max(16, 2 * this.savers.length);
    }
    this.savers.push(saver);
  }

  isSaved(): boolean {
    return this.savers?.some((s) => s.isPending()) ?? false;
  }

  private recycle(): void {
    const raw = this.raw!;
    this.raw = null;
    if (this.token === null) {
      freeOn(indexOf(this.device), raw as DeviceMemory, this.bytes);
      return;
    }
    const buffer = (raw as RawArray).buffer as ArrayBuffer;
    const bytes = buffer.byteLength;
    if (bytes < recycleFrom || recycledBytes + bytes > recycleLimit) return;
    const list = free.get(bytes);
    if (list) list.push(buffer);
    else free.set(bytes, [buffer]);
    recycledBytes += bytes;
  }
}

/** Memory for `size` elements: zeros if asked for, else whatever is there. */
export function allocate(
  dtype: DType,
  size: number,
  zeroed = false,
  device: Device = ambient,
): Storage {
  const { bytes: width, carrier } = dtypeInfo[dtype];
  const bytes = width * size;
  if (device !== 'cpu') {
    const memory = allocateOn(indexOf(device), dtype, size, width);
    if (zeroed && size > 0) launch(native.fill, { out: memory, value: 0 });
    return new Storage(memory, device, bytes, null);
  }
  const token = tokenFor(bytes);
  let raw: RawArray;
  if (bytes < recycleFrom) {
    raw = new carrier(size);
  } else {
    const wanted = sizeClass(bytes);
    const kept = free.get(wanted)?.pop();
    if (kept) {
      recycledBytes -= wanted;
      raw = new carrier(kept, 0, size);
      if (zeroed) launch(native.fill, { out: raw, value: 0 });
    } else {
      raw = new carrier(newBuffer(wanted), 0, size);
      if (bytes >= hugeFrom) native.systemHugePages.call(raw);
    }
  }
  token.add(bytes);
  return new Storage(raw, 'cpu', bytes, token);
}

/** Gives recycled buffers back to the system. */
export function releaseRecycled(): void {
  free.clear();
  recycledBytes = 0;
  native.systemTrim.call();
}

/** Bytes on one device. */
export interface MemoryUse {
  /** Bytes of tensors that are alive, as far as garbage collection has got. */
  live: number;
  /** The most `live` has been. */
  peak: number;
  /** Bytes kept for the next tensors and kernels. */
  recycled: number;
  /** Bytes of scratch memory that kernels are using now, and the most they have used. */
  scratch: number;
  /** The most `scratch` has been. */
  scratchPeak: number;
}

/**
 * Bytes in use on the CPU and on each device that this thread has used. `resetPeak` starts the
 * peaks anew after reading them.
 */
export function memory(
  options: { resetPeak?: boolean } = {},
): { cpu: MemoryUse } & { [device: `cuda:${number}`]: MemoryUse } {
  expectOptions('memory', options, ['resetPeak']);
  const resetPeak = options.resetPeak === true;
  const out = new Float64Array(5);
  launchAt(native.systemQuery, [out, resetPeak]);
  const cpu = {
    live,
    peak,
    recycled: recycledBytes + out[2],
    scratch: out[1],
    scratchPeak: out[3],
  };
  if (resetPeak) peak = live;
  const use: ReturnType<typeof memory> = { cpu };
  for (const index of usedDevices) use[deviceName(index)] = runtime.deviceMemory(index, resetPeak);
  return use;
}
