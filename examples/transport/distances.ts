// Sinkhorn divergences between all pairs of letter distributions: thousands of problems of unequal
// sizes in one call, packed. What it costs to turn one letter into another is half the squared
// distance of their points, and `anotherLetter` if they differ by more than accents.
import { setImmediate } from 'node:timers/promises';
import * as sp from 'surprisal';
import type { Language } from './languages.js';
import { letterSize, letterTotal, pointOf } from './letters.js';

/** ε = blur², in the units of the cost. */
export const blur = 0.4;
export const anotherLetter = 0.5;
const problemsPerCall = 4096;

interface Cloud {
  /** [N, letterSize] */
  points: Float32Array;
  /** Which letters they are, accents aside. */
  labels: readonly number[];
  weights: readonly number[];
}

export function cloudOf({ letters, weights }: Language): Cloud {
  const known = letters.map((letter) => pointOf(letter)!);
  const points = new Float32Array(letters.length * letterSize);
  for (const [i, { point }] of known.entries()) points.set(point, i * letterSize);
  return { points, labels: known.map(({ label }) => label), weights };
}

interface Packed {
  points: sp.Tensor<'float32'>;
  labels: sp.Tensor<'int32'>;
  weights: sp.Tensor<'float32'>;
  /** Where each cloud begins, and where the last one ends. */
  starts: number[];
}

function packed(clouds: readonly Cloud[]): Packed {
  const starts = [0];
  for (const { weights } of clouds) starts.push(starts[starts.length - 1] + weights.length);
  const count = starts[clouds.length];
  const points = new Float32Array(count * letterSize);
  const labels = new Int32Array(count);
  const weights = new Float32Array(count);
  for (const [i, cloud] of clouds.entries()) {
    points.set(cloud.points, starts[i] * letterSize);
    labels.set(cloud.labels, starts[i]);
    weights.set(cloud.weights, starts[i]);
  }
  return {
    points: sp.tensor(points, { shape: [count, letterSize] }),
    labels: sp.tensor(labels),
    weights: sp.tensor(weights),
    starts,
  };
}

/** The problem of each pair: the clouds and the options of `sinkhornDivergence`. */
function problems(from: readonly Cloud[], to: readonly Cloud[]) {
  const [x, y] = [packed(from), packed(to)];
  const different = sp.ones([letterTotal, letterTotal]).sub(sp.eye(letterTotal));
  const options = {
    a: x.weights,
    b: y.weights,
    labelsX: x.labels,
    labelsY: y.labels,
    labelCost: different.mul(anotherLetter),
    cuSeqlensX: x.starts,
    cuSeqlensY: y.starts,
    blur,
  };
  return { x: x.points, y: y.points, options };
}

/** A symmetric matrix [n, n] of divergences, 0 on its diagonal. */
export async function divergences(
  languages: readonly Language[],
  onCall: (done: number, problems: number) => void,
): Promise<Float64Array> {
  const clouds = languages.map(cloudOf);
  const n = clouds.length;
  const pairs: [number, number][] = [];
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) pairs.push([i, j]);
  const result = new Float64Array(n * n);
  for (let first = 0; first < pairs.length; first += problemsPerCall) {
    const batch = pairs.slice(first, first + problemsPerCall);
    const values = sp.scope(() => {
      const { x, y, options } = problems(
        batch.map(([i]) => clouds[i]),
        batch.map(([, j]) => clouds[j]),
      );
      return sp.sinkhornDivergence(x, y, options).dataSync();
    });
    for (const [k, [i, j]] of batch.entries()) {
      // Two of one distribution may differ from 0 by what the tolerance leaves.
      const value = Math.max(0, values[k]);
      result[i * n + j] = value;
      result[j * n + i] = value;
    }
    onCall(first + batch.length, pairs.length);
    await setImmediate();
  }
  return result;
}

export interface LetterPlan {
  from: Language;
  to: Language;
  /** The mass that goes from each letter to each, [N, M], row-major. */
  plan: Float32Array;
  divergence: number;
}

export function letterPlan(from: Language, to: Language): LetterPlan {
  return sp.scope(() => {
    const { x, y, options } = problems([cloudOf(from)], [cloudOf(to)]);
    // One problem: the plan of packed ones, which have no common shape, is not made.
    const { cuSeqlensX, cuSeqlensY, ...alone } = options;
    const plan = sp.sinkhornPotentials(x, y, alone).plan();
    return {
      from,
      to,
      plan: Float32Array.from(plan.dataSync() as Float32Array),
      divergence: sp.sinkhornDivergence(x, y, alone).item(),
    };
  });
}
