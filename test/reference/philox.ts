// Philox4x32-10 (Salmon et al. 2011) in bigint arithmetic, and the uniform and normal numbers made
// of its words.

const mask = 0xffffffffn;

/** The four words of a block under a 64-bit key. */
export function philox(seed: bigint, block: bigint): number[] {
  let c = [block & mask, (block >> 32n) & mask, 0n, 0n];
  let [k0, k1] = [seed & mask, (seed >> 32n) & mask];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c[0];
    const p1 = 0xcd9e8d57n * c[2];
    c = [(p1 >> 32n) ^ c[1] ^ k0, p1 & mask, (p0 >> 32n) ^ c[3] ^ k1, p0 & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return c.map(Number);
}

/** The first `count` words from a block on. */
export function words(seed: number, block: number, count: number): number[] {
  const blocks = Math.ceil(count / 4);
  const all = Array.from({ length: blocks }, (_, i) => philox(BigInt(seed), BigInt(block + i)));
  return all.flat().slice(0, count);
}

/** The high `bits` bits of a word as a number in [0, 1). */
export function uniform(word: number, bits: number): number {
  return Math.floor(word / 2 ** (32 - bits)) / 2 ** bits;
}

/** The high 53 bits of two words as a number in [0, 1). */
export function uniformDouble(high: number, low: number): number {
  return (high * 2 ** 21 + Math.floor(low / 2 ** 11)) / 2 ** 53;
}

/** Box and Muller: u in (0, 1], v in [0, 1). */
export function normals(u: number, v: number): [number, number] {
  const radius = Math.sqrt(-2 * Math.log(u));
  return [radius * Math.sin(2 * Math.PI * v), radius * Math.cos(2 * Math.PI * v)];
}
