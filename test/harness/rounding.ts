// Rounding of float64 values to the stored dtypes, to nearest even, in plain TypeScript: the tests
// must not learn what a bfloat16 is from the code under test. float64 -> float16 goes straight from
// the double's own bits, because a detour over float32 would round twice.

export type FloatDType = 'float32' | 'float64' | 'float16' | 'bfloat16';

const double = new Float64Array(1);
const doubleBits = new BigUint64Array(double.buffer);

interface Format {
  mantissa: number; // stored bits
  minExponent: number; // of the smallest normal number
  maxExponent: number;
}

export const formats: Record<FloatDType, Format> = {
  float64: { mantissa: 52, minExponent: -1022, maxExponent: 1023 },
  float32: { mantissa: 23, minExponent: -126, maxExponent: 127 },
  bfloat16: { mantissa: 7, minExponent: -126, maxExponent: 127 },
  float16: { mantissa: 10, minExponent: -14, maxExponent: 15 },
};

function exponentOf(value: number): number {
  double[0] = value;
  return Number((doubleBits[0] >> 52n) & 0x7ffn) - 1023;
}

/** Distance between neighbours of the dtype around the value. */
export function ulp(value: number, dtype: FloatDType): number {
  const { mantissa, minExponent, maxExponent } = formats[dtype];
  const exponent = value === 0 || !Number.isFinite(value) ? minExponent : exponentOf(value);
  return 2 ** (Math.min(Math.max(exponent, minExponent), maxExponent) - mantissa);
}

/** Unit roundoff: the largest relative error of one rounding. */
export function epsilon(dtype: FloatDType): number {
  return 2 ** -(formats[dtype].mantissa + 1);
}

export function round(value: number, dtype: FloatDType): number {
  if (dtype === 'float64') return value;
  if (dtype === 'float32') return Math.fround(value);
  if (!Number.isFinite(value) || value === 0) return value;
  const step = ulp(value, dtype);
  // A quotient below 2^12, scaled by a power of two: exact. Ties go to even.
  const scaled = value / step;
  let whole = Math.floor(scaled);
  const rest = scaled - whole;
  if (rest > 0.5 || (rest === 0.5 && whole % 2 !== 0)) whole += 1;
  const { mantissa, maxExponent } = formats[dtype];
  const rounded = whole * step;
  const largest = (2 - 2 ** -mantissa) * 2 ** maxExponent;
  if (Math.abs(rounded) > largest) return Math.sign(value) * Infinity;
  return rounded === 0 ? Math.sign(value) * 0 : rounded;
}

export function roundAll(values: ArrayLike<number>, dtype: FloatDType): Float64Array {
  const out = new Float64Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = round(values[i], dtype);
  return out;
}

/** The 16 stored bits of a value that the dtype can represent. */
export function halfBits(value: number, dtype: 'float16' | 'bfloat16'): number {
  const { mantissa, minExponent, maxExponent } = formats[dtype];
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const top = (maxExponent - minExponent + 2) << mantissa; // all exponent bits set
  if (Number.isNaN(value)) return top | (1 << (mantissa - 1));
  const size = Math.abs(value);
  if (size === Infinity) return sign | top;
  if (size < 2 ** minExponent) return sign | (size / 2 ** (minExponent - mantissa));
  const exponent = exponentOf(size);
  const fraction = (size / 2 ** exponent - 1) * 2 ** mantissa;
  return sign | ((exponent - minExponent + 1) << mantissa) | fraction;
}

export function halfValue(bits: number, dtype: 'float16' | 'bfloat16'): number {
  const { mantissa, minExponent, maxExponent } = formats[dtype];
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> mantissa;
  const fraction = (bits & (2 ** mantissa - 1)) / 2 ** mantissa;
  if (exponent === maxExponent - minExponent + 2) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** minExponent;
  return sign * (1 + fraction) * 2 ** (exponent - 1 + minExponent);
}
