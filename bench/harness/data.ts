// Random data that PyTorch's side makes too (bench/peers/torch_peer.py): element i of stream
// `seed` is a hash of both, so no file passes between the processes. `mix` is the 32-bit
// finalizer of MurmurHash3 (Appleby, public domain).

function mix(hash: number): number {
  let h = hash;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const key = (seed: number) => Math.imul(seed, 0x9e3779b9);

/** Close to normal: the sum of four uniform 16-bit numbers, exact in both languages. */
export function normal(seed: number, size: number, std: number): Float32Array {
  const out = new Float32Array(size);
  const offset = key(seed);
  const scale = std / 37837.2; // standard deviation of the sum
  for (let i = 0; i < size; i++) {
    const a = mix((i + offset) | 0);
    const b = mix(a ^ 0x5bd1e995);
    const sum = (a & 0xffff) + (a >>> 16) + (b & 0xffff) + (b >>> 16);
    out[i] = (sum - 131070) * scale;
  }
  return out;
}

export function classes(seed: number, count: number, v: number): Int32Array {
  const offset = key(seed);
  return Int32Array.from({ length: count }, (_, i) => mix((i + offset) | 0) % v);
}

/** In [0, 1), times `scale` plus `shift`. */
export function uniform(seed: number, size: number, scale = 1, shift = 0): Float32Array {
  const offset = key(seed);
  const rounded = Math.fround;
  return Float32Array.from({ length: size }, (_, i) =>
    rounded(rounded(rounded(mix((i + offset) | 0) / 2 ** 32) * rounded(scale)) + rounded(shift)),
  );
}
