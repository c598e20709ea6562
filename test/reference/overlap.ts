// Dice, Jaccard and Tversky losses as their definitions, in float64.

export interface Overlap {
  kind: 'dice' | 'jaccard' | 'tversky';
  fromLogits?: false | 'sigmoid' | 'softmax';
  squared?: boolean;
  alpha?: number;
  beta?: number;
  exponent?: number;
  smooth?: number;
  overBatch?: boolean;
  background?: boolean;
}

/** Probabilities of one voxel's channels. */
function probabilities(z: number[], how: Overlap['fromLogits']): number[] {
  if (!how) return z;
  if (how === 'sigmoid') return z.map((x) => 1 / (1 + Math.exp(-x)));
  const e = z.map((x) => Math.exp(x - Math.max(...z)));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / sum);
}

/** Losses [B or 1, channels that count] of images (B, C, S), targets alike, weights (B, S). */
export function overlapLosses(
  image: ArrayLike<number>,
  target: ArrayLike<number>,
  weight: ArrayLike<number>,
  [batch, channels, voxels]: readonly number[],
  o: Overlap,
): number[] {
  const { alpha = 0.5, beta = 0.5, smooth = 1, exponent = 1 } = o;
  const zeros = () => Array.from({ length: channels }, () => [0, 0, 0]);
  const sums = Array.from({ length: o.overBatch ? 1 : batch }, zeros);
  const power = (x: number) => (o.squared ? x * x : x);
  for (let b = 0; b < batch; b++) {
    for (let v = 0; v < voxels; v++) {
      const w = weight[b * voxels + v];
      const at = Array.from({ length: channels }, (_, c) => (b * channels + c) * voxels + v);
      const p = probabilities(
        at.map((i) => image[i]),
        o.fromLogits,
      );
      for (const [c, i] of at.entries()) {
        const to = sums[o.overBatch ? 0 : b][c];
        if (w === 0) continue;
        to[0] += w * p[c] * target[i];
        to[1] += w * power(p[c]);
        to[2] += w * power(target[i]);
      }
    }
  }
  const loss = ([I, P, T]: number[]) => {
    if (o.kind === 'dice') return 1 - (2 * I + smooth) / (P + T + smooth);
    if (o.kind === 'jaccard') return 1 - (I + smooth) / (P + T - I + smooth);
    const below = I + alpha * (P - I) + beta * (T - I) + smooth;
    return (1 - (I + smooth) / below) ** exponent;
  };
  return sums.flatMap((unit) => unit.slice(o.background === false ? 1 : 0).map(loss));
}
