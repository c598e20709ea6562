// The land of the world as a mask: the polygons of Natural Earth (world-atlas), filled row by row.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { feature } from 'topojson-client';

export interface World {
  /** 1 is land; rows from north to south, columns from 180° west eastwards. */
  land: Uint8Array;
  rows: number;
  columns: number;
}

type Ring = readonly (readonly [number, number])[];

function rings(): Ring[] {
  const file = createRequire(import.meta.url).resolve('world-atlas/land-50m.json');
  const topology = JSON.parse(readFileSync(file, 'utf8'));
  const land = feature(topology, topology.objects.land);
  const features = 'features' in land ? land.features : [land];
  return features.flatMap(({ geometry }) =>
    geometry.type === 'Polygon' ? geometry.coordinates : geometry.coordinates.flat(),
  );
}

/** Of the polygon between the points. */
function areaOf(ring: Ring): number {
  let twice = 0;
  for (let i = 1; i < ring.length; i++) {
    const [[a, b], [c, d]] = [ring[i - 1], ring[i]];
    twice += a * d - b * c;
  }
  return Math.abs(twice) / 2;
}

/** Pixels that an island or a lake has at least. */
const leastArea = 10;

/**
 * Pixels of a ring, whose longitudes go on where it crosses the 180th meridian. Antarctica's goes
 * round the pole, by which it is closed.
 */
function unrolled(ring: Ring, scale: number): Ring {
  let turns = 0;
  const path = ring.map(([x, y], i) => {
    const step = i === 0 ? 0 : x - ring[i - 1][0];
    if (Math.abs(step) > 180) turns -= Math.sign(step);
    return [(x + 360 * turns + 180) * scale, (90 - y) * scale] as const;
  });
  if (turns === 0) return path;
  const [first, last] = [path[0], path[path.length - 1]];
  const south = 180 * scale + 1;
  return [...path, [last[0], south], [first[0], south], first];
}

/** Where a ring crosses the middles of rows of pixels, row by row from the first. */
function crossings(ring: Ring, rows: number): number[][] {
  const found: number[][] = [];
  for (let i = 1; i < ring.length; i++) {
    const [a, b] = [ring[i - 1], ring[i]];
    const [top, bottom] = a[1] < b[1] ? [a, b] : [b, a];
    const last = Math.min(rows, Math.ceil(bottom[1] - 0.5));
    for (let y = Math.max(0, Math.ceil(top[1] - 0.5)); y < last; y++) {
      const share = (y + 0.5 - top[1]) / (bottom[1] - top[1]);
      found[y] ??= [];
      found[y].push(top[0] + share * (bottom[0] - top[0]));
    }
  }
  return found;
}

/** A pixel is land where its centre is inside an odd number of rings; `scale` pixels a degree. */
export function loadWorld(scale: number): World {
  const [rows, columns] = [180 * scale, 360 * scale];
  const land = new Uint8Array(rows * columns);
  for (const points of rings()) {
    const ring = unrolled(points, scale);
    if (areaOf(ring) < leastArea) continue;
    crossings(ring, rows).forEach((xs, y) => {
      xs.sort((a, b) => a - b);
      for (let i = 0; i + 1 < xs.length; i += 2) {
        const to = Math.ceil(xs[i + 1] - 0.5);
        for (let x = Math.ceil(xs[i] - 0.5); x < to; x++)
          land[y * columns + ((x + columns) % columns)] ^= 1;
      }
    });
  }
  return { land, rows, columns };
}
