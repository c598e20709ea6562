// Pieces of the world with many islands and waters, and what an instrument might see of them.
import * as sp from 'surprisal';
import type { Random } from '../random.js';
import type { World } from './world.js';

/** A square mask, and where its north-western corner lies. */
export interface Coast {
  mask: Float32Array;
  latitude: number;
  longitude: number;
}

export interface Coasts {
  train: Coast[];
  heldOut: Coast[];
}

/** Longitudes of south-east Asia and Australia, of which training sees nothing. */
const heldOutEast = [95, 155];
/** Islands or enclosed waters that a piece has at least. */
const leastFeatures = 3;

function features(mask: Float32Array, size: number): number {
  const { dims } = sp.persistenceBarcode(sp.tensor(mask, { shape: [size, size] }));
  return dims.reduce((sum, bars) => sum + (bars?.birth.length ?? 0), 0);
}

/** Pieces of `size`² pixels, of which neighbours of one part overlap by half. */
export function findCoasts({ land, rows, columns }: World, size: number): Coasts {
  const scale = columns / 360;
  const coasts: Coasts = { train: [], heldOut: [] };
  for (let y = 0; y + size <= rows; y += size / 2) {
    for (let x = 0; x + size <= columns; x += size / 2) {
      const longitude = x / scale - 180;
      const [west, east] = heldOutEast;
      const isHeldOut = longitude >= west && longitude + size / scale <= east;
      if (!isHeldOut && longitude + size / scale > west && longitude < east) continue;
      const mask = new Float32Array(size * size);
      let total = 0;
      for (let i = 0; i < mask.length; i++) {
        mask[i] = land[(y + Math.floor(i / size)) * columns + x + (i % size)];
        total += mask[i];
      }
      const share = total / mask.length;
      if (share < 0.05 || share > 0.95 || features(mask, size) < leastFeatures) continue;
      coasts[isHeldOut ? 'heldOut' : 'train'].push({ mask, latitude: 90 - y / scale, longitude });
    }
  }
  return coasts;
}

/** Means of three along rows and columns. */
function blurred(mask: Float32Array, size: number): Float32Array {
  let from = mask;
  for (const step of [1, size]) {
    const to = new Float32Array(from.length);
    for (let i = 0; i < to.length; i++) {
      const at = step === 1 ? i % size : Math.floor(i / size);
      const [before, after] = [at > 0 ? i - step : i, at < size - 1 ? i + step : i];
      to[i] = (from[before] + from[i] + from[after]) / 3;
    }
    from = to;
  }
  return from;
}

function normal(random: Random): number {
  const [u, v] = [1 - random.next(), random.next()];
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}

const noise = 0.35;

/** Land a little brighter than water, blurred, under haze and noise. */
export function observed(mask: Float32Array, size: number, random: Random): Float32Array {
  const contrast = 1 + random.next();
  const waves = Array.from({ length: 3 }, () => {
    const [angle, phase] = [2 * Math.PI * random.next(), 2 * Math.PI * random.next()];
    const turns = (1 + 2 * random.next()) * ((2 * Math.PI) / size);
    return [turns * Math.cos(angle), turns * Math.sin(angle), phase];
  });
  return blurred(mask, size).map((land, i) => {
    const [y, x] = [Math.floor(i / size), i % size];
    const haze = waves.reduce((sum, [a, b, c]) => sum + Math.sin(a * x + b * y + c), 0);
    return contrast * (land - 0.5) + 0.2 * haze + noise * normal(random);
  });
}

/** Images and masks [B, 1, size, size]. */
export interface Batch {
  image: sp.Tensor<'float32'>;
  mask: sp.Tensor<'float32'>;
}

export function batchOf(coasts: readonly Coast[], size: number, random: Random): Batch {
  const [images, masks] = [0, 1].map(() => new Float32Array(coasts.length * size * size));
  for (const [i, { mask }] of coasts.entries()) {
    images.set(observed(mask, size, random), i * size * size);
    masks.set(mask, i * size * size);
  }
  const shape = [coasts.length, 1, size, size];
  return { image: sp.tensor(images, { shape }), mask: sp.tensor(masks, { shape }) };
}
