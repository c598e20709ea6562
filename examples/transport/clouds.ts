// The clouds to register: points of the Stanford bunny, and copies of them that were turned,
// shifted, shuffled, and in the harder case cropped and blurred by noise.
import bunny from 'bunny';
import * as sp from 'surprisal';
import { type Motion, moved } from './rigid.js';

export interface Pair {
  /** [N, 3], centred, of mean square radius 1. */
  source: sp.Tensor;
  /** [M, 3]. */
  target: sp.Tensor;
  /** The motion that makes the target of the source. */
  truth: Motion;
  /** For each source point the row of the target that is its image, -1 where it was cropped. */
  partner: Int32Array;
}

export interface Damage {
  /** Standard deviation of the noise on each coordinate of the target. */
  noise: number;
  /** Share of the points that the target lacks: the farthest ones along an oblique direction. */
  cropped: number;
}

/** `count` vertices of the bunny drawn without replacement. */
function sample(count: number): sp.Tensor {
  const all = sp.tensor(bunny.positions.flat(), { shape: [bunny.positions.length, 3] });
  const { indices } = sp.sort(sp.rand([bunny.positions.length]));
  const points = all.indexSelect(0, indices.slice(0, 0, count));
  const centred = points.sub(points.mean({ dim: 0 }));
  return centred.div(centred.mul(centred).sum({ dim: 1 }).mean().sqrt());
}

/** Draws a pair from the generator that `sp.manualSeed` set. */
export function drawPair(count: number, truth: Motion, { noise, cropped }: Damage): Pair {
  const source = sample(count);
  // The ears point up and back: cropping along this direction takes the tail and the hind legs.
  const along = source.matmul(sp.tensor([[0.8], [-0.6], [0]])).reshape([count]);
  const order = sp.sort(along).indices.dataSync() as Int32Array;
  const kept = order.slice(0, Math.round(count * (1 - cropped)));
  const shuffled = sp.sort(sp.rand([kept.length])).indices.dataSync() as Int32Array;
  const rows = Int32Array.from(shuffled, (place) => kept[place]);
  const image = moved(source.indexSelect(0, sp.tensor(rows)), truth);
  const partner = new Int32Array(count).fill(-1);
  for (const [row, point] of rows.entries()) partner[point] = row;
  return { source, target: image.add(sp.randn(image.shape).mul(noise)), truth, partner };
}
