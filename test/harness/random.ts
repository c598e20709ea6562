// Seeded random numbers for cases: the same seed gives the same data on every machine.
// Generator: sfc32 (Doty-Humphrey, PractRand); normals by Box and Muller (1958).

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d = 1;
  private spare: number | undefined; // the second normal of a pair

  constructor(seed: number) {
    this.a = seed | 0;
    this.b = 0x9e3779b9 ^ Math.floor(seed / 2 ** 32);
    this.c = 0x243f6a88;
    for (let i = 0; i < 15; i++) this.bits();
  }

  /** An unsigned 32-bit integer. */
  bits(): number {
    const t = (this.a + this.b + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + t;
    return t >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.bits() / 2 ** 32);
  }

  /** A uniform integer in [0, n). */
  integer(n: number): number {
    return Math.floor(this.uniform(0, n));
  }

  normal(mean = 0, std = 1): number {
    if (this.spare !== undefined) {
      const value = mean + std * this.spare;
      this.spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log((this.bits() + 1) / (2 ** 32 + 1)));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return mean + std * radius * Math.cos(angle);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.integer(list.length)];
  }

  fill(size: number, draw: (index: number) => number): Float64Array {
    const out = new Float64Array(size);
    for (let i = 0; i < size; i++) out[i] = draw(i);
    return out;
  }

  normals(size: number, std = 1): Float64Array {
    return this.fill(size, () => this.normal(0, std));
  }

  uniforms(size: number, low = 0, high = 1): Float64Array {
    return this.fill(size, () => this.uniform(low, high));
  }

  /** A permutation of 0..n-1 (Fisher and Yates). */
  permutation(n: number): Int32Array {
    const out = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = out[i];
      out[i] = out[j];
      out[j] = swap;
    }
    return out;
  }
}
