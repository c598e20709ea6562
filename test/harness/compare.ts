// Comparison of a result with the float64 reference, which is fed the same rounded inputs.
// NaN equals NaN and an infinity itself; a message names the worst element.
import { expect } from 'vitest';
import { isRecording, recordError } from './record.js';

type Numbers = ArrayLike<number>;

/** Fails unless |actual - expected| <= allowed(i) for every element. */
export function expectWithin(
  actual: Numbers,
  expected: Numbers,
  allowed: (index: number) => number,
  what: string,
): void {
  if (actual.length !== expected.length) {
    expect.fail(`${what}: ${actual.length} values, expected ${expected.length}`);
  }
  let worst = -1;
  let excess = 1;
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i]) || actual[i] === expected[i]) continue;
    const error = Math.abs(actual[i] - expected[i]);
    const ratio = error <= allowed(i) ? 0 : error / allowed(i);
    if (ratio > excess || Number.isNaN(ratio)) {
      worst = i;
      excess = Number.isNaN(ratio) ? Infinity : ratio;
    }
  }
  if (isRecording) recordWorst(actual, expected, allowed, what);
  if (worst >= 0) {
    expect.fail(
      `${what}[${worst}]: expected ${expected[worst]} ± ${allowed(worst)}, got ${actual[worst]} ` +
        `(${excess.toPrecision(3)} times the tolerance)`,
    );
  }
}

function recordWorst(
  actual: Numbers,
  expected: Numbers,
  allowed: (index: number) => number,
  what: string,
): void {
  let [error, limit] = [0, 1];
  for (let i = 0; i < actual.length; i++) {
    const own = Math.abs(actual[i] - expected[i]);
    if (own / allowed(i) > error / limit) [error, limit] = [own, allowed(i)];
  }
  recordError(what, error, limit);
}

/** The largest |value| of the row that holds each element: what a gradient's error scales with. */
export function rowMax(values: Numbers, rowLength: number): (index: number) => number {
  const rows = rowLength === 0 ? 0 : values.length / rowLength;
  const largest = new Float64Array(rows);
  for (let i = 0; i < values.length; i++) {
    const row = Math.floor(i / rowLength);
    largest[row] = Math.max(largest[row], Math.abs(values[i]));
  }
  return (index) => largest[Math.floor(index / rowLength)];
}

export function norm(values: Numbers): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

/** The Frobenius norm of actual - expected. */
export function distance(actual: Numbers, expected: Numbers): number {
  return norm(Float64Array.from({ length: expected.length }, (_, i) => actual[i] - expected[i]));
}

/** Fails unless ‖actual - expected‖ <= tolerance·‖expected‖ + floor (Frobenius). */
export function expectFrobenius(
  actual: Numbers,
  expected: Numbers,
  tolerance: number,
  what: string,
  floor = 0,
): void {
  if (actual.length !== expected.length) {
    expect.fail(`${what}: ${actual.length} values, expected ${expected.length}`);
  }
  const error = distance(actual, expected);
  const limit = tolerance * norm(expected) + floor;
  recordError(what, error, limit);
  if (!(error <= limit)) {
    expect.fail(`${what}: error ${error} is above ${tolerance} of the norm ${norm(expected)}`);
  }
}

/** Fails unless both arrays are of one kind and hold the same bits. */
export function expectSameBits(actual: ArrayBufferView, expected: ArrayBufferView, what: string) {
  expect(actual.constructor.name, what).toBe(expected.constructor.name);
  const bytes = (view: ArrayBufferView) =>
    Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  const difference = Buffer.compare(bytes(actual), bytes(expected));
  if (difference !== 0) {
    const [a, b] = [actual, expected] as unknown as [Numbers, Numbers];
    let i = 0;
    while (i < a.length && Object.is(a[i], b[i])) i++;
    expect.fail(`${what}: element ${i} is ${a[i]}, expected the same bits as ${b[i]}`);
  }
}

/** Fails unless every value is 0, of either sign. */
export function expectZero(values: Numbers, what: string): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] !== 0) expect.fail(`${what}[${i}]: expected exactly 0, got ${values[i]}`);
  }
}
